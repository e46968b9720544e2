"""Reading a store: vectors memory-mapped, pooled views, what failed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import StoreError, UsageError
from ..pooling import pool
from . import layout, manifest
from .shards import open_rows

MAPPED = 256  # shards that are held open


class Corpus:
    """The embeddings of one key of a store, as they were when it was opened. Changes nothing, needs no model.

    Parameters
    ----------
    path : the store's folder
    key : which key, or its beginning; needed where the store holds several

    Attributes
    ----------
    recipe : everything that decided the vectors: model, hash of the weights, front end, hop, dtype ...
    clips : ids of the recordings that have vectors, sorted

    Raises StoreError for what is no store, a newer one, or a damaged one; UsageError where the key is not clear. A
    store may be compacted while it is read: what has moved is looked up again.
    """

    def __init__(self, path: str | os.PathLike, key: str | None = None):
        manifest.need_pyarrow()
        self.path = Path(path)
        self.folder = layout.folder_of(self.path, key)
        self.key, self.config = self.folder.name, layout.config_of(self.folder)
        self.recipe = self.config["recipe"]
        self._rows = lru_cache(MAPPED)(lambda shard: open_rows(self.folder / "shards" / shard, self.recipe["dtype"]))
        self._load()

    def _load(self) -> None:
        for _ in range(10):
            try:
                self.index = manifest.Index(self.folder / "manifest")
                break
            except FileNotFoundError:  # compacted between listing and reading
                continue
        else:
            raise StoreError(f"{self.folder}: is being changed all the time")
        table = self.index.table()
        names = ("clip", "status", "shard", "first_row", "n_rows", "dim")
        rows = list(manifest.columns(table, *names))
        self._places = {clip: place for clip, status, *place in rows if status == "ok"}
        self.clips = list(self._places)
        dims = {dim for *_, dim in self._places.values() if dim}
        if len(dims) > 1:
            raise StoreError(f"{self.folder}: mixes vectors of {sorted(dims)} numbers")
        self.dim = dims.pop() if dims else 0

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        return f"<Corpus {self.path} {self.key}: {len(self)} recordings, {layout.describe(self.recipe)}>"

    def row(self, clip: str) -> dict:
        """What the manifest says of a recording (`manifest.schema`). Raises UsageError for one without vectors."""
        row = self.index.get(clip)
        if row is None:
            raise UsageError(f"{self.path}: holds no recording {clip!r}")
        if row["status"] != "ok":
            raise UsageError(f"{self.path}: {clip!r} has no vectors: {row['error']}")
        return row

    def clip(self, clip: str) -> np.ndarray:
        """(T, D) vectors of a recording, memory-mapped, read-only, in the store's dtype."""
        shard, first, n, dim = self._place(clip)
        if not n:
            return np.empty((0, self.dim), self.recipe["dtype"])
        try:
            rows = self._rows(shard)
        except FileNotFoundError:  # compacted meanwhile, or gone
            self._load()
            shard, first, n, dim = self._place(clip)
            try:
                rows = self._rows(shard)
            except FileNotFoundError:
                path = self.folder / "shards" / shard
                raise StoreError(f"{path}: is missing: extract again to embed its recordings anew") from None
        vectors = rows[first : first + n]
        if vectors.shape != (n, dim):
            raise StoreError(f"{self.folder / 'shards' / shard}: does not hold all vectors of {clip}")
        return vectors

    def _place(self, clip: str) -> list:
        """Shard, first row, number of rows, dim."""
        if clip not in self._places:
            self.row(clip)  # which says why
        return self._places[clip]

    def times(self, clip: str) -> np.ndarray:
        """(T,) float64 seconds: the time stamps of a recording's vectors."""
        row = self.row(clip)
        if row["times_s"] is not None:
            return np.array(row["times_s"], np.float64)
        return layout.times(row["first_s"], row["n_rows"], self.recipe)

    def frames(self, clips: Iterable[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (N, D) of recordings (default: all) one after the other, and (N,) the number in `clips` of each.

        In memory: for more than fits, go through `clip`.
        """
        names = self._names(clips)
        vectors = [self.clip(name) for name in names]
        owners = np.repeat(np.arange(len(names)), [len(v) for v in vectors])
        return np.concatenate([np.empty((0, self.dim), self.recipe["dtype"]), *vectors]), owners

    def pooled(self, clips: Iterable[str] | None = None, pooling: str = "mean") -> np.ndarray:
        """(n, D) or (n, 2 D) float32: one vector for each recording (default: all), in the order asked for.

        `pooling` is "mean", "max", "mean+max" or "mean+std" (`pooling.pool`). In memory: the result, a few hundred rows.
        """
        names = self._names(clips)
        out = None
        for i in sorted(range(len(names)), key=lambda i: _order(self._place(names[i]))):  # as they lie on the disk
            vector = pool(self.clip(names[i]), pooling)
            out = np.empty((len(names), len(vector)), np.float32) if out is None else out
            out[i] = vector
        return np.empty((0, self.dim * len(pooling.split("+"))), np.float32) if out is None else out

    def _names(self, clips: Iterable[str] | None) -> list[str]:
        if isinstance(clips, str):
            raise UsageError(f"clips must be a list of ids, not one id. Received: {clips!r}")
        return self.clips if clips is None else list(clips)

    def failed(self) -> dict[str, str]:
        """Recordings without vectors, and why."""
        rows = manifest.columns(self.index.table(), "clip", "status", "error")
        return {clip: error for clip, status, error in rows if status != "ok"}

    def table(self):
        """pyarrow.Table with one row for each recording (`manifest.schema`), failures included."""
        return self.index.table()


def _order(place: list) -> tuple:
    return place[0] or "", place[1]
