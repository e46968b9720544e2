"""Folders of recordings: plan -> work(partition) -> results, in files or in a store.

Every input gives one result or one failure; none is lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from . import __version__, decode, images, store
from .embed import EmbeddingModel, Job, oddities, through
from .errors import L3EmbedError, StoreError, UsageError, reason
from .images import Grid, ImageModel
from .plan import Item
from .windows import Framing

PARTITION_FILES, PARTITION_BYTES = 16, 32 * 2**20  # of files that one worker takes at a time and batches together


@dataclass(frozen=True)
class Result:
    """What became of one recording."""

    source: str
    output: str | None  # file, or folder of the store; None where it failed
    error: str | None = None
    skipped: bool = False  # it was done already, with the same settings
    n_windows: int = 0
    seconds: float = 0.0  # of sound
    n_pictures: int = 0
    notes: tuple[str, ...] = ()  # what the user should know about a valid result


def extract(
    model: EmbeddingModel | ImageModel, items: list[Item], folder: Path, *, grid: Grid | None = None, jobs: int = 1,
    overwrite: bool = False, tick: Callable[[str, float, float | None], None] | None = None, format: str = "npz",
    dtype: str = "float32", **how,
) -> Iterator[Result]:  # fmt: skip
    """Embed recordings into `folder`, one result each, in the order in which they are done.

    `how`, for models of sound: `hop`, `center`, `windows`, `timestamps`, as of `EmbeddingModel.embed`; `grid` is for
    models of pictures (None: every picture). `format` is "npz" or "store", which may keep vectors as `dtype` "float16".
    What is there already with the same settings is skipped, unless `overwrite`. `tick` is called for every block with
    its source, its seconds, and the seconds that the source's header promises. Raises UsageError for settings out of
    range, StoreError for a store that cannot be used; what a full disk keeps a store from finishing ends the run.
    """
    of_sound = model.spec.modality == "audio"
    framing = model.framing(**how) if of_sound else grid
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1. Received: {jobs}")
    # a sound fills a batch by itself, a picture does not
    parts = _partitions(items, jobs, at_least=1 if of_sound else model.engine.batch)
    recipe = model.recipe(framing)
    with store.writing(folder, recipe, format, dtype) as out:
        yield from _in_parallel(parts, jobs, (model, out, recipe, framing, overwrite, tick))


def _in_parallel(parts: Iterator[list[Item]], jobs: int, how: tuple) -> Iterator[Result]:
    if jobs == 1:
        for part in parts:
            yield from work(part, *how)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=jobs, prefer="threads", return_as="generator_unordered")
    for results in pool(delayed(_work_list)(part, *how) for part in parts):
        yield from results


def work(
    items: list[Item], model, out, recipe: dict, framing: Framing | Grid | None, overwrite=False, tick=None
) -> Iterator[Result]:
    """One worker's share: decode, embed in batches across files, write. Every way to run in parallel calls this.

    `out` is what `store.writing` gives.
    """
    pending, again = {}, []
    kind, run = (_FileJob, through) if model.spec.modality == "audio" else (_PictureJob, images.through)
    for item in items:
        try:
            if not overwrite and out.has(item):
                yield Result(item.source, out.output(item), skipped=True)
            elif out.content(item) in pending:  # a copy: once its like is there, nothing is to be computed
                again.append(item)
            else:
                pending[out.content(item)] = kind(item, out, recipe, framing, tick)
        except L3EmbedError as error:
            yield Result(item.source, None, error=reason(error))
    out.settle()
    for job in run(model, pending.values(), framing):
        out.settle()
        yield job.result
    if again:
        yield from work(again, model, out, recipe, framing, overwrite, tick)


def _work_list(*args) -> list[Result]:
    return list(work(*args))


def _partitions(items: list[Item], jobs: int, at_least: int = 1) -> Iterator[list[Item]]:
    """Consecutive items, few enough and small enough that all workers end at about the same time."""
    limit = max(1, min(PARTITION_FILES, -(-len(items) // (2 * jobs)))) if jobs > 1 else PARTITION_FILES
    limit = max(limit, at_least)
    part, size = [], 0
    for item in items:
        status = _stat(item)
        n = status.st_size if status else 0
        if part and (len(part) >= limit or size + n > PARTITION_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += n
    if part:
        yield part


def _stat(item: Item) -> os.stat_result | None:
    try:
        return os.stat(item.source) if item.data is None else None
    except OSError:
        return None


class _FileJob(Job):
    """A recording on its way to where it is kept; errors become a failed result."""

    def __init__(self, item: Item, out, recipe: dict, framing: Framing | Grid | None, tick):
        self.item, self.out, self.recipe, self.framing, self.tick = item, out, recipe, framing, tick
        self.writer: store.NpzWriter | store.ClipWriter | None = None
        self.recording, self.identity = None, {}
        self.result: Result | None = None
        self.notes: list[str] = []

    def blocks(self, rate_hz: int, mix: str):
        with decode.open_recording(self.item.recording, rate_hz) as self.recording:
            self.recording.mix = mix
            self.identity = self.out.identity(self.item)  # before it is read: a change since then shows
            for block in self.recording:
                yield block
                if self.tick:
                    self.tick(self.item.source, len(block) / rate_hz, self.recording.expected_s)
            self.notes = oddities(self.recording, self.framing)

    def add(self, rows: np.ndarray) -> None:
        if self.result is not None:  # it has failed since
            return
        try:
            self.writer = self.writer or self.out.writer(self.item)
            self.writer.append(rows)
        except L3EmbedError as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        if self.result is None:
            foreseen = isinstance(error, L3EmbedError | OSError)
            text = reason(error) if foreseen else f"{type(error).__name__}: {reason(error)}"
            self.result = Result(self.item.source, None, error=text)
            if not isinstance(error, StoreError):  # then it is not the recording's fault
                self.out.fail(self.item, text)
        if self.writer:
            self.writer.discard()

    def finish(self, front_end) -> None:
        if self.result is not None:
            return
        times_s, amount = self._amount(self.writer.n_rows, front_end)
        metadata = {
            **self.recipe, **self.identity, "l3embed": __version__, "source": self.item.name,
            "seconds": round(self.seconds, 6), "notes": self.notes,
        }  # fmt: skip
        try:
            said = self.writer.commit(times_s, metadata)
        except L3EmbedError as error:
            self.fail(error)
            return
        self.result = Result(
            self.item.source, self.out.output(self.item), notes=(*self.notes, *said), **amount
        )  # fmt: skip

    @property
    def seconds(self) -> float:
        return self.recording.seconds

    def _amount(self, n: int, front_end) -> tuple[np.ndarray, dict]:
        """Times of the n rows, and what they are of, as `Result` has it."""
        return self.framing.times(n, front_end.rate_hz), {"n_windows": n, "seconds": self.recording.seconds}


class _PictureJob(images.ImageJob, _FileJob):
    """A picture or video on its way to where it is kept."""

    def rows(self, front_end, grid: Grid | None):
        source, tick = self.item.recording, self.tick and partial(self.tick, self.item.source)
        with contextlib.closing(images.open_for(front_end, source)) as pictures:
            self.identity = self.out.identity(self.item)  # before it is read: a change since then shows
            yield from images.rows_of(pictures, source, front_end, grid, self.notes, tick)
        self.notes = list(dict.fromkeys(self.notes))

    @property
    def seconds(self) -> float:
        return self.times[-1]

    def _amount(self, n: int, front_end) -> tuple[np.ndarray, dict]:
        return np.array(self.times), {"n_pictures": n}


class Summary:
    """What a run amounts to; keeps failures and warnings only, so that it stays small for any number of recordings."""

    def __init__(self, keep_results: bool = False):
        self.n = {"done": 0, "skipped": 0, "windows": 0, "pictures": 0}
        self.sound_s = 0.0
        self.failed: list[dict] = []
        self.warnings: list[dict] = []
        self.results: list[dict] | None = [] if keep_results else None

    def add(self, result: Result) -> None:
        if result.error:
            self.failed.append({"source": result.source, "error": result.error})
        else:
            self.n["skipped" if result.skipped else "done"] += 1
            self.n["windows"] += result.n_windows
            self.n["pictures"] += result.n_pictures
            self.sound_s += result.seconds
        if result.notes:
            self.warnings.append({"source": result.source, "notes": list(result.notes)})
        if self.results is not None:
            self.results.append(asdict(result))

    def as_dict(self, wall_s: float) -> dict:
        """Plain values, for `--json`."""
        table = {**self.n, "failed": self.failed, "warnings": self.warnings, "sound_s": round(self.sound_s, 3)}
        table |= {"wall_s": round(wall_s, 3), "sound_s_per_s": round(self.sound_s / max(wall_s, 1e-9), 1)}
        return table if self.results is None else {**table, "results": self.results}
