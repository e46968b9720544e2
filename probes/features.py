"""Clips to one vector each: pooled embeddings, and log-mel statistics to compare them with."""

from __future__ import annotations

import numpy as np

from l3embed import decode
from l3embed.embed import EmbeddingModel
from l3embed.frontend import spectrograms
from l3embed.pooling import pool
from l3embed.spec import small_front_end

from .datasets import Clip


def embeddings(model: EmbeddingModel, clips: list[Clip], pooling: str = "mean+max", hop: float = 0.1) -> np.ndarray:
    """(clips, D x number of statistics) float32: each clip's windows, pooled."""
    return np.stack([pool(embedding, pooling) for embedding, _ in model.each((clip.path for clip in clips), hop=hop)])


def log_mel_statistics(clips: list[Clip]) -> np.ndarray:
    """(clips, 256): mean, standard deviation, minimum and maximum over time of 64 log-mel bands.

    Of the small family's front end, whole clip: what an embedding has to beat.
    """
    front_end = small_front_end()
    rows = []
    for clip in clips:
        with decode.open_recording(clip.path, front_end.rate_hz) as recording:
            sound = np.concatenate(list(recording))
        starts = np.arange(0, max(1, len(sound) - front_end.window_samples + 1), front_end.window_samples)
        sound = np.pad(sound, (0, max(0, front_end.window_samples - len(sound))))
        columns = np.concatenate(list(spectrograms(sound, starts, front_end)[..., 0]), axis=1)
        rows.append(np.concatenate([f(columns, axis=1) for f in (np.mean, np.std, np.min, np.max)]))
    return np.stack(rows)
