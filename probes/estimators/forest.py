"""Random forest (Breiman 2001) of 500 trees: scikit-learn's, with nothing to choose."""

from __future__ import annotations

import numpy as np

from .common import LOWEST, Probabilistic

GRID = ({},)


class ForestProbe(Probabilistic):
    """trees: how many; random_state: decides on every draw."""

    def __init__(self, trees: int = 500, random_state: int = 0):
        self.trees, self.random_state = trees, random_state

    def _fit(self, x, codes, n):
        from sklearn.ensemble import RandomForestClassifier

        self.forest_ = RandomForestClassifier(self.trees, random_state=self.random_state).fit(x, codes)

    def _scores(self, x):
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(self.forest_.predict_proba(x)), LOWEST)
