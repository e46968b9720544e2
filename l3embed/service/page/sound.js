/** A file as the browser sees it: something to play, and a picture of its sound, in bounded memory. */

import { wavHeader } from "./wav.js";

const MOST_DECODED_S = 1800; // compressed sound has to be decoded whole
const FULL_RATE_S = 600; // up to here at 48 kHz, beyond at 16 kHz
const FULL_HZ = 48_000;
const LOW_HZ = 16_000;

export class Player {
  constructor(file) {
    this.url = URL.createObjectURL(file);
    this.audio = new Audio();
    this.audio.preload = "metadata";
    /** Resolves to whether the browser can play the file. */
    this.ready = new Promise((resolve) => {
      this.audio.addEventListener("loadedmetadata", () => resolve(true), { once: true });
      this.audio.addEventListener("error", () => resolve(false), { once: true });
    });
    this.audio.src = this.url;
  }

  get seconds() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : 0;
  }

  /** Plays a span and stops; resolves when it is over or something else was played. */
  async span(from, length) {
    const { audio } = this;
    audio.currentTime = Math.max(0, from);
    await audio.play();
    return new Promise((resolve) => {
      const look = () => {
        if (!audio.paused && audio.currentTime < from + length) return requestAnimationFrame(look);
        audio.pause();
        resolve();
      };
      look();
    });
  }

  close() {
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
    URL.revokeObjectURL(this.url);
  }
}

/**
 * @param {File} file
 * @param {Player} player
 * @param {AbortSignal} signal
 * @returns {Promise<{picture?: object, note?: string}>} the overview of the sound, or why there is none
 */
export async function pictureOf(file, player, signal) {
  const header = await wavHeader(file);
  if (header?.frames) return { picture: await inWorker({ file, header }, [], signal) };
  if (!(await player.ready)) {
    return { note: "This browser cannot play this kind of file. The embedding comes from the server all the same." };
  }
  if (player.seconds > MOST_DECODED_S) {
    const minutes = Math.round(MOST_DECODED_S / 60);
    return { note: `Compressed recordings of more than ${minutes} minutes are played and embedded, but not drawn. A WAV file is.` };
  }
  const rate = player.seconds <= FULL_RATE_S ? FULL_HZ : LOW_HZ;
  const decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer()).catch(() => null);
  signal.throwIfAborted();
  if (!decoded) return { note: "This browser cannot draw this kind of file. The embedding comes from the server all the same." };
  const samples = mixed(decoded);
  return { picture: await inWorker({ samples, rate: decoded.sampleRate }, [samples.buffer], signal) };
}

function mixed(buffer) {
  const mono = buffer.getChannelData(0).slice();
  for (let c = 1; c < buffer.numberOfChannels; c++) {
    const channel = buffer.getChannelData(c);
    for (let i = 0; i < mono.length; i++) mono[i] += channel[i];
  }
  if (buffer.numberOfChannels > 1) for (let i = 0; i < mono.length; i++) mono[i] /= buffer.numberOfChannels;
  return mono;
}

function inWorker(message, transfer, signal) {
  const worker = new Worker(new URL("sound.worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
    worker.onmessage = ({ data }) => {
      if (data.picture) resolve(data.picture);
      if (data.error) reject(new Error(data.error));
    };
    worker.onerror = () => reject(new Error("The picture of the sound could not be computed."));
    worker.postMessage(message, transfer);
  }).finally(() => worker.terminate());
}
