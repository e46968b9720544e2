"""What needs no ears: guessing by chance, and always saying the commonest label."""

from __future__ import annotations

import numpy as np

from .common import LOWEST, Pooled, Probabilistic

GRID = ({},)


class _Deaf:
    """Tells scikit-learn's checks not to expect that anything is learned."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class MajorityProbe(_Deaf, Probabilistic):
    """The commonest label of the training part, whatever the clip; of equally common ones, the first."""

    def _fit(self, x, codes, n):
        shares = np.bincount(codes, minlength=n) / len(codes)
        self.log_shares_ = np.maximum(np.log(np.maximum(shares, 1e-300)), LOWEST)

    def _scores(self, x):
        return np.tile(self.log_shares_, (len(x), 1))


class ChanceProbe(_Deaf, Pooled):
    """A label drawn for each clip, all equally likely, by the clip's vector and the seed: the same whichever clips are
    asked together."""

    def __init__(self, random_state: int = 0):
        self.random_state = random_state

    def _fit(self, x, codes, n):
        self.n_ = n

    def _scores(self, x):
        import zlib

        rows = np.ascontiguousarray(x, np.float32)
        return np.stack([np.random.default_rng([self.random_state, zlib.crc32(row.tobytes())]).random(self.n_)
                         for row in rows])  # fmt: skip
