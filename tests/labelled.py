"""A labelled set of short recordings made on the spot: what tests of probing run on."""

import csv
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
HZ = {"low": 300.0, "high/er": 1200.0, "häuf ig": 3000.0}  # labels with a slash, a space and an umlaut
HEADER = ["path", "label", "group", "fold"]


def sound(hz: float, seed: int, seconds: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return 0.2 * np.sin(2 * np.pi * hz * rng.uniform(0.7, 1.4) * t) + rng.uniform(0.02, 0.4) * rng.standard_normal(
        len(t)
    )


def make(folder: Path, n_groups: int = 6, seed: int = 0) -> Path:
    """A clip for each label and group, called the same in every group; groups are dealt out to three folds."""
    rows = []
    for group in range(n_groups):
        for k, (label, hz) in enumerate(HZ.items()):
            path = folder / f"g{group}" / f"{k}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound(hz, 1000 * seed + 10 * group + k), RATE_HZ)
            rows.append([f"g{group}/{k}.wav", label, f"group {group}", group % 3 + 1])
    table(folder, rows)
    return folder


def table(folder: Path, rows: list, header: list[str] = HEADER) -> Path:
    with open(folder / "index.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / "index.csv"
