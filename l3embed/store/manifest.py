"""The truth of a store: Parquet parts with a row for each recording that was embedded, found again, or failed.

A part is written once and never changed. A recording may have several rows: it was changed and embedded again, its
first try failed, two processes met. Which one counts does not depend on who asks: vectors before failures, then the
highest generation, then the last part by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ..errors import MissingExtraError, StoreError
from .files import move_whole, naming, part_name, token


def need_pyarrow():
    """pyarrow, or one line that says how to install it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("a store", "store") from error
    return pyarrow


@lru_cache
def schema():
    """The columns of a part. What is about vectors is null in the row of a failure."""
    pa = need_pyarrow()
    return pa.schema([
        ("clip", pa.string()),  # the recording's path below the folder that was named (`layout.clip_id`)
        ("status", pa.string()),  # "ok" or "failed"
        ("error", pa.string()),
        ("generation", pa.int32()),  # 1 when it was first written, one more each time it was written again
        ("audio_sha256", pa.string()),  # of the recording's bytes
        ("shard", pa.string()),  # file in shards/, null without rows
        ("first_row", pa.int64()),
        ("n_rows", pa.int64()),
        ("dim", pa.int32()),
        ("rows_sha256", pa.string()),  # of the rows' bytes in the shard
        ("first_s", pa.float64()),  # time of the first row
        ("hop_s", pa.float64()),  # between rows, null where `times_s` has them
        ("times_s", pa.list_(pa.float64())),  # of every row, where they are not evenly spaced
        ("n_nan", pa.int64()),
        ("mean_norm", pa.float64()),  # of the rows
        ("seconds", pa.float64()),  # of sound
        ("notes", pa.list_(pa.string())),
        ("source_path", pa.string()),  # where the recording lay, and what it looked like there: see `writer`
        ("source_bytes", pa.int64()),
        ("source_mtime_ns", pa.int64()),
        ("source_sample", pa.string()),
        ("l3embed", pa.string()),  # version that embedded it
        ("more", pa.string()),  # JSON: anything else that is known about it
    ])  # fmt: skip


def table_of(rows: list[dict]):
    """Arrow table of a part; what a row does not say is null."""
    return need_pyarrow().Table.from_pylist(rows, schema())


def write(folder: Path, table) -> str:
    """Write a part; returns its name."""
    import pyarrow.parquet as pq

    name = f"part-{token()}.parquet"
    part, path = folder / part_name(token()), folder / name
    with naming(path):
        try:
            pq.write_table(table, part, compression="zstd", write_page_checksum=True)
            move_whole(part, path)
        finally:
            part.unlink(missing_ok=True)
    return name


def read(path: Path):
    """The table of a part. Raises StoreError for a damaged one, FileNotFoundError where it is gone."""
    pa = need_pyarrow()
    try:
        table = pa.parquet.ParquetFile(path, page_checksum_verification=True).read(columns=schema().names)
        if not table.schema.equals(schema()):
            raise ValueError("not the columns of a manifest")
        return table
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        what = " ".join(str(error).split())
        raise StoreError(
            f"{path}: is damaged ({what}): remove it, and the next extraction embeds its recordings again"
        ) from error


def columns(table, *names: str) -> Iterator[tuple]:
    """The rows of a table as tuples of some of its columns."""
    return zip(*(table.column(name).to_pylist() for name in names), strict=True)


def parts(folder: Path) -> list[str]:
    """Names of the parts that are there, in order."""
    try:
        return sorted(n for n in os.listdir(folder) if n.startswith("part-") and n.endswith(".parquet"))
    except FileNotFoundError:
        raise StoreError(f"{folder}: is missing") from None


class Index:
    """The rows that count, by recording and by content; in memory, 1.3 kB a recording (measured with 300,000).

    `usable` says of (shard, first row, number of rows, dim) whether these rows are there at all.
    """

    def __init__(self, folder: Path, usable=lambda *rows: True):
        self.folder, self._usable = folder, usable
        self.tables: dict[str, object] = {}
        self._best: dict[str, tuple] = {}  # clip -> (rank, part, number of the row)
        self._newest: dict[str, int] = {}  # clip -> highest generation, of rows that do not count, too
        self._of_content: dict[str, tuple] = {}  # sha256 -> (part, number)
        self.refresh()

    def refresh(self) -> None:
        """Take in the parts that other processes have written."""
        for name in parts(self.folder):
            if name not in self.tables:
                self.add(name, read(self.folder / name))

    def add(self, part: str, table) -> None:
        self.tables[part] = table
        names = ("clip", "status", "generation", "audio_sha256", "shard", "first_row", "n_rows", "dim")
        for i, (clip, status, generation, content, *rows) in enumerate(columns(table, *names)):
            is_ok = status == "ok" and self._usable(*rows)
            rank = (is_ok, generation, part, i)
            if clip not in self._best or rank > self._best[clip][0]:
                self._best[clip] = (rank, part, i)
            self._newest[clip] = max(generation, self._newest.get(clip, 0))
            if is_ok and content:
                self._of_content.setdefault(content, (part, i))

    def __len__(self) -> int:
        return len(self._best)

    def clips(self) -> list[str]:
        return sorted(self._best)

    def get(self, clip: str) -> dict | None:
        """The row of a recording, its status "failed" where its vectors are not usable."""
        if clip not in self._best:
            return None
        (is_ok, *_), part, i = self._best[clip]
        row = self._row(part, i)
        return row if is_ok else {**row, "status": "failed"}

    def with_content(self, sha256: str) -> dict | None:
        """A row with vectors of a recording of these bytes, whatever it is called."""
        return self._row(*self._of_content[sha256]) if sha256 in self._of_content else None

    def generation(self, clip: str) -> int:
        """For the next row of a recording: higher than that of any before."""
        return self._newest.get(clip, 0) + 1

    def _row(self, part: str, i: int) -> dict:
        return self.tables[part].slice(i, 1).to_pylist()[0]

    def table(self):
        """One row for each recording, in the order of their ids."""
        pa = need_pyarrow()
        if not self._best:
            return schema().empty_table()
        offsets, at = {}, 0
        for name, table in self.tables.items():
            offsets[name], at = at, at + len(table)
        index = [offsets[part] + i for _, part, i in (self._best[clip] for clip in self.clips())]
        return pa.concat_tables(self.tables.values()).take(pa.array(index, pa.int64()))

    def rows(self) -> Iterator[dict]:
        """The rows of `table`, a thousand in memory at a time."""
        for batch in self.table().to_batches(max_chunksize=1000):
            yield from batch.to_pylist()
