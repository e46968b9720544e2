"""Many models on several data sets, by their ranks: Friedman's test, and how far apart mean ranks must be.

Ranks forget how large a gap is, and so do not let one data set decide. scores : (models, sets), higher is better.
"""

from __future__ import annotations

import numpy as np

from .statistics import LEVEL, Test


def mean_ranks(scores) -> np.ndarray:
    """(models,) mean over data sets of the rank of each model, 1 the best; ties share their ranks."""
    return _ranks(scores).mean(axis=1)


def friedman(scores) -> Test:
    """Friedman's test (1937) that all models rank alike, as Iman & Davenport's F (1980), after Demsar (2006).

    Of fewer than three models or two data sets it says nothing (p 1).
    """
    from scipy import stats

    k, n = np.shape(scores)
    if k < 3 or n < 2:
        return Test(1.0, n, 1.0)
    ranks = _ranks(scores)
    between = n * ((ranks.mean(axis=1) - (k + 1) / 2) ** 2).sum()
    within = ((ranks - (k + 1) / 2) ** 2).sum() - between
    if within < 1e-9:  # the same order everywhere
        return Test(0.0 if between > 1e-9 else 1.0, n, 0.0)
    f = (n - 1) * between / within
    return Test(float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))), n, 0.0)


def critical_difference(models: int, sets: int, level: float = LEVEL) -> float:
    """Nemenyi's (1963): mean ranks this far apart differ, over all pairs of models together."""
    from scipy import stats

    return float(
        stats.studentized_range.isf(level, models, np.inf) / np.sqrt(2) * np.sqrt(models * (models + 1) / (6 * sets))
    )


def _ranks(scores) -> np.ndarray:
    from scipy import stats

    return stats.rankdata(-np.round(np.asarray(scores, float), 10), axis=0)
