"""Are two models different? Tests that pair folds, clips or groups of clips, and what each of them can see.

Everything is two-sided. Clips of one group (a speaker, a source recording) are not independent, so tests on clips flip
or draw whole groups. All of them take the probes as they are: they say whether other *test* clips would give the same
answer, not whether other training clips would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS = 9_999  # random reversals or resamples
EXACT = 16  # up to so many values, all reversals are counted: 65,536


@dataclass(frozen=True)
class Test:
    p: float
    n: int  # pairs that differ: what the test rests on
    smallest_p: float  # that this many pairs can reach; above 0.05 the test cannot find anything


def wilcoxon(a, b) -> Test:
    """Wilcoxon's signed-rank test of paired scores, exact (Wilcoxon 1945; ties get mean ranks, zeros are dropped).

    a, b : (folds,) scores of two models on the same folds. Differences are rounded to 10 decimals, so that equal ones
    are ties. n folds reach 2 / 2**n at best: 5 folds can never reach .05, 6 just can.
    """
    from scipy import stats

    difference = _differences(a, b)
    n = len(difference)
    if n == 0:
        return Test(1.0, 0, 1.0)
    ranks = np.sign(difference) * stats.rankdata(np.abs(difference))
    return Test(_sign_flips(ranks), n, 2.0 / 2**n)


def wilcoxon_pooled(a, b) -> Test:
    """The test of Cramer et al. 2019: folds x trials x design variations in one list, as if they were independent.

    scipy's signed-rank test with the normal approximation, zeros dropped (papers: marl/l3embedding; section 6.3 of our
    notes). A replica to compare with the paper: the values of one fold are not independent, so that equal models are
    called different far more often than in 5 % of cases (34 % in 5 folds x 5 trials whose folds differ twice as much as
    their trials). Use `wilcoxon` on fold means to decide anything.
    """
    from scipy import stats

    difference = _differences(a, b)
    n = len(difference)
    if n == 0:
        return Test(1.0, 0, 1.0)
    normal = {"zero_method": "wilcox", "correction": False, "method": "approx"}
    return Test(
        float(stats.wilcoxon(difference, **normal).pvalue),
        n,
        float(stats.wilcoxon(np.arange(1, n + 1), **normal).pvalue),
    )


def mcnemar(a_right, b_right) -> Test:
    """McNemar's exact test (1947): of the clips that one model alone gets right, are as many A's as B's?

    a_right, b_right : (clips,) whether each model is right. Takes clips as independent: `by_group` does not.
    """
    from scipy import stats

    a_right, b_right = np.asarray(a_right, bool), np.asarray(b_right, bool)
    only_a, only_b = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())
    n = only_a + only_b
    return Test(stats.binomtest(only_a, n).pvalue if n else 1.0, n, min(1.0, 2.0 / 2**n))


def by_group(a_right, b_right, groups, seed: int = 0) -> Test:
    """Paired permutation test on clips: were the models alike, each group's difference might as well be reversed.

    a_right, b_right : (clips,) right or not, or the share of several models that are right; groups : (clips,). The
    statistic is the sum of differences, so a group weighs as much as it has clips. Exact where there are few groups,
    else `DRAWS` random reversals (the observed one counted, Phipson & Smyth 2010).
    """
    sums = _group_sums(np.asarray(a_right, float) - np.asarray(b_right, float), groups)
    sums = sums[np.abs(sums) > 1e-9]
    return Test(_sign_flips(sums, seed), len(sums), _smallest(len(sums)))


def gap_interval(a_right, b_right, groups, folds=None, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval (percentiles) of accuracy A minus accuracy B, groups drawn with replacement in each fold.

    Where a fold is a single group (a speaker each), groups are drawn over all folds: inside nothing could vary.
    b_right 0 gives the interval of one model's accuracy.
    """
    difference = np.asarray(a_right, float) - np.asarray(b_right, float)
    folds = np.zeros(len(difference), int) if folds is None else np.asarray(folds)
    if any(len(np.unique(np.asarray(groups)[folds == fold])) < 2 for fold in np.unique(folds)):
        folds = np.zeros(len(difference), int)
    rng, total, n = np.random.default_rng(seed), 0.0, 0.0
    for fold in np.unique(folds):
        inside = folds == fold
        sums = _group_sums(difference[inside], np.asarray(groups)[inside])
        sizes = _group_sums(np.ones(inside.sum()), np.asarray(groups)[inside])
        times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
        total, n = total + times @ sums, n + times @ sizes
    low, high = np.quantile(total / n, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(p_values) -> np.ndarray:
    """Adjusted p of a family of tests (Holm 1979): all of them below .05 are wrong together in at most 5 % of cases."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(adjusted, 1)
    return out


def _differences(a, b) -> np.ndarray:
    difference = np.round(np.asarray(a, float) - np.asarray(b, float), 10)
    return difference[difference != 0]


def _group_sums(values: np.ndarray, groups) -> np.ndarray:
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(index, values)


def _smallest(n: int) -> float:
    return min(1.0, 2.0 / 2**n if n <= EXACT else 2.0 / (DRAWS + 1))


def _sign_flips(values: np.ndarray, seed: int = 0) -> float:
    """p of the sum of `values` where every sign might as well be the other one."""
    from scipy import stats

    if len(values) < 2:
        return 1.0  # the two signs of one value are equally extreme
    draws = max(DRAWS, 2 ** len(values)) if len(values) <= EXACT else DRAWS
    how = {"permutation_type": "samples", "vectorized": True, "n_resamples": draws}
    return float(stats.permutation_test((values,), np.sum, rng=np.random.default_rng(seed), **how).pvalue)
