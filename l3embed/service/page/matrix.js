/** A matrix of similarities: drawn, pointed at, walked through with the arrow keys. */

import { table } from "./colours.js";
import { clock, prepared, scheme, stretched } from "./panels.js";

export class Matrix {
  /**
   * @param {HTMLElement} host is filled
   * @param {{label: string, hint: string, pick: (row: number, column: number) => void, walk?: boolean}} how
   *   `pick` is called with the cell that was chosen; with `walk` the matrix can be reached with the keyboard
   */
  constructor(host, { label, hint, pick, walk = false, names = ["", ""] }) {
    this.how = { label, hint, pick, walk, names };
    this.cell = null;
    host.replaceChildren();
    this.square = add(host, "div", "square");
    this.canvas = add(this.square, "canvas");
    this.lines = { row: add(this.square, "div", "line row"), column: add(this.square, "div", "line column") };
    const caption = add(host, host.tagName === "FIGURE" ? "figcaption" : "p", "caption");
    this.told = add(caption, "span");
    this.legend = add(caption, "span", "legend");
    this.square.setAttribute("role", walk ? "application" : "img");
    if (walk) this.square.tabIndex = 0;
    this.square.addEventListener("pointermove", (event) => this.point(event, false));
    this.square.addEventListener("pointerdown", (event) => this.point(event, true));
    this.square.addEventListener("pointerleave", () => this.tell(null));
    if (walk) this.square.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {{cells: Float32Array, rows: number, columns: number, rowTimes: Float64Array, columnTimes: Float64Array}} data */
  show(data) {
    this.data = data;
    this.range = rangeOf(data);
    const stays = this.cell && this.cell.row < data.rows && this.cell.column < data.columns;
    if (!stays) this.cell = { row: 0, column: 0 };
    const { label } = this.how;
    const spoken = `${label}: ${data.rows} by ${data.columns} cells, cosines from ${this.range[0].toFixed(2)} to ${this.range[1].toFixed(2)}`;
    this.square.setAttribute("aria-label", this.how.walk ? `${spoken}. Arrow keys move, Enter plays.` : spoken);
    this.tell(null);
    this.draw();
  }

  draw() {
    if (!this.data || !this.canvas.clientWidth) return;
    const { cells, rows, columns } = this.data;
    const [low, high] = this.range;
    const image = new ImageData(columns, rows);
    const colours = table(scheme());
    for (let i = 0; i < cells.length; i++) {
      const level = Math.max(0, Math.min(255, Math.round((255 * (cells[i] - low)) / (high - low))));
      image.data.set(colours.subarray(3 * level, 3 * level + 3), 4 * i);
      image.data[4 * i + 3] = 255;
    }
    const { context, width, height } = prepared(this.canvas);
    stretched(context, image, width, height, columns > width);
    this.legend.style.setProperty("--ramp", ramp(colours));
  }

  /** Moves the lines to shares of the height and the width; null hides one. */
  mark(row, column) {
    for (const [line, share, way] of [[this.lines.row, row, "top"], [this.lines.column, column, "left"]]) {
      line.hidden = share === null;
      if (share !== null) line.style[way] = `${100 * Math.max(0, Math.min(1, share))}%`;
    }
  }

  point(event, chosen) {
    if (!this.data) return;
    const box = this.square.getBoundingClientRect();
    const share = (at, size, n) => Math.max(0, Math.min(n - 1, Math.floor((at / size) * n)));
    const row = share(event.clientY - box.top, box.height, this.data.rows);
    const column = share(event.clientX - box.left, box.width, this.data.columns);
    this.tell({ row, column });
    if (!chosen) return;
    this.cell = { row, column };
    this.how.pick(row, column, "pointer");
  }

  key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!this.data || !(event.key in moves || event.key === "Enter")) return;
    event.preventDefault();
    const [down, right] = moves[event.key] ?? [0, 0];
    const far = event.shiftKey ? 10 : 1;
    const row = Math.max(0, Math.min(this.data.rows - 1, this.cell.row + far * down));
    const column = Math.max(0, Math.min(this.data.columns - 1, this.cell.column + far * right));
    this.cell = { row, column };
    this.tell(this.cell);
    this.mark((row + 0.5) / this.data.rows, (column + 0.5) / this.data.columns);
    if (event.key === "Enter") this.how.pick(row, column, "key");
  }

  tell(cell) {
    if (!this.data) return;
    const [low, high] = this.range;
    this.legend.dataset.low = low.toFixed(2);
    this.legend.dataset.high = high.toFixed(2);
    if (!cell) {
      this.told.textContent = this.how.hint;
      return;
    }
    const { rowTimes, columnTimes, columns, cells } = this.data;
    const [a, b] = this.how.names;
    const value = cells[cell.row * columns + cell.column].toFixed(2);
    this.told.textContent = `${a}${clock(rowTimes[cell.row])} and ${b}${clock(columnTimes[cell.column])}: ${value}`;
  }
}

function add(host, tag, className = "") {
  const element = document.createElement(tag);
  element.className = className;
  host.append(element);
  return element;
}

/** What is drawn darkest and brightest: the lowest hundredth, and the highest value. */
function rangeOf({ cells }) {
  const some = Float32Array.from({ length: Math.min(cells.length, 4096) }, (_, i) => cells[Math.floor((i * cells.length) / Math.min(cells.length, 4096))]);
  some.sort();
  let high = -Infinity;
  for (const value of cells) high = Math.max(high, value);
  const low = Math.min(some[Math.floor(0.01 * some.length)], high - 0.02);
  return [low, high];
}

function ramp(colours) {
  const stops = [0, 51, 102, 153, 204, 255].map((i) => `rgb(${colours.slice(3 * i, 3 * i + 3).join(" ")})`);
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
