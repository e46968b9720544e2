"""AudioSet (Gemmeke et al. 2017): segments of YouTube videos, of several labels each, whose media are there."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from l3embed.avc.audioset import Ontology, Segment, names_of_file, read_segments
from l3embed.errors import UsageError

from .clips import Clip, DataSet, checked, named, relative
from .folders import sounds
from .tables import rows

# Rows of the tables as Google publishes them; videos vanish, so nobody has them all.
TABLES = {"balanced_train_segments": "train", "unbalanced_train_segments": "train", "eval_segments": "test"}
_SOURCE = "Gemmeke et al. 2017, Audio Set; research.google.com/audioset"


def _tables(folder: Path) -> dict[Path, str]:
    found = {path: split for name, split in TABLES.items() for path in sorted(folder.glob(f"**/{name}.csv"))}
    return {path: split for path, split in found.items() if not path.name.startswith(".")}


def is_audioset(folder: Path) -> bool:
    return any((folder / place / f"{name}.csv").exists() for name in TABLES for place in (".", "csv", "metadata"))


def audioset(folder: str | Path, whole: str = "no") -> DataSet:
    """``*_segments.csv`` and media anywhere below, called after segments: ``{ytid}_{start}_{end}.*`` (marl/l3embedding,
    milliseconds; seconds are understood), ``Y{ytid}.wav`` (PANNs), ``{ytid}.*``.

    A file holds its segment only; with whole="yes" those whose names tell no time hold the whole video, and the clip is
    the stretch from start_s to end_s. Labels have names where ``class_labels_indices.csv`` or ``ontology.json`` lies
    beside the tables. Training tables train, the evaluation table tests; the group is the video. Segments without a
    file are left out, and counted in the notes.
    """
    folder = Path(folder)
    if whole not in ("yes", "no"):
        raise UsageError(f"whole must be 'yes' or 'no'. Received: {whole!r}")
    tables = _tables(folder)
    media, names = _media(folder), _names(folder)
    segments = {
        (s.video, s.start_s): (s, split) for table, split in reversed(tables.items()) for s in read_segments(table)
    }
    of_video, clips, left_out = Counter(video for video, _ in segments), [], {}
    for segment, split in segments.values():
        path, timed = _file(segment, media)
        labels = tuple(names.get(label, label) for label in segment.labels)
        if path is None or not labels or (not timed and whole == "no" and of_video[segment.video] > 1):
            continue  # of several segments of a video, an untimed name does not say which
        cut = (segment.start_s, segment.end_s) if whole == "yes" and not timed else (None, None)
        clips.append(Clip(path, labels[0], "", segment.video, split, "", labels, *cut))
    used = {clip.path for clip in clips}
    for path in (path for paths in media.values() for path, _ in paths):
        if path not in used:
            left_out[relative(path, folder)] = "is called after no segment of the tables"
    notes = () if len(clips) == len(segments) else (
        f"{len(segments) - len(clips)} of {len(segments)} segments have no file here: results are of the rest",
    )  # fmt: skip
    both = {clip.split for clip in clips} == {"train", "test"}
    clips = named(checked(clips, folder, "AudioSet"), folder)
    return DataSet("audioset", folder, clips, "lists" if both else "none", "map", "CC BY 4.0 (labels)",
                   _SOURCE, {}, notes, left_out)  # fmt: skip


def _media(folder: Path) -> dict[str, list[tuple[Path, float | None]]]:
    """What a file may be called after -> files, with the time that the name tells (s or ms)."""
    found = defaultdict(list)
    for path in sounds(folder):
        for video, start in names_of_file(path.stem):
            found[video].append((path, start))
    return found


def _file(segment: Segment, media: dict) -> tuple[Path | None, bool]:
    """(file of a segment, whether its name tells the time)."""
    starts = {segment.start_s, float(round(segment.start_s * 1000))}
    of_video = media.get(segment.video, ())
    timed = [path for path, start in of_video if start is not None and start in starts]
    untimed = [path for path, start in of_video if start is None]
    return (timed or untimed or [None])[0], bool(timed)


def _names(folder: Path) -> dict[str, str]:
    for table in sorted(folder.glob("**/class_labels_indices.csv")):
        return {row["mid"]: row["display_name"] for _, row in rows(table, ("mid", "display_name"))}
    for ontology in sorted(folder.glob("**/ontology.json")):
        return Ontology.read(ontology).names
    return {}
