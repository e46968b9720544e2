"""Clips for the load test: made or cut from recordings, with what the local model says of each."""

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

from l3embed.decode import AUDIO_SUFFIXES

MADE_HZ = 44_100
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS"}
TOLERANCE = 1e-5  # of the largest number of a recording: what is not equal but nearer than this is told apart


class Clip:
    """A recording, the request that carries it, and the answer that is expected: `embedding` (T, D) float32 as .npy."""

    def __init__(self, path: Path, seconds: float, embedding: np.ndarray):
        self.path, self.seconds, self.embedding = path, seconds, embedding
        out = io.BytesIO()
        np.save(out, embedding)
        self.answer = out.getvalue()
        body = path.read_bytes()
        head = (
            "POST /v1/embed HTTP/1.1\r\nHost: service\r\nAccept: application/x-npy\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.request = head.encode() + body

    def verdict(self, body: bytes) -> str:
        """Of an answer: "equal", "near" or "wrong"."""
        if body == self.answer:
            return "equal"
        try:
            got = np.load(io.BytesIO(body))
        except (ValueError, EOFError):
            return "wrong"
        if got.shape != self.embedding.shape:
            return "wrong"
        near = np.abs(got - self.embedding).max() <= TOLERANCE * np.abs(self.embedding).max()
        return "near" if near else "wrong"


def made(rng: np.random.Generator, n: int, rate_hz: int) -> np.ndarray:
    """(n,) sweeps and noise that come and go."""
    t = np.arange(n) / rate_hz
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 2) * t)
    sweep = np.sin(2 * np.pi * (rng.uniform(100, 4000) * t + rng.uniform(-50, 50) * t**2))
    return 0.3 * swell * sweep + 0.05 * rng.standard_normal(n) * (1 - swell)


def cut(rng: np.random.Generator, recordings: list[Path], seconds: float) -> tuple[np.ndarray, int]:
    """A piece of a recording drawn by chance; further ones of the same rate follow until it is long enough."""
    pieces, rate_hz, missing = [], None, 1
    while missing > 0:
        with soundfile.SoundFile(recordings[rng.integers(len(recordings))]) as file:
            rate_hz = rate_hz or file.samplerate
            if file.samplerate != rate_hz or not file.frames:
                continue
            missing = round(seconds * rate_hz) - sum(map(len, pieces))
            file.seek(int(rng.integers(max(1, file.frames - missing + 1))))
            pieces.append(file.read(missing, always_2d=True)[:, 0])
            missing -= len(pieces[-1])
    return np.concatenate(pieces), rate_hz


def make_clips(
    folder: Path, source: Path | None, n: int, lengths_s: tuple[float, float], seed: int
) -> list[tuple[Path, float]]:
    """(path, seconds) of n files, of lengths that are spread evenly on a logarithmic scale."""
    rng = np.random.default_rng(seed)
    recordings = sorted(p for p in source.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES) if source else []
    clips = []
    for i in range(n):
        seconds = float(np.exp(rng.uniform(*np.log(lengths_s))))
        if recordings:
            sound, rate_hz = cut(rng, recordings, seconds)
        else:
            sound, rate_hz = made(rng, round(seconds * MADE_HZ), MADE_HZ), MADE_HZ
        suffix = list(FORMATS)[i % len(FORMATS)]
        path = folder / f"{i:05d}.{suffix}"
        soundfile.write(path, sound, rate_hz, subtype=FORMATS[suffix])
        clips.append((path, len(sound) / rate_hz))
    return clips


def extract(folder: Path, out: Path) -> tuple[float, float]:
    """Seconds of sound per second of `l3embed extract`: as it says itself, and of the whole process."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "l3embed", "extract", folder, "-o", out]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    whole_s = time.perf_counter() - started
    sound_s = float(re.search(r"([\d.]+) s of sound\)", said)[1])
    return sound_s / float(re.search(r" in ([\d.]+) s", said)[1]), sound_s / whole_s
