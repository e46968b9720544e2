/** One recording on the page: its file, its vectors, its panels, its playback. */

import { archive, embed, ServiceError } from "./api.js";
import { Matrix } from "./matrix.js";
import { clock, drawAxis, drawComponents, drawSpectrogram, drawWaveform } from "./panels.js";
import { pictureOf, Player } from "./sound.js";
import { Collected } from "./vectors.js";

const NEAR_SILENCE = 10 ** (-50 / 20); // of the loudest sample

const windows = (n) => `${n} ${n === 1 ? "window" : "windows"}`;

export class Track {
  /**
   * @param {HTMLElement} host is filled
   * @param {string} letter "A" or "B"
   * @param {{say: (text: string) => void, settings: () => {model: string, hop: string}, failed: (error: Error) => void,
   *   changed: () => void, removed: () => void, play: (track: Track) => void}} page what the page does for a track
   */
  constructor(host, letter, page) {
    Object.assign(this, { host, letter, page, notes: {} });
    host.replaceChildren(document.getElementById("track-template").content.cloneNode(true));
    this.part = (name) => host.querySelector(`[data-${name}]`);
    this.button = (name) => host.querySelector(`[data-do="${name}"]`);
    this.canvas = (name) => host.querySelector(`[data-panel="${name}"] canvas`);
    host.querySelector(".letter").textContent = letter;
    for (const name of ["play", "download", "remove", "cancel", "again"]) {
      const button = this.button(name);
      button.setAttribute("aria-label", `${button.textContent.trim()} ${letter}`);
    }
    this.timeline = host.querySelector(".timeline");
    this.part("self").setAttribute("aria-label", `Self-similarity of ${letter}`);
    this.matrix = new Matrix(this.part("self"), {
      label: `Self-similarity of recording ${letter}`, hint: "Self-similarity", pick: (_, column) => this.seekTo(column),
    });
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.timeline);
  }

  listen() {
    this.button("play").addEventListener("click", () => this.toggle());
    this.button("download").addEventListener("click", () => this.download());
    this.button("remove").addEventListener("click", () => this.page.removed());
    this.button("cancel").addEventListener("click", () => this.cancel());
    this.button("again").addEventListener("click", () => this.embed());
    this.timeline.addEventListener("keydown", (event) => this.key(event));
    this.timeline.addEventListener("pointerdown", (event) => {
      this.timeline.setPointerCapture(event.pointerId);
      this.point(event);
    });
    this.timeline.addEventListener("pointermove", (event) => event.buttons && this.point(event));
  }

  // --- what it holds

  /** @param {File} file */
  open(file) {
    this.close();
    this.file = file;
    this.host.hidden = false;
    this.name = file.name || "pasted sound";
    this.part("name").textContent = this.name;
    this.part("name").title = this.name;
    this.picture = this.analysis = this.start = null;
    this.player = new Player(file);
    this.opened = new AbortController();
    this.player.ready.then((ok) => this.opened.signal.aborted || this.loaded(ok));
    this.look(file, this.opened.signal);
    this.embed();
    this.host.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.opened?.abort();
    this.cancel();
    this.player?.close();
    this.file = this.player = this.collected = this.analysis = this.picture = null;
    this.host.hidden = true;
    this.note("browser", "");
    this.note("server", "");
  }

  loaded(playable) {
    this.button("play").disabled = !playable;
    if (!playable) return;
    const { audio } = this.player;
    for (const event of ["play", "pause", "ended", "seeked"]) audio.addEventListener(event, () => this.follow());
    this.describe();
    this.draw();
  }

  async look(file, signal) {
    try {
      const { picture, note } = await pictureOf(file, this.player, signal);
      if (signal.aborted) return;
      this.picture = picture ?? null;
      this.note("browser", note ?? "");
      this.host.classList.toggle("without-picture", !picture);
      this.draw();
      if (picture) this.page.changed(this, true);
    } catch (error) {
      if (!signal.aborted) this.note("browser", error.message);
    }
  }

  /** Asks the server for the vectors, and shows them as they come. */
  async embed() {
    this.cancel();
    const job = (this.job = new AbortController());
    this.collected = this.start = this.end = null;
    this.button("download").disabled = true;
    this.fail(null);
    this.work("Sending…");
    try {
      this.check();
      await this.receive({ ...this.page.settings(), signal: job.signal, waiting: (s) => this.busy(s) });
      this.button("download").disabled = false;
      this.page.say(`${this.name}: ${windows(this.collected?.count ?? 0)} embedded.`);
    } catch (error) {
      if (job.signal.aborted) return;
      this.fail(error);
      this.page.say("");
      this.page.failed(error);
    } finally {
      if (this.job === job) {
        this.job = null;
        this.work(null);
      }
      if (!job.signal.aborted) this.page.changed(this, true);
    }
  }

  /** What would be refused is not sent. */
  check() {
    const most = this.page.most_bytes();
    const mb = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 1 : 0)} MB`;
    if (!this.file.size) throw new ServiceError("The file is empty.");
    if (this.file.size > most) throw new ServiceError(`The file has ${mb(this.file.size)}; this service takes up to ${mb(most)}.`);
  }

  async receive(how) {
    let looked = performance.now();
    for await (const record of embed(this.file, how)) {
      if (record.embedding) {
        this.collected ??= new Collected(record.embedding.length);
        this.collected.add(record.time_s, record.embedding);
        if (performance.now() - looked < 400) continue;
        looked = performance.now();
        this.work(windows(this.collected.count), record.time_s / this.seconds);
        this.page.changed(this, false);
      } else if (record.n_windows !== undefined) {
        this.end = record;
      } else {
        this.start = record;
      }
    }
    this.describe();
  }

  cancel() {
    this.job?.abort();
    this.job = null;
    this.work(null);
  }

  get seconds() {
    return this.player?.seconds || this.picture?.seconds || this.end?.seconds || this.start?.expected_s || this.reach;
  }

  /** Seconds up to which vectors tell something: for sounds that only the server can read. */
  get reach() {
    return this.collected?.length ? this.collected.times.at(-1) + this.hop_s : 0;
  }

  get hop_s() {
    const { times, stride = 1 } = this.collected ?? { times: [] };
    return times.length > 1 ? (times[1] - times[0]) / stride : this.start?.hop_s || this.start?.window_s || 1;
  }

  /** From the time of a window to its middle: 0 where times are of middles. */
  get toMiddle() {
    return this.start?.center === false ? this.start.window_s / 2 : 0;
  }

  /** (rows) 1 where most of a window is not near silence, or null where the browser did not hear the sound. */
  audible() {
    if (!this.picture) return null;
    const { columns, extremes, seconds } = this.picture;
    const loud = Float32Array.from({ length: columns }, (_, c) => Math.max(-extremes[2 * c], extremes[2 * c + 1]));
    const least = Math.max(1e-4, loud.reduce((most, x) => Math.max(most, x), 0) * NEAR_SILENCE);
    const half = (this.start?.window_s || 1) / 2;
    const column = (s) => Math.max(0, Math.min(columns - 1, Math.floor((s / seconds) * columns)));
    return Uint8Array.from(this.collected.times, (time) => {
      const middle = time + this.toMiddle;
      const heard = loud.subarray(column(middle - half), column(middle + half) + 1);
      return 2 * heard.filter((x) => x >= least).length > heard.length ? 1 : 0;
    });
  }

  // --- what it shows

  /** @param {{values: Float32Array, scales: number[], share: number[], self: object}} analysis of its vectors */
  show(analysis) {
    this.analysis = analysis;
    const { cells, n, times, stride } = analysis.self;
    this.selfStep = stride * this.hop_s;
    this.matrix.show({ cells, rows: n, columns: n, rowTimes: times, columnTimes: times });
    const shares = analysis.share.map((s) => `${Math.round(100 * s)} %`).join(", ");
    this.part("components").textContent =
      analysis.times.length > 1 ? `Embedding: colours are its first three principal components (${shares} of the variance).` : "";
    this.draw();
  }

  draw() {
    if (this.host.hidden || !this.timeline.clientWidth) return;
    if (this.picture) {
      drawWaveform(this.canvas("waveform"), this.picture);
      drawSpectrogram(this.canvas("spectrogram"), this.picture);
    }
    if (this.seconds) drawAxis(this.part("axis"), this.seconds);
    if (this.analysis && this.seconds) {
      const { values, scales } = this.analysis;
      drawComponents(this.canvas("components"), { values, edges: this.edges() }, this.seconds, scales);
    }
    this.matrix.draw();
    this.follow();
  }

  /** (n + 1) seconds between which each row of the analysis is drawn: where its window is the nearest one. */
  edges() {
    const { times, stride } = this.analysis;
    const step = stride * this.hop_s;
    const edges = Float64Array.from({ length: times.length + 1 }, (_, i) => {
      return (i < times.length ? times[i] : times[i - 1] + step) + this.toMiddle - this.hop_s / 2;
    });
    edges[0] = 0;
    if (!this.job) edges[times.length] = Math.max(edges[times.length], this.seconds);
    return edges;
  }

  describe() {
    const facts = [this.seconds && (this.seconds < 100 ? `${this.seconds.toFixed(2)} s` : clock(this.seconds, 0))];
    if (this.collected) {
      const every = this.collected.count > 1 ? `every ${+this.hop_s.toFixed(4)} s` : "";
      facts.push(`${windows(this.collected.count)} of ${this.collected.dim} numbers`, every);
    }
    this.part("facts").textContent = facts.filter(Boolean).join(" · ");
    const notes = this.end?.notes ?? [];
    this.note("server", notes.length ? `The service remarks: ${notes.join("; ")}.` : "");
  }

  work(text, share = null) {
    const bar = this.part("working");
    bar.hidden = text === null;
    bar.querySelector("[data-text]").textContent = text ?? "";
    const progress = bar.querySelector("progress");
    progress.setAttribute("aria-label", `Embedding ${this.name ?? ""}`);
    if (share > 0) progress.value = Math.min(1, share);
    else progress.removeAttribute("value");
    this.part("facts").hidden = text !== null;
    this.host.setAttribute("aria-busy", String(text !== null));
  }

  busy(seconds) {
    this.work(`The service is busy. Trying again in ${seconds} s.`);
  }

  fail(error) {
    this.part("error").hidden = !error;
    this.part("error").querySelector("p").textContent = error?.message ?? "";
    this.host.classList.toggle("without-vectors", Boolean(error));
  }

  /** What is odd but no error, as the browser and as the server see it. */
  note(who, text) {
    this.notes[who] = text;
    const said = Object.values(this.notes).filter(Boolean).join(" ");
    this.part("note").hidden = !said;
    this.part("note").textContent = said;
  }

  async download() {
    const button = this.button("download");
    button.disabled = true;
    try {
      const blob = await archive(this.file, { ...this.page.settings(), waiting: (s) => this.busy(s) });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${this.name.replace(/\.[^.]+$/, "")}.npz`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      this.page.say(`${link.download} downloaded.`);
    } catch (error) {
      this.fail(error);
      this.page.failed(error);
    } finally {
      this.work(null);
      button.disabled = false;
    }
  }

  // --- playing

  toggle() {
    if (!this.player || this.button("play").disabled) return;
    const { audio } = this.player;
    if (!audio.paused) return audio.pause();
    this.page.play(this);
    audio.play();
  }

  /** Plays the window of a row; resolves when it is over. */
  playWindow(time) {
    const length = this.start?.window_s || 1;
    return this.player.span(time + this.toMiddle - length / 2, length);
  }

  seek(seconds) {
    if (!this.player || !this.seconds) return;
    this.player.audio.currentTime = Math.max(0, Math.min(this.seconds, seconds));
    this.follow();
  }

  seekTo(column) {
    this.seek(this.analysis.self.times[column] + this.toMiddle);
  }

  point(event) {
    const box = this.timeline.getBoundingClientRect();
    this.seek(((event.clientX - box.left) / box.width) * this.seconds);
  }

  key(event) {
    const step = (event.shiftKey ? 10 : 1) * Math.max(this.hop_s, this.seconds / 1000);
    const at = this.player?.audio.currentTime ?? 0;
    const moves = {
      ArrowRight: at + step, ArrowUp: at + step, ArrowLeft: at - step, ArrowDown: at - step,
      PageUp: at + this.seconds / 10, PageDown: at - this.seconds / 10, Home: 0, End: this.seconds,
    };
    if (event.key === " ") this.toggle();
    else if (event.key in moves) this.seek(moves[event.key]);
    else return;
    event.preventDefault();
  }

  /** Puts the cursors where playback is, and goes on as long as it plays. */
  follow() {
    cancelAnimationFrame(this.frame);
    if (!this.player) return;
    const { audio } = this.player;
    const share = this.seconds ? Math.min(1, audio.currentTime / this.seconds) : 0;
    this.part("cursor").style.left = `${100 * share}%`;
    this.markMatrix(audio.currentTime);
    this.timeline.setAttribute("aria-label", `Position in ${this.name}`);
    this.timeline.setAttribute("aria-valuemax", this.seconds.toFixed(2));
    this.timeline.setAttribute("aria-valuenow", audio.currentTime.toFixed(2));
    this.timeline.setAttribute("aria-valuetext", `${audio.currentTime.toFixed(1)} of ${this.seconds.toFixed(1)} seconds`);
    this.button("play").classList.toggle("playing", !audio.paused);
    const does = audio.paused ? "Play" : "Pause";
    this.button("play").querySelector("[data-text]").textContent = does;
    this.button("play").setAttribute("aria-label", `${does} ${this.letter}`);
    this.page.moved?.(this);
    if (!audio.paused) this.frame = requestAnimationFrame(() => this.follow());
  }

  markMatrix(seconds) {
    const share = this.shareAt(seconds);
    this.matrix.mark(share, share);
  }

  /** Where a time lies between the first and the last row of the matrix, 0 to 1; null before there is one. */
  shareAt(seconds) {
    if (!this.analysis) return null;
    const { times, n } = this.analysis.self;
    const first = times[0] + this.toMiddle - this.hop_s / 2;
    return Math.max(0, Math.min(1, (seconds - first) / (n * this.selfStep)));
  }
}
