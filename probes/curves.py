"""Few-shot curves: accuracy against the number of training clips per class, several draws of them for each number.

The draws are the same for all models, so models are compared draw by draw and clip by clip. A draw says what another
choice of training clips would have changed, a group what other test clips would: intervals and tests count both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import scores, statistics

DRAWS = 1_999  # resamples of an interval


@dataclass(frozen=True)
class Curve:
    """One model's; arrays have a value for each number of shots."""

    shots: tuple[int, ...]  # ascending
    right: np.ndarray  # (shots, draws, clips) share right of each test clip, 0 or 1 where a draw tests a clip once
    mean: np.ndarray  # accuracy, mean over draws
    low: np.ndarray  # 95 % interval over draws and groups
    high: np.ndarray
    spread: np.ndarray  # standard deviation over draws (population), as FEW reports it (Pons et al. 2018)

    @property
    def area(self) -> float:
        """Area under the learning curve, a share: the mean accuracy along the logarithm of shots (`area_weights`)."""
        return float(area_weights(self.shots) @ self.mean)


def curve(right_of: dict[int, np.ndarray], groups, folds, seed: int = 0) -> Curve:
    """A model's curve from {shots: (draws, clips) right}, the same clips and as many draws at each number of shots.

    Accuracy of a draw is the mean over folds. The interval draws draws and groups with replacement, at the same time
    (the pigeonhole bootstrap, Owen 2007, which is rather too wide than too narrow), groups as for
    `statistics.gap_interval`.
    """
    shots = tuple(sorted(right_of))
    right, of = np.stack([np.asarray(right_of[n], float) for n in shots]), scores.weights(folds)
    n_draws = right.shape[1]
    rng = np.random.default_rng(seed)

    def metric(times):
        chosen = rng.multinomial(n_draws, np.full(n_draws, 1 / n_draws), size=len(times)) / n_draws
        weighted = times * of
        each = np.einsum("tc,sdc->tsd", weighted, right, optimize=True) / weighted.sum(axis=1)[:, None, None]
        return np.einsum("tsd,td->ts", each, chosen)

    drawn = statistics.bootstrap(metric, groups, folds, DRAWS, seed)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    each = right @ of  # (shots, draws)
    return Curve(shots, right, each.mean(axis=1), low, high, each.std(axis=1))


def area_weights(shots) -> np.ndarray:
    """Weights of the numbers of shots, together 1: the trapezoid rule over log2(shots) / its range (Guyon et al. 2011).

    Their learning curves are drawn over the logarithm, so that 1 to 2 counts as much as 10 to 20; here without their
    scaling to chance. One number of shots has the weight 1.
    """
    at = np.log2(np.asarray(shots, float))
    if len(at) == 1:
        return np.ones(1)
    half = np.diff(at) / 2
    return (np.append(half, 0) + np.append(0, half)) / (at[-1] - at[0])


def compare(curves: list[Curve], groups, folds) -> statistics.Pairs:
    """All pairs of models, by the area under their curves; Holm over all pairs.

    The gap against the variance that groups cause (other test clips) plus the one that draws cause (other training
    clips), each from the paired differences; Student's t with Welch and Satterthwaite's degrees of freedom (1946). What
    groups and draws cause together is in both, so that the test is rather too careful. It can reach any p, from two
    draws and two groups on; the draws of a small set overlap, which no test of them knows.
    """
    from scipy import stats

    of, along = scores.weights(folds), area_weights(curves[0].shots)
    right = np.stack([np.einsum("s,sdc->dc", along, c.right) for c in curves])  # (models, draws, clips)
    i, j = np.triu_indices(len(curves), 1)
    draws = right @ of  # (models, draws)
    groups = statistics.group_sums((right.mean(axis=1) * of).T, groups).T  # (models, groups)
    area, n_draws, n_groups = draws.mean(axis=1), draws.shape[1], groups.shape[1]
    gap = area[:, None] - area
    if min(n_draws, n_groups) < 2:
        return statistics.from_p(gap, np.ones(len(i)), 1.0)
    of_draws = (draws[i] - draws[j]).var(axis=1, ddof=1) / n_draws
    of_groups = (groups[i] - groups[j]).var(axis=1, ddof=1) * n_groups
    total = np.maximum(of_draws + of_groups, 1e-30)
    freedom = total**2 / np.maximum(of_draws**2 / (n_draws - 1) + of_groups**2 / (n_groups - 1), 1e-60)
    p = 2 * stats.t.sf(np.abs(gap[i, j]) / np.sqrt(total), np.maximum(freedom, 1))
    return statistics.from_p(gap, np.where(np.abs(gap[i, j]) < 1e-12, 1.0, p), 0.0)
