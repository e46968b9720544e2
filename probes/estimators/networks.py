"""Small networks trained side by side: every point of a grid for every part of a data set, as one program.

A part is what one test fold leaves: items to fit, items to validate on, a seed. Vectors are standardised by all of the
part's windows. Adam (Kingma & Ba 2015, Keras' constants); L2 on kernels, counted in the loss as in Keras; after every
epoch (or every few) the validation loss or accuracy is looked at, the best weights are kept, and a network stops when
it has not improved for `patience` looks. Which networks are trained beside one changes nothing of it.

An item is a window or, of networks that take a whole clip, a clip, of which each epoch draws some windows. Arrays: N
networks = P parts x G points, network p G + g; weights (N, in, out), biases (N, 1, out); batches are windows (steps, P,
B) or (steps, P, B, T), -1 where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import NUMPY, engine
from .program import log_sigmoid, log_softmax, program

BYTES = 2**30  # of weights, moments and best weights trained at a time on a processor; eight times that on a GPU
CHUNK = 1024  # items validated, windows predicted at a time
CACHE = 2**23  # bytes of weights and moments that a processor trains at a time without waiting for its memory


@dataclass(frozen=True)
class Recipe:
    """How networks are trained. The defaults are those of Cramer et al. 2019."""

    epochs: int = 50
    patience: int = 20  # looks without a better one; 0: no validation, the last weights count
    batch: int = 32
    every: int = 1  # epochs between looks
    monitor: str = "loss"  # or "accuracy", of validation
    standardise: bool = True


@dataclass(frozen=True, eq=False)
class Part:
    """Items (windows or clips) to fit and to validate on, and the seed of networks and batches."""

    fit: np.ndarray
    validation: np.ndarray
    seed: int


@dataclass(frozen=True, eq=False)
class Fitted:
    """The chosen network of a part."""

    network: object
    weights: list[np.ndarray]
    running: list[np.ndarray]
    mean: np.ndarray
    deviation: np.ndarray
    point: int  # of the grid
    validation_accuracy: float  # of items
    several: bool  # labels do not exclude each other

    def log_probabilities(self, x: np.ndarray) -> np.ndarray:
        """Windows (n, D) -> (n, labels); of a network that takes clips, one clip's windows -> (1, labels)."""
        x = (np.asarray(x, np.float32) - self.mean) / self.deviation
        if self.network.clipwise:
            return self._of(x[None, None])
        return np.concatenate([self._of(x[None, at : at + CHUNK]) for at in range(0, max(1, len(x)), CHUNK)])

    def _of(self, x) -> np.ndarray:
        mask = np.ones(x.shape[:-1], np.float32)
        weights, running = [w[None] for w in self.weights], [r[None] for r in self.running]
        scores = self.network.scores(NUMPY, weights, running, x, mask, None)[0][0]
        return log_sigmoid(NUMPY, scores) if self.several else log_softmax(NUMPY, scores)


def fit_all(
    network, source, targets: np.ndarray, parts: list[Part], grid, recipe: Recipe, engine_name: str | None = None
) -> list[Fitted]:
    """Train the grid for every part, and choose in each by validation accuracy (of several labels, by loss).

    Parameters
    ----------
    network : what is trained (mlp.Dense, attention.Heads)
    source : `windows.Windows`
    targets : (clips, labels) of 0 and 1; several in a row where labels do not exclude each other
    grid : (learning rate, L2) each
    engine_name : "jax", "tensorflow", or None: what is installed
    """
    ops, targets = engine(engine_name), targets.astype(np.float32)
    start = network.start(np.random.default_rng(0), source.dim, targets.shape[1])
    n_bytes = 16 * len(grid) * sum(w.size for w in start)
    together = max(1, (8 if ops.on_gpu else 1) * BYTES // n_bytes)
    out = []
    for at in range(0, len(parts), together):
        out += _train(_Training(network, source, targets, parts[at : at + together], grid, recipe, ops))
    return out


def _train(training: _Training) -> list[Fitted]:
    recipe, shape = training.recipe, (len(training.parts), len(training.grid))
    best, accuracy, waited = np.full(shape, np.inf), np.zeros(shape), np.zeros(shape, int)
    for epoch in range(recipe.epochs):
        active = waited < max(recipe.patience, 1)
        training.epoch(epoch, active)
        if not recipe.patience or (epoch + 1) % recipe.every:
            continue
        loss, right = training.validate()
        monitored = loss if recipe.monitor == "loss" else -right
        better = (monitored < best) & active
        best, accuracy = np.where(better, monitored, best), np.where(better, right, accuracy)
        waited = np.where(better, 0, waited + 1)
        training.keep(better)
        if (waited >= recipe.patience).all():
            break
    if not recipe.patience:
        training.keep(np.ones(shape, bool))
    choice = -best if training.several and recipe.patience else accuracy
    return [training.fitted(p, int(g), float(accuracy[p, g])) for p, g in enumerate(choice.argmax(axis=1))]


class _Training:
    """The state of all networks on the device."""

    def __init__(self, network, source, targets, parts: list[Part], grid, recipe: Recipe, ops):
        self.network, self.source, self.parts, self.grid = network, source, parts, grid
        self.recipe, self.ops = recipe, ops
        self.several = bool((targets.sum(axis=1) != 1).any())
        self.mean, self.deviation = source.moments([_windows(network, source, part) for part in parts])
        if not recipe.standardise:
            self.mean, self.deviation = np.zeros_like(self.mean), np.ones_like(self.deviation)
        n, points = len(parts) * len(grid), range(len(grid))
        start = [network.start(np.random.default_rng([part.seed, 2, g]), source.dim, targets.shape[1])
                 for part in parts for g in points]  # fmt: skip
        weights = [np.stack(some).astype(np.float32) for some in zip(*start, strict=True)]
        running = [np.stack([some] * n) for some in network.running()]
        zeros, counts = [np.zeros_like(w) for w in weights], [np.zeros(n, np.float32)]
        self.state = tuple(tuple(map(ops.constant, some)) for some in (weights, zeros, zeros, counts, running))
        self.best = tuple(map(ops.constant, (*weights, *running)))
        rates, decays = np.tile(np.array(grid, np.float32).T, len(parts))
        part = np.repeat(np.arange(len(parts), dtype=np.int32), len(grid))
        self.fixed = tuple(map(ops.constant, (targets, self.mean, self.deviation, rates, decays, part)))
        fit_in = max(1, CACHE * n // (12 * sum(w.size for w in weights)))
        size = n if ops.on_gpu else max(k for k in range(1, n + 1) if n % k == 0 and k <= fit_in)
        self.program = program(ops, network, self.several, size)

    def epoch(self, epoch: int, active: np.ndarray) -> None:
        rows, before = _batches(self.network, self.source, self.parts, self.recipe.batch, epoch), 0
        active = self.ops.constant(active.reshape(-1))
        for x, local, part in self.source.blocks(self.ops, rows):
            numbers = (epoch * len(rows) + before + np.arange(len(part))).astype(np.int32)
            each = tuple(self.ops.constant(some) for some in (local, self._clips(part), numbers))
            self.state = self.program.epoch(self.state, self.fixed, x, each, active)
            before += len(part)

    def validate(self) -> tuple[np.ndarray, np.ndarray]:
        """(P, G) loss with L2, and accuracy, of the validation items."""
        items = _stacked([_validated(self.network, self.source, part) for part in self.parts])  # (P, V[, T])
        loss, right = 0.0, 0.0
        for at in range(0, items.shape[1], CHUNK):
            for x, local, part in self.source.blocks(self.ops, items[None, :, at : at + CHUNK]):
                each = self.ops.constant(local[0]), self.ops.constant(self._clips(part)[0])
                values = self.program.score(self.state, self.fixed, x, each)
                loss, right = loss + np.asarray(values[0]), right + np.asarray(values[1])
        shape, n = (len(self.parts), len(self.grid)), [len(part.validation) for part in self.parts]
        loss, right, l2 = (np.asarray(v, float).reshape(shape) for v in (loss, right, values[2]))
        return loss / np.array(n)[:, None] + l2, right / np.array(n)[:, None]

    def _clips(self, rows: np.ndarray) -> np.ndarray:
        """The clip of each item, 0 where there is none."""
        first = rows[..., 0] if self.network.clipwise else rows
        return np.where(first >= 0, self.source.clip_of[first], 0).astype(np.int32)

    def keep(self, better: np.ndarray) -> None:
        """Remember the weights of those that are better."""
        now = (*self.state[0], *self.state[4])
        self.best = self.program.keep(self.best, now, self.ops.constant(better.reshape(-1)))

    def fitted(self, part: int, point: int, accuracy: float) -> Fitted:
        kept, n = [np.asarray(w[part * len(self.grid) + point]) for w in self.best], len(self.state[0])
        about = self.mean[part], self.deviation[part]
        return Fitted(self.network, kept[:n], kept[n:], *about, point, accuracy, self.several)


# --- which windows, on the host


def _batches(network, source, parts: list[Part], size: int, epoch: int) -> np.ndarray:
    """(steps, P, B[, T]) windows, in each part's own order, which the seed decides; -1 where a part has no more."""
    steps = max(-(-len(part.fit) // size) for part in parts)
    rngs = [np.random.default_rng([part.seed, 1, epoch]) for part in parts]
    orders = [rng.permutation(part.fit) for rng, part in zip(rngs, parts, strict=True)]
    if network.clipwise:
        orders = [_some(source, order, network.windows, rng) for order, rng in zip(orders, rngs, strict=True)]
    out = np.full((len(parts), steps * size, *orders[0].shape[1:]), -1)
    for i, order in enumerate(orders):
        out[i, : len(order)] = order
    return out.reshape(len(parts), steps, size, *out.shape[2:]).swapaxes(0, 1)


def _some(source, clips: np.ndarray, n: int, rng=None) -> np.ndarray:
    """(clips, n) windows of each clip, -1 where it has fewer: drawn by `rng`, or evenly spaced."""
    n = min(n, int(np.diff(source.first).max()))
    out = np.full((len(clips), n), -1)
    for i, clip in enumerate(clips):
        first, last = source.first[clip], source.first[clip + 1]
        k = min(n, last - first)
        if rng is None:
            out[i, :k] = first + np.linspace(0, last - first - 1, k).round().astype(int)
        else:
            out[i, :k] = np.sort(rng.choice(np.arange(first, last), k, replace=False))
    return out


def _validated(network, source, part: Part) -> np.ndarray:
    return _some(source, part.validation, network.windows) if network.clipwise else part.validation


def _windows(network, source, part: Part) -> np.ndarray:
    items = np.concatenate([part.fit, part.validation])
    return source.of(items) if network.clipwise else items


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    out = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), -1)
    for i, some in enumerate(rows):
        out[i, : len(some)] = some
    return out
