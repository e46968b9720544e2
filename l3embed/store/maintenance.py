"""What keeps a store in order: look at it, check every byte, merge small files, remove what nothing refers to."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import StoreError, reason
from . import layout, manifest
from .files import naming
from .leases import Lease
from .shards import Shard, n_bytes, open_rows

MERGE_BELOW = 256 * 2**20  # bytes: shards smaller than this are merged
MERGE_UP_TO = 512 * 2**20  # into shards of about this size
BLOCK_BYTES = 16 * 2**20  # in memory at a time


def folders(store: str | os.PathLike, key: str | None = None) -> list[Path]:
    """Of all keys of a store, or of one."""
    manifest.need_pyarrow()
    store = Path(store)
    return [store / name for name in layout.keys(store)] if key is None else [layout.folder_of(store, key)]


def blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """A memory-mapped array in pieces of a few MB."""
    step = max(1, BLOCK_BYTES // max(1, rows.shape[1] * rows.itemsize))
    return (rows[at : at + step] for at in range(0, len(rows), step))


# --- show


def show(folder: Path) -> dict:
    """What a key holds. Plain values."""
    index = manifest.Index(folder / "manifest")
    rows = list(index.rows())
    done = [row for row in rows if row["status"] == "ok"]
    sizes = [entry.stat().st_size for entry in os.scandir(folder / "shards") if not entry.name.startswith(".")]
    return {
        "key": folder.name, "recipe": layout.config_of(folder)["recipe"], "recordings": len(done),
        "vectors": sum(row["n_rows"] for row in done), "dim": max((row["dim"] or 0 for row in done), default=0),
        "sound_s": round(sum(row["seconds"] or 0.0 for row in done), 3), "shards": len(sizes), "bytes": sum(sizes),
        "parts": len(index.tables), "failed": {r["clip"]: r["error"] for r in rows if r["status"] != "ok"},
    }  # fmt: skip


# --- verify


def verify(folder: Path) -> list[str]:
    """Check a key to the last byte; returns a sentence for everything that is wrong.

    Parts and shards readable, every recording's rows there, unchanged since they were written, and numbers.
    """
    wrong = []
    with _collecting(wrong):
        recipe = layout.config_of(folder)["recipe"]
        if layout.key_of(recipe) != folder.name:
            wrong.append(f"{folder / 'config.json'}: is not the recipe that this folder's name was made from")
    if wrong:
        return wrong
    for name in manifest.parts(folder / "manifest"):
        with _collecting(wrong):
            manifest.read(folder / "manifest" / name)
    if wrong:  # which rows count cannot be told
        return wrong
    of_shard = defaultdict(list)
    for row in manifest.Index(folder / "manifest").rows():
        if row["status"] == "ok" and row["n_rows"]:
            of_shard[row["shard"]].append(row)
    for shard, rows in sorted(of_shard.items()):
        wrong += _verify_shard(folder / "shards" / shard, rows, recipe["dtype"])
    return wrong


@contextlib.contextmanager
def _collecting(wrong: list[str]):
    try:
        yield
    except StoreError as error:
        wrong.append(str(error))


def _verify_shard(path: Path, rows: list[dict], dtype: str) -> list[str]:
    try:
        vectors = open_rows(path, dtype)
    except StoreError as error:
        return [str(error)]
    except OSError as error:
        return [f"{path}: {reason(error)}: {len(rows)} recordings have no vectors: extract again"]
    wrong, size = [], path.stat().st_size
    if size != n_bytes(len(vectors), vectors.shape[1], dtype):
        wrong.append(f"{path}: has {size} bytes, its header promises {n_bytes(*vectors.shape, dtype)}")
    known = {}  # several recordings may share rows
    for row in sorted(rows, key=lambda row: row["first_row"]):
        place = row["first_row"], row["n_rows"]
        if row["dim"] != vectors.shape[1] or not 0 <= place[0] <= sum(place) <= len(vectors):
            wrong.append(f"{row['clip']}: its rows {place[0]} to {sum(place)} are not in {path}")
            continue
        if place not in known:
            known[place] = _look_through(vectors[place[0] : sum(place)])
        checksum, n_nan = known[place]
        if checksum != row["rows_sha256"]:
            wrong.append(f"{row['clip']}: its vectors in {path} have changed: remove that file and extract again")
        elif n_nan:
            wrong.append(f"{row['clip']}: {n_nan} of its numbers are NaN or infinite")
    return wrong


def _look_through(vectors: np.ndarray) -> tuple[str, int]:
    """Checksum, and how many numbers are none."""
    digest, n = hashlib.sha256(), 0
    for block in blocks(vectors):
        digest.update(np.ascontiguousarray(block))
        n += int((~np.isfinite(block)).sum())
    return digest.hexdigest(), n


# --- gc


def gc(folder: Path) -> tuple[int, int]:
    """Remove what nothing refers to: shards without a row, unfinished files. Returns (files, bytes).

    Raises StoreError while somebody writes, or where a damaged part may be what refers to a shard.
    """
    with Lease(folder, "alone"):
        return _remove_garbage(folder, manifest.Index(folder / "manifest"))


def _remove_garbage(folder: Path, index: manifest.Index) -> tuple[int, int]:
    used = {name for table in index.tables.values() for name in table.column("shard").unique().to_pylist()}
    n, size = 0, 0
    for entry in [*os.scandir(folder / "shards"), *os.scandir(folder / "manifest")]:
        is_part = entry.name.startswith(".l3embed.") and entry.name.endswith(".part")
        is_shard = entry.name.endswith(".npy") and os.path.dirname(entry.path).endswith("shards")
        if is_part or (is_shard and entry.name not in used):
            with naming(Path(entry.path)):
                n, size = n + 1, size + entry.stat().st_size
                os.unlink(entry.path)
    return n, size


# --- compact


def compact(folder: Path) -> dict:
    """Merge small shards and all manifest parts, drop what has been superseded; returns counts before and after.

    New files first, then the old ones go, parts before shards: whoever reads meanwhile, or finds the store after a
    kill, has every recording's vectors. Needs as much room as the shards it merges. Raises StoreError while somebody
    writes, and for rows whose vectors are missing.
    """
    with Lease(folder, "alone"):
        index = manifest.Index(folder / "manifest")
        before = _counts(folder)
        rows = list(index.rows())
        merged = _merge(folder, rows)
        if merged or len(index.tables) > 1:
            table = manifest.table_of(rows)
            name = manifest.write(folder / "manifest", table)
            for part in index.tables:
                with naming(folder / "manifest" / part):
                    (folder / "manifest" / part).unlink()
            index.tables = {name: table}
        _remove_garbage(folder, index)
        return {"before": before, "after": _counts(folder)}


def _counts(folder: Path) -> dict:
    sizes = [entry.stat().st_size for entry in os.scandir(folder / "shards")]
    return {"shards": len(sizes), "bytes": sum(sizes), "parts": len(manifest.parts(folder / "manifest"))}


def _merge(folder: Path, rows: list[dict]) -> bool:
    """Move the rows of small and of partly dead shards into new ones, and say so in `rows`. Whether there were any."""
    dtype = layout.config_of(folder)["recipe"]["dtype"]
    places = defaultdict(list)  # (shard, first row, number of rows) -> the rows of the manifest that mean it
    for row in rows:
        if row["status"] == "ok" and row["n_rows"]:
            places[row["shard"], row["first_row"], row["n_rows"]].append(row)
    old = _worth_merging(folder, places, dtype)
    new = None
    for place in sorted(p for p in places if p[0] in old):
        new = new or Shard(folder / "shards", dtype)
        _move(folder, place, places[place], new, dtype)
        if new.kept_bytes >= MERGE_UP_TO:
            new.commit()
            new = None
    if new:
        new.commit()
    return bool(old)
