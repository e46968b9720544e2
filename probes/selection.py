"""Fit what a protocol asks for, choose by what it holds back, predict what it tests.

A fit is known by the clips it learns from. Tasks that need the same fit share it: with folds, the fit without f and g
validates on g where f is tested and on f where g is, which halves the work. A family that has a `path` computes its
whole grid at once (probes/estimators).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from .estimators.common import LOWEST, Rows, blocks, scores_of, spread


@dataclass(frozen=True, eq=False)
class Task:
    """Learn from `train`, predict `test`; each of `choose` is (rows to fit, rows to validate on), inside `train`."""

    fold: str
    train: np.ndarray
    test: np.ndarray
    choose: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    draw: int = 0
    drawn: bool = False

    @property
    def name(self) -> str:
        return f"{self.fold}/{self.draw}" if self.drawn else self.fold


@dataclass
class Solved:
    """Scores (tests, labels) of a task, in the order of its test rows, and the parameters that were chosen."""

    scores: np.ndarray
    chosen: dict
    n_train: int
    notes: list[str] = field(default_factory=list)


def solve(
    estimator, grid: Sequence[dict], x: np.ndarray, targets: np.ndarray, n_labels: int, tasks: Sequence[Task],
    metric: str = "accuracy", jobs: int = 1,
) -> list[Solved]:  # fmt: skip
    """Choose for each task the point of the grid with the best mean validation score (the first of equals), and fit it
    on all that the task may learn from.

    x (clips, D); targets (clips,) codes, or (clips, labels) of 0 and 1; metric: of METRICS, what validation counts.
    """
    chosen = [0] * len(tasks)
    if len(grid) > 1:
        wanted: dict[bytes, tuple] = {}
        for task in tasks:
            for fit, held in task.choose:
                wanted.setdefault(fit.tobytes(), (fit, {}))[1][held.tobytes()] = held
        calls = [
            (estimator, grid, x, targets, n_labels, fit, list(held.values()), metric) for fit, held in wanted.values()
        ]
        found = {
            (fit, held): values
            for (fit, (_, helds)), each in zip(wanted.items(), _parallel(_validated, calls, jobs), strict=True)
            for held, values in zip(helds, each, strict=True)
        }
        for i, task in enumerate(tasks):
            values = [found[fit.tobytes(), held.tobytes()] for fit, held in task.choose]
            chosen[i] = int(np.argmax(np.round(np.mean(values, axis=0), 10))) if values else 0
    calls = [
        (estimator, [grid[i]], x, targets, n_labels, task.train, [task.test])
        for i, task in zip(chosen, tasks, strict=True)
    ]
    outer = _parallel(path, calls, jobs)
    return [
        Solved(scores[0][0], dict(grid[i]), len(task.train))
        for i, task, scores in zip(chosen, tasks, outer, strict=True)
    ]


def path(estimator, grid, x, targets, n_labels: int, fit: np.ndarray, tests) -> list[list[np.ndarray]]:
    """For each point of the grid and each array of rows in `tests`, (rows, n_labels) scores of a fit on rows `fit`."""
    with one_thread():
        vectors, tests = np.asarray(Rows(x, fit)), [Rows(x, rows) for rows in tests]  # a `path` may overwrite vectors
        if targets.ndim == 1:
            return _of_codes(estimator, grid, vectors, targets[fit], n_labels, tests)
        if getattr(estimator, "takes_several", False):
            return estimator.path(grid, vectors, targets[fit], tests)
        columns = [
            _of_codes(estimator, grid, vectors.copy(), column, 2, tests) for column in targets[fit].T.astype(int)
        ]
        return [[np.stack([column[i][j][:, 1] for column in columns], axis=1) for j in range(len(tests))]
                for i in range(len(grid))]  # fmt: skip


def _of_codes(estimator, grid, vectors, codes, n_labels: int, tests) -> list[list[np.ndarray]]:
    from sklearn.base import clone

    labels, codes = np.unique(codes, return_inverse=True)
    if len(labels) == 1:  # nothing to tell apart
        return [[spread(np.zeros((len(test), 1)), labels, n_labels) for test in tests] for _ in grid]
    if hasattr(estimator, "path"):
        found = estimator.path(grid, vectors, codes, tests)
    else:
        fitted = [clone(estimator).set_params(**point).fit(vectors, codes) for point in grid]
        found = [
            [np.concatenate([scores_of(one, block) for _, block in blocks(test)]) for test in tests] for one in fitted
        ]
    return [[spread(scores, labels, n_labels) for scores in each] for each in found]


def _validated(estimator, grid, x, targets, n_labels, fit, helds, metric) -> list[np.ndarray]:
    """Of each array of held rows, the metric at each point of the grid."""
    found = path(estimator, grid, x, targets, n_labels, fit, helds)
    return [np.array([METRICS[metric](targets[rows], each[j]) for each in found]) for j, rows in enumerate(helds)]


def _parallel(work: Callable, calls: list[tuple], jobs: int) -> list:
    if jobs == 1 or len(calls) < 2:
        return [work(*call) for call in calls]
    from joblib import Parallel, delayed

    return Parallel(jobs)(delayed(work)(*call) for call in calls)


@lru_cache(1)
def _threads():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread():
    """Linear algebra on one thread, however many jobs there are: sums in another order would be other numbers."""
    return _threads().limit(limits=1)


# --- what validation counts


def accuracy(codes: np.ndarray, scores: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == codes).mean())


def recall(codes: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the labels that are there of the share of their clips that is found."""
    right = scores.argmax(axis=1) == codes
    return float(np.mean([right[codes == code].mean() for code in np.unique(codes)]))


def average_precision(targets: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the labels that are there of their average precision (scikit-learn's, no interpolation)."""
    from sklearn.metrics import average_precision_score

    if targets.ndim == 1:
        targets = np.eye(scores.shape[1])[targets]
    there = targets.any(axis=0)
    return float(average_precision_score(targets[:, there], np.maximum(scores[:, there], 2 * LOWEST), average="macro"))


METRICS: dict[str, Callable] = {"accuracy": accuracy, "uar": recall, "map": average_precision}
