"""A store's vectors in other formats. In memory are a few MB of them at a time, all names, and for NumPy all times."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .. import pooling
from ..errors import StoreError, UsageError
from ..plan import result_names
from . import layout, manifest
from .corpus import Corpus
from .files import move_whole, naming, part_name, token, write_whole
from .maintenance import blocks
from .npz import NpzWriter
from .shards import Shard

FORMATS = ("npz", "parquet", "numpy")
GROUP_BYTES = 64 * 2**20  # of vectors in a row group of Parquet


def export(corpus: Corpus, to: str, folder: str | os.PathLike, pool: str | None = None) -> list[Path]:
    """Write a corpus into a folder; returns the files.

    `to` is one of

    - "npz": a file for each recording, the same that `extract --format npz` writes
    - "parquet": `vectors.parquet` with a row for each vector: clip, time_s, embedding (D,)
    - "numpy": `vectors.npy` (N, D), `times.npy` (N,) s, `clips.npy` (n,) ids, `offsets.npy` (n + 1,): recording i has
      the rows offsets[i] to offsets[i + 1]

    Vectors keep the store's dtype in NumPy files and are float32 elsewhere. With `pool` ("mean", "mean+max" ...; not
    npz) each recording is one vector: a row for each, no times, no offsets. Raises StoreError where there is nothing.
    """
    if to not in FORMATS:
        raise UsageError(f"format must be one of {', '.join(FORMATS)}. Received: {to!r}")
    if pool is not None:
        pooling.check(pool)
        if to == "npz":
            raise UsageError("pooled vectors are exported to parquet or numpy, not to npz")
    if not corpus.clips:
        raise StoreError(f"{corpus.folder}: holds no vectors to export")
    folder = Path(folder)
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return {"npz": _to_npz, "parquet": _to_parquet, "numpy": _to_numpy}[to](corpus, folder, pool)


def _vectors(corpus: Corpus, clip: str, pool: str | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks (k, D) of a recording's vectors and their times (k,), or its pooled one at its first time."""
    vectors, times = corpus.clip(clip), corpus.times(clip)
    if pool is not None:
        yield pooling.pool(vectors, pool)[None], times[:1]
        return
    at = 0
    for block in blocks(vectors):
        yield block, times[at : at + len(block)]
        at += len(block)


def _to_npz(corpus: Corpus, folder: Path, pool: None) -> list[Path]:
    names = {layout.name_of(clip).replace("/", os.sep): clip for clip in corpus.clips}
    written = []
    for name, stem in result_names(list(names)).items():
        writer = NpzWriter(folder / f"{stem}.npz")
        for block in blocks(corpus.clip(names[name])):
            writer.append(block)
        writer.commit(corpus.times(names[name]), _metadata(corpus, names[name], name))
        written.append(writer.path)
    return written


def _metadata(corpus: Corpus, clip: str, name: str) -> dict:
    """As `extract` writes it; vectors that were rounded say so."""
    row, recipe = corpus.row(clip), dict(corpus.recipe)
    if recipe["dtype"] == "float32":
        del recipe["dtype"]
    facts = {key: row[key] for key in ("source_bytes", "source_sample", "l3embed", "seconds", "notes")}
    return {**recipe, **facts, "source": name, **json.loads(row["more"] or "{}")}


def _to_parquet(corpus: Corpus, folder: Path, pool: str | None) -> list[Path]:
    pa = manifest.need_pyarrow()
    vector = pa.list_(pa.float32(), corpus.dim * (1 if pool is None else len(pool.split("+"))))
    schema = pa.schema([("clip", pa.string()), ("time_s", pa.float64()), ("embedding", vector)])
    if pool is not None:
        schema = schema.remove(1)
    path = folder / "vectors.parquet"
    part = folder / part_name(token())
    with naming(path):
        try:
            with pa.parquet.ParquetWriter(part, schema, compression="zstd") as writer:
                for clips, times, rows in _groups(corpus, pool):
                    values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=vector)
                    columns = {"clip": clips, "time_s": times, "embedding": values}
                    writer.write_table(pa.table({name: columns[name] for name in schema.names}, schema))
            move_whole(part, path)
        finally:
            part.unlink(missing_ok=True)
    return [path]


def _groups(corpus: Corpus, pool: str | None) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """Ids, times and vectors of about GROUP_BYTES at a time: a row group each."""
    clips, times, rows, size = [], [], [], 0
    for clip in corpus.clips:
        for block, block_times in _vectors(corpus, clip, pool):
            clips += [clip] * len(block)
            times.append(block_times)
            rows.append(np.asarray(block, np.float32))  # half precision is read by few
            size += rows[-1].nbytes
            if size >= GROUP_BYTES:
                yield clips, np.concatenate(times), np.concatenate(rows)
                clips, times, rows, size = [], [], [], 0
    if rows:
        yield clips, np.concatenate(times), np.concatenate(rows)


def _to_numpy(corpus: Corpus, folder: Path, pool: str | None) -> list[Path]:
    vectors = Shard(folder, corpus.recipe["dtype"] if pool is None else "float32")
    times, offsets = [], [0]
    try:
        for clip in corpus.clips:
            for block, block_times in _vectors(corpus, clip, pool):
                vectors.append(block)
                times.append(block_times)
            vectors.keep()
            offsets.append(vectors.n_kept)
        vectors.commit()
        with naming(folder / "vectors.npy"):
            os.replace(vectors.path, folder / "vectors.npy")
    finally:
        vectors.drop()
    arrays = {"clips.npy": np.array(corpus.clips, str)}
    if pool is None:
        arrays |= {"offsets.npy": np.array(offsets, np.int64), "times.npy": np.concatenate(times)}
    for name, array in arrays.items():
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        write_whole(folder / name, out.getvalue())
    return [folder / "vectors.npy", *(folder / name for name in arrays)]
