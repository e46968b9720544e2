/** Power spectra: a radix-2 transform with its tables made once for a size, and a Hann window. */

export class PowerSpectrum {
  /** @param {number} size samples in a frame, a power of two */
  constructor(size) {
    if (size < 2 || size & (size - 1)) throw new RangeError(`size must be a power of two. Received: ${size}`);
    this.size = size;
    this.window = new Float32Array(size);
    this.cos = new Float64Array(size / 2);
    this.sin = new Float64Array(size / 2);
    this.reversed = new Uint32Array(size);
    this.re = new Float64Array(size);
    this.im = new Float64Array(size);
    const bits = Math.log2(size);
    for (let i = 0; i < size; i++) {
      this.window[i] = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size);
      for (let b = 0; b < bits; b++) this.reversed[i] |= ((i >> b) & 1) << (bits - 1 - b);
    }
    for (let i = 0; i < size / 2; i++) {
      this.cos[i] = Math.cos((2 * Math.PI * i) / size);
      this.sin[i] = -Math.sin((2 * Math.PI * i) / size);
    }
  }

  /**
   * Adds the power of one frame to `out`, scaled so that a sine of amplitude 1 on a line gives 1.
   * @param {Float32Array} samples what lies beyond either end counts as zero
   * @param {number} start of the frame, may be negative
   * @param {Float64Array} out (size / 2 + 1)
   */
  add(samples, start, out) {
    const { size, re, im, reversed, window } = this;
    for (let i = 0; i < size; i++) {
      const at = start + i;
      re[reversed[i]] = at >= 0 && at < samples.length ? samples[at] * window[i] : 0;
    }
    im.fill(0);
    this.transform();
    const scale = 16 / (size * size); // the window halves the amplitude, and half of it lies at the negative frequency
    for (let k = 0; k <= size / 2; k++) out[k] += scale * (re[k] * re[k] + im[k] * im[k]);
  }

  /** In place, of values already in bit-reversed order. */
  transform() {
    const { size, re, im, cos, sin } = this;
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let first = 0; first < size; first += 2 * half) {
        for (let j = 0; j < half; j++) {
          const a = first + j;
          const b = a + half;
          const c = cos[j * step];
          const s = sin[j * step];
          const x = re[b] * c - im[b] * s;
          const y = re[b] * s + im[b] * c;
          re[b] = re[a] - x;
          im[b] = im[a] - y;
          re[a] += x;
          im[a] += y;
        }
      }
    }
  }
}
