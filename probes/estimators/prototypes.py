"""Prototypes: a label is the mean of its training vectors, and a clip belongs to the nearest (Snell et al. 2017).

Nothing is learned but means, so it works from one clip a label on. Vectors are standardised by the training part.
"""

from __future__ import annotations

import numpy as np

from .common import Pooled, blocks, moments, standardised

GRID = ({},)


class PrototypeProbe(Pooled):
    """metric: "cosine" (scores are cosines) or "l2" (scores are minus the squared distance)."""

    def __init__(self, metric: str = "cosine", standardise: bool = True):
        self.metric, self.standardise = metric, standardise

    def _fit(self, x, codes, n):
        self.mean_, self.deviation_ = moments(x) if self.standardise else (0.0, 1.0)
        sums = np.zeros((n, x.shape[1]))
        for at, block in blocks(x):
            sums += np.eye(n)[codes[at : at + len(block)]].T @ standardised(block, self.mean_, self.deviation_)
        self.prototypes_ = sums / np.bincount(codes, minlength=n)[:, None]

    def _scores(self, x):
        x = standardised(x, self.mean_, self.deviation_)
        if self.metric == "l2":
            return -((x**2).sum(axis=1)[:, None] - 2 * x @ self.prototypes_.T + (self.prototypes_**2).sum(axis=1))
        lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(self.prototypes_, axis=1)
        return x @ self.prototypes_.T / np.maximum(lengths, 1e-12)
