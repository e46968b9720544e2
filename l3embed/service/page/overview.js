/** Picture of a sound in a fixed number of columns: extremes and spectrum of each, however long the sound is. */

import { PowerSpectrum } from "./fft.js";

const MOST_COLUMNS = 1600;
const MOST_FRAMES = 8; // spectra averaged in a column
export const BANDS = 160;
const BLOCK = 1 << 20; // samples read at once
const [LEAST_RANGE_DB, MOST_RANGE_DB] = [40, 80];
const BACKGROUND = 0.4; // of all levels are background

/**
 * @param {{rate: number, length: number, read: (from: number, to: number) => Promise<Float32Array>}} sound mono
 * @param {(share: number) => void} progress
 * @returns {Promise<{columns: number, extremes: Float32Array, levels: Uint8Array, rate: number, seconds: number}>}
 *   extremes (columns, 2) lowest and highest sample; levels (columns, BANDS) 0 to 255, low frequencies first
 */
export async function overview(sound, progress = () => {}) {
  const size = 2 ** Math.max(6, Math.round(Math.log2(sound.rate * 0.035)));
  const columns = Math.max(1, Math.min(MOST_COLUMNS, Math.ceil(sound.length / (size / 8))));
  const spectrum = new PowerSpectrum(size);
  const bands = bandEdges(sound.rate, size);
  const extremes = new Float32Array(columns * 2);
  const decibels = new Float32Array(columns * BANDS);
  const width = sound.length / columns;
  const together = Math.max(1, Math.floor(BLOCK / width)); // columns in a block
  for (let first = 0; first < columns; first += together) {
    const last = Math.min(columns, first + together);
    const from = Math.max(0, Math.floor(first * width) - size);
    const samples = await sound.read(from, Math.min(sound.length, Math.ceil(last * width) + size));
    for (let c = first; c < last; c++) {
      const [start, end] = [Math.floor(c * width) - from, Math.max(Math.ceil((c + 1) * width), 1) - from];
      extremes.set(extremesOf(samples, start, end), 2 * c);
      decibels.set(bandLevels(spectrum, samples, start, end, bands), c * BANDS);
    }
    progress(last / columns);
  }
  return { columns, extremes, levels: quantised(decibels), rate: sound.rate, seconds: sound.length / sound.rate };
}

function extremesOf(samples, start, end) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = start; i < Math.min(end, samples.length); i++) {
    if (samples[i] < low) low = samples[i];
    if (samples[i] > high) high = samples[i];
  }
  return low <= high ? [low, high] : [0, 0];
}

/** (BANDS) dB of a column: the mean spectrum of frames spread over it, the strongest line of each band. */
function bandLevels(spectrum, samples, start, end, bands) {
  const { size } = spectrum;
  const frames = Math.max(1, Math.min(MOST_FRAMES, Math.round((end - start) / size)));
  const power = new Float64Array(size / 2 + 1);
  for (let i = 0; i < frames; i++) {
    const middle = start + ((end - start) * (i + 0.5)) / frames;
    spectrum.add(samples, Math.round(middle - size / 2), power);
  }
  const out = new Float32Array(BANDS);
  for (let b = 0; b < BANDS; b++) {
    let strongest = between(power, (bands[b] + bands[b + 1]) / 2);
    for (let k = Math.ceil(bands[b]); k < bands[b + 1]; k++) strongest = Math.max(strongest, power[k]);
    out[b] = 10 * Math.log10(strongest / frames + 1e-12);
  }
  return out;
}

function between(power, line) {
  const k = Math.min(power.length - 2, Math.floor(line));
  return power[k] + (line - k) * (power[k + 1] - power[k]);
}

/** Spectral lines at which the bands begin and end, evenly on the mel scale from 0 to half the rate. */
function bandEdges(rate, size) {
  return Float64Array.from({ length: BANDS + 1 }, (_, b) => (frequencyAt(b / BANDS, rate) * size) / rate);
}

const mel = (hz) => 2595 * Math.log10(1 + hz / 700); // O'Shaughnessy 1987, as in HTK

/** Hz at a height from 0 to 1 of the picture. */
export function frequencyAt(height, rate) {
  return 700 * (10 ** ((height * mel(rate / 2)) / 2595) - 1);
}

/** Height from 0 to 1 of a frequency in Hz. */
export function heightOf(hz, rate) {
  return mel(hz) / mel(rate / 2);
}

/** 0 to 255 from the floor to the loudest. The floor is the background's level, but the range is neither tiny nor huge. */
function quantised(decibels) {
  let loudest = -90; // quieter than this everywhere is drawn as silence
  for (const value of decibels) if (value > loudest) loudest = value;
  const some = decibels.filter((_, i) => i % Math.ceil(decibels.length / 8192) === 0).sort();
  const background = some[Math.floor(BACKGROUND * some.length)];
  const range = Math.max(LEAST_RANGE_DB, Math.min(MOST_RANGE_DB, loudest - background));
  return Uint8Array.from(decibels, (value) => Math.max(0, Math.min(255, 255 * (1 + (value - loudest) / range))));
}
