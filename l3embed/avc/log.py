"""What a run tells while it learns: two CSV files, TensorBoard's scalars, a progress bar, a line an epoch.

RUN/history.csv     a row an epoch: loss and accuracy in training (mean of its batches) and on the held-out part,
                    and how fast it was (`speed`)
RUN/batches.csv     a row a batch: pairs seen, loss, accuracy
"""

from __future__ import annotations

import csv
import io
import sys
import time
from pathlib import Path
from typing import NamedTuple

from .checkpoints import State, write_text, writing
from .config import TrainConfig
from .loader import Ahead

HISTORY, BATCHES = "history.csv", "batches.csv"


class Mark(NamedTuple):
    """A moment of a run, in sums since its start: differences of two tell of what lies between."""

    time_s: float
    n_pairs: int  # that the network was given
    waited_s: float  # by the network for them
    n_made: int  # pairs taken from the loader
    made_s: float  # seconds that its processes worked on these, all together

    @classmethod
    def of(cls, batches: Ahead) -> Mark:
        load = batches.load
        return cls(time.monotonic(), batches.n_pairs, batches.waited_s, load.n_pairs, load.made_s)


def speed(since: Mark, until: Mark, workers: int) -> dict[str, float | None]:
    """Pairs per second: of the whole, of the network without its waiting, of the loader were it never kept waiting.

    And the share of the time in which the network waited for pairs. None where there is nothing to tell from.
    """
    seconds, pairs, waited, n_made, made_s = (b - a for a, b in zip(since, until, strict=True))
    return {
        "pairs_per_s": pairs / seconds if pairs else None,
        "network_pairs_per_s": pairs / max(seconds - waited, 1e-9) if pairs else None,
        "loader_pairs_per_s": n_made * workers / made_s if made_s else None,
        "waited": waited / seconds if pairs else None,
    }


def said(speeds: dict) -> str:
    if speeds["pairs_per_s"] is None:
        return "too short to tell its speed"
    whole, network, loader = (
        "?" if (rate := speeds[key]) is None else f"{rate:.4g}"  # (a short epoch's pairs were all made before it)
        for key in ("pairs_per_s", "network_pairs_per_s", "loader_pairs_per_s")
    )
    waited = f"the network waited {speeds['waited']:.1%} of the time"
    return f"{whole} pairs/s (network {network}, loader {loader}), {waited}"


class Log:
    """The files of a run from a state on; what they hold of later batches, which will come again, is dropped."""

    def __init__(self, run: Path, config: TrainConfig, state: State, progress: bool):
        from tqdm import tqdm

        self._run, self._config, self._state, self._progress = run, config, state, progress
        self._started = time.monotonic()
        done, batch = state.pairs(config), config.fit.batch
        self._write_history()
        path = run / BATCHES
        write_text(path, "pairs,loss,accuracy\n" + "".join(_rows_until(path, done)))
        self._batches = open(path, "a", encoding="utf-8", newline="", buffering=1)
        self._scalars = None
        if config.fit.tensorboard:
            from .tensorboard import Scalars

            with writing(run):
                self._scalars = Scalars(run / "tensorboard", state.batches(config) + 1)
        self._bar = tqdm(
            total=config.fit.epochs * config.fit.steps * batch, initial=done, unit="pair", unit_scale=True,
            file=sys.stderr, leave=False, disable=None if progress else True,
        )  # fmt: skip

    def batch(self, loss: float, accuracy: float, batches: Ahead) -> None:
        state = self._state
        with writing(self._run / BATCHES):
            self._batches.write(f"{state.pairs(self._config)},{loss:.9g},{accuracy:.9g}\n")
            if self._scalars:
                values = {"batch/loss": loss, "batch/accuracy": accuracy}
                self._scalars.write(state.batches(self._config), values)
        self._bar.set_postfix(
            epoch=state.epoch + 1, loss=f"{state.loss / state.step:.3f}", refresh=False,
            accuracy=f"{state.accuracy / state.step:.3f}", loader=f"{batches.load.pairs_per_s:.0f}/s",
            waits=f"{batches.waited_s / (time.monotonic() - self._started):.0%}",
        )  # fmt: skip
        self._bar.update(self._config.fit.batch)

    def epoch(self) -> None:
        """After a row was added to the state."""
        state, row = self._state, self._state.rows[-1]
        self._write_history()
        if self._scalars:
            with writing(self._run):
                values = {f"epoch/{k}": v for k, v in row.items() if k not in ("epoch", "pairs") and v is not None}
                self._scalars.write(state.batches(self._config), values)
                self._scalars.flush()
        if self._progress:
            self.say(
                f"epoch {row['epoch']}/{self._config.fit.epochs}: {row['pairs']:,} pairs, loss {row['loss']:.4f}, "
                f"accuracy {row['accuracy']:.4f}; held out {row['val_loss']:.4f}, {row['val_accuracy']:.4f}; "
                f"{said(row)}"
            )

    def say(self, line: str) -> None:
        self._bar.write(line, file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        self._bar.close()
        self._batches.close()
        if self._scalars:
            self._scalars.close()

    def _write_history(self) -> None:
        if not self._state.rows:
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._state.rows[0])
        writer.writeheader()
        writer.writerows(self._state.rows)
        write_text(self._run / HISTORY, text.getvalue())


def _rows_until(path: Path, pairs: int) -> list[str]:
    """The complete rows of batches.csv up to so many pairs."""
    if not pairs or not path.exists():
        return []
    with writing(path), open(path, encoding="utf-8", newline="") as file:
        rows = [line for line in file if line.endswith("\n") and line.partition(",")[0].isdecimal()]
    return [line for line in rows if int(line.partition(",")[0]) <= pairs]
