"""Predictions of a data set to what a table says about them.

Classes are numbers here: `labels` and `predicted` are (clips,) int, -1 where the model failed on the clip: it is wrong
then, and found nowhere. Scores are shares, 0 to 1. Where `times` (d, clips) is given, a clip counts so many times
in each of d resamples (`statistics.bootstrap`) and the result is (d,); without, it is a number.

| score | definition |
|---|---|
| accuracy | right / all, in each fold (of each draw), then the mean of those: `share(right, weights(folds))` |
| unweighted average recall | mean over classes of the share of their clips that is found: `uar` |
| macro-F1 | mean over classes of each class's F1 = 2 TP / (2 TP + FP + FN), not the F1 of mean precision and recall |
| mAP | mean over classes of one-vs-rest average precision on clip scores, not interpolated (as scikit-learn) |
| expected calibration error | Guo et al. 2017: mean of abs(accuracy - confidence) over 15 equal bins of confidence |

A class that no clip has takes no part in a mean over classes.
"""

from __future__ import annotations

import numpy as np

from . import statistics

BINS = 15


# --- of clips in arrays


def weights(parts) -> np.ndarray:
    """(clips,) weights, together 1, under which a weighted share is the mean over parts of the share in each part.

    parts : (clips,) the part a clip belongs to: its fold (accuracy), its class (unweighted average recall).
    """
    _, index, sizes = np.unique(np.asarray(parts), return_inverse=True, return_counts=True)
    return 1 / (len(sizes) * sizes[index])


def share(right, of: np.ndarray, times=None):
    """Weighted share of clips that are right; right : (clips,) or (clips, models), then (d, models)."""
    right = np.asarray(right, float)
    if times is None:
        return of @ right / of.sum()
    total = times @ of
    return times @ (right.T * of).T / (total if right.ndim == 1 else total[:, None])


def uar(right, labels, times=None):
    """Unweighted average recall (also: balanced accuracy). right : (clips,) or (clips, models), as for `share`.

    A class that a resample misses takes no part in it.
    """
    labels, right = np.asarray(labels), np.asarray(right, float)
    ones = np.ones((1, len(labels))) if times is None else times
    recalls = []
    for label in np.unique(labels):
        inside = labels == label
        total = ones[:, inside].sum(axis=1)
        with np.errstate(invalid="ignore"):
            recalls.append((ones[:, inside] @ right[inside]) / (total if right.ndim == 1 else total[:, None]))
    found = _mean(np.stack(recalls))
    return found if times is not None else (float(found[0]) if right.ndim == 1 else found[0])


def macro_f1(predicted, labels, times=None):
    """Mean over classes of per-class F1."""
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    ones = np.ones((1, len(labels))) if times is None else times
    each = []
    for label in np.unique(labels):
        is_label, is_said = labels == label, predicted == label
        total = ones[:, is_label].sum(axis=1) + ones[:, is_said].sum(axis=1)  # 2 TP + FP + FN
        absent = ones[:, is_label].sum(axis=1) == 0
        with np.errstate(invalid="ignore"):
            each.append(np.where(absent, np.nan, 2 * ones[:, is_label & is_said].sum(axis=1) / total))
    found = _mean(np.stack(each))
    return found if times is not None else float(found[0])


def mean_average_precision(scores, targets, times=None):
    """Mean over classes of average precision: over distinct scores, the highest first, precision times gain in recall.

    scores : (clips, classes), NaN where the model failed: below every score. targets : (clips, classes) bool, or
    (clips,) int labels.
    """
    scores, targets = np.asarray(scores, float), np.asarray(targets)
    if targets.ndim == 1:
        targets = targets[:, None] == np.arange(scores.shape[1])
    ones = np.ones((1, len(scores))) if times is None else times
    each = [_average_precision(scores[:, c], targets[:, c], ones) for c in np.flatnonzero(targets.any(axis=0))]
    found = _mean(np.stack(each))
    return found if times is not None else float(found[0])


def _average_precision(scores, target, times) -> np.ndarray:
    """(d,) of one class; NaN for resamples without it."""
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(scores[order][1:] != scores[order][:-1], True))  # of equal scores: one threshold
    drawn = times[:, order]
    hits = np.cumsum(drawn * target[order], axis=1)[:, last]
    said = np.cumsum(drawn, axis=1)[:, last]
    gained = np.diff(hits, axis=1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(gained > 0, hits / said * gained, 0).sum(axis=1) / np.where(hits[:, -1], hits[:, -1], np.nan)


def confusion(predicted, labels, n_classes: int) -> np.ndarray:
    """(classes, classes + 1) counts, rows actual, columns predicted; the last column: the model failed."""
    out = np.zeros((n_classes, n_classes + 1), int)
    np.add.at(out, (np.asarray(labels), np.asarray(predicted)), 1)  # -1 is the last column
    return out


def calibration_error(scores, labels) -> float | None:
    """Expected calibration error of log-probabilities (clips, classes); None where scores are none (decision values).

    Confidence is the highest probability; clips on which the model failed are left out.
    """
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    there = ~np.isnan(scores).any(axis=1)
    if not there.any() or np.any(np.abs(np.exp(scores[there]).sum(axis=1) - 1) > 1e-3):
        return None
    confidence = np.exp(scores[there].max(axis=1))
    right = scores[there].argmax(axis=1) == labels[there]
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    off = np.bincount(bins, right - confidence, BINS)  # of a bin: clips x (accuracy - confidence)
    return float(np.abs(off).sum() / len(bins))


def _mean(each: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is there."""
    there = ~np.isnan(each)
    return np.where(there, each, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)


# --- of lists of clips, for scripts and the study


def right(predicted, clips) -> np.ndarray:
    """(clips,) bool: which predicted labels are right."""
    return np.asarray(predicted) == np.array([clip.label for clip in clips])


def fold_accuracies(predicted, labels, folds) -> np.ndarray:
    """Accuracy of each fold, in sorted order of the folds."""
    predicted, labels, folds = map(np.asarray, (predicted, labels, folds))
    return np.array([(predicted[folds == f] == labels[folds == f]).mean() for f in np.unique(folds)])


def table_row(predicted, clips) -> dict:
    """Plain values, in per cent: mean accuracy of the folds, its 95 % interval (`statistics.gap_interval` over clips,
    drawn by group inside folds), unweighted average recall of all clips, accuracy of each fold."""
    labels, folds, units = zip(*((c.label, c.fold, c.unit) for c in clips), strict=True)
    each = 100 * fold_accuracies(predicted, labels, folds)
    interval = statistics.gap_interval(right(predicted, clips), 0, units, folds)
    return {
        "accuracy": round(float(each.mean()), 2),
        "interval": [round(100 * x, 2) for x in interval],
        "uar": round(100 * uar(right(predicted, clips), labels), 2),
        "folds": [round(float(a), 2) for a in each],
    }
