/** What is computed from vectors: bounded collection, similarities, principal components, best matches. No drawing. */

const MOST_VALUES = 1 << 24; // numbers kept for drawing, 64 MB, however long the recording
const MOST_ROWS = 2048; // wider than any screen shows a recording

/** Keeps vectors of a stream, in bounded memory: when they are too many, neighbours are replaced by their mean. */
export class Collected {
  /** @param {number} dim numbers in a vector */
  constructor(dim, mostRows = MOST_ROWS) {
    this.dim = dim;
    this.most = Math.max(16, Math.min(mostRows, Math.floor(MOST_VALUES / dim))) & ~1;
    this.rows = new Float32Array(Math.min(this.most, 64) * dim);
    this.times = [];
    this.count = 0; // vectors that came in
    this.length = 0; // rows that are kept
    this.stride = 1; // vectors in a row
    this.pending = 0; // vectors in the row that is being filled
  }

  /** @param {number} time seconds @param {ArrayLike<number>} vector (dim) */
  add(time, vector) {
    if (this.length === this.most && !this.pending) this.halve();
    if (!this.pending) this.open(time);
    const row = this.rows.subarray((this.length - 1) * this.dim, this.length * this.dim);
    const share = 1 / (this.pending + 1);
    for (let i = 0; i < this.dim; i++) row[i] += (vector[i] - row[i]) * share;
    this.pending = (this.pending + 1) % this.stride;
    this.count += 1;
  }

  open(time) {
    if ((this.length + 1) * this.dim > this.rows.length) {
      const larger = new Float32Array(Math.min(this.most * this.dim, 2 * this.rows.length));
      larger.set(this.rows);
      this.rows = larger;
    }
    this.times.push(time);
    this.length += 1;
  }

  halve() {
    const { rows, dim } = this;
    for (let i = 0; i < this.length / 2; i++) {
      for (let k = 0; k < dim; k++) rows[i * dim + k] = 0.5 * (rows[2 * i * dim + k] + rows[(2 * i + 1) * dim + k]);
      this.times[i] = this.times[2 * i];
    }
    rows.fill(0, (this.length / 2) * dim);
    this.length /= 2;
    this.times.length = this.length;
    this.stride *= 2;
  }

  /** Copies that may be handed to a worker. */
  get plain() {
    return {
      dim: this.dim,
      length: this.length,
      stride: this.stride,
      rows: this.rows.slice(0, this.length * this.dim),
      times: Float64Array.from(this.times),
    };
  }
}

/** At most `most` rows, each the mean of neighbours. A row is `audible` (optional) if one of them is. */
export function thinned(set, most) {
  const { rows, times, dim, length, stride, audible } = set;
  const group = Math.ceil(length / most);
  if (group <= 1) return set;
  const n = Math.ceil(length / group);
  const out = new Float32Array(n * dim);
  const starts = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const last = Math.min(length, (i + 1) * group);
    starts[i] = times[i * group];
    for (let j = i * group; j < last; j++) {
      for (let k = 0; k < dim; k++) out[i * dim + k] += rows[j * dim + k] / (last - i * group);
    }
  }
  const heard = audible && Uint8Array.from({ length: n }, (_, i) => Math.max(...audible.slice(i * group, (i + 1) * group)));
  return { rows: out, times: starts, dim, length: n, stride: stride * group, audible: heard };
}

/** (n, m) cosines between the rows of two sets of vectors; rows of zeros are similar to nothing (0). */
export function cosines(a, b) {
  const [x, y] = [unitRows(a), unitRows(b)];
  const out = new Float32Array(a.length * b.length);
  for (let i = 0; i < a.length; i++) {
    for (let j = 0; j < b.length; j++) {
      let sum = 0;
      for (let k = 0, p = i * a.dim, q = j * a.dim; k < a.dim; k++) sum += x[p + k] * y[q + k];
      out[i * b.length + j] = sum;
    }
  }
  return out;
}

function unitRows({ rows, dim, length }) {
  const out = new Float32Array(length * dim);
  for (let i = 0; i < length; i++) {
    let square = 0;
    for (let k = 0; k < dim; k++) square += rows[i * dim + k] ** 2;
    const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
    for (let k = 0; k < dim; k++) out[i * dim + k] = rows[i * dim + k] * scale;
  }
  return out;
}

const FIT_ROWS = 512; // components come from this many rows at most; all rows are then projected
const STEPS = 60;

/**
 * The first principal components of one or several sets of vectors together, by orthogonal iteration on the centred
 * rows' inner products. Signs are fixed: the largest value of a component in the first set is positive.
 * @returns {{values: Float32Array[], share: number[]}} for each set (length, n) values; a component's share of variance
 */
export function principalComponents(sets, n = 3) {
  const few = joined(sets.map((set) => thinned(set, Math.floor(FIT_ROWS / sets.length))));
  const mean = meanRow(few);
  const x = centred(few, mean);
  const gram = innerProducts(x, few.length, few.dim);
  let total = 0;
  for (let i = 0; i < few.length; i++) total += gram[i * few.length + i];
  const { vectors, values } = leading(gram, few.length, Math.min(n, few.length));
  const out = sets.map((set) => new Float32Array(set.length * n));
  const share = new Array(n).fill(0);
  for (let c = 0; c < vectors.length; c++) {
    if (!(values[c] > 1e-9 * total)) continue;
    share[c] = values[c] / total;
    const direction = axis(vectors[c], x, few);
    sets.forEach((set, i) => project(set, mean, direction, out[i], c, n));
    if (largest(out[0], c, n) < 0) for (const values of out) for (let i = c; i < values.length; i += n) values[i] *= -1;
  }
  return { values: out, share };
}

function joined(sets) {
  const [{ dim }, length] = [sets[0], sets.reduce((sum, set) => sum + set.length, 0)];
  const rows = new Float32Array(length * dim);
  let at = 0;
  for (const set of sets) {
    rows.set(set.rows.subarray(0, set.length * dim), at);
    at += set.length * dim;
  }
  return { rows, dim, length };
}

/** The value farthest from zero of component c. */
function largest(values, c, n) {
  let found = 0;
  for (let i = c; i < values.length; i += n) if (Math.abs(values[i]) > Math.abs(found)) found = values[i];
  return found;
}

function meanRow({ rows, dim, length }) {
  const mean = new Float64Array(dim);
  for (let i = 0; i < length; i++) for (let k = 0; k < dim; k++) mean[k] += rows[i * dim + k] / length;
  return mean;
}

function centred({ rows, dim, length }, mean) {
  const out = new Float32Array(length * dim);
  for (let i = 0; i < length; i++) for (let k = 0; k < dim; k++) out[i * dim + k] = rows[i * dim + k] - mean[k];
  return out;
}

function innerProducts(x, length, dim) {
  const gram = new Float64Array(length * length);
  for (let i = 0; i < length; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0, p = i * dim, q = j * dim; k < dim; k++) sum += x[p + k] * x[q + k];
      gram[i * length + j] = gram[j * length + i] = sum;
    }
  }
  return gram;
}

/** The eigenvectors of the largest eigenvalues of a symmetric matrix, by orthogonal iteration with a few to spare. */
function leading(matrix, size, n) {
  const kept = Math.min(size, n + 3);
  let basis = Array.from({ length: kept }, (_, c) => Float64Array.from({ length: size }, (_, i) => started(i, c)));
  let values = [];
  for (let step = 0; step < STEPS; step++) {
    values = orthonormalise(basis);
    basis = basis.map((v) => times(matrix, v, size));
  }
  values = orthonormalise(basis);
  const order = values.map((_, c) => c).sort((a, b) => values[b] - values[a]).slice(0, n);
  return { vectors: order.map((c) => basis[c]), values: order.map((c) => values[c]) };
}

/** Numbers that are never orthogonal to anything in practice, and the same at every run. */
function started(i, c) {
  const x = Math.sin(12.9898 * (i + 1) + 78.233 * (c + 1)) * 43758.5453;
  return x - Math.floor(x) - 0.5;
}

function times(matrix, v, size) {
  const out = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    let sum = 0;
    for (let j = 0, p = i * size; j < size; j++) sum += matrix[p + j] * v[j];
    out[i] = sum;
  }
  return out;
}

/** Gram-Schmidt in place. Returns the lengths: once iterated, the eigenvalues. */
function orthonormalise(basis) {
  return basis.map((v, c) => {
    for (let pass = 0; pass < 2; pass++) {
      for (const u of basis.slice(0, c)) {
        const along = u.reduce((sum, value, i) => sum + value * v[i], 0);
        for (let i = 0; i < v.length; i++) v[i] -= along * u[i];
      }
    }
    const length = Math.hypot(...v);
    for (let i = 0; i < v.length; i++) v[i] = length > 0 ? v[i] / length : 0;
    return length;
  });
}

/** (dim) unit direction of a component in the space of the vectors. */
function axis(weights, x, { length, dim }) {
  const out = new Float64Array(dim);
  for (let i = 0; i < length; i++) for (let k = 0; k < dim; k++) out[k] += weights[i] * x[i * dim + k];
  const size = Math.sqrt(out.reduce((sum, value) => sum + value * value, 0)) || 1;
  return out.map((value) => value / size);
}

function project({ rows, dim, length }, mean, direction, out, c, n) {
  for (let i = 0; i < length; i++) {
    let sum = 0;
    for (let k = 0; k < dim; k++) sum += (rows[i * dim + k] - mean[k]) * direction[k];
    out[i * n + c] = sum;
  }
}

/**
 * The most similar pairs of windows, each some windows away from those named before.
 * @param {Float32Array} matrix (n, m)
 * @param {number} apart cells, in one direction or the other
 * @param {(row: number, column: number) => boolean} counts whether a pair may be named
 * @returns {{row: number, column: number, value: number}[]} best first
 */
export function bestMatches(matrix, n, m, { count = 5, apart = 1, counts = () => true } = {}) {
  const cells = Uint32Array.from(matrix.keys()).filter((at) => counts(Math.floor(at / m), at % m));
  const order = cells.sort((a, b) => matrix[b] - matrix[a] || a - b);
  const found = [];
  for (const at of order) {
    const [row, column] = [Math.floor(at / m), at % m];
    const near = (f) => Math.abs(f.row - row) < apart && Math.abs(f.column - column) < apart;
    if (!found.some(near)) found.push({ row, column, value: matrix[at] });
    if (found.length === count) break;
  }
  return found;
}
