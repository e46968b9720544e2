/** The panels along time: waveform, spectrogram, components as colours, axis. They draw and remember nothing. */

import { ofComponents, table } from "./colours.js";
import { BANDS, heightOf } from "./overview.js";

export const scheme = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

/** Sizes a canvas for the screen. @returns {{context: CanvasRenderingContext2D, width: number, height: number}} */
export function prepared(canvas) {
  const scale = Math.min(2, devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.scale(canvas.width / Math.max(1, width), canvas.height / Math.max(1, height));
  return { context, width, height };
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** @param {HTMLCanvasElement} canvas @param {import("./overview.js").Overview} picture of the sound */
export function drawWaveform(canvas, { columns, extremes }) {
  const { context, width, height } = prepared(canvas);
  let peak = 1e-4;
  for (const value of extremes) peak = Math.max(peak, Math.abs(value));
  const middle = height / 2;
  const scale = (middle - 2) / peak;
  context.fillStyle = colour("--wave");
  for (let x = 0; x < width; x += 0.5) {
    const first = Math.floor((x / width) * columns);
    const last = Math.max(first + 1, Math.floor(((x + 0.5) / width) * columns));
    let [low, high] = [Infinity, -Infinity];
    for (let c = first; c < Math.min(last, columns); c++) {
      low = Math.min(low, extremes[2 * c]);
      high = Math.max(high, extremes[2 * c + 1]);
    }
    if (low <= high) context.fillRect(x, middle - high * scale, 0.5, Math.max(0.75, (high - low) * scale));
  }
}

export function drawSpectrogram(canvas, { columns, levels, rate }) {
  const { context, width, height } = prepared(canvas);
  const image = new ImageData(columns, BANDS);
  const colours = table(scheme());
  for (let c = 0; c < columns; c++) {
    for (let b = 0; b < BANDS; b++) {
      const at = 4 * ((BANDS - 1 - b) * columns + c);
      image.data.set(colours.subarray(3 * levels[c * BANDS + b], 3 * levels[c * BANDS + b] + 3), at);
      image.data[at + 3] = 255;
    }
  }
  stretched(context, image, width, height, true);
  drawFrequencies(context, rate, height);
}

function drawFrequencies(context, rate, height) {
  context.font = `11px ${colour("--font")}`;
  context.textBaseline = "middle";
  let below = height;
  for (const khz of [0.5, 1, 2, 4, 8, 16, 32, 64]) {
    const y = height * (1 - heightOf(1000 * khz, rate));
    if (y < 26 || below - y < 16) continue;
    below = y;
    context.lineWidth = 3.5;
    context.lineJoin = "round";
    context.strokeStyle = colour("--panel");
    context.strokeText(String(khz), 6, y);
    context.fillStyle = colour("--ink");
    context.fillText(String(khz), 6, y);
  }
}

/** Draws pixels of data over the whole canvas. */
export function stretched(context, image, width, height, smooth) {
  const buffer = new OffscreenCanvas(image.width, image.height);
  buffer.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(buffer, 0, 0, width, height);
}

/**
 * @param {{values: Float32Array, edges: Float64Array}} components (n, 3) values, (n + 1) seconds
 * @param {number} seconds that the panel shows
 * @param {number[]} scales what becomes 1, of each component
 */
export function drawComponents(canvas, { values, edges }, seconds, scales) {
  const { context, width, height } = prepared(canvas);
  const pixels = canvas.width / Math.max(1, width);
  const at = (i) => Math.round((edges[i] / seconds) * width * pixels) / pixels; // whole pixels: no seams
  for (let i = 0; i + 1 < edges.length; i++) {
    const [r, g, b] = ofComponents(...scales.map((s, c) => (s > 0 ? Math.max(-1, Math.min(1, values[3 * i + c] / s)) : 0)));
    context.fillStyle = `rgb(${r} ${g} ${b})`;
    context.fillRect(at(i), 0, at(i + 1) - at(i), height);
  }
}

/** What stands for 1 in the colours: the 98th percentile of a component's absolute values, over all sets. */
export function componentScales(sets) {
  return [0, 1, 2].map((c) => {
    const sizes = sets.flatMap((values) => Array.from(values).filter((_, i) => i % 3 === c)).map(Math.abs);
    sizes.sort((x, y) => x - y);
    return sizes[Math.min(sizes.length - 1, Math.ceil(0.98 * sizes.length))] || 0;
  });
}

const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200];

/** Fills an axis with labels a comfortable distance apart. */
export function drawAxis(element, seconds) {
  const width = element.clientWidth;
  const step = STEPS_S.find((s) => (s / seconds) * width >= 64) ?? STEPS_S.at(-1);
  const labels = [];
  for (let i = 0; i * step <= seconds * (1 - 36 / Math.max(width, 37)); i++) {
    const label = document.createElement("span");
    label.textContent = clock(i * step, step < 1 ? 1 : 0);
    label.style.left = `${((i * step) / seconds) * 100}%`;
    labels.push(label);
  }
  element.replaceChildren(...labels);
}

/** Seconds as people write them: 0:03.4, 1:02:03. */
export function clock(seconds, decimals = 1) {
  const unit = 10 ** decimals;
  const whole = Math.round(seconds * unit) / unit;
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const rest = s.toFixed(decimals).padStart(decimals ? 3 + decimals : 2, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${rest}` : `${m}:${rest}`;
}
