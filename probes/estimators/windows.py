"""The windows of a data set's clips as one long list, in memory where they fit, else read when they are needed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..datasets import DataError

MEMORY = 2**30  # bytes of windows held at a time, where the features set no limit of their own
BLOCK = 2**26  # bytes of windows that are read for the next steps of training


class Windows:
    """Window i is a row of x and belongs to clip `clip_of[i]`; those of clip c are `first[c]` to `first[c + 1]`.

    features : `probes.features.Features` or the like, or an array (clips, D), each clip a single window
    ok : (clips,) bool, of an array: rows that are not may hold anything
    """

    def __init__(self, features, memory: int | None = None, ok: np.ndarray | None = None):
        self.features, self.ok, single = features, ok, isinstance(features, np.ndarray)
        counts = np.ones(len(features), int) if single else np.where(features.ok, features.n_windows, 0)
        self.first = np.concatenate([[0], np.cumsum(counts)])
        self.clip_of = np.repeat(np.arange(len(counts)), counts)
        self.dim = features.shape[1] if single else features.dim
        limit = memory or getattr(features, "memory", MEMORY)
        self.x = features if single else None  # all of them, (n, D), if they fit
        if not single and 4 * len(self) * self.dim <= limit:
            self.x = np.concatenate([np.asarray(x, np.float32) for _, x in features.windows()])
        self.resident = self.x is not None and not isinstance(self.x, np.memmap)
        self._on_device = {}

    @classmethod
    def of_clips(cls, x: np.ndarray, clips: np.ndarray) -> Windows:
        """Windows (n, D) in memory, of clips 0, 1, ..., (n,), ascending."""
        out = cls(x)
        out.first, out.clip_of = np.searchsorted(clips, np.arange(clips[-1] + 2)), clips
        return out

    def of(self, clips: np.ndarray) -> np.ndarray:
        """All windows of some clips, clip after clip."""
        return np.concatenate(
            [np.arange(self.first[clip], self.first[clip + 1]) for clip in clips] or [np.empty(0, int)]
        )

    def __len__(self) -> int:
        return len(self.clip_of)

    def clips(self, rows) -> Iterator[np.ndarray]:
        """Of each clip in turn its windows (T, D)."""
        for row in rows:
            if self.x is not None:
                yield np.asarray(self.x[self.first[row] : self.first[row + 1]], np.float32)
            else:
                yield next(x for _, x in self.features.windows([row]))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(n, D) float32 of windows `rows`, ascending."""
        if self.x is not None:
            return np.asarray(self.x[rows], np.float32)
        out, clips = np.empty((len(rows), self.dim), np.float32), self.clip_of[rows]
        where = dict(zip(*np.unique(clips, return_index=True), strict=True))
        ends = np.searchsorted(clips, list(where), "right")
        for (clip, x), end in zip(self.features.windows(list(where)), ends, strict=True):
            out[where[clip] : end] = x[rows[where[clip] : end] - self.first[clip]]
        return out

    def moments(self, parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(parts, D) float32 mean and population standard deviation (1 where constant) of each part's windows."""
        member = np.zeros((len(parts), len(self)), bool)
        for p, rows in enumerate(parts):
            member[p, rows] = True
        total = squares = 0.0
        shift = None
        for at, block in self._chunks():
            shift = block.mean(axis=0, dtype=np.float64) if shift is None else shift
            block, of = block - shift, member[:, at : at + len(block)].astype(float)
            total, squares = total + of @ block, squares + of @ block**2
        n = member.sum(axis=1, keepdims=True)
        deviation = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))
        mean = total / n + shift
        if not np.isfinite(mean).all() or not np.isfinite(deviation).all():
            raise DataError("the windows hold NaN or infinity: embed the recordings again")
        deviation = np.where(deviation > 1e-7 * np.abs(mean), deviation, 1)  # constant up to float32's rounding
        return mean.astype(np.float32), deviation.astype(np.float32)

    def _chunks(self, n: int = 4096) -> Iterator[tuple[int, np.ndarray]]:
        if self.x is not None:
            for at in range(0, len(self), n):
                block = np.array(self.x[at : at + n], np.float64)
                if self.ok is not None:
                    block[~self.ok[at : at + n]] = 0
                yield at, block
        else:
            for clip, x in self.features.windows():
                yield int(self.first[clip]), np.asarray(x, np.float64)

    def blocks(self, ops, rows: np.ndarray) -> Iterator[tuple]:
        """(x on the device, rows into it, rows) for rows (steps, ...), -1 where there is none: all steps at once, or
        as many as BLOCK holds, the last ones filled up with steps of nothing."""
        if self.resident:
            if ops.name not in self._on_device:
                self._on_device[ops.name] = ops.constant(np.ascontiguousarray(self.x, np.float32))
            yield self._on_device[ops.name], rows.astype(np.int32), rows
            return
        steps = max(1, min(len(rows), BLOCK // (4 * self.dim * rows[0].size)))
        for at in range(0, len(rows), steps):
            part = np.full((steps, *rows.shape[1:]), -1)
            part[: len(rows) - at] = rows[at : at + steps]
            needed = np.unique(part[part >= 0])
            x = np.zeros((part.size, self.dim), np.float32)
            x[: len(needed)] = self.take(needed)
            local = np.where(part >= 0, np.searchsorted(needed, part), -1)
            yield ops.constant(x), local.astype(np.int32), part
