/** Two recordings against each other: the matrix of similarities and the pairs that are most alike. */

import { Matrix } from "./matrix.js";
import { clock } from "./panels.js";

export class Comparison {
  /** @param {HTMLElement} host @param {{a: import("./track.js").Track, b: import("./track.js").Track}} tracks */
  constructor(host, tracks) {
    Object.assign(this, { host, tracks });
    this.matrix = new Matrix(host.querySelector("#cross"), {
      label: "Similarity of every window of A, downwards, with every window of B, to the right",
      hint: "A downwards, B to the right",
      names: ["A ", "B "],
      walk: true,
      pick: (row, column) => this.play(this.data.rowTimes[row], this.data.columnTimes[column]),
    });
    this.list = host.querySelector("#matches");
    new ResizeObserver(() => this.matrix.draw()).observe(this.matrix.square);
  }

  show(cross) {
    this.data = cross;
    this.host.hidden = !cross;
    if (!cross) return;
    this.matrix.show(cross);
    const key = JSON.stringify(cross.matches);
    if (key !== this.listed) this.list.replaceChildren(...cross.matches.map((match) => this.item(match))); // else the focus stays
    this.listed = key;
    this.host.querySelector("#left-out").hidden = !cross.leftOut;
    this.mark();
  }

  item({ a_s, b_s, value }) {
    const item = document.createElement("li");
    const told = document.createElement("span");
    told.className = "match";
    told.textContent = `A ${clock(a_s)}  B ${clock(b_s)}`;
    const cosine = document.createElement("span");
    cosine.className = "cosine";
    cosine.textContent = value.toFixed(3);
    const button = (text, label, act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.className = "button";
      made.textContent = text;
      made.setAttribute("aria-label", label);
      made.addEventListener("click", act);
      return made;
    };
    item.append(
      told, cosine,
      button("Play A", `Play A at ${clock(a_s)}`, () => this.play(a_s, null)),
      button("Play B", `Play B at ${clock(b_s)}`, () => this.play(null, b_s)),
    );
    return item;
  }

  /** Plays a window of A, of B, or one after the other. */
  async play(a_s, b_s) {
    const turn = (this.turn = {});
    for (const [track, at] of [[this.tracks.a, a_s], [this.tracks.b, b_s]]) {
      track.player?.audio.pause();
      if (at === null || this.turn !== turn || !track.player) continue;
      await track.playWindow(at).catch(() => {});
    }
  }

  /** Puts the lines where the two recordings are. */
  mark() {
    if (!this.data) return;
    const share = (track) => track.shareAt(track.player?.audio.currentTime ?? 0);
    this.matrix.mark(share(this.tracks.a), share(this.tracks.b));
  }
}
