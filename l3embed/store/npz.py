"""One `.npz` per recording: vectors, times and the recipe that made them; written whole or not at all.

Keys: `embedding` (T, D) float32, `timestamps` (T,) float64 seconds, and `metadata`, a JSON object. Files of OpenL3 have
the first two. Equal input and recipe give equal bytes: nothing in a file depends on when or where it was made.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import StoreError
from .files import naming, part_name, remove_abandoned
from .rows import Rows

SAMPLE_BYTES = 1 << 16  # of the beginning, the middle and the end of a recording each: what `identity` looks at


class NpzFolder:
    """A folder of such files, one for each recording: what `extract` writes to. `writer.CorpusWriter` is the other.

    Raises StoreError where the folder cannot be made.
    """

    def __init__(self, folder: Path, recipe: dict):
        self.folder, self.recipe = Path(folder), recipe
        with naming(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def has(self, item) -> bool:
        """Whether nothing is to be computed."""
        return is_done(self.folder / item.output, self.recipe, item.recording)

    def content(self, item) -> str:
        """What is equal for recordings that need computing only once: here each gets a file of its own."""
        return item.output

    def identity(self, item) -> dict:
        return identity(item.recording)

    def writer(self, item) -> NpzWriter:
        return NpzWriter(self.folder / item.output)

    def output(self, item) -> str:
        """What a result calls the place of its vectors."""
        return str(self.folder / item.output)

    def fail(self, item, error: str) -> None:
        pass

    def settle(self) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


class NpzWriter:
    """Collects the rows of one recording and writes its file at the end. Use as a context manager, or call `discard`.

    Raises StoreError naming the output where the file system refuses.
    """

    def __init__(self, path: Path):
        self.path = path
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = Rows(path.parent)  # beside the output: there is as much room as it needs

    @property
    def n_rows(self) -> int:
        return len(self._rows)

    def append(self, rows: np.ndarray) -> None:
        """(k, D) float32"""
        with naming(self.path):
            self._rows.append(rows)

    def commit(self, timestamps: np.ndarray, metadata: dict) -> list[str]:
        """Write everything to a temporary name and move it into place; returns what the user should know about that.

        Without waiting for the disk (7 ms a file): a file that a power cut left incomplete is not `is_done`.
        """
        # a hash, because the name itself may be as long as the file system allows
        name = hashlib.sha256(os.fsencode(self.path.name)).hexdigest()[:16]
        part = self.path.with_name(part_name(name))
        remove_abandoned(self.path.parent)
        notes = _replaced(self.path, metadata)
        try:
            with naming(self.path):
                write(part, self._rows, timestamps, metadata)
                os.replace(part, self.path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
            self.discard()
        return notes

    def discard(self) -> None:
        self._rows.close()


def write(file: Path | BinaryIO, rows: Rows, timestamps: np.ndarray, metadata: dict) -> None:
    """The archive itself, under a name or into an open file."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(_member("embedding"), "w", force_zip64=True) as out:
            rows.write_to(out)
        _write_array(archive, "timestamps", np.asarray(timestamps, "<f8"))
        _write_array(archive, "metadata", np.array(json.dumps(metadata, sort_keys=True)))


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


def identity(source: str | os.PathLike | bytes | BinaryIO) -> dict:
    """What tells a recording from others of its name: its size, and a hash of three places in it.

    Recorders that follow a timetable write files of equal names and equal sizes, and copies keep their dates.
    """
    with contextlib.ExitStack() as stack:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        if not hasattr(file, "read"):
            file = stack.enter_context(open(source, "rb"))
        size, sample = file.seek(0, os.SEEK_END), hashlib.sha256()
        last = max(0, size - SAMPLE_BYTES)
        for at in (0, last // 2, last):
            file.seek(at)
            sample.update(file.read(SAMPLE_BYTES))
    return {"source_bytes": size, "source_sample": sample.hexdigest()[:16]}


def _replaced(path: Path, metadata: dict) -> list[str]:
    """Whether the vectors of other sound lie there: recorders and folders repeat names."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            before = json.loads(str(file["metadata"]))
    except Exception:  # nothing, or anything at all
        return []
    same = all(before.get(name) == metadata.get(name) for name in ("source_bytes", "source_sample"))
    return [] if same else ["replaces the vectors of an earlier recording of this name"]


def is_done(path: Path, recipe: dict, source: str | os.PathLike | bytes) -> bool:
    """Whether `path` was made with this recipe from this recording, which has not been changed since."""
    try:
        made = path.stat()
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            metadata = json.loads(str(file["metadata"]))
            complete = {"embedding", "timestamps"} <= set(file.files)
        if metadata.get("dtype", "float32") != "float32":  # rounded: exported from a store of half precision
            return False
        if not complete or any(metadata.get(key) != value for key, value in recipe.items()):
            return False
        if not isinstance(source, bytes):
            status = os.stat(source)
            if status.st_size != metadata["source_bytes"] or status.st_mtime > made.st_mtime:
                return False
        return identity(source).items() <= metadata.items()
    except Exception:  # whatever lies there instead of an output may raise anything: it is made again
        return False
