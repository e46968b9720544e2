"""The vectors of a data set, in the order of its clips: read from a store, memory-mapped, windows or pooled.

`extraction.features` fills the store and gives `Features`; `ArrayFeatures` has the same face for what is in memory.
A clip that a model failed on is a row like the others: `ok` is False there, `failed` says why, pooled it is NaN.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from l3embed import decode
from l3embed.embed import EmbeddingModel
from l3embed.errors import UsageError
from l3embed.frontend import spectrograms
from l3embed.pooling import check, pool
from l3embed.spec import digest, small_front_end
from l3embed.store.files import naming, part_name, token

from .datasets import Clip

PART = 16  # clips that one thread takes at a time
MEMORY = 2 * 2**30  # bytes of pooled vectors that are held in memory; more are memory-mapped


class Features:
    """One model's vectors of one data set, in a store.

    Pickled it is a few names: a process elsewhere that sees the store's folder opens it again. `memory` (bytes) bounds
    what is held at a time: pooled vectors above a quarter of it are memory-mapped (a probe makes float64 of those it
    learns from), windows always are, and pages that were read are let go of (`windows`).

    Attributes
    ----------
    name : the model's, as the run calls it
    key : of the store: the hash of everything that decides the vectors
    ids : (n,) names of the clips in the store
    dim : numbers in a window's vector
    ok : (n,) bool
    n_windows : (n,) int, 0 where the model failed
    failed : position in the data set -> reason
    """

    def __init__(
        self, name: str, store: Path, key: str, ids: Sequence[str], dim: int, n_windows: np.ndarray,
        failed: dict[int, str], memory: int = MEMORY,
    ):  # fmt: skip
        self.name, self.store, self.key, self.ids, self.dim, self.memory = name, Path(store), key, ids, dim, memory
        self.n_windows, self.failed = np.asarray(n_windows), failed
        self.ok = np.ones(len(ids), bool)
        self.ok[list(failed)] = False

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> Features:
        """Those of some clips, in the order of `rows`."""
        ids = [self.ids[row] for row in rows]
        failed = {i: self.failed[row] for i, row in enumerate(rows) if row in self.failed}
        return Features(self.name, self.store, self.key, ids, self.dim, self.n_windows[rows], failed, self.memory)

    def windows(self, rows: Iterable[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """(row, (T, D) float32 memory-mapped) of clips (None: all), failed ones left out.

        An array is good until the next one is asked for: when a pass moves on to another shard, or has read a quarter
        of the memory that was allowed, the pages behind it are given back, so that a pass over a store of any size
        stays small.
        """
        corpus = corpus_of(self.store, self.key)
        let_go, seen = None, 0
        for row in range(len(self)) if rows is None else rows:
            if not self.ok[row]:
                continue
            vectors = corpus.clip(self.ids[row])
            shard = _mapping(vectors)
            if let_go is not None and (shard is not let_go or seen > self.memory // 4):
                _let_go(let_go)
                seen = 0
            let_go, seen = shard, seen + vectors.nbytes
            yield int(row), vectors

    def pooled(self, pooling: str = "mean+max") -> np.ndarray:
        """(n, D x number of statistics) float32, NaN where the model failed; np.memmap where `memory` says.

        Computed once and kept beside the vectors, where every job finds it.
        """
        path = self.store / "pooled" / f"{self._digest(check(pooling))}.npy"
        if not path.exists():
            self._pool(path, pooling)
        n_bytes = len(self) * self.dim * len(pooling.split("+")) * 4
        return np.load(path, mmap_mode="r" if 4 * n_bytes > self.memory else None, allow_pickle=False)

    def _digest(self, pooling: str) -> str:
        """Of the bytes of the vectors, so that what was pooled before a recording changed is not taken for it."""
        from l3embed.store import manifest

        table = corpus_of(self.store, self.key).table()
        contents, rows = dict(manifest.columns(table, "clip", "rows_sha256")), hashlib.sha256()
        for row, id in enumerate(self.ids):
            rows.update(f"{contents.get(id) if self.ok[row] else None}\n".encode())
        return digest({"key": self.key, "pooling": pooling, "rows": rows.hexdigest()})

    def _pool(self, path: Path, pooling: str) -> None:
        width = self.dim * len(pooling.split("+"))
        part = path.with_name(part_name(token()))
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                out = np.lib.format.open_memmap(part, "w+", np.float32, (len(self), width))
                for row in self.failed:
                    out[row] = np.nan
                written = 0
                for row, vectors in self.windows():
                    out[row] = pool(vectors, pooling)
                    written += out[row].nbytes
                    if written > self.memory // 4:
                        out.flush()
                        _let_go(_mapping(out))
                        written = 0
                out.flush()
                del out
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)


def corpus_of(store: Path, key: str):
    """The opened corpus of a key, opened anew when it was written to."""
    return _corpus(store, key, os.stat(store / key / "manifest").st_mtime_ns)


@lru_cache(8)
def _corpus(store: Path, key: str, changed_ns: int):
    from l3embed import store as stores

    return stores.open(store, key)


def _mapping(array) -> mmap.mmap | None:
    """The file mapping that an array is a view of."""
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array


def _let_go(mapping: mmap.mmap | None) -> None:
    """Pages that were read count as the process' memory until they are given back; the file's cache keeps them."""
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


class ArrayFeatures:
    """Features of what is in memory: baselines, tests. The same attributes and methods as `Features`.

    Parameters
    ----------
    name : what the run calls it
    arrays : (n, D) one vector a clip, or a list of (T, D), windows of each; None (or NaN) where there is none
    failed : position -> reason, of those
    """

    def __init__(self, name: str, arrays, failed: dict[int, str] | None = None):
        self.name, self.failed = name, dict(failed or {})
        self.single = isinstance(arrays, np.ndarray) and arrays.ndim == 2  # nothing to pool
        self._arrays = arrays
        missing = (
            np.flatnonzero(~np.isfinite(arrays).all(axis=1)) if self.single
            else [i for i, a in enumerate(arrays) if a is None or not len(a) or not np.isfinite(a).all()]
        )  # fmt: skip
        for row in map(int, missing):
            self.failed.setdefault(row, "gave no vectors, or some that are not finite")
        self.ok = np.ones(len(arrays), bool)
        self.ok[list(self.failed)] = False
        found = [arrays[i] for i in np.flatnonzero(self.ok)[:1]]
        self.dim = arrays.shape[1] if self.single else (found[0].shape[1] if found else 0)
        self.n_windows = np.array(
            [(1 if self.single else len(arrays[i])) if self.ok[i] else 0 for i in range(len(self))]
        )

    def __len__(self) -> int:
        return len(self._arrays)

    def take(self, rows: np.ndarray) -> ArrayFeatures:
        arrays = self._arrays[rows] if self.single else [self._arrays[row] for row in rows]
        failed = {i: self.failed[row] for i, row in enumerate(map(int, rows)) if row in self.failed}
        return ArrayFeatures(self.name, arrays, failed)

    def windows(self, rows: Iterable[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
        for row in range(len(self)) if rows is None else rows:
            if self.ok[row]:
                yield int(row), np.asarray(self._arrays[row] if not self.single else self._arrays[row : row + 1])

    def pooled(self, pooling: str = "mean+max") -> np.ndarray:
        """(n, D') float32; what is one vector a clip already stays as it is, whatever the pooling."""
        check(pooling)
        if self.single:
            return self._arrays
        out = np.full((len(self), self.dim * len(pooling.split("+"))), np.nan, np.float32)
        for row, vectors in self.windows():
            out[row] = pool(vectors, pooling)
        return out


def memory_bytes(text: str | int | float) -> int:
    """ "2GB", "500 MB", "1.5GiB" or a number of bytes. Raises UsageError."""
    units = {"": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
    number = str(text).strip().lower().rstrip("abcdefghijklmnopqrstuvwxyz").strip()
    unit = str(text).strip().lower()[len(number) :].strip()
    try:
        n = int(float(number) * units[unit if unit in units else f"{unit}b"])
    except (ValueError, KeyError, OverflowError):
        n = 0
    if n < 1:
        raise UsageError(f"memory must be a size such as 500MB or 2GB. Received: {text!r}")
    return n


# --- without a store, for the study: vectors of a list of clips


def embeddings(
    model: EmbeddingModel, clips: list[Clip], pooling: str = "mean+max", hop: float | None = None, jobs: int = 1
) -> np.ndarray:
    """(clips, D x number of statistics) float32: each clip's windows, pooled. `hop` None: the model's usual one."""
    how = {} if hop is None else {"hop": hop}

    def pooled(part):
        return [pool(embedding, pooling) for embedding, _ in model.each((clip.path for clip in part), **how)]

    return _stacked(pooled, clips, jobs)


def windows(model: EmbeddingModel, clips: list[Clip], hop: float | None = None, jobs: int = 1) -> list[np.ndarray]:
    """Of each clip (T, D) float32: its windows, unpooled."""
    how = {} if hop is None else {"hop": hop}
    return _rows(lambda part: [e for e, _ in model.each((clip.path for clip in part), **how)], clips, jobs)


def log_mel_statistics(clips: list[Clip], jobs: int = 1) -> np.ndarray:
    """(clips, 256): mean, standard deviation, minimum and maximum over time of 64 log-mel bands.

    Of the small family's front end, whole clip: what an embedding has to beat.
    """
    return _stacked(lambda part: [_log_mel_statistics(clip) for clip in part], clips, jobs)


def _log_mel_statistics(clip: Clip) -> np.ndarray:
    front_end = small_front_end()
    with decode.open_recording(clip.path, front_end.rate_hz) as recording:
        sound = np.concatenate(list(recording))
    starts = np.arange(0, max(1, len(sound) - front_end.window_samples + 1), front_end.window_samples)
    sound = np.pad(sound, (0, max(0, front_end.window_samples - len(sound))))
    columns = np.concatenate(list(spectrograms(sound, starts, front_end)[..., 0]), axis=1)
    return np.concatenate([f(columns, axis=1) for f in (np.mean, np.std, np.min, np.max)])


def _stacked(rows_of: Callable, clips: list[Clip], jobs: int) -> np.ndarray:
    return np.stack(_rows(rows_of, clips, jobs))


def _rows(rows_of: Callable, clips: list[Clip], jobs: int) -> list[np.ndarray]:
    from joblib import Parallel, delayed

    parts = [clips[i : i + PART] for i in range(0, len(clips), PART)]
    return [row for rows in Parallel(jobs, prefer="threads")(delayed(rows_of)(part) for part in parts) for row in rows]


def cached(folder: Path | None, key: dict, clips: list[Clip], make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` gives for these clips, kept in `folder` (None: nowhere) under what made it and what the files are."""
    if folder is None:
        return make()
    files = [[str(c.path), (status := os.stat(c.path)).st_size, status.st_mtime_ns] for c in clips]
    path = folder / f"{digest({**key, 'files': files})}.npy"
    if path.exists():
        return np.load(path, allow_pickle=False)
    folder.mkdir(parents=True, exist_ok=True)
    array = make()
    part = path.with_suffix(f".{os.getpid()}.part")
    with open(part, "wb") as file:
        np.save(file, array)
    os.replace(part, path)
    return array
