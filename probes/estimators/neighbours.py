"""k nearest neighbours: standardise, then the labels of the k training clips at the smallest angle vote.

A vote counts 1; equal counts are decided by the nearer neighbours: the score of a label is its share of the k votes
plus a thousandth of the mean cosine of those that voted for it.
"""

from __future__ import annotations

import numpy as np

from .common import Pooled, blocks, moments, standardised

GRID = tuple({"k": k} for k in (1, 5, 10, 20))
FEW_SHOT = {"k": 1}
TIE = 1e-3  # less than half a vote of 20
CHUNK_BYTES = 2**22  # of a table of likeness: some clips beside all training clips


class NeighboursProbe(Pooled):
    """k neighbours (or all training clips where those are fewer); metric "cosine" or "l2"."""

    takes_several = True  # targets may be a matrix

    def __init__(self, k: int = 5, metric: str = "cosine", standardise: bool = True):
        self.k, self.metric, self.standardise = k, metric, standardise

    def _fit(self, x, codes, n):
        self.mean_, self.deviation_ = moments(x) if self.standardise else (0.0, 1.0)
        self.vectors_, self.votes_ = self._prepared(x, self.mean_, self.deviation_), np.eye(n)[codes]

    def _scores(self, x):
        x = self._prepared(x, self.mean_, self.deviation_)
        return next(_votes([self.k], *_nearest(x, self.vectors_, self.k, self.metric), self.votes_))

    def _prepared(self, x, mean, deviation, overwrite=False):
        x = standardised(x, mean, deviation, overwrite)
        if self.metric == "cosine":
            x /= np.maximum(np.sqrt(np.einsum("ij,ij->i", x, x))[:, None], 1e-12)
        return x

    def path(self, grid, x, targets, tests) -> list[list[np.ndarray]]:
        """As of the other families; one comparison serves all k. Targets may be a matrix, for several labels a clip.

        x is overwritten, and tests are looked at some rows at a time.
        """
        about = moments(x) if self.standardise else (0.0, 1.0)
        votes = targets.astype(float) if targets.ndim == 2 else (targets[:, None] == np.unique(targets)).astype(float)
        vectors, ks = self._prepared(x, *about, overwrite=True), [point.get("k", self.k) for point in grid]
        found = [
            [np.concatenate(parts) for parts in zip(*(
                _nearest(self._prepared(block, *about), vectors, max(ks), self.metric) for _, block in blocks(test)
            ), strict=True)]
            for test in tests
        ]  # fmt: skip
        each = [list(_votes(ks, *nearest, votes)) for nearest in found]
        return [[scores[i] for scores in each] for i in range(len(ks))]


def _nearest(x, vectors, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(clips, k) likeness, falling, and the training clips that have it; equal ones in their order."""
    k = min(k, len(vectors))
    likeness, rows = np.empty((len(x), k)), np.empty((len(x), k), int)
    lengths, chunk = np.einsum("ij,ij->i", vectors, vectors), max(8, CHUNK_BYTES // (8 * len(vectors)))
    for at in range(0, len(x), chunk):
        part = x[at : at + chunk] @ vectors.T
        if metric == "l2":
            part -= 0.5 * lengths  # -d^2 / 2 up to what is the same for all
        part = np.round(part, 10)  # equal vectors stay equal, whatever the order of the sums
        order = np.argsort(-part, axis=1, kind="stable")[:, :k]
        likeness[at : at + chunk], rows[at : at + chunk] = np.take_along_axis(part, order, axis=1), order
    return likeness, rows


def _votes(ks, likeness, rows, votes):
    """For each k, (clips, labels) scores."""
    for k in ks:
        voted = votes[rows[:, :k]]  # (clips, k, labels)
        n = voted.sum(axis=1)
        near = np.einsum("ij,ijl->il", likeness[:, :k], voted) / np.maximum(n, 1)
        span = np.abs(near).max(axis=1, keepdims=True)
        yield n / voted.shape[1] + TIE * near / np.maximum(span, 1e-12)
