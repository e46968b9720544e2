"""What the estimators share: standardising by the training part, scores in one shape, predictions from scores.

Conventions: x is (clips, D); codes are (clips,) int, places in the sorted list of labels; targets are codes or, where a
clip may have several labels, a (clips, labels) matrix of 0 and 1; scores are (clips, labels), larger is likelier.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from l3embed.errors import UsageError

BLOCK_BYTES = 2**23  # of vectors that are standardised or judged at a time
LOWEST = float(np.log(np.finfo(np.float32).tiny))  # -87.3: the score of a label that the training part does not have


class Pooled(ClassifierMixin, BaseEstimator):
    """A classifier of vectors that gives scores. A family says how it learns and scores, in two methods:

    `_fit(x, codes, n)` keeps what it learned; `_scores(x)` is (clips, n). Both get float64.
    """

    def fit(self, X, y):
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(f"a probe needs two classes at least. Received: one class, {self.classes_[0]!r}")
        self._fit(X, codes, len(self.classes_))
        return self

    def decision_function(self, X):
        """(clips, labels); of two labels (clips,), positive for the second, as everywhere in scikit-learn."""
        scores = self._checked_scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X):
        best = self._checked_scores(X).argmax(axis=1)
        return self.classes_[best]

    def _checked_scores(self, X) -> np.ndarray:
        check_is_fitted(self)
        return self._scores(validate_data(self, X, dtype=np.float64, reset=False))


class Probabilistic(Pooled):
    """One whose scores are log-probabilities."""

    def predict_log_proba(self, X):
        return self._checked_scores(X)

    def predict_proba(self, X):
        return np.exp(self.predict_log_proba(X))


class Rows:
    """Some rows of x, which may lie on the disk: float64, made when they are asked for, a slice at a time or all."""

    def __init__(self, x: np.ndarray, rows: np.ndarray):
        self.x, self.rows, self.shape = x, rows, (len(rows), *x.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice) -> np.ndarray:
        return self.x[self.rows[which]].astype(np.float64)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        out = np.empty(self.shape, dtype or np.float64)
        for at, block in blocks(self):
            out[at : at + len(block)] = block
        return out


def blocks(x: np.ndarray | Rows) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, some rows): what is made of all at once takes the memory of x again, and again."""
    n = max(256, BLOCK_BYTES // (8 * x.shape[1]))
    for at in range(0, max(1, len(x)), n):
        yield at, x[at : at + n]


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation of columns, 1 where one is constant, as scikit-learn's StandardScaler."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for _, block in blocks(x):
        scaler.partial_fit(np.asarray(block, np.float64))
    return scaler.mean_, scaler.scale_


def standardised(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray, overwrite: bool = False) -> np.ndarray:
    """(x - mean) / deviation, float64, in one new array, or in x itself where it may be overwritten."""
    x = np.asarray(x, np.float64)
    x = np.subtract(x, mean, out=x if overwrite else None)
    x /= deviation
    return x


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def scores_of(estimator, X) -> np.ndarray:
    """(clips, labels) of any fitted scikit-learn classifier: log-probabilities if it has them, else decision values."""
    if hasattr(estimator, "predict_log_proba"):
        with np.errstate(divide="ignore"):
            return np.maximum(estimator.predict_log_proba(X), LOWEST)
    if not hasattr(estimator, "decision_function"):
        raise UsageError(f"{type(estimator).__name__} gives no scores: it has no predict_proba nor decision_function")
    scores = estimator.decision_function(X)
    return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores


def spread(scores: np.ndarray, labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Columns of the labels that were learned -> columns of all labels; the others get what is below every score."""
    out = np.full((len(scores), n_labels), min(LOWEST, scores.min(initial=0) - 1))
    out[:, labels] = scores
    return out
