"""Clips to one vector each: pooled embeddings, and log-mel statistics to compare them with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from l3embed import decode
from l3embed.embed import EmbeddingModel
from l3embed.frontend import spectrograms
from l3embed.pooling import pool
from l3embed.spec import digest, small_front_end

from .datasets import Clip

PART = 16  # clips that one thread takes at a time


def embeddings(
    model: EmbeddingModel, clips: list[Clip], pooling: str = "mean+max", hop: float | None = None, jobs: int = 1
) -> np.ndarray:
    """(clips, D x number of statistics) float32: each clip's windows, pooled. `hop` None: the model's usual one."""
    how = {} if hop is None else {"hop": hop}

    def pooled(part):
        return [pool(embedding, pooling) for embedding, _ in model.each((clip.path for clip in part), **how)]

    return _stacked(pooled, clips, jobs)


def windows(model: EmbeddingModel, clips: list[Clip], hop: float | None = None, jobs: int = 1) -> list[np.ndarray]:
    """Of each clip (T, D) float32: its windows, unpooled."""
    how = {} if hop is None else {"hop": hop}
    return _rows(lambda part: [e for e, _ in model.each((clip.path for clip in part), **how)], clips, jobs)


def log_mel_statistics(clips: list[Clip], jobs: int = 1) -> np.ndarray:
    """(clips, 256): mean, standard deviation, minimum and maximum over time of 64 log-mel bands.

    Of the small family's front end, whole clip: what an embedding has to beat.
    """
    return _stacked(lambda part: [_log_mel_statistics(clip) for clip in part], clips, jobs)


def _log_mel_statistics(clip: Clip) -> np.ndarray:
    front_end = small_front_end()
    with decode.open_recording(clip.path, front_end.rate_hz) as recording:
        sound = np.concatenate(list(recording))
    starts = np.arange(0, max(1, len(sound) - front_end.window_samples + 1), front_end.window_samples)
    sound = np.pad(sound, (0, max(0, front_end.window_samples - len(sound))))
    columns = np.concatenate(list(spectrograms(sound, starts, front_end)[..., 0]), axis=1)
    return np.concatenate([f(columns, axis=1) for f in (np.mean, np.std, np.min, np.max)])


def _stacked(rows_of: Callable, clips: list[Clip], jobs: int) -> np.ndarray:
    return np.stack(_rows(rows_of, clips, jobs))


def _rows(rows_of: Callable, clips: list[Clip], jobs: int) -> list[np.ndarray]:
    from joblib import Parallel, delayed

    parts = [clips[i : i + PART] for i in range(0, len(clips), PART)]
    return [row for rows in Parallel(jobs, prefer="threads")(delayed(rows_of)(part) for part in parts) for row in rows]


def cached(folder: Path | None, key: dict, clips: list[Clip], make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` gives for these clips, kept in `folder` (None: nowhere) under what made it and what the files are."""
    if folder is None:
        return make()
    files = [[str(c.path), (status := os.stat(c.path)).st_size, status.st_mtime_ns] for c in clips]
    path = folder / f"{digest({**key, 'files': files})}.npy"
    if path.exists():
        return np.load(path, allow_pickle=False)
    folder.mkdir(parents=True, exist_ok=True)
    array = make()
    part = path.with_suffix(f".{os.getpid()}.part")
    with open(part, "wb") as file:
        np.save(file, array)
    os.replace(part, path)
    return array
