"""A shard: one `.npy` file that grows under a temporary name and never changes once it has its own."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from pathlib import Path

import numpy as np

from ..errors import StoreError
from .files import move_whole, naming, part_name, token


def header(n_rows: int, dim: int, dtype: str) -> bytes:
    """Of a `.npy` file of these rows. NumPy leaves room for the first axis to grow: all lengths have equal headers."""
    out = io.BytesIO()
    descr = np.dtype(dtype).newbyteorder("<").str
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": (n_rows, dim)})
    return out.getvalue()


def n_bytes(n_rows: int, dim: int, dtype: str) -> int:
    """Size of the file of such a shard."""
    return len(header(n_rows, dim, dtype)) + n_rows * dim * np.dtype(dtype).itemsize


def open_rows(path: Path, dtype: str) -> np.ndarray:
    """(rows, dim), memory-mapped. Raises StoreError for a damaged shard, FileNotFoundError where it is gone."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"{path}: is damaged ({error}): extract again to embed its recordings anew") from error
    if rows.ndim != 2 or rows.dtype != np.dtype(dtype):
        raise StoreError(f"{path}: is {rows.dtype} {rows.shape}, expected (rows, dim) of {dtype}")
    return rows


class Shard:
    """Rows of one recording after the other: `append` any number of times, then `keep` or `rollback`.

    Safe against a `commit` from another thread in between: it keeps what was kept.
    """

    def __init__(self, folder: Path, dtype: str):
        self.path = folder / f"{token()}.npy"
        self.dtype, self.dim, self.n_rows, self.n_kept = dtype, 0, 0, 0
        self.born = time.monotonic()
        self.rows: list[dict] = []  # of the manifest, about what is kept
        self._part = folder / part_name(self.path.stem)
        self._lock = threading.Lock()
        with naming(self.path):
            self._file = open(self._part, "x+b", buffering=0)  # a buffer would try to write again what did not fit

    @property
    def kept_bytes(self) -> int:
        return self.n_kept * self.dim * np.dtype(self.dtype).itemsize

    def append(self, rows: np.ndarray) -> np.ndarray:
        """(k, D) floats; returns them as they are kept. Raises StoreError where they do not fit, in number or value."""
        kept = _as_kept(rows, self.dtype)
        with self._lock, naming(self.path):
            self._check_open()
            if not self.dim:
                self.dim = rows.shape[1]
                _write(self._file, header(0, self.dim, self.dtype))
            if rows.shape[1] != self.dim:
                raise StoreError(f"{self.path}: holds vectors of {self.dim} numbers. Received: {rows.shape[1]}")
            _write(self._file, kept.reshape(-1).view(np.uint8).data)
            self.n_rows += len(kept)
        return kept

    def keep(self) -> None:
        """What was appended belongs to the shard."""
        with self._lock:
            self._check_open()
            self.n_kept = self.n_rows

    def rollback(self) -> None:
        """What was appended since `keep` does not."""
        with self._lock:
            if self._file is not None and self.dim:
                self._cut()

    def _check_open(self) -> None:
        if self._file is None:
            raise StoreError(f"{self.path}: the store was closed")

    def _cut(self) -> None:
        self.n_rows = self.n_kept
        with naming(self.path):
            self._file.truncate(n_bytes(self.n_kept, self.dim, self.dtype))
            self._file.seek(0, os.SEEK_END)

    def commit(self) -> None:
        """Fix the header and give the file its name. A shard without rows disappears."""
        with self._lock:
            self._check_open()
            try:
                if self.n_kept:
                    self._cut()
                    with naming(self.path):
                        self._file.seek(0)
                        _write(self._file, header(self.n_kept, self.dim, self.dtype))
                        self._file.close()
                        move_whole(self._part, self.path)
            finally:
                self._drop()

    def drop(self) -> None:
        """It shall never have been."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            with contextlib.suppress(OSError):
                self._part.unlink()


def _as_kept(rows: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        kept = np.ascontiguousarray(rows, np.dtype(dtype).newbyteorder("<"))
    if dtype == "float16" and np.isinf(kept).any() and np.isfinite(rows).all():
        raise StoreError(f"vectors reach {np.abs(rows).max():.3g}, float16 only 65504: use --dtype float32")
    return kept


def _write(file, data) -> None:
    """All of it: an unbuffered file may take a part only."""
    while len(data):
        data = data[file.write(data) :]
