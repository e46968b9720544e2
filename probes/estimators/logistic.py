"""The linear probe: standardise, then multinomial logistic regression with an L2 penalty.

Clips fewer than dimensions are turned into the coordinates that they span: the penalty is blind to rotation, so the
minimum is the same one. Along a grid of C each fit begins where the one before ended.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from .common import Probabilistic, blocks, log_softmax, moments, standardised

GRID = tuple({"C": 10.0**exponent} for exponent in range(-4, 2))
FEW_SHOT = {"C": 1.0}  # scikit-learn's own: nothing can be chosen from a clip or two of each label
# Of the gradient. At scikit-learn's 1e-4 the solver stops early where C is large: 3 % of the predictions on digits then
# depended on where it had started.
TOLERANCE = 1e-6


class LinearProbe(Probabilistic):
    """C: inverse strength of the penalty."""

    def __init__(self, C: float = 1.0, tol: float = TOLERANCE, max_iter: int = 5000):
        self.C, self.tol, self.max_iter = C, tol, max_iter

    def _fit(self, x, codes, n):
        self.mean_, self.deviation_ = moments(x)
        ((self.coef_, self.intercept_, self.n_iter_),) = self._along(
            [{}], standardised(x, self.mean_, self.deviation_), codes
        )

    def _scores(self, x):
        return _log_probabilities(standardised(x, self.mean_, self.deviation_), self.coef_, self.intercept_)

    def path(self, grid, x, codes, tests) -> list[list[np.ndarray]]:
        """For each point of the grid, the scores of each array in `tests`; labels in the order of np.unique(codes).

        x is overwritten, and tests are looked at some rows at a time: no other copy of them is needed.
        """
        about = moments(x)
        fitted = list(self._along(grid, standardised(x, *about, overwrite=True), codes))
        found = [[[] for _ in tests] for _ in fitted]
        for i, test in enumerate(tests):
            for _, block in blocks(test):
                block = standardised(block, *about)
                for each, (coef, intercept, _) in zip(found, fitted, strict=True):
                    each[i].append(_log_probabilities(block, coef, intercept))
        return [[np.concatenate(parts) for parts in each] for each in found]

    def _along(self, grid, x, codes):
        """Yields (labels or 1, D) coefficients, (labels or 1,) intercepts and steps at each point of the grid."""
        back = None
        if x.shape[1] > len(x):
            back, x = np.linalg.qr(x.T)
            x, back = np.ascontiguousarray(x.T), back.T  # (clips, clips), (clips, D)
        probe = LogisticRegression(C=self.C, max_iter=self.max_iter, tol=self.tol, warm_start=True)
        for point in grid:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the largest C on few clips is separable
                probe.set_params(**point).fit(x, codes)
            yield (probe.coef_ if back is None else probe.coef_ @ back), probe.intercept_, probe.n_iter_


def _log_probabilities(x, coef, intercept) -> np.ndarray:
    scores = x @ coef.T + intercept
    return log_softmax(np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores)
