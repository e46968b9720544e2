"""What clips are opened from: the files of one part of the data, each of which opens a stretch of itself."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from .. import decode
from ..errors import AudioError, TrainingError
from . import clips
from .config import TrainConfig

SPLITS = ("train", "held_out")


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


class Sources:
    """The files of one part, found once: which are held out is decided by each file's name alone."""

    def __init__(self, config: TrainConfig, split: str):
        data = config.data
        keep = partial(_in_split, split=split, held_out=data.held_out)
        videos = clips.find(data.videos, decode.VIDEO_SUFFIXES, "video")
        recordings = clips.find(data.recordings, decode.AUDIO_SUFFIXES, "sound file")
        self.videos = [VideoFile(p) for p in videos if keep(p)]
        self.recordings = [SoundFile(p) for p in recordings if keep(p)]
        self.files = self.videos + self.recordings
        self.named: set[Path] = set()  # files that cannot be used and were named on stderr
        if not data.scenes and len(self.files) < 2:
            raise TrainingError(
                f"{len(self.files) or 'no'} files left for the {split} part, and a mismatch needs two: "
                "give more files or change data.held_out"
            )

    def companions(self) -> dict[str, np.ndarray]:
        """Each label that several files bear -> the places of these in `files`."""
        found: dict[str, list[int]] = {}
        for i, file in enumerate(self.files):
            for label in file.labels:
                found.setdefault(label, []).append(i)
        return {label: np.array(places) for label, places in sorted(found.items()) if len(places) > 1}


def _in_split(path: Path, split: str, held_out: float) -> bool:
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
