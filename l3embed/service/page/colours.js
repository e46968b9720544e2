/** Colours: tables for levels and similarities, and three numbers as one colour, in OKLab (Ottosson 2020). */

const MATRICES = {
  cone: [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]],
  rgb: [
    [4.0767416621, -3.3077115913, 0.2309699292],
    [-1.2684380046, 2.6097574011, -0.3413193965],
    [-0.0041960863, -0.7034186147, 1.707614701],
  ],
};

/** [r, g, b] 0 to 255 of a lightness and two opponent colours. */
export function fromOklab(lightness, a, b) {
  const cone = MATRICES.cone.map(([l, x, y]) => (l * lightness + x * a + y * b) ** 3);
  return MATRICES.rgb.map((row) => {
    const linear = row[0] * cone[0] + row[1] * cone[1] + row[2] * cone[2];
    const value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
    return Math.max(0, Math.min(255, Math.round(255 * value)));
  });
}

// (lightness, chroma, hue in degrees) from the background up
const STOPS = {
  dark: [[0.19, 0.01, 265], [0.33, 0.1, 285], [0.5, 0.15, 330], [0.68, 0.15, 25], [0.84, 0.12, 75], [0.97, 0.05, 100]],
  light: [[0.985, 0.004, 250], [0.88, 0.05, 235], [0.72, 0.09, 240], [0.53, 0.12, 262], [0.37, 0.11, 280], [0.2, 0.05, 290]],
};

/** (256, 3) colours from the background to the strongest. @param {"light"|"dark"} scheme */
export function table(scheme) {
  const stops = STOPS[scheme].map(([l, c, h]) => [l, c * Math.cos((h * Math.PI) / 180), c * Math.sin((h * Math.PI) / 180)]);
  const out = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1);
    const k = Math.min(stops.length - 2, Math.floor(at));
    const mixed = stops[k].map((value, c) => value + (at - k) * (stops[k + 1][c] - value));
    out.set(fromOklab(...mixed), 3 * i);
  }
  return out;
}

/** A colour for three numbers from -1 to 1: lightness, green to red, blue to yellow. */
export function ofComponents(x, y, z) {
  return fromOklab(0.64 + 0.2 * x, 0.14 * y, 0.14 * z);
}
