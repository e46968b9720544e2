"""Multilayer perceptrons, whose grid and all folds train as one program (networks.py).

"mlp" and "mlp-windows" are the probe of Cramer et al. 2019: two hidden layers, 512 and 128, of ReLU, softmax, L2 on
kernels; learning rates {1e-5, 1e-4, 1e-3} by L2 {1e-5, 1e-4, 1e-3}, of which the one with the best validation accuracy
counts (of equals the first), without fitting again; where the paper is silent, the code of marl/l3embedding: Keras'
Glorot start, Adam, batches of 32, up to 50 epochs, stopped 20 after the lowest validation loss. A clip's score is the
logarithm of the mean likelihood over its windows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from l3embed.errors import UsageError

from ..datasets import DataError
from .common import LOWEST
from .networks import Part, Recipe, fit_all
from .windows import Windows

RATES, DECAYS = (1e-5, 1e-4, 1e-3), (1e-5, 1e-4, 1e-3)
VALIDATION = 0.1  # of the clips of each label (the paper; its code takes 15 % of the windows)
GRID = tuple({"rate": rate, "decay": decay} for rate in RATES for decay in DECAYS)  # trained together
FEW_SHOT = {"rates": (1e-3,), "decays": (1e-3,), "validation": 0.0}  # no clip to spare: all epochs are trained
TORCH = 1e-5  # added to variances by batch normalisation, and the share of a batch in the running ones
MOMENTUM = 0.1


@dataclass(frozen=True)
class Dense:
    """Layers of ReLU and a linear one. With `norm`, batch normalisation (PyTorch's constants) before each ReLU, then
    dropout."""

    hidden: tuple[int, ...] = (512, 128)
    norm: bool = False
    dropout: float = 0.0
    initial: str = "uniform"  # Glorot's; or his "normal" one, or "torch": PyTorch's for a linear layer
    clipwise = False

    @property
    def kernels(self) -> tuple[int, ...]:
        """Which of the weights L2 counts."""
        return tuple((4 if self.norm else 2) * i for i in range(len(self.hidden) + 1))

    def start(self, rng, n_in: int, n_out: int) -> list[np.ndarray]:
        """Kernel and bias (0 but for "torch") of each layer, and scale and shift where it is normalised."""
        out, sizes = [], (n_in, *self.hidden, n_out)
        for layer, (a, b) in enumerate(itertools.pairwise(sizes)):
            limit, bias = np.sqrt(6 / (a + b)), np.zeros((1, b))
            if self.initial == "torch":
                limit, bias = 1 / np.sqrt(a), rng.uniform(-1, 1, (1, b)) / np.sqrt(a)
            normal = self.initial == "normal"
            kernel = rng.standard_normal((a, b)) / np.sqrt(3) if normal else rng.uniform(-1, 1, (a, b))
            out += [(limit * kernel).astype(np.float32), bias.astype(np.float32)]
            if self.norm and layer < len(self.hidden):
                out += [np.ones((1, b), np.float32), np.zeros((1, b), np.float32)]
        return out

    def running(self) -> list[np.ndarray]:
        """Mean and variance of each normalised layer before anything was seen (PyTorch's)."""
        each = [(np.zeros((1, n), np.float32), np.ones((1, n), np.float32)) for n in self.hidden if self.norm]
        return [v for pair in each for v in pair]

    def scores(self, ops, weights, running, x, mask, draw):
        """(N, B, D) -> (N, B, labels) before softmax, and the new running values. `draw`: number of the step, None when
        nothing is trained."""
        new, step = [], 4 if self.norm else 2
        for layer in range(len(self.hidden)):
            x = x @ weights[step * layer] + weights[step * layer + 1]
            if self.norm:
                about = running[2 * layer : 2 * layer + 2]
                if draw is not None:
                    about, seen = _of_batch(ops, x, mask, about)
                    new += seen
                x = (x - about[0]) / ops.sqrt(about[1] + TORCH) * weights[step * layer + 2] + weights[step * layer + 3]
            if self.dropout and draw is not None:
                kept = ops.float(ops.uniform(draw * 8 + layer, x) >= self.dropout)
                x = x * kept / (1 - self.dropout)
            x = ops.maximum(x, 0.0)
        return x @ weights[-2] + weights[-1], tuple(new)


def _of_batch(ops, x, mask, running):
    """Mean and variance over a batch's items, and the running ones after it (with PyTorch's unbiased variance)."""
    mask = mask[:, :, None]
    n = ops.maximum(ops.total(mask, 1), 1.0)[:, None]  # (N, 1, 1)
    mean = ops.total(x * mask, 1)[:, None] / n
    variance = ops.total((x - mean) ** 2 * mask, 1)[:, None] / n
    unbiased = variance * n / ops.maximum(n - 1, 1.0)
    seen = [old + MOMENTUM * (now - old) for old, now in zip(running, (mean, unbiased), strict=True)]
    return (mean, variance), seen


class NetworkProbe(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier of windows: `fit(X, y, groups)`, X (windows, D), y and groups (windows,).

    `groups` (the clip, the speaker) are not divided between fitting and validation; without them windows are.
    A child says what is trained (`_network`) and how (`_recipe`, `_grid`).
    """

    clipwise = False  # whether what it learns from are whole clips

    def fit(self, X, y, groups=None):
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(f"a probe needs two classes at least. Received: one class, {self.classes_[0]!r}")
        units = np.arange(len(X)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        if self.clipwise:
            order = np.argsort(units, kind="stable")
            X, codes, units = X[order], codes[order], units[order]
            source = Windows.of_clips(X, units)
            first = source.first[:-1]
            part = split(np.arange(len(first)), codes[first], np.arange(len(first)), self.validation, self.random_state)
            codes = codes[first]
        else:
            source = Windows(X)
            part = split(np.arange(len(X)), codes, units, self.validation, self.random_state)
        self.fitted_ = self._learned(source, np.eye(len(self.classes_))[codes], part)
        return self

    def _learned(self, source: Windows, targets: np.ndarray, part: Part):
        """What has `log_probabilities` of windows."""
        (fitted,) = fit_all(self._network(), source, targets, [part], self._grid(), self._recipe(), self.engine)
        self.chosen_ = self._grid()[fitted.point]
        return fitted

    def predict_log_proba(self, X):
        """(n, labels) of windows, each by itself."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        each = [X[i : i + 1] for i in range(len(X))] if self.clipwise else [X]
        return np.maximum(np.concatenate([self.fitted_.log_probabilities(x) for x in each]), LOWEST)

    def predict_proba(self, X):
        return np.exp(self.predict_log_proba(X))

    def predict(self, X):
        best = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[best]

    def together(self, source: Windows, targets: np.ndarray, parts: list[Part], tests: list[np.ndarray]):
        """Train for every part of a data set side by side. targets (clips, labels) of 0 and 1; parts: of windows (of
        clips where `clipwise`); tests: of each part the clips to predict. Yields (scores (tests, labels), choice)."""
        grid = self._grid()
        fitted = fit_all(self._network(), source, targets, parts, grid, self._recipe(), self.engine)
        for one, clips in zip(fitted, tests, strict=True):
            chosen = {"rate": grid[one.point][0], "decay": grid[one.point][1]} if len(grid) > 1 else {}
            yield clip_scores(one, source, clips, targets.shape[1]), chosen

    def _grid(self) -> list[tuple[float, float]]:
        return list(itertools.product(self.rates, self.decays))


class MLPProbe(NetworkProbe):
    """The defaults are the paper's. validation: share of the clips of each label; 0: none, all epochs are trained."""

    def __init__(
        self, hidden=(512, 128), rates=RATES, decays=DECAYS, epochs=50, patience=20, batch=32, validation=VALIDATION,
        random_state=0, engine=None,
    ):  # fmt: skip
        self.hidden, self.rates, self.decays, self.epochs = hidden, rates, decays, epochs
        self.patience, self.batch, self.validation, self.random_state = patience, batch, validation, random_state
        self.engine = engine

    def _network(self):
        return Dense(tuple(self.hidden))

    def _recipe(self):
        return Recipe(self.epochs, self.patience if self.validation else 0, self.batch)


def clip_scores(fitted, source: Windows, clips: np.ndarray, n_labels: int) -> np.ndarray:
    """(clips, labels): logarithm of the mean likelihood over a clip's windows."""
    out = np.empty((len(clips), n_labels))
    if len(source) == len(source.first) - 1 and source.resident:  # a window a clip
        return np.maximum(fitted.log_probabilities(source.x[clips]), LOWEST)
    for i, x in enumerate(source.clips(clips)):
        out[i] = np.log(np.maximum(np.exp(fitted.log_probabilities(x)).mean(axis=0), np.exp(LOWEST)))
    return out


def split(rows: np.ndarray, codes: np.ndarray, units: np.ndarray, share: float, seed: int) -> Part:
    """Part of the rows for validation: of each label a share of its units, one at least, never all of them; share 0:
    none. Raises DataError where no label has two units.
    """
    if not share:
        return Part(rows, rows[:0], seed)
    rng, held = np.random.default_rng([seed, 0]), []
    for code in np.unique(codes[rows]):
        mine = rng.permutation(np.unique(units[rows][codes[rows] == code]))
        held += mine[: min(max(1, round(share * len(mine))), len(mine) - 1)].tolist()
    inside = np.isin(units[rows], held)
    if not inside.any() or inside.all():
        raise DataError("validation needs a label with two clips at least: add clips, or split by windows")
    return Part(rows[~inside], rows[inside], seed)
