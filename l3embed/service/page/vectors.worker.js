/** Components and similarities off the main thread. In: one set of vectors or two. Out: what is drawn of them. */

import { bestMatches, cosines, principalComponents, thinned } from "./vectors.js";

const MOST_CELLS = 384; // a side of a matrix: as many as are seen

onmessage = ({ data: { id, sets, apart_s } }) => {
  const { values, share } = principalComponents(sets);
  const few = sets.map((set) => thinned(set, MOST_CELLS));
  const selves = few.map((set) => ({ cells: cosines(set, set), n: set.length, times: set.times, stride: set.stride }));
  const cross = few.length > 1 ? compared(few[0], few[1], apart_s) : null;
  postMessage({ id, values, share, selves, cross, sets: sets.map(({ times, stride }) => ({ times, stride })) });
};

function compared(a, b, apart_s) {
  const cells = cosines(a, b);
  const step_s = Math.max(step(a), step(b));
  const apart = step_s > 0 ? Math.max(1, Math.ceil(apart_s / step_s)) : 1;
  const heard = (set, i) => !set.audible || set.audible[i] > 0;
  const counts = (row, column) => heard(a, row) && heard(b, column);
  const matches = bestMatches(cells, a.length, b.length, { apart, counts }).map(({ row, column, value }) => {
    return { row, column, a_s: a.times[row], b_s: b.times[column], value };
  });
  const leftOut = [a, b].some((set) => set.audible?.includes(0));
  return { leftOut, cells, rows: a.length, columns: b.length, rowTimes: a.times, columnTimes: b.times, matches };
}

function step({ times, length }) {
  return length > 1 ? (times[length - 1] - times[0]) / (length - 1) : 0;
}
