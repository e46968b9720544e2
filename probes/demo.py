"""A labelled set made on the spot: what `l3embed probe --demo` runs the whole path on.

Four kinds of sound as six recorders might have heard them, each with its own background, filter and level, so that a
probe that had seen a recorder would know its clips again: the groups are the recorders.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .config import Settings

RATE_HZ, SECONDS = 16_000, 1.5
N_RECORDERS, N_FOLDS, N_TAKES = 6, 3, 4
MODELS = ("l3-small-taught-1", "l3-small-1", "mfcc", "log-mel")
PROBES = ("linear", "knn", "prototype")
SHOTS = (1, 2, 4)


def tone(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """A steady note with two harmonics."""
    hz = rng.uniform(300, 1500)
    return sum(np.sin(2 * np.pi * hz * k * t) / k for k in (1, 2, 3))


def chirp(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """A glide over an octave or two, up or down."""
    low, octaves = rng.uniform(300, 1000), rng.uniform(1, 2) * rng.choice([-1, 1])
    return np.sin(2 * np.pi * np.cumsum(low * 2 ** (octaves * t / SECONDS)) / RATE_HZ)


def hiss(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Noise that swells and fades."""
    return rng.standard_normal(len(t)) * (0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * t))


def clicks(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """A train of short knocks."""
    period_s, hz = rng.uniform(0.08, 0.25), rng.uniform(500, 2500)
    since = np.mod(t, period_s)
    return 2 * np.exp(-since / 0.01) * np.sin(2 * np.pi * hz * since)


KINDS = {"tone": tone, "chirp": chirp, "hiss": hiss, "clicks": clicks}


def make(folder: Path, seed: int = 0) -> Path:
    """A folder with index.csv and 96 WAV files; equal seeds, equal bytes."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    rows, t = [], np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    for recorder in range(N_RECORDERS):
        for k, (label, sound) in enumerate(KINDS.items()):
            for take in range(N_TAKES):
                rng = np.random.default_rng([seed, recorder, k, take])
                path = f"recorder-{recorder}/{label}-{take}.wav"
                (folder / path).parent.mkdir(exist_ok=True)
                soundfile.write(folder / path, _recorded(sound(rng, t), recorder, seed, rng), RATE_HZ)
                rows.append([path, label, f"recorder {recorder}", recorder % N_FOLDS + 1])
    with open(folder / "index.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "group", "fold"], *rows])
    return folder


def _recorded(sound: np.ndarray, recorder: int, seed: int, rng: np.random.Generator) -> np.ndarray:
    """As a recorder hears it: its own filter, its own noise, about as loud as the sound."""
    own = np.random.default_rng([seed, recorder])
    ear, colour = own.standard_normal(24) * np.exp(-np.arange(24) / 6), own.standard_normal(24)
    background = np.convolve(rng.standard_normal(len(sound)), colour, "same")
    heard = np.convolve(sound / sound.std(), ear / np.linalg.norm(ear), "same")
    mixed = heard / heard.std() + own.uniform(0.7, 1.4) * background / background.std()
    return 0.3 * own.uniform(0.2, 1) * mixed / np.abs(mixed).max()


def settings(output: str | Path, seed: int = 0) -> Settings:
    """Of a run over the set, which is made beside the run's own folder."""
    folder = Path(output)
    make(folder / "recordings", seed)
    return Settings(
        data=(f"demo={folder / 'recordings'}",), models=MODELS, probes=PROBES, shots=SHOTS, draws=5, seed=seed,
        output=str(folder / "run"),
    )  # fmt: skip
