"""Predictions of a data set to what a table says about them."""

from __future__ import annotations

import numpy as np

from . import statistics
from .datasets import Clip


def right(predicted, clips: list[Clip]) -> np.ndarray:
    """(clips,) bool: which predictions are right."""
    return np.asarray(predicted) == np.array([clip.label for clip in clips])


def fold_accuracies(predicted, labels, folds) -> np.ndarray:
    """Accuracy of each fold, in sorted order of the folds."""
    predicted, labels, folds = map(np.asarray, (predicted, labels, folds))
    return np.array([(predicted[folds == f] == labels[folds == f]).mean() for f in np.unique(folds)])


def uar(predicted, labels) -> float:
    """Unweighted average recall: the mean over labels of the share of their clips that is found."""
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))


def table_row(predicted, clips: list[Clip]) -> dict:
    """Plain values, in per cent: mean accuracy of the folds, its 95 % interval (`statistics.gap_interval` over clips,
    drawn by group inside folds), unweighted average recall of all clips, accuracy of each fold."""
    labels, folds, units = zip(*((c.label, c.fold, c.unit) for c in clips), strict=True)
    each = 100 * fold_accuracies(predicted, labels, folds)
    interval = statistics.gap_interval(right(predicted, clips), 0, units, folds)
    return {
        "accuracy": round(float(each.mean()), 2),
        "interval": [round(100 * x, 2) for x in interval],
        "uar": round(100 * uar(predicted, labels), 2),
        "folds": [round(float(a), 2) for a in each],
    }
