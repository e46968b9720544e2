"""Classifiers of other harnesses, as their code has them, for the protocols of their names (docs/protocols.md)."""

from __future__ import annotations

import warnings

import numpy as np

from .common import LOWEST, Probabilistic
from .mlp import Dense, NetworkProbe, clip_scores
from .networks import Recipe, fit_all

HEAR_RATES = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
HEAR_POINTS = 8  # of the 16 combinations, drawn at random
HEAR_GRID = tuple({"layers": layers, "rate": rate, "start": start}
                  for layers in (1, 2) for rate in HEAR_RATES for start in ("uniform", "normal"))  # fmt: skip
EVAR_RATE = 3e-4  # BYOL-A's; others have rates of their own in EVAR's files


class HearProbe(NetworkProbe):
    """hear-eval-kit: one or two layers of 1024 with batch normalisation, dropout 0.1; Xavier's uniform or normal start;
    Adam, batches of 1024, up to 500 epochs, the validation score looked at every third, patience 20 looks. No scaling.

    Eight of the 16 points are drawn and tried on the first part, and the best serves all other parts, too.
    """

    validation, engine = 0.1, None

    def __init__(self, points=HEAR_POINTS, units=1024, epochs=500, random_state=0):
        self.points, self.units, self.epochs, self.random_state = points, units, epochs, random_state

    def _recipe(self):
        return Recipe(self.epochs, 20, 1024, every=3, monitor="accuracy", standardise=False)

    def together(self, source, targets, parts, tests):
        fitted = [self._learned(source, targets, parts[0])]
        if parts[1:]:
            fitted += self._fit(self.chosen_, source, targets, parts[1:])
        for one, clips in zip(fitted, tests, strict=True):
            yield clip_scores(one, source, clips, targets.shape[1]), self.chosen_

    def _learned(self, source, targets, part):
        drawn = np.random.default_rng([self.random_state, 4]).permutation(len(HEAR_GRID))[: self.points]
        points = [HEAR_GRID[i] for i in sorted(drawn)]
        tried = [self._fit(point, source, targets, [part])[0] for point in points]
        best = int(np.argmax([one.validation_accuracy for one in tried]))
        self.chosen_ = points[best]
        return tried[best]

    def _fit(self, point, source, targets, parts):
        network = Dense((self.units,) * point["layers"], norm=True, dropout=0.1, initial=point["start"])
        return fit_all(network, source, targets, parts, [(point["rate"], 0.0)], self._recipe(), self.engine)


class EvarProbe(NetworkProbe):
    """EVAR: standardise, one linear layer, Adam at a fixed rate, batches of 200, up to 200 epochs, patience 20 by
    validation accuracy."""

    validation, engine = 0.1, None

    def __init__(self, rate=EVAR_RATE, epochs=200, patience=20, random_state=0):
        self.rate, self.epochs, self.patience, self.random_state = rate, epochs, patience, random_state

    def _network(self):
        return Dense((), initial="torch")

    def _recipe(self):
        return Recipe(self.epochs, self.patience, 200, monitor="accuracy")

    def _grid(self):
        return [(self.rate, 0.0)]


class MaebProbe(Probabilistic):
    """MTEB: scikit-learn's logistic regression with at most 100 steps, no scaling."""

    def __init__(self, max_iter=100):
        self.max_iter = max_iter

    def _fit(self, x, codes, n):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # part of the protocol
            self.regression_ = LogisticRegression(max_iter=self.max_iter).fit(x, codes)
        self.n_iter_ = self.regression_.n_iter_

    def _scores(self, x):
        with np.errstate(divide="ignore"):
            return np.maximum(self.regression_.predict_log_proba(x), LOWEST)
