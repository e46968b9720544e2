"""The linear probe of arrays with folds, nested: what the study and the chores in scripts/ ask of each model.

`protocols.evaluate("nested", "linear", ...)` is the same for a data set and a model's features.
"""

from __future__ import annotations

import numpy as np

from . import selection
from .datasets import DataError
from .estimators.logistic import GRID, LinearProbe

C_GRID = tuple(point["C"] for point in GRID)


def nested(x: np.ndarray, labels, folds, c_grid=C_GRID, jobs: int = 1) -> tuple[np.ndarray, dict[str, float]]:
    """Predict every fold by a probe that was fitted, and whose C was chosen, on the other folds only.

    C is the one with the best mean accuracy over the training folds, each predicted by a probe of the remaining ones;
    of equals, the smallest.

    Parameters
    ----------
    x : (clips, D); labels, folds : (clips,)
    jobs : processes

    Returns
    -------
    predicted labels (clips,), and the C chosen for each test fold

    Raises DataError where there are fewer than three folds.
    """
    folds = np.asarray(folds)
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    names = np.unique(folds)
    if len(names) < 3:
        raise DataError(f"a nested probe needs three folds: to train, to choose, to test. Received: {len(names)}")
    tasks = []
    for name in names:
        choose = [(np.flatnonzero((folds != name) & (folds != other)), np.flatnonzero(folds == other))
                  for other in names if other != name]  # fmt: skip
        train, test = np.flatnonzero(folds != name), np.flatnonzero(folds == name)
        tasks.append(selection.Task(str(name), train, test, tuple(choose)))
    grid = [{"C": c} for c in c_grid]
    solved = selection.solve(LinearProbe(), grid, x, codes, len(classes), tasks, jobs=jobs)
    predicted = np.empty_like(codes)
    for task, one in zip(tasks, solved, strict=True):
        predicted[task.test] = one.scores.argmax(axis=1)
    return classes[predicted], {task.name: one.chosen["C"] for task, one in zip(tasks, solved, strict=True)}
