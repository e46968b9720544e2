"""The index of a folder of videos: what each one holds, its labels, and which part of the data it belongs to.

One CSV file. Its first line, a comment, is JSON: where the videos are (relative to the index), seed and shares of the
split, what was asked for. Then a row for each video that is there or was asked for; `problem` says why one cannot be
used, and only the others have a part. Equal folders and settings give equal bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath

from ..errors import DataError

PARTS = ("train", "held_out", "test")
SEED = 20180118  # of the published training jobs' subsets (marl/l3embedding, jobs)
SHARE = 0.1  # of the videos, to validate on and to test on each (Cramer et al. 2019)
MISSING = "missing: "  # how the problem of a video that is not there begins
_FORMAT = "l3embed-index-1"


@dataclass(frozen=True)
class Row:
    """One video. Seconds are what could be decoded, `duration_s` is what the header promises (empty: nothing)."""

    path: str = ""  # below the root, with slashes; empty where there is no file
    video: str = ""  # what a split keeps together: segments of one YouTube video
    start_s: float | None = None  # of the AudioSet segment in its video
    part: str = ""
    labels: tuple[str, ...] = ()
    duration_s: float | None = None
    sound_s: float | None = None
    picture_s: float | None = None
    peak: float | None = None  # highest sample
    bytes: int | None = None
    problem: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        return self.path or self.video


@dataclass(frozen=True)
class Index:
    path: Path
    root: Path
    about: dict
    rows: tuple[Row, ...]

    def file(self, row: Row) -> Path:
        return self.root / row.path

    def part(self, name: str) -> list[Row]:
        return [row for row in self.rows if row.part == name]


def split(videos: Iterable[str], seed: int, held_out: float = SHARE, test: float = SHARE) -> dict[str, str]:
    """Each video -> its part. Seeded, and independent of order: shares are exact up to rounding.

    Videos are ranked by a hash of seed and name, so that a folder that grew keeps most of its split. With three videos
    or more, no part that was asked for stays empty.
    """

    def rank(video: str) -> bytes:
        return hashlib.sha256(f"{seed}:{video}".encode("utf-8", "surrogateescape")).digest()

    ranked = sorted(set(videos), key=rank)
    least = 1 if len(ranked) >= 3 else 0
    n_held_out, n_test = (max(least, round(share * len(ranked))) if share else 0 for share in (held_out, test))
    parts = ["held_out"] * n_held_out + ["test"] * n_test
    return dict(zip(ranked, parts + ["train"] * len(ranked), strict=False))


def with_parts(rows: list[Row], seed: int, held_out: float, test: float) -> list[Row]:
    parts = split((row.video for row in rows if not row.problem), seed, held_out, test)
    return [row if row.problem else replace(row, part=parts[row.video]) for row in rows]


def write(path: Path, root: Path, about: dict, rows: Iterable[Row]) -> None:
    """Whole or not at all. Rows are sorted by path, what has none by video."""
    relative = PurePosixPath(Path(os.path.relpath(root.absolute(), path.absolute().parent)))
    text = io.StringIO(newline="")
    text.write("# " + json.dumps({"format": _FORMAT, "root": str(relative), **about}, sort_keys=True) + "\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    for row in sorted(rows, key=lambda r: (not r.path, r.path, r.video, r.start_s or 0)):
        writer.writerow(_cell(value) for value in asdict(row).values())
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raises DataError where `write` would fail for reasons that are there already."""
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder: name a file for the index")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({(error.strerror or str(error)).lower()})") from error


def _cell(value) -> str:
    if isinstance(value, tuple):
        return ";".join(value)
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def read(path: str | Path) -> Index:
    """Raises DataError for what is no index, or one in which a video lies in two parts."""
    path = Path(path)
    try:
        first, _, rest = path.read_bytes().decode("utf-8", "surrogateescape").partition("\n")
        about = json.loads(first.removeprefix("#"))
        if about["format"] != _FORMAT:
            raise ValueError(f"its format is {about['format']!r}, not {_FORMAT!r}")
        rows = tuple(_row(cells) for cells in csv.DictReader(io.StringIO(rest, newline="")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): make it with l3embed data init") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: is not an index that l3embed data init made ({error})") from error
    parts: dict[str, str] = {}
    for row in rows:
        if row.part not in ("", *PARTS):
            raise DataError(f"{path}: {row.name}: its part must be one of {', '.join(PARTS)}. Received: {row.part!r}")
        if row.part and parts.setdefault(row.video, row.part) != row.part:
            raise DataError(f"{path}: {row.video} lies in two parts, {parts[row.video]} and {row.part}: a network "
                            "would be tested on what it was trained on")  # fmt: skip
    return Index(path, path.parent / about["root"], about, rows)


_CONVERT: dict[str, Callable] = {
    "labels": lambda text: tuple(filter(None, text.split(";"))),
    **dict.fromkeys(("start_s", "duration_s", "sound_s", "picture_s", "peak"), float),
    "bytes": int,
}


def _row(cells: dict[str, str]) -> Row:
    values = {}
    for field in fields(Row):
        text = cells[field.name]
        if text is None:
            raise ValueError(f"a row is too short: {list(cells.values())}")
        convert = _CONVERT.get(field.name, str)
        values[field.name] = field.default if text == "" else convert(text)
    return Row(**values)


def summary(index: Index) -> dict:
    """Counts for people and for programs."""
    usable = [row for row in index.rows if row.part]
    problems = {row.name: row.problem for row in index.rows if row.problem}
    labels = Counter(label for row in usable for label in row.labels)
    return {
        "root": os.path.normpath(index.root),
        "about": {key: value for key, value in index.about.items() if key not in ("format", "root")},
        "videos": len({row.video for row in usable}), "files": len(usable),
        "hours": round(sum(min(row.sound_s or 0, row.picture_s or 0) for row in usable) / 3600, 4),
        "parts": {part: {"files": len(rows := index.part(part)), "videos": len({row.video for row in rows})}
                  for part in PARTS},
        "labels": dict(labels.most_common()),
        "notes": {row.name: row.note for row in usable if row.note},
        "problems": problems,
    }  # fmt: skip


def check(index: Index) -> dict[str, str]:
    """What is wrong now: files that are gone or have changed since, and what could not be used already."""
    wrong = {}
    for row in index.rows:
        if row.problem:
            wrong[row.name] = row.problem
            continue
        try:
            size = index.file(row).stat().st_size
        except OSError as error:
            wrong[row.name] = f"gone: {(error.strerror or str(error)).lower()}"
        else:
            if size != row.bytes:
                wrong[row.name] = f"changed: {size} bytes now, {row.bytes} when the index was made"
    return wrong
