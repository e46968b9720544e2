"""Clips: a stretch of sound with a picture for each of its moments, held in memory.

Conventions: sound is mono float32 at the model's rate; a picture is (height, width, 3) uint8 whose shorter side is the
asked size; times in seconds from the clip's beginning. A file that cannot be used raises AudioError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import decode
from ..errors import AudioError, TrainingError
from . import picture
from .scenes import Snippets, scene

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .ogv .3gp .ts".split())
SNIPPET_S = 3.0  # of a corpus file, at most, in a scene


@dataclass(frozen=True)
class Clip:
    sound: np.ndarray  # (n,) float32
    rate_hz: int
    frames: np.ndarray | None = None  # (k, height, width, 3) uint8; None: pictures are drawn from the sound
    frames_hz: float = 0.0

    def image(self, start_s: float, size: int, rng: np.random.Generator) -> np.ndarray:
        """A frame of the second that begins at `start_s`, drawn at random from those of the video."""
        if self.frames is None:
            return picture.draw(self._second(start_s), size)
        first = min(int(start_s * self.frames_hz), len(self.frames) - 1)
        last = min(int((start_s + 1) * self.frames_hz), len(self.frames))
        return self.frames[rng.integers(first, max(last, first + 1))]

    def _second(self, start_s: float) -> np.ndarray:
        start = int(start_s * self.rate_hz)
        second = self.sound[start : start + self.rate_hz]
        if self.rate_hz != picture.RATE_HZ:
            second = decode.from_array(second, self.rate_hz, picture.RATE_HZ)
        return np.pad(second, (0, max(0, picture.RATE_HZ - len(second))))[: picture.RATE_HZ]


def find(folders: tuple[str, ...], suffixes: frozenset[str], what: str) -> list[Path]:
    """All files of these kinds under the folders, sorted. Raises TrainingError for a folder that holds none."""
    found = []
    for folder in folders:
        files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        if not files:
            raise TrainingError(f"{folder}: holds no {what} ({', '.join(sorted(suffixes))}): check the path")
        found += files
    return found


def from_scene(rng: np.random.Generator, rate_hz: int, clip_s: float, snippets: Snippets) -> Clip:
    return Clip(scene(rng, clip_s, rate_hz, snippets), rate_hz)


def from_recording(path: Path, rng: np.random.Generator, rate_hz: int, clip_s: float) -> Clip:
    """A stretch of a recording, from a random place; recordings shorter than two seconds are repeated."""
    with decode.open_recording(path, rate_hz) as recording:
        wanted = int(clip_s * rate_hz)
        start = rng.uniform(0, max(0.0, (recording.expected_s or 0) - clip_s))
        sound = _take(recording, int(start * rate_hz), wanted)
    return Clip(_at_least(sound, 2 * rate_hz), rate_hz)


def snippet(path: Path, rate_hz: int) -> np.ndarray:
    """The beginning of a corpus file."""
    with decode.open_recording(path, rate_hz) as recording:
        return _take(recording, 0, int(SNIPPET_S * rate_hz))


def from_video(path: Path, rng: np.random.Generator, rate_hz: int, clip_s: float, frames_hz: float, size: int) -> Clip:
    """A stretch of a video from a random place, sound and frames of the same time, decoded by ffmpeg."""
    import ffmpeg

    start = rng.uniform(0, max(0.0, _duration_s(path) - clip_s))
    source = ffmpeg.input(f"file:{os.path.abspath(path)}", ss=start, t=clip_s)
    pcm = _run(source.audio.output("pipe:", format="f32le", ac=1, ar=rate_hz), path)
    sound = np.frombuffer(pcm[: len(pcm) // 4 * 4], "<f4")
    if len(sound) < rate_hz:
        raise AudioError(f"holds {len(sound) / rate_hz:.2f} s of sound: at least 1 s is needed for a pair")
    frames = source.video.filter("fps", frames_hz)
    frames = frames.filter("scale", size, size, force_original_aspect_ratio="increase")
    images = list(_ppm_images(_run(frames.output("pipe:", format="image2pipe", vcodec="ppm"), path)))
    if not images:
        raise AudioError("holds no picture")
    shape = images[0].shape  # a stream may change its resolution: keep the frames up to there
    return Clip(sound, rate_hz, np.stack([x for x in images if x.shape == shape]), frames_hz)


def _take(recording, start: int, n: int) -> np.ndarray:
    kept, at = [], 0
    for block in recording:
        kept.append(block[max(0, start - at) :])
        at += len(block)
        if at >= start + n:
            break
    return np.concatenate(kept)[:n]


def _at_least(sound: np.ndarray, n: int) -> np.ndarray:
    return np.resize(sound, max(n, len(sound)))


def _duration_s(path: Path) -> float:
    """What the container says; 0 where it says nothing. ffmpeg prints it, and there may be no ffprobe."""
    import re
    import subprocess

    command = [decode.ffmpeg_binary(), "-hide_banner", "-nostdin", "-i", f"file:{os.path.abspath(path)}"]
    text = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=False).stderr
    found = re.search(rb"Duration: (\d+):(\d+):([\d.]+)", text)
    return float(found[1]) * 3600 + float(found[2]) * 60 + float(found[3]) if found else 0.0


def _run(node, path: Path) -> bytes:
    import ffmpeg

    try:
        node = node.global_args("-nostdin", "-v", "error")
        return ffmpeg.run(node, cmd=decode.ffmpeg_binary(), capture_stdout=True, capture_stderr=True)[0]
    except ffmpeg.Error as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise AudioError(f"ffmpeg cannot decode it ({lines[-1].strip()})") from error


def _ppm_images(data: bytes) -> Iterator[np.ndarray]:
    """Images (h, w, 3) from concatenated binary PPM: each says its own size, whatever the scaling made of it."""
    at = 0
    while data[at : at + 2] == b"P6":
        header_end = at
        for _ in range(3):  # "P6", "width height", "255"
            header_end = data.index(b"\n", header_end) + 1
        width, height = map(int, data[at:header_end].split()[1:3])
        at = header_end + width * height * 3
        if at <= len(data):
            yield np.frombuffer(data, np.uint8, width * height * 3, header_end).reshape(height, width, 3)
