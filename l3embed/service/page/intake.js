/** The ways in: choosing, recording, dropping, pasting. */

import { clock } from "./panels.js";
import { record } from "./record.js";

/**
 * Fills a place with the buttons.
 * @param {HTMLElement} host
 * @param {(file: File) => void} take
 * @param {string} letter
 * @returns {() => void} ends a recording that is under way, and drops it
 */
export function offerChoices(host, take, letter) {
  host.replaceChildren(document.getElementById("choices-template").content.cloneNode(true));
  const part = (selector) => host.querySelector(selector);
  const input = part("input");
  const button = part('[data-do="record"]');
  part('[data-do="choose"]').setAttribute("aria-label", `Choose a file for ${letter}`);
  button.setAttribute("aria-label", `Record ${letter}`);
  part('[data-do="choose"]').addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    input.value = "";
  });
  let running = null;
  const finish = async () => {
    const recorder = running;
    running = null;
    show(false);
    take(await recorder.stop());
  };
  const show = (on) => {
    button.classList.toggle("on", on);
    button.setAttribute("aria-label", on ? "Stop recording" : `Record ${letter}`);
    button.querySelector("[data-text]").textContent = on ? "Stop" : "Record";
    part(".recording").hidden = !on;
    part(".paste").hidden = on;
  };
  const heard = (seconds, level) => {
    part("meter").value = level;
    part("[data-time]").textContent = clock(seconds);
  };
  button.addEventListener("click", async () => {
    if (running) return finish();
    part(".error").hidden = true;
    button.disabled = true;
    try {
      running = await record(heard);
      show(true);
      running.ended.then(() => running && finish());
    } catch (error) {
      part(".error").textContent = error.message;
      part(".error").hidden = false;
    }
    button.disabled = false;
  });
  return () => {
    running?.stop();
    running = null;
    show(false);
  };
}

/** Files dropped anywhere. @param {HTMLElement} veil its children with data-slot are the places, shown while dragging */
export function acceptDrops(veil, choices, take) {
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  let left;
  addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    clearTimeout(left);
    left = setTimeout(() => (veil.hidden = true), 300); // dragging out of the window says nothing that can be relied on
    veil.hidden = false;
    for (const place of veil.children) place.hidden = !choices().includes(place.dataset.slot);
    for (const place of veil.children) place.classList.toggle("over", place.contains(event.target));
  });
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    veil.hidden = true;
    const slot = event.target.closest?.("[data-slot]")?.dataset.slot;
    const [first, second] = event.dataTransfer.files;
    const to = slot ?? choices().at(-1);
    if (first) take(first, to);
    if (second && to === "a") take(second, "b");
  });
}

/** Files pasted anywhere. */
export function acceptPastes(take) {
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (!file) return;
    event.preventDefault();
    take(file);
  });
}
