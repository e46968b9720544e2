"""Clips: a stretch of sound with a picture for each of its moments, held in memory.

Conventions: sound is mono float32 at the model's rate; a picture is (height, width, 3) uint8 whose shorter side is the
asked size; times in seconds from the clip's beginning. A file that cannot be used raises AudioError.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .. import decode
from ..errors import AudioError, TrainingError
from . import picture
from .scenes import Snippets, scene

SNIPPET_S = 3.0  # of a corpus file, at most, in a scene
SILENCE = 10 ** (
    -70 / 20
)  # highest sample of what counts as silent: the noise of 16 bits lies below, quiet rooms above


@dataclass(frozen=True)
class Format:
    """What a stream wants of its clips."""

    rate_hz: int
    clip_s: float
    frames_hz: float
    size: int  # shorter side of the frames
    picture: str = "full"  # what is drawn of sound that has no frames (picture.py)


@dataclass(frozen=True)
class Clip:
    sound: np.ndarray  # (n,) float32
    rate_hz: int
    frames: Sequence[np.ndarray] | None = None  # k of (height, width, 3) uint8; None: pictures are drawn from the sound
    frames_hz: float = 0.0

    def image(self, start_s: float, form: Format, rng: np.random.Generator) -> np.ndarray:
        """A frame of the second that begins at `start_s`, drawn at random from those of the video.

        Beyond the end it is the last frame, as in marl/l3embedding.
        """
        if self.frames is None:
            return picture.draw(self._second(start_s), form.size, form.picture)
        # frame k is what the screen shows at k / frames_hz
        end = min(math.ceil((start_s + 1) * self.frames_hz), len(self.frames))
        first = min(math.ceil(start_s * self.frames_hz), len(self.frames) - 1)
        return self.frames[int(rng.integers(first, max(end, first + 1)))]

    def _second(self, start_s: float) -> np.ndarray:
        start = min(int(start_s * self.rate_hz), max(0, len(self.sound) - self.rate_hz))
        second = self.sound[start : start + self.rate_hz]
        if self.rate_hz != picture.RATE_HZ:
            second = decode.from_array(second, self.rate_hz, picture.RATE_HZ)
        return np.pad(second, (0, max(0, picture.RATE_HZ - len(second))))[: picture.RATE_HZ]


def find(folders: tuple[str, ...], suffixes: frozenset[str], what: str) -> list[Path]:
    """All files of these kinds under the folders, sorted. Raises TrainingError for a folder that holds none."""
    found = []
    for folder in folders:
        files = sorted(p for p in Path(folder).rglob("[!.]*") if p.suffix.lower() in suffixes and p.is_file())
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
    return Clip(at_least(sound, 2 * rate_hz), rate_hz)


def snippet(path: Path, rate_hz: int) -> np.ndarray:
    """The beginning of a corpus file."""
    with decode.open_recording(path, rate_hz) as recording:
        return _take(recording, 0, int(SNIPPET_S * rate_hz))


def from_video(path: Path, rng: np.random.Generator, rate_hz: int, clip_s: float, frames_hz: float, size: int) -> Clip:
    """A stretch of a video from a random place, sound and frames of the same time.

    Where that place cannot be used, the header may promise more than there is: then as far into what there is. What is
    silent or damaged there gets its last chance at the beginning.
    """
    place, tried = rng.random(), math.inf
    for told in (decode.header_s, length_s, lambda _: 0.0):
        start = place * max(0.0, (told(os.path.abspath(path)) or 0.0) - clip_s)
        if start < tried:
            try:
                return video_stretch(path, start, rate_hz, clip_s, frames_hz, size)
            except AudioError:
                if not start:
                    raise
            tried = start
    raise AssertionError("the last start is 0")


@lru_cache(1024)
def length_s(path: str) -> float:
    """How long there are both sound and picture, whatever the header says."""
    return min(decode.track_s(path, track) for track in ("a:0", "v:0"))


def video_stretch(path: Path, start_s: float, rate_hz: int, clip_s: float, frames_hz: float, size: int) -> Clip:
    """The stretch that begins at `start_s`, decoded by ffmpeg, as long as there are both sound and picture."""
    import ffmpeg

    source = ffmpeg.input("PATH", ss=start_s, t=clip_s, protocol_whitelist="file")
    # A track that begins late is filled up from time zero (`first_pts`, `start_time`), so that both keep the same time.
    resampled = source["a:0"].filter("aresample", rate_hz, first_pts=0, **{"async": 1})
    pcm = _run(resampled.output("pipe:", format="f32le", ac=1), path, "sound")
    sound = np.frombuffer(pcm[: len(pcm) // 4 * 4], "<f4")
    frames = source["v:0"].filter("fps", frames_hz, start_time=0, round="up")
    frames = frames.filter("scale", size, size, force_original_aspect_ratio="increase")
    stream = frames.output("pipe:", format="image2pipe", vcodec="ppm", pix_fmt="rgb24")
    # (where a stream changes its resolution, ffmpeg goes on in the size of the first frame)
    images = list(_ppm_images(_run(stream, path, "picture")))
    if not images:
        raise AudioError("holds no picture")
    # Sound that goes on after the last frame has no picture of its second.
    sound = sound[: math.ceil((len(images) + 1) / frames_hz * rate_hz)]
    _check(sound, rate_hz)
    return Clip(sound, rate_hz, np.stack(images), frames_hz)


def _check(sound: np.ndarray, rate_hz: int) -> None:
    if len(sound) < rate_hz:
        raise AudioError(
            f"holds {len(sound) / rate_hz:.2f} s of sound with a picture: at least 1 s is needed for a pair"
        )
    if not np.isfinite(sound).all():
        raise AudioError("holds NaN or infinite samples: repair or cut that part")
    if np.abs(sound).max() < SILENCE:
        raise AudioError("is silent")


def _take(recording, start: int, n: int) -> np.ndarray:
    """`n` samples from `start` on; the last ones where the recording is shorter than its header says."""
    kept, n_kept, at = deque(), 0, 0
    for block in recording:
        kept.append(block)
        n_kept, at = n_kept + len(block), at + len(block)
        if at >= start + n:
            break
        while n_kept - len(kept[0]) >= n:
            n_kept -= len(kept.popleft())
    first = max(0, min(start, at - n)) - (at - n_kept)
    return np.concatenate(kept)[first : first + n]


def at_least(sound: np.ndarray, n: int) -> np.ndarray:
    """Repeated, until it has `n` samples."""
    return np.resize(sound, max(n, len(sound)))


def _run(node, path: Path, what: str) -> bytes:
    """What ffmpeg writes to its standard output. Raises AudioError."""
    command = decode.ffmpeg_command(node.global_args("-nostdin", "-v", "error"), os.path.abspath(path))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        if "matches no streams" in said:
            raise AudioError(f"has no {what}")
        raise AudioError(f"ffmpeg cannot decode it ({(said.strip().splitlines() or ['no message'])[-1].strip()})")
    return done.stdout


def _ppm_images(data: bytes) -> Iterator[np.ndarray]:
    """Images (h, w, 3) from concatenated binary PPM: each says its own size, whatever the scaling made of it."""
    at = 0
    while header := _PPM_HEADER.match(data, at):
        width, height = int(header[1]), int(header[2])
        at = header.end() + width * height * 3
        if at <= len(data):
            yield np.frombuffer(data, np.uint8, width * height * 3, header.end()).reshape(height, width, 3)


_PPM_HEADER = re.compile(rb"P6\s(\d+)\s(\d+)\s255\s")
