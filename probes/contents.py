"""What the files of a data set are (hash, length and rate: `data_facts`), remembered so that nothing is read twice."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

from l3embed.spec import digest
from l3embed.store.files import naming, write_whole
from l3embed.store.manifest import need_pyarrow

from .data_facts import Fact, of_clip, of_files
from .datasets import DataSet


def contents(data: DataSet, folder: Path, jobs: int = 1, tick: Callable[[], None] | None = None) -> list[Fact]:
    """Of each clip, in order: the hash of its file, and seconds and rate as the header says.

    Kept in `folder` with sizes and dates: what has not changed is not read again.
    """
    paths = [os.path.abspath(clip.path) for clip in data.clips]
    cache = folder / "contents" / f"{digest({'root': os.path.abspath(data.root)})}.parquet"
    known = _read(cache)
    stamps = {path: _stamp(path) for path in dict.fromkeys(paths)}
    new = [path for path, stamp in stamps.items() if stamp is None or known.get(path, (None,))[0] != stamp]
    found = {path: content for path, (_, content) in known.items()}
    found |= of_files(new, jobs, tick, "hash+header")
    if new:
        _write(cache, {path: (stamps[path], found[path]) for path in stamps if stamps[path] and found[path].sha256})
    return [of_clip(clip, found[path]) for clip, path in zip(data.clips, paths, strict=True)]


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _read(path: Path) -> dict[str, tuple[tuple[int, int], Fact]]:
    pa = need_pyarrow()
    try:
        rows = pa.parquet.read_table(path).to_pylist()
        return {r["path"]: ((r["bytes"], r["mtime_ns"]), Fact(r["sha256"], r["seconds"], r["rate_hz"])) for r in rows}
    except (OSError, ValueError, KeyError, pa.ArrowException):  # not there, or damaged: it is made again
        return {}


def _write(path: Path, found: dict) -> None:
    pa = need_pyarrow()
    rows = [{"path": os.fsencode(name).decode("utf-8", "backslashreplace"), "bytes": size, "mtime_ns": mtime,
             "sha256": content.sha256, "seconds": content.seconds, "rate_hz": content.rate_hz}
            for name, ((size, mtime), content) in found.items()]  # fmt: skip
    schema = pa.schema([("path", pa.string()), ("bytes", pa.int64()), ("mtime_ns", pa.int64()), ("sha256", pa.string()),
                        ("seconds", pa.float64()), ("rate_hz", pa.float64())])  # fmt: skip
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema), out, compression="zstd")
    write_whole(path, out.getvalue())
