"""The linear probe: standardise, then multinomial logistic regression; everything chosen inside the training folds."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def nested(x: np.ndarray, labels, folds, c_grid=C_GRID, jobs: int = 1) -> tuple[np.ndarray, dict[str, float]]:
    """Predict every fold by a probe that was fitted, and whose C was chosen, on the other folds only.

    Parameters
    ----------
    x : (clips, D); labels, folds : (clips,)

    Returns
    -------
    predicted labels (clips,), and the C chosen for each test fold
    """
    labels, folds = np.asarray(labels), np.asarray(folds)
    predicted, chosen = np.empty_like(labels), {}
    for fold in np.unique(folds):
        test = folds == fold
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        grid = {"logisticregression__C": list(c_grid)}
        search = GridSearchCV(probe, grid, cv=LeaveOneGroupOut(), n_jobs=jobs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the largest C on few clips is separable
            search.fit(x[~test], labels[~test], groups=folds[~test])
        predicted[test] = search.predict(x[test])
        chosen[str(fold)] = search.best_params_["logisticregression__C"]
    return predicted, chosen


def fold_accuracies(predicted, labels, folds) -> np.ndarray:
    """Accuracy of each fold, in sorted order of the folds."""
    predicted, labels, folds = map(np.asarray, (predicted, labels, folds))
    return np.array([(predicted[folds == f] == labels[folds == f]).mean() for f in np.unique(folds)])
