"""The linear probe: standardise, then multinomial logistic regression; everything chosen inside the training folds.

Two things make it fast, and neither changes the result. A fit without folds f and g serves twice: it validates on g
where f is the test fold, and on f where g is. And clips fewer than dimensions are turned into the coordinates that they
span: the penalty is blind to rotation, so the minimum is the same one.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from .datasets import DataError

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Of the gradient. At scikit-learn's 1e-4 the solver stops early where C is large: 3 % of the predictions on digits then
# depended on where it had started.
TOLERANCE = 1e-6


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
    from joblib import Parallel, delayed

    folds = np.asarray(folds)
    classes, labels = np.unique(np.asarray(labels), return_inverse=True)
    names = np.unique(folds)
    if len(names) < 3:
        raise DataError(f"a nested probe needs three folds: to train, to choose, to test. Received: {len(names)}")
    left_out = [{f} for f in names] + [set(pair) for pair in itertools.combinations(names, 2)]
    tests = [np.isin(folds, list(some)) for some in left_out]
    found = Parallel(jobs)(delayed(_path)(x[~test], labels[~test], x[test], c_grid) for test in tests)
    predictions = {frozenset(some): np.zeros((len(c_grid), len(labels)), int) for some in left_out}
    for some, test, rows in zip(left_out, tests, found, strict=True):
        predictions[frozenset(some)][:, test] = rows
    predicted, chosen = np.empty_like(labels), {}
    for fold in names:
        scores = [
            (predictions[frozenset((fold, other))][:, folds == other] == labels[folds == other]).mean(axis=1)
            for other in names if other != fold
        ]  # fmt: skip
        best = int(np.argmax(np.round(np.mean(scores, axis=0), 10)))
        predicted[folds == fold] = predictions[frozenset((fold,))][best, folds == fold]
        chosen[str(fold)] = c_grid[best]
    return classes[predicted], chosen


def _path(x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, c_grid) -> np.ndarray:
    """(grid, test clips): predictions at each C, each fit beginning where the one before ended."""
    if len(set(labels)) == 1:
        return np.full((len(c_grid), len(x_test)), labels[0])
    scaler = StandardScaler()
    x, x_test = scaler.fit_transform(x.astype(np.float64)), scaler.transform(x_test.astype(np.float64))
    if x.shape[1] > len(x):
        _, size, rows = np.linalg.svd(x, full_matrices=False)
        rows = rows[size > 1e-10 * size[0]]
        x, x_test = x @ rows.T, x_test @ rows.T
    probe, out = LogisticRegression(max_iter=5000, tol=TOLERANCE, warm_start=True), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the largest C on few clips is separable
        for c in c_grid:
            out.append(probe.set_params(C=c).fit(x, labels).predict(x_test))
    return np.stack(out)
