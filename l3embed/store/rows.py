"""The vectors of one recording while it is under way: in memory as long as they are few, then in an unnamed file."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np

IN_MEMORY = 16 * 2**20  # bytes of vectors kept in memory


class Rows:
    """(n, D) float32 that grows; slices of it can be read meanwhile, from other threads, too. Raises OSError."""

    ndim = 2

    def __init__(self, folder: Path | None = None, in_memory: int | None = None):
        """`folder`: where the file may be; None: where temporary files are. `in_memory`: bytes; None: IN_MEMORY."""
        self._spool = tempfile.SpooledTemporaryFile(IN_MEMORY if in_memory is None else in_memory, dir=folder)
        self._lock = threading.Lock()
        self.n, self.dim = 0, 0

    def append(self, rows: np.ndarray) -> None:
        """(k, D) float32"""
        data = np.ascontiguousarray(rows, "<f4").data
        with self._lock:
            self._spool.seek(0, 2)
            self._spool.write(data)
            self.n, self.dim = self.n + len(rows), rows.shape[1]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, rows: slice) -> np.ndarray:
        """(k, D) float32, a copy."""
        first, last, _ = rows.indices(self.n)
        n = max(0, last - first)
        with self._lock:
            self._spool.seek(4 * self.dim * first)
            data = self._spool.read(4 * self.dim * n)
        return np.frombuffer(data, "<f4").reshape(n, self.dim)

    def write_to(self, file) -> None:
        """All of them, as a `.npy` file."""
        header = {"descr": "<f4", "fortran_order": False, "shape": (self.n, self.dim)}
        np.lib.format.write_array_header_1_0(file, header)
        with self._lock:
            self._spool.seek(0)
            shutil.copyfileobj(self._spool, file, 1 << 20)

    def close(self) -> None:
        with self._lock:
            self._spool.close()
