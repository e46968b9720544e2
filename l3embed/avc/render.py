"""Recordings into real video files: the pictures that clips draw on the fly, once and for all, to look at or to share.

Such a video trains like any other (`data.videos`), also with programs that know nothing of l3embed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .. import decode
from ..errors import AudioError, UsageError
from . import picture

SOUND_HZ = 48_000  # what L3-Net hears, and what any player plays
FRAMES_HZ = 10.0  # as many as `DataConfig.frames_hz` keeps
SIZE = 256  # frames of 256 for pictures of 224 (Cramer et al. 2019)


def render(recording: str | os.PathLike, video: str | os.PathLike, size: int = SIZE, frames_hz: float = FRAMES_HZ):
    """Write `video` (.mp4): frame k is `picture.draw` of the second around k / frames_hz, the sound is the recording.

    Memory and, but for a temporary file beside `video`, disk do not grow with the recording. An existing file is
    replaced once the new one is complete. Raises AudioError for a recording that cannot be decoded or a video that
    cannot be encoded, UsageError for an odd or small size (video halves the resolution of colour).
    """
    if size < 2 or size % 2 or not 0 < frames_hz <= picture.RATE_HZ:
        raise UsageError(f"size must be even and frames_hz above 0. Received: {size!r}, {frames_hz!r}")
    with tempfile.TemporaryDirectory(prefix=".l3embed-", dir=Path(video).absolute().parent) as folder:
        sound, part = Path(folder) / "sound.wav", Path(folder) / "part.mp4"
        _write_sound(recording, sound)
        _encode(sound, part, size, frames_hz)
        os.replace(part, video)


def _write_sound(recording, path: Path) -> None:
    """Through l3embed's own decoder: a video holds the very sound that extraction hears. RF64: WAV of any size."""
    import soundfile

    with (
        decode.open_recording(recording, SOUND_HZ) as blocks,
        soundfile.SoundFile(path, "w", SOUND_HZ, 1, "FLOAT", format="RF64") as file,
    ):
        for block in blocks:
            file.write(block)


def _encode(sound: Path, video: Path, size: int, frames_hz: float) -> None:
    import ffmpeg

    pictures = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{size}x{size}", framerate=frames_hz)
    made = ffmpeg.output(pictures.video, ffmpeg.input("SOUND").audio, "VIDEO", pix_fmt="yuv420p", acodec="aac")
    command = made.global_args("-v", "error").compile(cmd=decode.ffmpeg_binary())
    names = {"SOUND": f"file:{sound}", "VIDEO": f"file:{video}"}  # ffmpeg-python fails on names that are not UTF-8
    command = [names.get(word, word) for word in command]
    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads would fill up
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
        try:
            for frame in frames(sound, size, frames_hz):
                process.stdin.write(frame.tobytes())
        except OSError:
            pass  # ffmpeg ended early: its status and its log say why
        except BaseException:
            process.kill()
            raise
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            status = process.wait()
        if status:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise AudioError(f"ffmpeg cannot make a video of it ({lines[-1].strip()})")


def frames(recording: str | os.PathLike, size: int, frames_hz: float) -> Iterator[np.ndarray]:
    """Pictures (size, size, 3) uint8, one every 1 / frames_hz s: of the second around it, silence beyond the ends."""
    half = picture.RATE_HZ // 2
    with decode.open_recording(recording, picture.RATE_HZ) as blocks:
        held, begin, k, n = np.zeros(half, np.float32), -half, 0, 0  # `held` begins at sample `begin`; n: seen so far

        def ready(until: int):
            nonlocal k
            while (centre := round(k * picture.RATE_HZ / frames_hz)) < n and centre + half <= until:
                yield picture.draw(held[centre - half - begin :][: 2 * half], size)
                k += 1

        for block in blocks:
            n += len(block)
            held = np.concatenate([held, block])
            yield from ready(n)
            done = max(0, round(k * picture.RATE_HZ / frames_hz) - half - begin)
            held, begin = held[done:], begin + min(done, len(held))
        held = np.pad(held, (0, half))
        yield from ready(n + half)
