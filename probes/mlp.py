"""The MLP probe of Cramer et al. 2019: 512-128, trained on windows, decided by clip; its grid and all folds at once.

As the paper has it, and where it is silent the code of marl/l3embedding: windows standardised by those of the training
folds; two hidden layers of ReLU, softmax, L2 on kernels; Adam, batches of 32 windows, up to 50 epochs, stopped 20
epochs after the lowest validation loss (which counts L2, as in Keras), whose weights are kept; of learning rates
{1e-5, 1e-4, 1e-3} x L2 {1e-5, 1e-4, 1e-3} the pair of the best validation accuracy, without fitting anew; a clip gets
the label of the highest mean likelihood over its windows.

One departure: validation takes 10 % of the *clips* of each label, not of the windows (the paper's code: 15 %), since
windows of one clip on both sides make the best validation accuracy that of the most overfitted network. `by_window`
brings the paper's way back.

All networks of a fold share their batches, so that the first layers of the grid are one matrix product; folds lie side
by side. TensorFlow (train extra), on a GPU where it sees one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from l3embed.errors import MissingExtraError

from .datasets import DataError

RATES, DECAYS = (1e-5, 1e-4, 1e-3), (1e-5, 1e-4, 1e-3)
CHUNK = 4096  # windows predicted at a time


@dataclass(frozen=True)
class How:
    hidden: tuple[int, int] = (512, 128)
    rates: tuple[float, ...] = RATES
    decays: tuple[float, ...] = DECAYS  # L2
    epochs: int = 50
    patience: int = 20
    batch: int = 32
    validation: float = 0.1

    @property
    def grid(self) -> list[tuple[float, float]]:
        return list(itertools.product(self.rates, self.decays))


@dataclass(frozen=True)
class Part:
    """One fold's own windows, as rows of x, and the seed of its networks and batches."""

    fit: np.ndarray
    validation: np.ndarray
    seed: int


@dataclass(frozen=True)
class Fitted:
    """The chosen network of a part."""

    weights: list[np.ndarray]  # kernel, bias of each layer
    mean: np.ndarray
    deviation: np.ndarray
    chosen: tuple[float, float]  # learning rate, L2
    validation_accuracy: float  # of windows

    def likelihoods(self, x: np.ndarray) -> np.ndarray:
        """(windows, D) -> (windows, labels)."""
        return np.concatenate([self._chunk(x[at : at + CHUNK]) for at in range(0, len(x), CHUNK)])

    def _chunk(self, x: np.ndarray) -> np.ndarray:
        x = (x - self.mean) / self.deviation
        for kernel, bias in zip(self.weights[0:4:2], self.weights[1:4:2], strict=True):
            x = np.maximum(x @ kernel + bias, 0)
        x = x @ self.weights[4] + self.weights[5]
        x = np.exp(x - x.max(axis=1, keepdims=True))
        return x / x.sum(axis=1, keepdims=True)


class MLPProbe(ClassifierMixin, BaseEstimator):
    """The probe as a scikit-learn estimator of windows. `fit(X, y, groups)`: X (windows, D), y (windows,), groups
    (windows,) what must not be on both sides of the validation split, such as the clip; without them windows are split.
    """

    def __init__(
        self, hidden=(512, 128), rates=RATES, decays=DECAYS, epochs=50, patience=20, batch=32, validation=0.1,
        random_state=0,
    ):  # fmt: skip
        self.hidden, self.rates, self.decays, self.epochs = hidden, rates, decays, epochs
        self.patience, self.batch, self.validation, self.random_state = patience, batch, validation, random_state

    def fit(self, X, y, groups=None):
        x = np.ascontiguousarray(X, np.float32)
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        units = np.arange(len(x)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        how = How(tuple(self.hidden), tuple(self.rates), tuple(self.decays), self.epochs, self.patience, self.batch,
                  self.validation)  # fmt: skip
        part = split(np.arange(len(x)), codes, units, self.validation, self.random_state)
        self.fitted_ = fit_all(x, codes, len(self.classes_), [part], how)[0]
        self.n_features_in_ = x.shape[1]
        return self

    def predict_proba(self, X):
        return self.fitted_.likelihoods(np.asarray(X, np.float32))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def nested(
    windows: list[np.ndarray], labels, folds, units=None, by_window: bool = False, how: How | None = None, seed: int = 0
) -> tuple[np.ndarray, dict[str, tuple[float, float]]]:
    """Predict every fold by a probe that was trained and chosen on the other folds only.

    Parameters
    ----------
    windows : of each clip, (T, D); labels, folds : (clips,)
    units : (clips,) what must not be on both sides of the validation split (default: each clip by itself)
    by_window : split validation by windows instead, as the paper's code does

    Returns
    -------
    predicted labels (clips,), and (learning rate, L2) chosen for each test fold
    """
    how = how or How()
    labels, folds = np.asarray(labels), np.asarray(folds)
    classes, codes = np.unique(labels, return_inverse=True)
    clip = np.repeat(np.arange(len(windows)), [len(w) for w in windows])
    x = np.concatenate(windows).astype(np.float32, copy=False)
    own = np.arange(len(windows)) if units is None else np.unique(np.asarray(units), return_inverse=True)[1]
    unit_of = np.arange(len(x)) if by_window else own[clip]
    names = np.unique(folds)
    parts = [split(np.flatnonzero(folds[clip] != f), codes[clip], unit_of, how.validation, seed + i)
             for i, f in enumerate(names)]  # fmt: skip
    predicted, chosen = np.empty(len(labels), int), {}
    for fold, fitted in zip(names, fit_all(x, codes[clip], len(classes), parts, how), strict=True):
        for i in np.flatnonzero(folds == fold):
            predicted[i] = fitted.likelihoods(windows[i]).mean(axis=0).argmax()
        chosen[str(fold)] = fitted.chosen
    return classes[predicted], chosen


def split(rows: np.ndarray, codes: np.ndarray, units: np.ndarray, share: float, seed: int) -> Part:
    """Part of the rows for validation: of each label a share of its units, one at least, never all of them.

    Raises DataError where no label has two units.
    """
    rng, held = np.random.default_rng([seed, 0]), []
    for code in np.unique(codes[rows]):
        mine = rng.permutation(np.unique(units[rows][codes[rows] == code]))
        held += mine[: min(max(1, round(share * len(mine))), len(mine) - 1)].tolist()
    inside = np.isin(units[rows], held)
    if not inside.any() or inside.all():
        raise DataError("validation needs a label with two clips at least: add clips, or split by windows")
    return Part(rows[~inside], rows[inside], seed)


def fit_all(x: np.ndarray, codes: np.ndarray, n_classes: int, parts: list[Part], how: How) -> list[Fitted]:
    """Train the grid for every part, side by side, and choose in each. x (windows, D) float32, codes (windows,) int."""
    together = [np.concatenate([part.fit, part.validation]) for part in parts]
    mean = np.stack([x[rows].mean(axis=0, dtype=np.float64) for rows in together]).astype(np.float32)
    deviation = np.stack([x[rows].std(axis=0, dtype=np.float64) for rows in together]).astype(np.float32)
    deviation[deviation == 0] = 1
    if not np.isfinite(mean).all() or not np.isfinite(deviation).all():
        raise DataError("the windows hold NaN or infinity: embed the recordings again")
    networks = _Networks(x, codes, n_classes, parts, how, mean, deviation)
    best_loss = np.full((len(parts), len(how.grid)), np.inf)
    waited, accuracy = np.zeros(best_loss.shape, int), np.zeros(best_loss.shape)
    for epoch in range(how.epochs):
        networks.epoch(_batches(parts, how.batch, epoch), waited < how.patience)
        loss, right = networks.validate()
        better = (loss < best_loss) & (waited < how.patience)
        best_loss, accuracy = np.where(better, loss, best_loss), np.where(better, right, accuracy)
        waited = np.where(better, 0, waited + 1)
        networks.keep(better)
        if (waited >= how.patience).all():
            break
    choice = accuracy.argmax(axis=1)
    return [
        Fitted(networks.kept(p, g), mean[p], deviation[p], how.grid[g], float(accuracy[p, g]))
        for p, g in enumerate(choice)
    ]


def _batches(parts: list[Part], size: int, epoch: int) -> np.ndarray:
    """(steps, parts, batch) rows of x, in each part's own order; -1 where a part has no more."""
    steps = max(-(-len(part.fit) // size) for part in parts)
    out = np.full((len(parts), steps * size), -1)
    for i, part in enumerate(parts):
        out[i, : len(part.fit)] = np.random.default_rng([part.seed, 1, epoch]).permutation(part.fit)
    return out.reshape(len(parts), steps, size).transpose(1, 0, 2)


class _Networks:
    """The grid of every part as one program of TensorFlow: P parts, G points of the grid, D dimensions, H hidden units.

    First kernels (P, D, G H), all others (P, G, in, out), biases (P, G, 1, out).
    """

    def __init__(self, x, codes, n_classes: int, parts: list[Part], how: How, mean, deviation):
        tf = self.tf = _tensorflow()
        self.x, self.codes = tf.constant(x), tf.constant(codes, tf.int32)
        self.mean, self.deviation = tf.constant(mean[:, None]), tf.constant(deviation[:, None])
        self.size, self.sizes = len(how.grid), (x.shape[1], *how.hidden, n_classes)
        rates, decays = np.array(how.grid, np.float32).T
        self.rates, self.decays = ([self._like(v[None], i) for i in range(6)] for v in (rates, decays))
        start = self._start(parts)
        self.variables, self.best = ([tf.Variable(v) for v in start] for _ in range(2))
        self.m, self.v = ([tf.Variable(tf.zeros_like(v)) for v in start] for _ in range(2))
        self.steps = tf.Variable(tf.zeros((len(parts), self.size)))
        n = max(len(part.validation) for part in parts)
        rows = [np.pad(part.validation, (0, n - len(part.validation)), constant_values=-1) for part in parts]
        self.validation = np.stack(rows)
        self._epoch, self._score = tf.function(self._epoch_of), tf.function(self._score_of)

    def _start(self, parts: list[Part]) -> list[np.ndarray]:
        """Glorot's uniform kernels (Keras' default), biases of zero; by seed and place in the grid."""
        out = []
        for layer, (n_in, n_out) in enumerate(itertools.pairwise(self.sizes)):
            limit = np.sqrt(6 / (n_in + n_out))
            draw = [[np.random.default_rng([p.seed, 2, g, layer]).uniform(-limit, limit, (n_in, n_out))
                     for g in range(self.size)] for p in parts]  # fmt: skip
            kernel = np.array(draw, np.float32)  # (P, G, in, out)
            if layer == 0:
                kernel = kernel.transpose(0, 2, 1, 3).reshape(len(parts), n_in, -1)
            out += [kernel, np.zeros((len(parts), self.size, 1, n_out), np.float32)]
        return out

    def _like(self, values, i: int):
        """(P or 1, G) values in the shape that multiplies variable i."""
        if i == 0:
            return self.tf.repeat(values, self.sizes[1], axis=1)[:, None]
        return values[:, :, None, None]

    def epoch(self, batches: np.ndarray, active: np.ndarray) -> None:
        self._epoch(self.tf.constant(batches, self.tf.int32), self.tf.constant(active))

    def validate(self) -> tuple[np.ndarray, np.ndarray]:
        """(P, G) loss with L2, and accuracy, of the validation windows."""
        loss, right = 0.0, 0.0
        for at in range(0, self.validation.shape[1], CHUNK):
            chunk = self._score(self.tf.constant(self.validation[:, at : at + CHUNK], self.tf.int32))
            loss, right = loss + chunk[0].numpy(), right + chunk[1].numpy()
        n = (self.validation >= 0).sum(axis=1)[:, None]
        return loss / n + self._l2().numpy(), right / n

    def keep(self, better: np.ndarray) -> None:
        for i, (best, now) in enumerate(zip(self.best, self.variables, strict=True)):
            best.assign(self.tf.where(self._like(self.tf.constant(better), i), now, best))

    def kept(self, part: int, point: int) -> list[np.ndarray]:
        first, *rest = (v.numpy()[part] for v in self.best)
        units = self.sizes[1]
        rest = [v[point] for v in rest]
        return [first[:, point * units : (point + 1) * units], *(v[0] if len(v) == 1 and i % 2 == 0 else v
                for i, v in enumerate(rest))]  # fmt: skip

    # --- in the graph

    def _forward(self, rows):
        """(P, B) rows of x, -1 for none -> logits (P, G, B, labels), and which rows count (P, 1, B)."""
        tf = self.tf
        x = (tf.gather(self.x, tf.maximum(rows, 0)) - self.mean) / self.deviation
        k1, b1, k2, b2, k3, b3 = self.variables
        h = tf.reshape(x @ k1, (tf.shape(x)[0], tf.shape(x)[1], self.size, self.sizes[1]))
        h = tf.nn.relu(tf.transpose(h, (0, 2, 1, 3)) + b1)
        return tf.nn.relu(h @ k2 + b2) @ k3 + b3, tf.cast(rows >= 0, tf.float32)[:, None]

    def _losses(self, logits, rows, counted):
        """(P, G) sum of cross-entropy over the rows that count."""
        tf = self.tf
        codes = tf.repeat(tf.gather(self.codes, tf.maximum(rows, 0))[:, None], self.size, axis=1)
        return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits) * counted, axis=2), codes

    def _l2(self):
        """(P, G): L2 times the sum of squared kernels."""
        tf = self.tf
        first = tf.reshape(tf.reduce_sum(self.variables[0] ** 2, axis=1), (-1, self.size, self.sizes[1]))
        squares = tf.reduce_sum(first, axis=2)
        squares += sum(tf.reduce_sum(self.variables[i] ** 2, axis=(2, 3)) for i in (2, 4))
        return squares * self.decays[1][:, :, 0, 0]

    def _score_of(self, rows):
        tf = self.tf
        logits, counted = self._forward(rows)
        loss, codes = self._losses(logits, rows, counted)
        right = tf.cast(tf.argmax(logits, axis=3, output_type=tf.int32) == codes, tf.float32)
        return loss, tf.reduce_sum(right * counted, axis=2)

    def _epoch_of(self, batches, active):
        for step in self.tf.range(self.tf.shape(batches)[0]):
            self._step(batches[step], active)

    def _step(self, rows, active):
        """One step of Adam (Kingma & Ba 2015, Keras' constants) for the networks that are active and have rows."""
        tf = self.tf
        with tf.GradientTape() as tape:
            logits, counted = self._forward(rows)
            n = tf.reduce_sum(counted, axis=2)
            loss = self._losses(logits, rows, counted)[0] / tf.maximum(n, 1) + self._l2()
        gradients = tape.gradient(loss, self.variables)
        moves = active & (n > 0)
        self.steps.assign_add(tf.cast(moves, tf.float32))
        t = tf.maximum(self.steps, 1)
        scale = tf.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for i, (w, m, v, g) in enumerate(zip(self.variables, self.m, self.v, gradients, strict=True)):
            on = tf.cast(self._like(moves, i), tf.float32)
            m.assign_add(on * 0.1 * (g - m))
            v.assign_add(on * 0.001 * (g * g - v))
            w.assign_sub(on * self.rates[i] * self._like(scale, i) * m / (tf.sqrt(v) + 1e-7))


def _tensorflow():
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow
    except ImportError as error:
        raise MissingExtraError("the MLP probe", "train") from error
    return tensorflow
