"""One `.npz` per recording: vectors, times and the recipe that made them; written whole or not at all.

Keys: `embedding` (T, D) float32, `timestamps` (T,) float64 seconds, and `metadata`, a JSON object. Files of OpenL3 have
the first two. Equal input and recipe give equal bytes: nothing in a file depends on when or where it was made.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from .errors import StoreError

IN_MEMORY = 16 * 2**20  # bytes of vectors kept in memory; beyond that they wait in an unnamed file beside the output


class NpzWriter:
    """Collects the rows of one recording and writes its file at the end. Use as a context manager, or call `discard`.

    Raises StoreError naming the output where the file system refuses.
    """

    def __init__(self, path: Path):
        self.path = path
        self.n_rows, self._dim = 0, 0
        with _naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._spool = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=path.parent)

    def append(self, rows: np.ndarray) -> None:
        """(k, D) float32"""
        with _naming(self.path):
            self._spool.write(np.ascontiguousarray(rows, "<f4").data)
        self.n_rows, self._dim = self.n_rows + len(rows), rows.shape[1]

    def commit(self, timestamps: np.ndarray, metadata: dict) -> None:
        """Write everything to a temporary name and move it into place.

        Without waiting for the disk (7 ms a file): a file that a power cut left incomplete is not `is_done`.
        """
        part = self.path.with_name(f".{self.path.name}.{socket.gethostname()}-{os.getpid()}.part")
        _remove_abandoned(self.path)
        try:
            with _naming(self.path):
                with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
                    self._write_rows(archive)
                    _write_array(archive, "timestamps", np.asarray(timestamps, "<f8"))
                    _write_array(archive, "metadata", np.array(json.dumps(metadata, sort_keys=True)))
                os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)
            self.discard()

    def discard(self) -> None:
        self._spool.close()

    def _write_rows(self, archive: zipfile.ZipFile) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (self.n_rows, self._dim)}
        self._spool.seek(0)
        with archive.open(_member("embedding"), "w", force_zip64=True) as out:
            np.lib.format.write_array_header_1_0(out, header)
            shutil.copyfileobj(self._spool, out, 1 << 20)


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{name}.npy")  # dated 1980 by default, like numpy's own: no clock in the bytes


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(_member(name), "w", force_zip64=True) as out:
        np.lib.format.write_array(out, array, allow_pickle=False)


def read(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, dict]:
    """(embedding (T, D), timestamps (T,), metadata). Raises StoreError for anything else than such a file."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return file["embedding"], file["timestamps"], json.loads(str(file["metadata"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path}: is not an embedding file of l3embed ({error})") from error


def is_done(path: Path, recipe: dict, source: os.stat_result | None) -> bool:
    """Whether `path` was made with this recipe, from a source of this size that has not been changed since."""
    try:
        made = path.stat()
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            metadata = json.loads(str(file["metadata"]))
            complete = {"embedding", "timestamps"} <= set(file.files)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False
    if not complete or any(metadata.get(key) != value for key, value in recipe.items()):
        return False
    return source is None or (metadata.get("source_bytes") == source.st_size and source.st_mtime <= made.st_mtime)


def _remove_abandoned(path: Path) -> None:
    """Parts of the same output whose process on this machine is gone: a killed run left them."""
    host = socket.gethostname()
    for part in path.parent.glob(f".{_escaped(path.name)}.{_escaped(host)}-*.part"):
        pid = part.name.removesuffix(".part").rpartition("-")[2]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            part.unlink(missing_ok=True)
        except (ValueError, PermissionError):
            continue


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "[*?" else c for c in name)


class _naming:
    """Turns an error of the file system into a StoreError that names the output."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, OSError):
            raise StoreError(f"cannot write {self.path}: {(error.strerror or str(error)).lower()}") from error
