"""The windows of a recording -> one vector, and how alike two vectors are. The only definition of each pooling."""

from __future__ import annotations

import numpy as np

from .errors import UsageError

POOLINGS = ("mean", "max", "mean+max", "mean+std")
ROWS = 256  # read at a time


def check(pooling: str) -> str:
    """The name itself. Raises UsageError for an unknown one."""
    if pooling not in POOLINGS:
        raise UsageError(f"pooling must be one of {', '.join(POOLINGS)}. Received: {pooling!r}")
    return pooling


def pool(vectors: np.ndarray, pooling: str) -> np.ndarray:
    """Pool the vectors of one recording.

    Parameters
    ----------
    vectors : (T, D) floats, T >= 1, which may be memory-mapped: ROWS rows at a time are in memory
    pooling : "mean", "max", "mean+max" or "mean+std" (population standard deviation)

    Returns
    -------
    (D,) or (2 D,) float32, computed in float64. Moments of blocks are combined after Chan, Golub & LeVeque (1979),
    which loses no digits where the mean is far from zero.

    Raises UsageError for an unknown pooling and where there is no vector.
    """
    check(pooling)
    if not len(vectors):
        raise UsageError("there are no vectors to pool")
    n, mean, squares, largest = 0, 0.0, 0.0, -np.inf
    for at in range(0, len(vectors), ROWS):
        block = np.asarray(vectors[at : at + ROWS], np.float64)
        k, block_mean = len(block), block.mean(axis=0)
        step = block_mean - mean
        squares = squares + ((block - block_mean) ** 2).sum(axis=0) + step**2 * (n * k / (n + k))
        mean = mean + step * (k / (n + k))
        largest = np.maximum(largest, block.max(axis=0))
        n += k
    values = {"mean": mean, "max": largest, "std": np.sqrt(squares / n)}
    return np.concatenate([values[statistic] for statistic in pooling.split("+")]).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines of vectors, (n, D) and (m, D) -> (n, m) float64 in [-1, 1]; 0 where one of the two is all zeros."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
    return np.clip(np.divide(a @ b.T, lengths, out=np.zeros_like(lengths), where=lengths > 0), -1, 1)
