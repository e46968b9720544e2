/** The page: settings, where recordings come in, two tracks, their comparison. */

import { models, setKey } from "./api.js";
import { Comparison } from "./compare.js";
import { acceptDrops, acceptPastes, offerChoices } from "./intake.js";
import { componentScales } from "./panels.js";
import { Track } from "./track.js";

const HOPS_S = [0.05, 0.1, 0.2, 0.5, 1, 2, 5];
const find = (id) => document.getElementById(id);
const known = new Map();
const cancelRecording = {};

// --- the tracks

const page = {
  say: (text) => (find("status").textContent = text),
  settings: () => ({ model: find("model").value, hop: find("hop").value }),
  failed: (error) => error.status === 401 && askForKey(error),
  most_bytes: Infinity,
  play: (track) => Object.values(tracks).forEach((other) => other !== track && other.player?.audio.pause()),
  moved: () => comparison?.mark(),
};
const tracks = Object.fromEntries(["a", "b"].map((slot) => [slot, new Track(find(`track-${slot}`), slot.toUpperCase(), {
  ...page, most_bytes: () => page.most_bytes, changed: (track, done) => analyse(done), removed: () => remove(slot),
})]));
const comparison = new Comparison(find("compare"), tracks);

function take(file, slot = tracks.a.file ? "b" : "a") {
  cancelRecording[slot]?.();
  find(`intake-${slot}`).hidden = true;
  find("intake-b").hidden = Boolean(slot === "b" || tracks.b.file);
  page.say(`Embedding ${file.name || "the pasted sound"}.`);
  tracks[slot].open(file);
}

function remove(slot) {
  tracks[slot].close();
  comparison.show(null);
  if (slot === "a" && tracks.b.file) {
    const { file } = tracks.b;
    tracks.b.close();
    take(file, "a");
    return;
  }
  find("intake-a").hidden = Boolean(tracks.a.file);
  find("intake-b").hidden = !tracks.a.file;
  page.say("Removed.");
  find(slot === "a" ? "intake-a" : "intake-b").querySelector("button").focus();
  analyse(true);
}

// --- what is computed from vectors, in a worker: one question at a time, the newest one next

const worker = new Worker(new URL("vectors.worker.js", import.meta.url), { type: "module" });
let asked = 0;
let answered = 0;
let again = false;

function analyse(wanted) {
  if (answered < asked) {
    again ||= wanted;
    return;
  }
  const shown = Object.values(tracks).filter((track) => track.collected?.length);
  if (!shown.length) return;
  const alike = shown.filter((track) => track.collected.dim === shown[0].collected.dim);
  asked += 1;
  worker.postMessage({
    id: asked,
    sets: alike.map((track) => ({ ...track.collected.plain, audible: track.audible() })),
    apart_s: shown[0].start?.window_s || 1,
  });
  worker.onmessage = ({ data }) => {
    answered = data.id;
    if (alike.every((track) => track.collected)) show(alike, data);
    if (again) {
      again = false;
      analyse(true);
    }
  };
}

function show(shown, { values, share, selves, cross, sets }) {
  const scales = componentScales(values);
  shown.forEach((track, i) => track.show({ values: values[i], scales, share, self: selves[i], ...sets[i] }));
  comparison.show(shown.length === 2 ? cross : null);
}

// --- settings

async function start() {
  try {
    fill(await models());
    find("key-form").hidden = true;
  } catch (error) {
    if (error.status === 401) askForKey(error);
    else {
      page.say(error.message);
      find("card").textContent = error.message;
    }
  }
}

function fill(answer) {
  for (const model of answer.models) known.set(model.name, model);
  const before = find("model").value || answer.default;
  find("model").replaceChildren(...answer.models.map(({ name }) => new Option(name, name)));
  find("model").value = before;
  page.most_bytes = answer.limits?.max_bytes ?? Infinity;
  find("model").disabled = find("hop").disabled = false;
  describe();
}

function describe() {
  const model = known.get(find("model").value);
  const own = model.hop_s ? `${model.hop_s} s (model’s own)` : "Whole recording";
  const before = find("hop").value;
  find("hop").replaceChildren(new Option(own, ""), ...HOPS_S.filter((s) => s !== model.hop_s).map((s) => new Option(`${s} s`, String(s))));
  find("hop").value = before;
  find("curl").textContent =
    `curl --data-binary @sound.wav -H "Content-Type: audio/wav" -H "Accept: application/x-npz" \\\n  "${location.origin}/v1/embed?model=${model.name}" -o sound.npz`;
  find("card").textContent = [
    `${model.dim} numbers a window`, `${model.window_s} s windows`, `${model.rate_hz / 1000} kHz`, model.precision,
  ].filter(Boolean).join(" · ");
}

function anew() {
  for (const track of Object.values(tracks)) if (track.file) track.embed();
}

function askForKey(error) {
  const again = !find("key-form").hidden || find("key").value;
  find("key-form").hidden = false;
  find("key-error").hidden = !again;
  find("key-error").textContent = error.message;
  find("key").focus();
}

find("model").addEventListener("change", () => {
  describe();
  anew();
});
find("hop").addEventListener("change", anew);
find("settings").addEventListener("submit", (event) => event.preventDefault());
find("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  setKey(find("key").value);
  await start();
  if (find("key-form").hidden) anew();
});
for (const slot of ["a", "b"]) {
  cancelRecording[slot] = offerChoices(find(`intake-${slot}`).querySelector(".choices"), (file) => take(file, slot), slot.toUpperCase());
}
acceptDrops(find("drop"), () => (tracks.a.file ? ["a", "b"] : ["a"]), take);
acceptPastes((file) => take(file));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const track of Object.values(tracks)) track.draw();
  comparison.matrix.draw();
});
start();
