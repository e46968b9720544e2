"""Are two models different? Tests that pair folds, clips or groups of clips, and what each of them can see.

Everything is two-sided. Clips of one group (a speaker, a source recording) are not independent, so tests on clips flip
or draw whole groups. All of them take the probes as they are: they say whether other *test* clips would give the same
answer, not whether other training clips would (for that: draws, `probes.curves`).

What is given for a clip is whether a model is right on it (bool), or the share of several probes or draws that are
right. `weights` say how much each clip counts; None: all alike. `scores.weights` makes those under which the weighted
share is a mean over folds (accuracy) or over classes (unweighted average recall).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LEVEL = 0.05
DRAWS = 9_999  # random reversals or resamples
EXACT = 16  # up to so many values, all reversals are counted: 65,536
VALUES = 1 << 23  # of random numbers in memory at a time


@dataclass(frozen=True)
class Test:
    p: float
    n: int  # pairs that differ: what the test rests on
    smallest_p: float  # that this many pairs can reach; above 0.05 the test cannot find anything


@dataclass(frozen=True)
class Pairs:
    """All pairs of a family of models, as matrices (models, models); `gap[i, j]` is model i minus model j."""

    gap: np.ndarray
    p: np.ndarray
    adjusted: np.ndarray  # by Holm over all pairs of the family
    smallest_p: float  # that the test could reach for a pair of which all groups differ, not adjusted

    @property
    def n(self) -> int:
        """Size of the family: pairs tested."""
        return len(self.gap) * (len(self.gap) - 1) // 2

    @property
    def smallest_adjusted(self) -> float:
        """Adjusted p that a pair reaches at best, as the family's clearest."""
        return min(1.0, self.n * self.smallest_p)

    @property
    def reachable(self) -> bool:
        """Whether the test can tell any pair apart at all."""
        return self.n > 0 and self.smallest_adjusted < LEVEL


# --- tests of two models


def wilcoxon(a, b) -> Test:
    """Wilcoxon's signed-rank test of paired scores (Wilcoxon 1945; ties get mean ranks, zeros are dropped).

    a, b : (folds,) scores of two models on the same folds, or (sets,) on the same data sets. Differences are rounded to
    10 decimals, so that equal ones are ties. Exact for up to `EXACT` pairs, then by random signs. n pairs reach
    2 / 2**n at best: 5 folds can never reach .05, 6 just can.
    """
    from scipy import stats

    difference = _differences(a, b)
    n = len(difference)
    if n == 0:
        return Test(1.0, 0, 1.0)
    ranks = np.sign(difference) * stats.rankdata(np.abs(difference))
    return Test(float(_sign_flips(ranks[None])[0]), n, smallest_p(n))


def wilcoxon_pooled(a, b) -> Test:
    """The test of Cramer et al. 2019: folds x trials x design variations in one list, as if they were independent.

    scipy's signed-rank test with the normal approximation, zeros dropped (as in marl/l3embedding). A replica to compare
    with the paper: the values of one fold are not independent, so that equal models are called different far more
    often than in 5 % of cases (34 % in 5 folds x 5 trials whose folds differ twice as much as their trials). Use
    `wilcoxon` on fold means to decide anything.
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


def corrected_t(a, b, test_share: float) -> Test:
    """Nadeau & Bengio's corrected resampled t-test (2003) of paired scores, for folds or repeated random splits.

    a, b : (splits,) scores on the same splits, `test_share` : clips tested over clips trained on in each (1 / 4 for 5
    folds). The variance of the mean is (1 / k + test_share) times that of the differences, since their training sets
    overlap; k - 1 degrees of freedom. It can reach any p, but assumes normal differences.
    """
    from scipy import stats

    difference = np.round(np.asarray(a, float) - np.asarray(b, float), 10)
    k = len(difference)
    if k < 2 or not np.any(difference):
        return Test(1.0, int(np.count_nonzero(difference)), 0.0 if k > 1 else 1.0)
    error = corrected_error(difference, test_share)
    t = np.abs(difference.mean()) / error if error > 0 else np.inf
    return Test(float(2 * stats.t.sf(t, k - 1)), k, 0.0)


def corrected_error(difference: np.ndarray, test_share: float) -> float:
    """Standard error of the mean of differences over splits whose training sets overlap (Nadeau & Bengio 2003)."""
    return float(np.sqrt((1 / len(difference) + test_share) * difference.var(ddof=1)))


def mcnemar(a_right, b_right) -> Test:
    """McNemar's exact test (1947): of the clips that one model alone gets right, are as many A's as B's?

    a_right, b_right : (clips,) whether each model is right. Takes clips as independent: `by_group` does not.
    """
    from scipy import stats

    a_right, b_right = np.asarray(a_right, bool), np.asarray(b_right, bool)
    only_a, only_b = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())
    n = only_a + only_b
    return Test(stats.binomtest(only_a, n).pvalue if n else 1.0, n, min(1.0, 2.0 / 2**n))


def by_group(a_right, b_right, groups, weights=None, seed: int = 0) -> Test:
    """Paired permutation test on clips: were the models alike, each group's difference might as well be reversed.

    a_right, b_right : (clips,) right or not, or the share of several models that are right; groups : (clips,). The
    statistic is the (weighted) sum of differences, so a group weighs as much as it has clips. Exact where at most
    `EXACT` groups differ, else `DRAWS` random reversals (the observed one counted, Phipson & Smyth 2010).
    """
    sums = group_sums((np.asarray(a_right, float) - np.asarray(b_right, float)) * _weights(weights, groups), groups)
    n = int(_counts(sums))
    return Test(float(_sign_flips(sums[None], seed)[0]), n, smallest_p(n))


def holm(p_values) -> np.ndarray:
    """Adjusted p of a family of tests (Holm 1979): all of them below .05 are wrong together in at most 5 % of cases."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(adjusted, 1)
    return out


# --- families of models


def pairs(right, groups, weights=None, seed: int = 0) -> Pairs:
    """`by_group` for every pair of models, and Holm over all of them: the family is every pair that could be named.

    right : (models, clips). Correcting for all pairs and not only for those with the best model matters, since the best
    one was picked by the same clips.
    """
    right, weights = np.asarray(right, float), _weights(weights, groups)
    i, j = np.triu_indices(len(right), 1)
    sums = group_sums((right * weights).T, groups).T  # (models, groups)
    difference = sums[i] - sums[j]
    gap = (right @ weights)[:, None] - (right @ weights)
    p = _sign_flips(difference, seed) if len(i) else np.zeros(0)
    return from_p(gap / weights.sum(), p, smallest_p(sums.shape[1]))


def from_p(gap: np.ndarray, p: np.ndarray, smallest_p: float) -> Pairs:
    """`Pairs` from the p of each pair, in the order of ``numpy.triu_indices(models, 1)``, whatever test gave them."""
    i, j = np.triu_indices(len(gap), 1)

    def square(values):
        out = np.ones((len(gap), len(gap)))
        out[i, j] = out[j, i] = values
        return out

    return Pairs(gap, square(p), square(holm(p)), smallest_p)


def tiers(scores, adjusted, level: float = LEVEL) -> list[int]:
    """Tier of each model, from 1: what the test cannot tell apart from the best stands beside it.

    The best-scoring model without a tier opens the next one; every other model without a tier whose `adjusted` p
    against it is not below `level` joins. So each member of a tier is indistinguishable from the tier's best, not
    necessarily from each other; all pairs are one family (`pairs`). scores : (models,), adjusted : (models, models).
    """
    out, tier = [0] * len(scores), 0
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    while 0 in out:
        tier += 1
        best = next(k for k in order if not out[k])
        for k in order:
            if not out[k] and (k == best or adjusted[best][k] >= level):
                out[k] = tier
    return out


def visible_gap(a_right, b_right, groups, weights=None, power: float = 0.8, level: float = LEVEL) -> float:
    """Smallest gap between two models that `by_group` would see with this power, were they to disagree as much.

    Normal theory of the permutation test (for clips that are groups of their own this is Connor's 1987 formula for
    McNemar's test): with V the variance of the gap that the groups' differences show and G the number of groups, a gap
    d is seen where d = z(1 - level / 2) sqrt(V + d^2 / G) + z(power) sqrt(V); Student's t with G - 1 degrees of freedom
    stands for the normal z, for small G. In the units of `right` (a share); infinite where no gap would be seen: where
    the test cannot reach `level` even if every group spoke for the same model, or hardly can.
    """
    from scipy import stats

    weights = _weights(weights, groups)
    difference = (np.asarray(a_right, float) - np.asarray(b_right, float)) * weights / weights.sum()
    sums = group_sums(difference, groups)
    n = len(sums)
    if n < 2 or smallest_p(n) > level:
        return np.inf
    alpha, beta = stats.t.isf(level / 2, n - 1), stats.t.isf(1 - power, n - 1)
    left = 1 - alpha**2 / n
    if left <= 0:
        return np.inf
    gap = np.sqrt(n * sums.var(ddof=1)) * (beta + np.sqrt(beta**2 + left * (alpha**2 - beta**2))) / left
    return float(gap) if gap <= 1 else np.inf


# --- intervals


def gap_interval(
    a_right, b_right, groups, folds=None, level: float = 0.95, seed: int = 0, weights=None
) -> tuple[float, float]:
    """Bootstrap interval (percentiles) of accuracy A minus accuracy B, groups drawn with replacement in each fold.

    Where a fold is a single group (a speaker each) or a group is in several folds, groups are drawn over all folds:
    inside nothing could vary. b_right 0 gives the interval of one model's accuracy.
    """
    difference = np.asarray(a_right, float) - np.asarray(b_right, float)
    weights = _weights(weights, groups)
    found = bootstrap(lambda drawn: drawn @ (weights * difference) / (drawn @ weights), groups, folds, seed=seed)
    return interval(found, level)


def bootstrap(metric: Callable, groups, folds=None, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(draws, ...) values of `metric` when groups are drawn with replacement (the bootstrap of clusters; Efron 1979).

    metric : (d, clips) float64, how often each clip was drawn in each of d draws -> (d, ...). All models that one
    `metric` computes see the same draws, so that differences between columns are paired. Folds as for `gap_interval`.
    """
    index = np.unique(np.asarray(groups), return_inverse=True)[1]
    return np.concatenate([metric(times[:, index]) for times in _resampled(index, folds, draws, seed)])


def interval(values, level: float = 0.95) -> tuple[float, float]:
    """Percentiles of bootstrap values, that leave out as much below as above."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_p(gaps) -> float:
    """p of no gap from bootstrap values of the gap: twice the share on its rarer side (Efron & Tibshirani 1993).

    For scores that are no shares of clips (mAP, macro-F1), where `by_group` has nothing to flip. (draws,) -> p, which
    is 2 / (draws + 1) at the least.
    """
    gaps = np.asarray(gaps, float)
    below, above = (gaps <= 0).sum(), (gaps >= 0).sum()
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(gaps)))


def _resampled(index: np.ndarray, folds, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks (d, groups): how often each group is drawn."""
    n = index.max() + 1
    strata = [np.arange(n)]
    if folds is not None:
        parts = [np.unique(index[np.asarray(folds) == fold]) for fold in np.unique(np.asarray(folds))]
        if all(len(part) > 1 for part in parts) and sum(map(len, parts)) == n:
            strata = parts
    rng, block = np.random.default_rng(seed), max(1, min(draws, VALUES // max(n, len(index))))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        times = np.empty((size, n))
        for part in strata:
            times[:, part] = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=size)
        yield times


# --- shared


def _differences(a, b) -> np.ndarray:
    difference = np.round(np.asarray(a, float) - np.asarray(b, float), 10)
    return difference[difference != 0]


def _weights(weights, groups) -> np.ndarray:
    return np.ones(len(groups)) if weights is None else np.asarray(weights, float)


def group_sums(values: np.ndarray, groups) -> np.ndarray:
    """(clips, ...) -> (groups, ...)"""
    index = np.unique(np.asarray(groups), return_inverse=True)[1]
    out = np.zeros((index.max() + 1, *np.shape(values)[1:]))
    np.add.at(out, index, values)
    return out


def smallest_p(n: int) -> float:
    """That `by_group` or `wilcoxon` can reach where n groups or folds differ."""
    return min(1.0, 2.0 / 2**n if n <= EXACT else 2.0 / (DRAWS + 1))


def _counts(values: np.ndarray) -> np.ndarray:
    """How many of the last axis are not nought but for rounding."""
    return (np.abs(values) > 1e-9 * np.abs(values).max(initial=1e-300)).sum(axis=-1)


def _sign_flips(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """(k,) p of the sums of k rows of values where every sign might as well be the other one."""
    out = np.ones(len(values))  # of fewer than two values: the two signs of one are equally extreme
    n = _counts(values)
    for k in np.flatnonzero((n > 1) & (n <= EXACT)):
        row = values[k][np.argsort(-np.abs(values[k]))[: n[k]]]
        signs = 1 - 2 * (np.arange(2 ** n[k])[:, None] >> np.arange(n[k]) & 1).astype(np.float32)
        out[k] = min(1.0, 2 * _extreme(signs, row[None])[0] / len(signs))
    many = np.flatnonzero(n > EXACT)
    if len(many):
        rows, extreme = values[many], np.zeros(len(many))
        block = max(1, min(DRAWS, VALUES // rows.shape[1]))
        for start in range(0, DRAWS, block):
            extreme += _extreme(_signs(min(block, DRAWS - start), rows.shape[1], (seed, start)), rows)
        out[many] = np.minimum(1, 2 * (1 + extreme) / (1 + DRAWS))
    return out


@lru_cache(maxsize=1)  # the pairs of a family are compared with the same draws
def _signs(draws: int, n: int, seed: tuple[int, int]) -> np.ndarray:
    return 1 - 2 * np.random.default_rng(seed).integers(0, 2, (draws, n), np.int8).astype(np.float32)


def _extreme(signs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(k,) in how many of the (d, n) signs the sum of a row is as far on one side as it is on either.

    In float32, hence the tolerance: sums that differ by less are taken for ties, that is as extreme.
    """
    found = np.abs(rows.sum(axis=1)) - 1e-5 * np.abs(rows).sum(axis=1)
    return (signs @ rows.T.astype(np.float32) >= found).sum(axis=0)
