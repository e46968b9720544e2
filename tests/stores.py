"""Stores filled by hand: recordings of a few bytes, vectors from a seed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from l3embed import store, windows

RECIPE = {"model": "m", "hop_samples": 3200, "rate_hz": 48_000, "hop_s": 0.0666, "precision": "f32"}
DIM = 5


@dataclass(frozen=True)
class Item:
    name: str
    recording: bytes | str
    output: str = ""


def vectors(sound: bytes, n: int | None = None) -> np.ndarray:
    """(n, DIM) float32 that depend on the sound only; as many as it has bytes."""
    return np.random.default_rng(list(sound)).standard_normal((len(sound) if n is None else n, DIM), np.float32)


def put(out: store.CorpusWriter, name: str, sound: bytes, overwrite: bool = False) -> bool:
    """As the extraction does it; whether anything had to be computed."""
    item = Item(name, sound)
    if not overwrite and out.has(item):
        return False
    metadata = {**out.recipe, **out.identity(item), "l3embed": "0", "source": name, "seconds": 1.5, "notes": []}
    writer, rows = out.writer(item), vectors(sound)
    for part in np.array_split(rows, 2):
        writer.append(part)
    writer.commit(windows.times(len(rows), RECIPE["hop_samples"], RECIPE["rate_hz"]), metadata)
    out.settle()
    return True


def fill(folder: Path, sounds: dict[str, bytes], dtype: str = "float32", recipe: dict = RECIPE) -> Path:
    """The folder of the key."""
    with store.CorpusWriter(folder, recipe, dtype) as out:
        for name, sound in sounds.items():
            put(out, name, sound)
    return out.folder


def contents(folder: Path, key: str | None = None) -> dict[str, bytes]:
    corpus = store.open(folder, key)
    return {clip: corpus.clip(clip).tobytes() for clip in corpus.clips}


def expected(sounds: dict[str, bytes]) -> dict[str, bytes]:
    return {name: vectors(sound).tobytes() for name, sound in sounds.items()}
