"""What clips are opened from: the files of one part of the data, each of which opens a stretch of itself."""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import decode
from ..errors import AudioError, TrainingError, UsageError
from . import clips, index, prepared
from .config import TrainConfig

PARTS = index.PARTS
SPLITS = ("train", "held_out")  # what a run needs; folders of files without an index have no test part


@dataclass(frozen=True)
class VideoFile:
    path: Path
    labels: frozenset[str] = frozenset()

    def open(self, rng: np.random.Generator, form: clips.Format) -> clips.Clip:
        return clips.from_video(self.path, rng, form.rate_hz, form.clip_s, form.frames_hz, form.size)


@dataclass(frozen=True)
class SoundFile:
    path: Path
    labels: frozenset[str] = frozenset()

    def open(self, rng: np.random.Generator, form: clips.Format) -> clips.Clip:
        return clips.from_recording(self.path, rng, form.rate_hz, form.clip_s)


File = VideoFile | SoundFile | prepared.PreparedFile


class Sources:
    """The files of one part, found once; `recordings` are those that scenes may be made of."""

    def __init__(self, config: TrainConfig, split: str):
        data, self.split = config.data, split
        self.files: list[File] = prepared.files(data.prepared, split) if data.prepared else files_of(config, split)
        of_scenes = _recordings(config, split) if data.prepared and data.scenes else self.files
        self.recordings = [file for file in of_scenes if isinstance(file, SoundFile)]
        self.named: set[Path] = set()  # files that cannot be used and were named on stderr
        if not data.scenes and len(self.files) < 2:
            raise TrainingError(
                f"{len(self.files) or 'no'} files left for the {split} part, and a mismatch needs two: "
                "give more files or change data.held_out (an index: l3embed data show)"
            )

    def companions(self) -> dict[str, np.ndarray]:
        """Each label that several files bear -> the places of these in `files`."""
        found: dict[str, list[int]] = {}
        for i, file in enumerate(self.files):
            for label in file.labels:
                found.setdefault(label, []).append(i)
        return {label: np.array(places) for label, places in sorted(found.items()) if len(places) > 1}


def files_of(config: TrainConfig, split: str) -> list[File]:
    """The videos and recordings of one part.

    An index knows its parts; of other files each one's name alone decides which are held out, and none is of the test
    part.
    """
    if split not in PARTS:
        raise UsageError(f"split must be one of {', '.join(PARTS)}. Received: {split!r}")
    data = config.data
    found = clips.find(data.videos, decode.VIDEO_SUFFIXES, "video")
    videos: list[File] = [VideoFile(path) for path in found if _in_split(path, split, data.held_out)]
    return videos + (_indexed(data.index, split) if data.index else []) + _recordings(config, split)


def _recordings(config: TrainConfig, split: str) -> list[SoundFile]:
    found = clips.find(config.data.recordings, decode.AUDIO_SUFFIXES, "sound file")
    return [SoundFile(path) for path in found if _in_split(path, split, config.data.held_out)]


def _indexed(path: str, split: str) -> list[VideoFile]:
    """The videos of a part; those that are gone by now are left out, and one line says so."""
    table = index.read(path)
    found = [VideoFile(table.file(row), frozenset(row.labels)) for row in table.part(split)]
    gone = {file.path: None for file in found if not file.path.is_file()}
    if gone:
        some = f"{len(gone)} of its {len(found)} videos of the {split} part are not there"
        print(f"{path}: {some}, such as {next(iter(gone))}: see l3embed data check {path}", file=sys.stderr)
    return [file for file in found if file.path not in gone]


def _in_split(path: Path, split: str, held_out: float) -> bool:
    if split == "test":
        return False
    part = zlib.crc32(path.name.encode("utf-8", "surrogateescape")) / 2**32
    return (part < held_out) == (split == "held_out")


class SnippetError(AudioError):
    """A recording that a scene was to be made of cannot be used."""

    def __init__(self, path: Path, error: AudioError):
        super().__init__(str(error))
        self.path = path


def snippet(path: Path, rate_hz: int, broken: dict[Path, AudioError]) -> np.ndarray:
    """The beginning of a recording; what is known to be broken is not opened again."""
    if path not in broken:
        try:
            return clips.snippet(path, rate_hz)
        except AudioError as error:
            broken[path] = error
    raise SnippetError(path, broken[path])
