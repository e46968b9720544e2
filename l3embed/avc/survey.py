"""A folder of videos -> the rows of its index: every file decoded once, matched with labels or AudioSet's segments."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import decode
from ..errors import AudioError, DataError, ImageError, UsageError, reason
from . import audioset, clips
from .index import MISSING, SEED, SHARE, Index, Row, check_writable, read, with_parts, write

RATE_HZ = 16_000  # at which sound is decoded to be measured: enough to know whether there is any


@dataclass(frozen=True)
class Wanted:
    """What the user asked for beside the folder."""

    segments: tuple[str, ...] = ()  # AudioSet's segment files
    ontology: str | None = None
    subset: tuple[str, ...] = ()
    labels: str | None = None  # a table with the columns path, label and, where it has one, group
    seed: int = SEED
    held_out: float = SHARE
    test: float = SHARE


@dataclass
class _Plan:
    """Files to look at, and what is known of each already; rows that need no looking."""

    files: dict[Path, Row] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    about: dict = field(default_factory=dict)


def init(
    folder: str, path: str, wanted: Wanted, jobs: int = 1, tick: Callable[[Row], None] = lambda row: None
) -> Index:
    """Survey the folder, split it, and write the index. `tick` is told of each file that was looked at.

    Raises DataError for tables that cannot be used, and for a folder without a video.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{folder}: is no folder: give the folder of the videos")
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1. Received: {jobs}")
    check_writable(Path(path))  # now, not when hours of decoding are done
    found = clips.find((folder,), decode.VIDEO_SUFFIXES, "video")
    plan = _of_segments(root, found, wanted) if wanted.segments else _of_folder(root, found, wanted)
    rows = list(plan.rows)
    for row in _looked_at(plan.files, jobs):
        tick(row)
        rows.append(row)
    rows = with_parts(_copies_left_out(root, rows), wanted.seed, wanted.held_out, wanted.test)
    about = {"seed": wanted.seed, "held_out": wanted.held_out, "test": wanted.test, **plan.about}
    write(Path(path), root, about, rows)
    return read(path)


# --- which files


def _of_folder(root: Path, found: list[Path], wanted: Wanted) -> _Plan:
    if wanted.subset:
        raise DataError("a subset needs AudioSet's segment files (--segments)")
    plan = _Plan({path: Row(path=_below(root, path), video=_video_of(root, path)) for path in found})
    if wanted.labels:
        plan.about["labels"] = Path(wanted.labels).name
        _add_labels(plan, root, wanted.labels)
    return plan


def _video_of(root: Path, path: Path) -> str:
    """Files that are named as segments of one YouTube video belong together; any other file is a video of its own."""
    for video, start in audioset.names_of_file(path.stem):
        if start is not None and len(video) == 11:  # ids of YouTube have 11 characters
            return video
    return _below(root, path)


def _add_labels(plan: _Plan, root: Path, table: str) -> None:
    by_name = {row.path: path for path, row in plan.files.items()}
    for names in (lambda p: p.name, lambda p: p.stem):  # a bare name will do where it is the only one
        found = defaultdict(list)
        for path in plan.files:
            found[names(path)].append(path)
        by_name |= {name: paths[0] for name, paths in found.items() if len(paths) == 1 and name not in by_name}
    missing = {}
    for line, name, labels, group in _label_rows(table):
        path = by_name.get(name.removeprefix("./"))
        if path is None:
            why = f"{MISSING}named in line {line} of {Path(table).name}, but not in the folder"
            missing.setdefault(name, Row(video=name, labels=tuple(sorted(labels)), problem=why))
            continue
        row = plan.files[path]
        row = replace(row, labels=tuple(sorted({*row.labels, *labels})), video=group or row.video)
        plan.files[path] = row
    plan.rows += missing.values()


def _label_rows(table: str) -> Iterator[tuple[int, str, list[str], str]]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or ()):
                raise DataError(f"{table}: needs a column 'path' (and 'label'). Found: {reader.fieldnames}")
            for cells in reader:
                if cells["path"]:
                    labels = [part.strip() for part in (cells.get("label") or "").split(";")]
                    yield reader.line_num, cells["path"], [x for x in labels if x], cells.get("group") or ""
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror}): check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: is not a CSV text ({error})") from error


def _of_segments(root: Path, found: list[Path], wanted: Wanted) -> _Plan:
    """The segments that are wanted, each with its file; files that are nobody's segment are named."""
    if wanted.labels:
        raise DataError("labels come from the segment files: give --labels or --segments, not both")
    ontology = audioset.Ontology.read(wanted.ontology) if wanted.ontology else None
    subset = audioset.subset(wanted.subset, ontology)
    segments: dict[str, list[audioset.Segment]] = defaultdict(list)
    for table in wanted.segments:
        for segment in audioset.read_segments(table):
            if segment not in segments[segment.video]:
                segments[segment.video].append(segment)
    plan, n_outside, taken = _Plan(), 0, {}
    for path in found:
        segment, problem = _segment_of(path.stem, segments)
        if segment is None:
            plan.rows.append(Row(path=_below(root, path), video=_below(root, path), problem=problem))
        elif not subset.holds(segment):
            n_outside += 1
        elif segment in taken:
            problem = f"holds the same segment as {_below(root, taken[segment])}"
            plan.rows.append(replace(_row_of(segment, ontology), path=_below(root, path), problem=problem))
        else:
            taken[segment] = path
            plan.files[path] = replace(_row_of(segment, ontology), path=_below(root, path))
    for segment in (s for same in segments.values() for s in same):
        if segment not in taken and subset.holds(segment):
            plan.rows.append(replace(_row_of(segment, ontology), problem=MISSING + "no file of this segment"))
    plan.about = {
        "segments": [Path(table).name for table in wanted.segments], "outside_subset": n_outside,
        "subset": [Path(w).name if w.endswith(".csv") else w for w in wanted.subset], "unknown_labels": subset.unknown,
    }  # fmt: skip
    return plan


def _segment_of(stem: str, segments: dict[str, list]) -> tuple[audioset.Segment | None, str]:
    """The segment that a file is called after, or why there is none."""
    problem = "is called after no segment of the tables"
    for video, start in audioset.names_of_file(stem):
        if same := segments.get(video):
            starts = [segment.start_s for segment in same]
            for segment in same:
                if (start is None and len(same) == 1) or start in (segment.start_s, round(segment.start_s * 1000)):
                    return segment, ""
            told = ", ".join(f"{s:g} s" for s in starts)
            problem = f"the segments of {video} begin at {told}: the name says {'nothing' if start is None else start}"
    return None, problem


def _row_of(segment: audioset.Segment, ontology: audioset.Ontology | None) -> Row:
    names = [ontology.names.get(label, label) if ontology else label for label in segment.labels]
    return Row(video=segment.video, start_s=segment.start_s, labels=tuple(name.replace(";", ",") for name in names))


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


# --- what is in them


def _looked_at(files: dict[Path, Row], jobs: int) -> Iterable[Row]:
    from joblib import Parallel, delayed

    work = (delayed(look)(path, row) for path, row in files.items())
    return Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(work)  # ffmpeg works, threads wait


def look(path: Path, row: Row) -> Row:
    """The row with what sound and picture hold, decoded to their ends, and what is wrong with them."""
    problems, notes, facts = [], [], {}
    for part in (_hear, _watch):
        try:
            found, said = part(path)
        except (AudioError, ImageError) as error:
            problems.append(str(error))
        else:
            facts |= found
            notes += said
    row = replace(row, **facts, note="; ".join(dict.fromkeys(notes)))
    try:
        row = replace(row, bytes=path.stat().st_size)
    except OSError as error:
        problems.append(reason(error))
    return replace(row, problem="; ".join(dict.fromkeys(problems)) or _unusable(row))


def _hear(path: Path) -> tuple[dict, list[str]]:
    with decode.open_recording(path, RATE_HZ) as sound:
        for _ in sound:
            pass
        return {"sound_s": round(sound.seconds, 3), "peak": round(sound.peak, 6)}, sound.notes


def _watch(path: Path) -> tuple[dict, list[str]]:
    """Small pictures, only to be counted. The last one is shown as long as one is on average."""
    pictures = decode.open_pictures(path, 16, 16)
    try:
        times = [time for time, _ in pictures]
        shown = 1 / pictures.rate_hz if getattr(pictures, "rate_hz", 0) else 0
        duration = getattr(pictures, "expected_s", None)
        found = {"picture_s": round(float(times[-1] + shown), 3), "duration_s": duration}
        notes = [note for note in pictures.notes if not note.startswith("smaller than")]
    finally:
        pictures.close()
    if duration and found["picture_s"] > 1.1 * duration + 1:
        notes.append(f"the header promises {duration:.2f} s, the picture ends at {found['picture_s']:.2f} s")
    return found, notes


def _unusable(row: Row) -> str:
    if (seconds := min(row.sound_s, row.picture_s)) < 1:
        what = "sound" if row.sound_s < 1 else "picture"
        return f"holds {seconds:.2f} s of {what}: at least 1 s is needed for a pair"
    return "is silent" if row.peak < clips.SILENCE else ""


def _copies_left_out(root: Path, rows: list[Row]) -> list[Row]:
    """Of files with equal bytes the first one stays: a copy in another part would tell its answer."""
    rows = sorted(rows, key=lambda row: row.path)
    sizes = defaultdict(list)
    for i, row in enumerate(rows):
        if row.path and not row.problem:
            sizes[row.bytes].append(i)
    for same in sizes.values():
        first: dict[bytes, str] = {}
        for i in same if len(same) > 1 else ():
            with open(root / rows[i].path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            if (original := first.setdefault(digest, rows[i].path)) != rows[i].path:
                rows[i] = replace(rows[i], problem=f"holds the same bytes as {original}")
    return rows
