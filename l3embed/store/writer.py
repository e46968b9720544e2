"""Writing a store: rows into shards, then what they are into the manifest; recognising what is there already.

A recording is known by its bytes (SHA-256). So that resuming does not read terabytes again, its row remembers where it
lay, its size, date, and a hash of three places in it (`npz.identity`): while these are the same, so is the recording.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import StoreError, UsageError
from . import layout, manifest
from .files import naming, remove_abandoned
from .leases import Lease
from .npz import identity
from .shards import Shard, n_bytes

SHARD_BYTES = 128 * 2**20  # a shard is finished after the recording that brings it here,
SHARD_SECONDS = 60.0  # or this long after it was begun: how much work a killed process loses
RENEW_SECONDS = 60.0
_OF_SOURCE = ("audio_sha256", "source_path", "source_bytes", "source_mtime_ns", "source_sample")


class CorpusWriter:
    """Takes the recordings of one recipe into a store. Safe for several threads; other processes may do the same.

    A recording is anything with `name` (its relative path), `recording` (path or bytes) and `output`. Use as a context
    manager, or call `close`. Raises StoreError where the store cannot be written, UsageError for an unknown dtype.
    """

    def __init__(self, folder: str | os.PathLike, recipe: dict, dtype: str = "float32"):
        if dtype not in layout.DTYPES:
            raise UsageError(f"dtype must be one of {', '.join(layout.DTYPES)}. Received: {dtype!r}")
        manifest.need_pyarrow()
        self.recipe, self.dtype = json.loads(json.dumps({**recipe, "dtype": dtype})), dtype  # as config.json has it
        self.folder = layout.create(Path(folder), self.recipe)
        self._lock = threading.RLock()
        self._lease, self._renewed = Lease(self.folder, "writing"), time.monotonic()
        try:
            with naming(self.folder):
                remove_abandoned(self.folder / "shards")
                remove_abandoned(self.folder / "manifest")
                self._sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.folder / "shards")}
            self.index = manifest.Index(self.folder / "manifest", self._is_there)
        except BaseException:
            self._lease.release()
            raise
        self._idle: list[Shard] = []  # a shard is one recording's at a time, or idle
        self._open: dict[str, Shard] = {}
        self._loose: list[dict] = []  # rows of the manifest that wait for no shard of this process
        self._waiting: dict[str, dict] = {}  # rows that are in no part yet, by recording
        self._waiting_content: dict[str, dict] = {}  # and by content, where they have vectors
        self._written, self._closed = time.monotonic(), False
        self._facts: dict[str, dict] = {}  # of recordings on their way

    # --- what the extraction asks for

    def has(self, item) -> bool:
        """Whether nothing is to be computed: it is there, or another recording of the same bytes is.

        Raises StoreError where the name is taken by another recording.
        """
        clip = layout.clip_id(item.name)
        row = self._row(clip)
        try:
            facts = self._look(item, row)
        except OSError:  # whoever decodes it will say so
            return False
        is_ok = row is not None and row["status"] == "ok"
        if is_ok and all(row[name] == facts[name] for name in _OF_SOURCE):
            return True
        content = facts["audio_sha256"]
        if is_ok and row["audio_sha256"] != content and _are_apart(row["source_path"], facts["source_path"]):
            raise StoreError(
                f"the store holds another recording of this name, from {row['source_path']}: "
                f"extract from the common folder of both, into another store, or with --overwrite"
            )
        twin = row if is_ok and row["audio_sha256"] == content else self._with_content(content)
        if twin is None:
            self._facts[clip] = facts
            return False
        self._add({**twin, **facts, "clip": clip})
        return True

    def content(self, item) -> str:
        """What is equal for recordings that need computing only once."""
        facts = self._facts.get(layout.clip_id(item.name))
        return facts["audio_sha256"] if facts else layout.clip_id(item.name)

    def identity(self, item) -> dict:
        """What a row has to say about the recording's bytes. Raises OSError."""
        clip = layout.clip_id(item.name)
        facts = self._facts[clip] = self._look(item, self._facts.get(clip))
        return facts

    def writer(self, item) -> ClipWriter:
        """For the rows of one recording."""
        with self._lock:
            if self._closed:  # an interrupted run's threads go on for a while
                raise StoreError(f"{self.folder}: the store was closed")
            shard = self._idle.pop() if self._idle else Shard(self.folder / "shards", self.dtype)
            self._open[shard.path.name] = shard
        return ClipWriter(self, layout.clip_id(item.name), shard)

    def output(self, item) -> str:
        """What a result calls the place of its vectors."""
        return str(self.folder)

    def fail(self, item, error: str) -> None:
        """Remember why a recording has no vectors: it is tried again by the next run."""
        clip, text = layout.clip_id(item.name), _text(error)
        facts, row = self._facts.pop(clip, {}), self._row(clip)
        if row is None or row["error"] != text:
            self._add({"clip": clip, "status": "failed", "error": text, **facts})

    def settle(self) -> None:
        """Between two recordings: bring finished shards and their rows to the disk, see what others have brought."""
        self.renew()
        now = time.monotonic()
        with self._lock:
            due = [s for s in self._idle if s.kept_bytes >= SHARD_BYTES or now - s.born >= SHARD_SECONDS]
            self._idle = [s for s in self._idle if s not in due]
        for shard in due:
            self._commit(shard)
        if due or now - self._written >= SHARD_SECONDS:
            self._write_rows([])
            with self._lock:
                self.index.refresh()

    def renew(self) -> None:
        """Tell others, once in a while, that this writer is alive."""
        if time.monotonic() - self._renewed >= RENEW_SECONDS:
            self._renewed = time.monotonic()
            self._lease.renew()

    def close(self) -> None:
        """Bring everything that is finished to the disk; recordings under way are dropped."""
        with self._lock:
            shards, self._idle, self._closed = list(self._open.values()), [], True
        errors = []
        for commit in (*(partial(self._commit, shard) for shard in shards), partial(self._write_rows, [])):
            try:
                commit()
            except StoreError as error:  # the other shards may fit
                errors.append(error)
        self._lease.release()
        if errors:
            raise errors[0]

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self.close()
        else:  # what ended the run is what the caller should hear of
            with contextlib.suppress(StoreError):
                self.close()

    # --- recordings

    def _look(self, item, known: dict | None) -> dict:
        """The facts of `known` where they still hold, without reading the whole recording; else new ones."""
        if isinstance(item.recording, bytes):
            source, mtime = None, None  # in memory, so that hashing costs next to nothing
        else:
            status = os.stat(item.recording)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("is not a regular file")
            source, mtime = layout.clip_id(os.path.abspath(item.recording)), status.st_mtime_ns
        facts = {"source_path": source, "source_mtime_ns": mtime, **identity(item.recording)}
        if source and known and known["audio_sha256"] and all(known[name] == value for name, value in facts.items()):
            return {**facts, "audio_sha256": known["audio_sha256"]}
        return {**facts, "audio_sha256": _sha256(item.recording)}

    def _is_there(self, shard, first_row, n_rows, dim) -> bool:
        """Whether a row's vectors lie in a shard of this store, by the sizes of the files."""
        if shard is None:
            return n_rows == 0
        if shard not in self._sizes:
            with contextlib.suppress(OSError):  # of another process, newer than our list
                self._sizes[shard] = (self.folder / "shards" / shard).stat().st_size
        return self._sizes.get(shard, -1) >= n_bytes(first_row + n_rows, dim, self.dtype)

    # --- rows of the manifest

    def _row(self, clip: str) -> dict | None:
        with self._lock:
            return self._waiting.get(clip) or self.index.get(clip)

    def _with_content(self, sha256: str) -> dict | None:
        with self._lock:
            return self._waiting_content.get(sha256) or self.index.with_content(sha256)

    def _add(self, row: dict) -> None:
        """Beside the shard that it tells of while that is under way, so that neither is there without the other."""
        row = {**dict.fromkeys(manifest.schema().names), **row}
        with self._lock:
            before = self._waiting.get(row["clip"])
            row["generation"] = before["generation"] + 1 if before else self.index.generation(row["clip"])
            shard = self._open.get(row["shard"])
            (self._loose if shard is None else shard.rows).append(row)
            self._waiting[row["clip"]] = row
            if row["status"] == "ok" and row["audio_sha256"]:
                self._waiting_content[row["audio_sha256"]] = row

    def finish(self, shard: Shard, row: dict) -> list[str]:
        """A recording is whole: what its writer calls. Returns what the user should know."""
        with self._lock:
            before = self._row(row["clip"])
            shard.keep()
            self._add(row)
            self._facts.pop(row["clip"], None)
            self.release(shard)
        if before and before["status"] == "ok" and before["audio_sha256"] != row.get("audio_sha256"):
            return ["replaces the vectors of an earlier recording of this name"]
        return []

    def release(self, shard: Shard) -> None:
        with self._lock:
            if shard.path.name in self._open:
                self._idle.append(shard)

    def _commit(self, shard: Shard) -> None:
        try:
            shard.commit()
        except StoreError as error:
            raise StoreError(f"{error}; {len(shard.rows)} recordings have to be embedded again") from error
        finally:
            with self._lock:
                self._open.pop(shard.path.name, None)
        self._sizes[shard.path.name] = n_bytes(shard.n_kept, shard.dim, self.dtype)
        self._write_rows(shard.rows)

    def _write_rows(self, rows: list[dict]) -> None:
        with self._lock:
            rows, self._loose = [*rows, *self._loose], []
        self._written = time.monotonic()
        if not rows:
            return
        table = manifest.table_of(rows)
        part = manifest.write(self.folder / "manifest", table)
        with self._lock:
            self.index.add(part, table)
            for row in rows:
                if self._waiting.get(row["clip"]) is row:
                    del self._waiting[row["clip"]]
                if self._waiting_content.get(row["audio_sha256"]) is row:
                    del self._waiting_content[row["audio_sha256"]]


class ClipWriter:
    """Takes the rows of one recording into a shard. Ends with `commit` or `discard`."""

    def __init__(self, store: CorpusWriter, clip: str, shard: Shard):
        self._store, self._clip, self._shard = store, clip, shard
        self.n_rows, self._first_row = 0, shard.n_kept
        self._hash, self._n_nan, self._norms, self._ended = hashlib.sha256(), 0, 0.0, False

    def append(self, rows: np.ndarray) -> None:
        """(k, D) float32"""
        kept = self._shard.append(rows)
        self._store.renew()
        self._hash.update(kept)
        self.n_rows += len(rows)
        self._n_nan += int(np.isnan(rows).sum())
        self._norms += float(np.linalg.norm(rows.astype(np.float64), axis=1).sum())

    def commit(self, timestamps: np.ndarray, metadata: dict) -> list[str]:
        """What was appended is the recording's; returns what the user should know about that."""
        row = {
            **self._times(np.asarray(timestamps, np.float64)), "clip": self._clip, "status": "ok",
            "shard": self._shard.path.name if self.n_rows else None, "first_row": self._first_row,
            "n_rows": self.n_rows, "dim": self._shard.dim, "rows_sha256": self._hash.hexdigest(),
            "n_nan": self._n_nan, "mean_norm": self._norms / self.n_rows if self.n_rows else None,
        }  # fmt: skip
        known = {name: value for name, value in metadata.items() if name not in {*self._store.recipe, "source"}}
        row |= {name: known.pop(name) for name in manifest.schema().names if name in known}
        row["notes"] = [_text(note) for note in row.get("notes", ())]
        row["more"] = json.dumps(known, sort_keys=True) if known else None
        notes = self._store.finish(self._shard, row)
        self._ended = True
        return notes

    def discard(self) -> None:
        if not self._ended:
            self._ended = True
            with contextlib.suppress(StoreError):
                self._shard.rollback()
            self._store.release(self._shard)

    def _times(self, times: np.ndarray) -> dict:
        """By their distance where they have one, to the last bit; else each."""
        if len(times) != self.n_rows:
            raise StoreError(f"{self._clip}: {len(times)} time stamps for {self.n_rows} vectors")
        hop_s = layout.hop_s(self._store.recipe)
        first = float(times[0]) if len(times) else 0.0
        if hop_s is not None and np.array_equal(layout.times(first, len(times), self._store.recipe), times):
            return {"first_s": first, "hop_s": hop_s, "times_s": None}
        return {"first_s": first, "hop_s": None, "times_s": times.tolist()}


def _are_apart(a: str | None, b: str | None) -> bool:
    """Whether two recordings of one name cannot be the same one before and after a change. None is standard input."""
    return a is not None and b is not None and a != b


def _sha256(recording: str | os.PathLike | bytes) -> str:
    if isinstance(recording, bytes):
        return hashlib.sha256(recording).hexdigest()
    with open(recording, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(text: str) -> str:
    """Parquet's strings are UTF-8, names of files may not be."""
    return text.encode("utf-8", "backslashreplace").decode()
