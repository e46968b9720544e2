"""How likely is one of two models better, worse, or as good in practice? The Bayesian answers beside the tests.

Practically as good means a difference inside the region of practical equivalence (ROPE): one point here. Unlike a test,
which only ever fails to find a difference, these can say that there is none worth having.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .statistics import corrected_error

ROPE = 0.01  # as a share: a point
DRAWS = 50_000  # from the posterior
PRIOR = 0.5  # weight of a difference of nought that was never seen, in observations


@dataclass(frozen=True)
class Chances:
    """Of model A against model B; they sum to one."""

    worse: float
    alike: float
    better: float


def correlated_t(a, b, test_share: float, rope: float = ROPE) -> Chances:
    """The Bayesian correlated t-test of paired scores (Corani & Benavoli 2015), for folds of one data set.

    a, b : (splits,) scores on the same splits, `test_share` : clips tested over clips trained on in each (1 / 4 for 5
    folds). The posterior of the mean difference is Student's t with splits - 1 degrees of freedom, the variance that of
    Nadeau & Bengio (`statistics.corrected_t`): with rho = 1 / folds, rho / (1 - rho) is that share.
    """
    from scipy import stats

    difference = np.asarray(a, float) - np.asarray(b, float)
    mean, k = difference.mean(), len(difference)
    scale = corrected_error(difference, test_share)
    if scale < 1e-12:  # all differences are the same
        return Chances(float(mean < -rope), float(abs(mean) <= rope), float(mean > rope))
    worse, better = stats.t.cdf((-rope - mean) / scale, k - 1), stats.t.sf((rope - mean) / scale, k - 1)
    return Chances(float(worse), float(1 - worse - better), float(better))


def signed_rank(a, b, rope: float = ROPE, seed: int = 0) -> Chances:
    """The Bayesian signed-rank test of paired scores (Benavoli et al. 2014 and 2017), for several data sets.

    a, b : (sets,). A Dirichlet process on the differences: how often, over draws of weights for them and for one
    difference of nought (weight `PRIOR`), most of the mass of the mean of two differences lies below, inside or above
    the region of practical equivalence.
    """
    z = np.concatenate([[0.0], np.round(np.asarray(a, float) - np.asarray(b, float), 10)])
    weights = _weights(len(z) - 1, seed)
    means = (z[:, None] + z) / 2
    below, above = (((weights @ _side(sign * means - rope)) * weights).sum(axis=1) for sign in (-1, 1))
    mass = np.stack([below, 1 - below - above, above], axis=1)
    won = mass >= mass.max(axis=1, keepdims=True) - 1e-12  # what is equally large shares the draw
    return Chances(*(won / won.sum(axis=1, keepdims=True)).mean(axis=0).tolist())


@lru_cache(maxsize=1)  # the pairs of a family are compared with the same draws
def _weights(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([PRIOR, *np.ones(n)], DRAWS)


def _side(x: np.ndarray) -> np.ndarray:
    """1 above nought, 1/2 on it."""
    return np.heaviside(np.where(np.abs(x) < 1e-12, 0, x), 0.5)
