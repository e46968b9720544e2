/** WAV files: read piece by piece, so that hours need no more memory than seconds; and written for the recorder. */

const KINDS = { 1: "int", 3: "float" };

/** What the browser reads of a WAV (or RF64) file, or null for any other file.
 * @param {Blob} file
 * @returns {Promise<{rate: number, channels: number, kind: string, bytes: number, start: number, frames: number}|null>}
 */
export async function wavHeader(file) {
  const head = new DataView(await file.slice(0, 12).arrayBuffer());
  if (head.byteLength < 12 || !["RIFF", "RF64"].includes(text(head, 0)) || text(head, 8) !== "WAVE") return null;
  let at = 12;
  let format = null;
  let wide = null;
  for (let i = 0; i < 1000; i++) { // a bound on damaged files
    const chunk = new DataView(await file.slice(at, at + 8).arrayBuffer());
    if (chunk.byteLength < 8) return null;
    const name = text(chunk, 0);
    let size = chunk.getUint32(4, true);
    at += 8;
    if (name === "ds64") wide = new DataView(await file.slice(at, at + 16).arrayBuffer()).getBigUint64(8, true);
    if (name === "fmt ") format = readFormat(new DataView(await file.slice(at, at + Math.min(size, 40)).arrayBuffer()));
    if (name === "data") {
      if (!format) return null;
      if (size === 0xffffffff && wide !== null) size = Number(wide);
      const present = Math.min(size || Infinity, file.size - at);
      return { ...format, start: at, frames: Math.floor(present / format.frame) };
    }
    at += size + (size % 2);
  }
  return null;
}

function text(view, at) {
  return String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
}

function readFormat(view) {
  if (view.byteLength < 16) return null;
  let tag = view.getUint16(0, true);
  if (tag === 0xfffe && view.byteLength >= 26) tag = view.getUint16(24, true); // "extensible": the tag is inside
  const [channels, rate, bits] = [view.getUint16(2, true), view.getUint32(4, true), view.getUint16(14, true)];
  const kind = KINDS[tag];
  const sizes = kind === "float" ? [32, 64] : [8, 16, 24, 32];
  if (!kind || !channels || !rate || !sizes.includes(bits)) return null;
  return { rate, channels, kind, bytes: bits / 8, frame: (channels * bits) / 8 };
}

/** (n,) mean of the channels in [-1, 1] of frames [from, to). */
export async function wavSamples(file, header, from, to) {
  const { start, frame, channels, kind, bytes } = header;
  const view = new DataView(await file.slice(start + from * frame, start + to * frame).arrayBuffer());
  const read = READERS[kind + bytes];
  const mono = new Float32Array(Math.floor(view.byteLength / frame));
  for (let i = 0, at = 0; i < mono.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++, at += bytes) sum += read(view, at);
    mono[i] = sum / channels;
  }
  return mono;
}

const READERS = {
  int1: (v, at) => (v.getUint8(at) - 128) / 128,
  int2: (v, at) => v.getInt16(at, true) / 0x8000,
  int3: (v, at) => ((v.getInt8(at + 2) << 16) | v.getUint16(at, true)) / 0x800000,
  int4: (v, at) => v.getInt32(at, true) / 0x80000000,
  float4: (v, at) => v.getFloat32(at, true),
  float8: (v, at) => v.getFloat64(at, true),
};

/** A mono WAV file of 16 bits. @param {Int16Array[]} blocks @param {number} rate Hz @returns {Blob} */
export function wavFile(blocks, rate) {
  const bytes = blocks.reduce((sum, block) => sum + block.byteLength, 0);
  const view = new DataView(new ArrayBuffer(44));
  const put = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, 36 + bytes, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  put(36, "data");
  view.setUint32(40, bytes, true);
  return new Blob([view, ...blocks], { type: "audio/wav" });
}
