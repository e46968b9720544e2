"""A learned prototypical embedding (Snell et al. 2017): a projection of windows, trained so that prototypes tell apart.

An episode draws, of each label, some windows as support and others as queries, of different clips where there are as
many; a prototype is the mean of a label's projected support; the loss is the cross-entropy of minus the squared
distance of queries to prototypes. At the test a prototype is the mean over the label's training clips, and a clip's
score the mean over its windows of log-softmax.

The few-data variant is that of Pons et al. 2018 on frozen embeddings: ten dimensions, the *mean* of squared
differences, plain SGD with gradients clipped to norm 5, and a support of up to five windows a label that is drawn once
and serves at the test, too. Theirs stops by the training accuracy; here the episodes are counted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .common import LOWEST, log_softmax
from .mlp import NetworkProbe
from .networks import Part
from .windows import Windows

GRID = ({},)
FEW_SHOT = {"dims": 10, "rate": 0.1, "few": True}
CLIP = 5.0  # norm of a gradient, few-data variant
BLOCK = 2**25  # bytes of windows drawn at a time


class EpisodicProbe(NetworkProbe):
    """dims of the projection; support, query: windows of each label in an episode; few: the few-data variant.

    Groups in `fit(X, y, groups)` are the clips; without them each row is a clip of one window.
    """

    clipwise, validation, engine = True, 0.0, None

    def __init__(self, dims=64, episodes=500, rate=1e-3, support=5, query=5, few=False, random_state=0):
        self.dims, self.episodes, self.rate, self.support, self.query = dims, episodes, rate, support, query
        self.few, self.random_state = few, random_state

    def _learned(self, source: Windows, targets: np.ndarray, part: Part) -> Projection:
        return _train(self, source, targets.argmax(axis=1), targets.shape[1], part)

    def together(self, source, targets, parts, tests):
        for part, clips in zip(parts, tests, strict=True):
            projection = self._learned(source, targets, part)
            scores = [projection.log_probabilities(x).mean(axis=0) for x in source.clips(clips)]
            yield np.maximum(np.array(scores).reshape(len(clips), -1), LOWEST), {}


class Projection:
    """Standardise, project, compare with prototypes (labels, dims)."""

    def __init__(self, mean, deviation, weights, scale: float):
        self.mean, self.deviation, self.weights, self.scale, self.prototypes = mean, deviation, weights, scale, None

    def project(self, x) -> np.ndarray:
        return ((x - self.mean) / self.deviation) @ self.weights

    def log_probabilities(self, x) -> np.ndarray:
        """(n, D) -> (n, labels); a label that was never seen is LOWEST."""
        z, p = self.project(np.asarray(x, np.float64)), self.prototypes
        there = np.isfinite(p[:, 0])
        out = np.full((len(z), len(p)), LOWEST)
        out[:, there] = log_softmax(-_distances(z, p[there]) / self.scale)
        return out


def _distances(z, prototypes) -> np.ndarray:
    return (z**2).sum(axis=1)[:, None] - 2 * z @ prototypes.T + (prototypes**2).sum(axis=1)


def _train(how: EpisodicProbe, source: Windows, codes: np.ndarray, n_labels: int, part: Part) -> Projection:
    rng = np.random.default_rng([part.seed, 3])
    (mean,), (deviation,) = source.moments([source.of(part.fit)])
    limit = np.sqrt(6 / (source.dim + how.dims))
    weights = rng.uniform(-limit, limit, (source.dim, how.dims))
    out = Projection(mean.astype(float), deviation.astype(float), weights, how.dims if how.few else 1.0)
    labels = np.unique(codes[part.fit])
    clips = [part.fit[codes[part.fit] == label] for label in labels]
    support = [_one_each(source, rng.permutation(mine)[: how.support], rng) for mine in clips]
    optimiser = _sgd(how.rate) if how.few else _adam(how.rate, weights.shape)
    for x, shape in _episodes(how, source, clips, support if how.few else None, rng):
        x = (x - out.mean) / out.deviation
        out.weights = out.weights - optimiser(_gradient(out.weights, x, shape, out.scale))
    out.prototypes = np.full((n_labels, how.dims), np.nan)
    for label, mine, windows in zip(labels, clips, support, strict=True):
        of = source.take(np.sort(windows)) if how.few else np.array([x.mean(axis=0) for x in source.clips(mine)])
        out.prototypes[label] = out.project(of.astype(np.float64)).mean(axis=0)
    return out


def _one_each(source: Windows, clips, rng) -> np.ndarray:
    """A window of each clip."""
    return rng.integers(source.first[clips], source.first[clips + 1])


def _episodes(how, source, clips, support, rng) -> Iterator[tuple[np.ndarray, list[tuple[int, int]]]]:
    """(windows (n, D) float64: of each label its support, then its queries; (support, queries) of each label)."""
    size = len(clips) * (how.support + how.query)
    several = max(1, BLOCK // (4 * source.dim * size))
    for at in range(0, how.episodes, several):
        drawn = [_episode(how, source, clips, support, rng) for _ in range(min(several, how.episodes - at))]
        rows = np.concatenate([rows for rows, _ in drawn])
        needed, places = np.unique(rows, return_inverse=True)
        x, before = source.take(needed), 0
        for rows, shape in drawn:
            yield x[places[before : before + len(rows)]].astype(np.float64), shape
            before += len(rows)


def _episode(how, source, clips, support, rng) -> tuple[np.ndarray, list[tuple[int, int]]]:
    rows, shape = [], []
    for i, mine in enumerate(clips):
        order = rng.permutation(mine)
        given = support[i] if support else _one_each(source, order[: how.support], rng)
        others = order if support or len(order) <= how.support else order[how.support :]
        asked = _one_each(source, rng.choice(others, how.query), rng)
        rows += [given, asked]
        shape.append((len(given), len(asked)))
    return np.concatenate(rows), shape


def _gradient(weights, x, shape, scale: float) -> np.ndarray:
    """Of the mean cross-entropy of an episode's queries, by the weights."""
    z, n_labels = x @ weights, len(shape)
    label = np.repeat(np.arange(n_labels), [s + q for s, q in shape])
    is_query = np.concatenate([np.arange(s + q) >= s for s, q in shape])
    counts = np.array([s for s, _ in shape])[:, None]
    member = (np.arange(n_labels)[:, None] == label[~is_query]) / counts  # (labels, support)
    prototypes, queries = member @ z[~is_query], z[is_query]
    p = np.exp(log_softmax(-_distances(queries, prototypes) / scale))
    p[np.arange(len(p)), label[is_query]] -= 1
    by_distance = -p / (len(p) * scale)  # its rows sum to 0
    by_z = np.empty_like(z)
    by_z[is_query] = -2 * by_distance @ prototypes
    by_prototype = 2 * (by_distance.sum(axis=0)[:, None] * prototypes - by_distance.T @ queries)
    by_z[~is_query] = member.T @ by_prototype
    return x.T @ by_z


def _sgd(rate: float):
    def step(gradient):
        return rate * gradient * min(1.0, CLIP / max(np.linalg.norm(gradient), 1e-12))

    return step


def _adam(rate: float, shape):
    """Kingma & Ba 2015, Keras' constants."""
    m, v, t = np.zeros(shape), np.zeros(shape), 0

    def step(gradient):
        nonlocal m, v, t
        t += 1
        m, v = m + 0.1 * (gradient - m), v + 0.001 * (gradient**2 - v)
        return rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)

    return step
