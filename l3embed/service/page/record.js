/** The microphone -> a WAV file: every server reads it, and it is what was heard, without a codec between. */

import { wavFile } from "./wav.js";

const MOST_S = 1800;

/**
 * @param {(seconds: number, level: number) => void} heard is called as sound comes in; level 0 to 1
 * @returns {Promise<{stop: () => Promise<File>, ended: Promise<void>}>} `ended` comes when the longest time is over
 */
export async function record(heard) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("The browser gives the microphone only to pages over HTTPS or on this computer.");
  }
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: raw }).catch(refused);
  const context = new AudioContext();
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    return context.close();
  };
  try {
    await context.audioWorklet.addModule(new URL("recorder.worklet.js", import.meta.url));
  } catch (error) {
    await close();
    throw error;
  }
  const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const blocks = [];
  let samples = 0;
  let over;
  let drained;
  const ended = new Promise((resolve) => (over = resolve));
  const flushed = new Promise((resolve) => (drained = resolve));
  node.port.onmessage = ({ data }) => {
    if (!data) return drained();
    blocks.push(Int16Array.from(data, (x) => Math.max(-32768, Math.min(32767, Math.round(32767 * x)))));
    samples += data.length;
    heard(samples / context.sampleRate, Math.min(1, Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / (data.length || 1)) * 4));
    if (samples > MOST_S * context.sampleRate) over();
  };
  context.createMediaStreamSource(stream).connect(node);
  async function stop() {
    node.port.postMessage("stop");
    await flushed;
    await close();
    const stamp = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
    return new File([wavFile(blocks, context.sampleRate)], `recording ${stamp}.wav`, { type: "audio/wav" });
  }
  return { stop, ended };
}

function refused(error) {
  const why = {
    NotAllowedError: "The browser did not allow the microphone: allow it beside the address and try again.",
    NotFoundError: "No microphone was found.",
  };
  throw new Error(why[error.name] ?? `The microphone does not start: ${error.message}.`);
}
