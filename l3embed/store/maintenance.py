"""What keeps a store in order: look at it, check every byte, merge small files, remove what nothing refers to."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import StoreError, reason
from . import layout, manifest
from .corpus import Corpus
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


def show(store: str | os.PathLike, key: str) -> dict:
    """What a key holds. Plain values."""
    corpus = Corpus(store, key)
    done = [row for row in manifest.columns(corpus.table(), "status", "n_rows", "seconds") if row[0] == "ok"]
    return {
        "key": key, "recipe": corpus.recipe, "recordings": len(corpus), "dim": corpus.dim,
        "vectors": sum(n for _, n, _ in done), "sound_s": round(sum(s or 0.0 for *_, s in done), 3),
        **_counts(corpus.folder), "failed": corpus.failed(),
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
    table = manifest.Index(folder / "manifest").table()
    for status, shard, *row in manifest.columns(table, "status", "shard", *_Rows._fields):
        if status == "ok" and shard:
            of_shard[shard].append(_Rows(*row))
    for shard, rows in sorted(of_shard.items()):
        wrong += _verify_shard(folder / "shards" / shard, rows, recipe["dtype"])
    return wrong


class _Rows(NamedTuple):
    """Of a recording, as the manifest has them."""

    first_row: int
    n_rows: int
    dim: int
    rows_sha256: str
    clip: str


@contextlib.contextmanager
def _collecting(wrong: list[str]):
    try:
        yield
    except StoreError as error:
        wrong.append(str(error))


def _verify_shard(path: Path, rows: list[_Rows], dtype: str) -> list[str]:
    try:
        vectors = open_rows(path, dtype)
    except StoreError as error:
        return [str(error)]
    except OSError as error:
        return [f"{path}: {reason(error)}: {len(rows)} recordings have no vectors: extract again"]
    wrong, known = [], {}  # several recordings may share rows
    if path.stat().st_size != n_bytes(*vectors.shape, dtype):
        wrong.append(f"{path}: is not as long as its header promises")
    for first, n, dim, checksum, clip in sorted(rows):
        if dim != vectors.shape[1] or not 0 <= first <= first + n <= len(vectors):
            wrong.append(f"{clip}: its rows {first} to {first + n} are not in {path}")
            continue
        if (first, n) not in known:
            known[first, n] = _look_through(vectors[first : first + n])
        if known[first, n][0] != checksum:
            wrong.append(f"{clip}: its vectors in {path} have changed: remove that file and extract again")
        elif n_odd := known[first, n][1]:
            wrong.append(f"{clip}: {n_odd} of its numbers are NaN or infinite")
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
        before, table = _counts(folder), index.table()
        moved = _merge(folder, table)
        if moved or len(index.tables) > 1:
            table = _with_places(table, moved)
            name = manifest.write(folder / "manifest", table)
            for part in index.tables:
                with naming(folder / "manifest" / part):
                    (folder / "manifest" / part).unlink()
            index.tables = {name: table}
        _remove_garbage(folder, index)
        return {"before": before, "after": _counts(folder)}


def _counts(folder: Path) -> dict:
    sizes = [path.stat().st_size for path in (folder / "shards").glob("[!.]*.npy")]
    return {"shards": len(sizes), "bytes": sum(sizes), "parts": len(manifest.parts(folder / "manifest"))}


Place = tuple[str, int]  # shard, first row


def _merge(folder: Path, table) -> dict[Place, Place]:
    """Copy the rows of small and of partly dead shards into new ones; returns where they were and where they are.

    Equal rows, as two processes or `--overwrite` leave them, are copied once.
    """
    dtype = layout.config_of(folder)["recipe"]["dtype"]
    names = ("shard", "first_row", "n_rows", "rows_sha256", "status")
    live = sorted({row[:4] for row in manifest.columns(table, *names) if row[0] and row[4] == "ok"})
    old = _worth_merging(folder, live, dtype)
    moved, copied, new = {}, {}, None
    try:
        for shard, first, n, checksum in sorted(live, key=lambda place: place[0] in old):
            if checksum in copied or shard not in old:
                moved[shard, first] = copied.setdefault(checksum, (shard, first))
                continue
            new = new or Shard(folder / "shards", dtype)
            moved[shard, first] = copied[checksum] = (new.path.name, new.n_kept)
            _copy(folder / "shards" / shard, slice(first, first + n), checksum, new)
            if new.kept_bytes >= MERGE_UP_TO:
                new.commit()
                new = None
        if new:
            new.commit()
    finally:
        if new:
            new.drop()
    return {before: after for before, after in moved.items() if before != after}


def _worth_merging(folder: Path, live: list[tuple], dtype: str) -> set[str]:
    """Shards that hold rows of nobody or rows that another has, and small ones if they do not stay alone."""
    n_live, seen = Counter(), set()
    for shard, _, n, checksum in live:
        n_live[shard] += n if checksum not in seen else 0
        seen.add(checksum)
    dead, small = set(), set()
    for shard, n in n_live.items():
        path = folder / "shards" / shard
        if n < len(_open(path, dtype)):
            dead.add(shard)
        elif path.stat().st_size < MERGE_BELOW:
            small.add(shard)
    return dead | small if len(dead | small) > 1 else dead


def _open(path: Path, dtype: str) -> np.ndarray:
    try:
        return open_rows(path, dtype)
    except FileNotFoundError:
        raise StoreError(f"{path}: is missing: extract again to embed its recordings anew") from None


def _copy(path: Path, rows: slice, checksum: str, new: Shard) -> None:
    digest = hashlib.sha256()
    for block in blocks(_open(path, new.dtype)[rows]):
        digest.update(new.append(block))
    if digest.hexdigest() != checksum:
        raise StoreError(f"{path}: is damaged: l3embed store verify names the recordings")
    new.keep()


def _with_places(table, moved: dict[Place, Place]):
    """The table with shards and first rows as they are now."""
    pa = manifest.need_pyarrow()
    places = [moved.get(place, place) for place in manifest.columns(table, "shard", "first_row")]
    for name, values in (("shard", [shard for shard, _ in places]), ("first_row", [first for _, first in places])):
        i = table.schema.get_field_index(name)
        table = table.set_column(i, table.schema.field(i), pa.array(values, table.schema.field(i).type))
    return table
