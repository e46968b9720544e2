"""Write and random read of a store beside its alternatives, in one run; ratios to the store.

    python scripts/bench_store.py [--clips 4000] [--dim 512] [--rows 46] [--runs 3] [--folder DIR]

Noise of a corpus' size (5 s clips at a hop of 0.1 s have 46 vectors), written clip by clip and flushed at the end, then
read: 500 clips in random order, all vectors once, mean and maximum of every clip. Medians of the runs, warm page cache.
Formats: a store (float32, float16), one .npz a clip as `extract` writes them, one .npy a clip, one HDF5 file (needs
h5py), one Parquet file with a row for each vector.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from l3embed import pooling, store, windows

RECIPE = {"model": "noise", "hop_samples": 4800, "rate_hz": 48_000}


@dataclass(frozen=True)
class Item:
    name: str
    recording: bytes
    output: str


def items(n: int) -> list[Item]:
    return [Item(f"{i % 50}/{i}.wav", i.to_bytes(4, "little"), f"{i % 50}/{i}.npz") for i in range(n)]


class _Extracted:
    """What `extract` writes to: a store or a folder of .npz."""

    def __init__(self, folder: Path, format: str, dtype: str = "float32"):
        self.folder, self.format, self.dtype = folder, format, dtype

    def write(self, clips: list[Item], vectors: np.ndarray) -> None:
        times = windows.times(vectors.shape[1], RECIPE["hop_samples"], RECIPE["rate_hz"])
        with store.writing(self.folder, RECIPE, self.format, self.dtype) as out:
            for i, item in enumerate(clips):
                if out.has(item):
                    continue
                metadata = {**RECIPE, **out.identity(item), "source": item.name, "seconds": 5.0, "notes": []}
                writer = out.writer(item)
                writer.append(vectors[i % len(vectors)])
                writer.commit(times, metadata)
                out.settle()

    def open(self):
        if self.format == "npz":
            return lambda item: store.read(self.folder / item.output)[0]
        corpus = store.open(self.folder)
        return lambda item: corpus.clip(item.name)


class _Npy:
    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, clips, vectors):
        for folder in {(self.folder / item.output).parent for item in clips}:
            folder.mkdir(parents=True, exist_ok=True)
        for i, item in enumerate(clips):
            np.save(self.folder / f"{item.output}.npy", vectors[i % len(vectors)])

    def open(self):
        return lambda item: np.load(self.folder / f"{item.output}.npy")


class _Hdf5:
    def __init__(self, folder: Path):
        self.path = folder / "all.h5"

    def write(self, clips, vectors):
        import h5py

        self.path.parent.mkdir(parents=True)
        with h5py.File(self.path, "w") as file:
            for i, item in enumerate(clips):
                file.create_dataset(item.name, data=vectors[i % len(vectors)])

    def open(self):
        import h5py

        file = h5py.File(self.path)
        return lambda item: file[item.name][:]


class _Parquet:
    """Row groups of 8 clips: what a reader has to decode for one; it keeps the last."""

    def __init__(self, folder: Path):
        self.path = folder / "all.parquet"

    def write(self, clips, vectors):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path.parent.mkdir(parents=True)
        self.rows = vectors.shape[1]
        schema = pa.schema([("clip", pa.string()), ("embedding", pa.list_(pa.float32(), vectors.shape[2]))])
        with pq.ParquetWriter(self.path, schema, compression="zstd") as writer:
            for at in range(0, len(clips), 8):
                names = [item.name for item in clips[at : at + 8] for _ in range(self.rows)]
                rows = np.concatenate([vectors[i % len(vectors)] for i in range(at, min(at + 8, len(clips)))])
                values = pa.FixedSizeListArray.from_arrays(rows.reshape(-1), type=schema.field(1).type)
                writer.write_table(pa.table([pa.array(names), values], schema=schema))

    def open(self):
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self.path)

        @lru_cache(1)
        def group(i):
            column = file.read_row_group(i, columns=["embedding"])["embedding"].combine_chunks()
            return column.flatten().to_numpy().reshape(len(column), -1)

        def read(item):
            i = int(item.name.partition("/")[2][:-4])
            return group(i // 8)[i % 8 * self.rows :][: self.rows]

        return read


def formats(base: Path) -> dict:
    found = {
        "store, float32": lambda i: _Extracted(base / f"s{i}", "store"),
        "store, float16": lambda i: _Extracted(base / f"h{i}", "store", "float16"),
        "npz a clip": lambda i: _Extracted(base / f"z{i}", "npz"),
        "npy a clip": lambda i: _Npy(base / f"y{i}"),
        "Parquet, zstd": lambda i: _Parquet(base / f"p{i}"),
    }
    try:
        import h5py  # noqa: F401
    except ImportError:
        print("h5py is not installed: without HDF5")
        return found
    return {**found, "HDF5": lambda i: _Hdf5(base / f"5{i}")}


def measure(make, clips: list[Item], vectors: np.ndarray, runs: int) -> dict[str, float]:
    """Medians of seconds; bytes and files."""
    seconds = {"write": [], "random": [], "all": [], "pooled": []}
    some = [clips[i] for i in np.random.default_rng(1).permutation(len(clips))[:500]]
    for i in range(runs):
        format = make(i)
        with _timed(seconds["write"]):
            format.write(clips, vectors)
            os.sync()
        read = format.open()
        for item in some:  # warm
            read(item)
        with _timed(seconds["random"]):
            total = sum(float(read(item).sum(dtype=np.float32)) for item in some)
        with _timed(seconds["all"]):
            for item in clips:
                total += float(read(item).sum(dtype=np.float32))
        with _timed(seconds["pooled"]):
            for item in some:
                pooling.pool(read(item), "mean+max")
    folder = getattr(format, "folder", None) or format.path.parent
    files = [path for path in folder.rglob("*") if path.is_file()]
    sizes = {"MB": sum(path.stat().st_size for path in files) / 1e6, "files": len(files)}
    return {**{name: statistics.median(values) for name, values in seconds.items()}, **sizes}


class _timed:
    def __init__(self, into: list[float]):
        self.into = into

    def __enter__(self):
        self.started = time.perf_counter()

    def __exit__(self, *exc):
        self.into.append(time.perf_counter() - self.started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("clips", 4000), ("dim", 512), ("rows", 46), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    arguments = parser.parse_args()
    clips = items(arguments.clips)
    vectors = np.random.default_rng(0).standard_normal((64, arguments.rows, arguments.dim), np.float32)
    mb = arguments.clips * arguments.rows * arguments.dim * 4 / 1e6
    print(f"{arguments.clips} clips of {arguments.rows} vectors of {arguments.dim} numbers: {mb:.0f} MB as float32")
    print("seconds (times the store's)   write          500 random     all            500 pooled      MB  files")
    base, first = Path(tempfile.mkdtemp(dir=arguments.folder)), None
    try:
        for name, make in formats(base).items():
            found = measure(make, clips, vectors, arguments.runs)
            first = first or found
            cells = [f"{found[c]:7.3f} ({found[c] / first[c]:4.1f})" for c in ("write", "random", "all", "pooled")]
            print(f"{name:27s}", " ".join(cells), f"{found['MB']:7.0f} {found['files']:6d}", flush=True)
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
