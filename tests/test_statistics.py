"""Tests of the tests: against scipy and by hand, and that equal models are not called different too often."""

import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn")
from scipy import stats

from probes import scores, statistics


def test_wilcoxon_is_scipys_exact_test():
    rng = np.random.default_rng(0)
    for n in (5, 6, 10):
        a, b = rng.standard_normal((2, n))
        found = statistics.wilcoxon(a, b)
        assert found.p == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue, rel=1e-9) and found.n == n
        assert statistics.wilcoxon(a, a - 1 - np.arange(n)).p == pytest.approx(found.smallest_p)  # all on one side
    assert statistics.wilcoxon(np.arange(5), np.zeros(5) - 1).smallest_p == 0.0625  # five folds cannot reach .05


def test_wilcoxon_with_ties_and_zeros_by_hand():
    """Differences 0, 1, 1, 2 (twice 0.1 that rounding made unequal): ranks 1.5, 1.5, 3, and 2 of 8 signs as extreme."""
    a = np.array([0.5, 0.3, 0.1 + 0.2 - 0.1, 0.4])
    found = statistics.wilcoxon(a, [0.5, 0.2, 0.1, 0.2])
    assert found.n == 3 and found.p == pytest.approx(2 / 8) and found.smallest_p == 2 / 8
    # signs + - +: sum 1.5 - 1.5 + 3 = 3; of the 8 sums +-6, +-3 (twice each), 0 (twice) six are at least 3 away from 0
    assert statistics.wilcoxon([1, 0, 2], [0, 1, 0]).p == pytest.approx(6 / 8)
    same = statistics.wilcoxon([1, 2], [1, 2])
    assert (same.p, same.n, same.smallest_p) == (1, 0, 1)


def test_pooled_wilcoxon_is_the_papers_normal_approximation():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 40))
    ranks = stats.rankdata(np.abs(a - b))
    positive, n = ranks[a > b].sum(), 40
    z = (positive - n * (n + 1) / 4) / np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    assert statistics.wilcoxon_pooled(a, b).p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)
    assert statistics.wilcoxon_pooled(a, a).p == 1


def test_mcnemar_by_hand():
    a = np.array([1] * 8 + [0] * 2 + [1] * 50 + [0] * 5, bool)  # 8 only A gets, 2 only B
    b = np.array([0] * 8 + [1] * 2 + [1] * 50 + [0] * 5, bool)
    found = statistics.mcnemar(a, b)
    assert found.n == 10 and found.p == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert statistics.mcnemar(a, a).p == 1


def test_by_group_counts_all_reversals_where_there_are_few():
    rng = np.random.default_rng(2)
    groups = np.repeat(list("abcdefgh"), [1, 2, 3, 4, 5, 6, 7, 8])
    a, b = rng.random((2, len(groups))) < [[0.8], [0.5]]
    sums = np.array([(a[groups == g].astype(int) - b[groups == g]).sum() for g in "abcdefgh"])
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    assert statistics.by_group(a, b, groups).p == pytest.approx(np.mean(np.abs(signs @ sums) >= abs(sums.sum())))
    assert statistics.by_group(a, a, groups).p == 1
    assert statistics.by_group([1, 1], [0, 0], ["g", "g"]).p == 1  # one group says nothing


def test_by_group_comes_near_mcnemar_where_each_clip_is_a_group():
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 400)) < [[0.85], [0.80]]
    assert statistics.by_group(a, b, np.arange(400)).p == pytest.approx(statistics.mcnemar(a, b).p, abs=0.02)
    many = statistics.by_group(np.ones(40), np.zeros(40), np.arange(40))
    assert many.p == many.smallest_p == 2 / 10_000


def test_interval_covers_and_widens_with_groups():
    rng = np.random.default_rng(4)
    right = rng.random(300) < 0.8
    low, high = statistics.gap_interval(right, 0, np.arange(300))
    share, half = right.mean(), 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 300)  # the normal approximation
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.01)
    twenty = np.arange(300) // 15
    right = rng.random(20)[twenty] < 0.5  # all clips of a group alike: 20 observations, not 300
    wide, narrow = (np.diff(statistics.gap_interval(right, 0, g)) for g in (twenty, np.arange(300)))
    assert wide > 2.5 * narrow
    one_fold_right = np.repeat([1.0, 0.0], 50)  # folds are not drawn: their shares stay
    assert statistics.gap_interval(one_fold_right, 0, np.arange(100), one_fold_right) == (0.5, 0.5)
    six = np.repeat(np.arange(6), 50)  # speakers, each a fold: as if there were no folds
    of_speakers = np.repeat([0, 1, 1, 1, 0, 1], 50)
    alone = statistics.gap_interval(of_speakers, 0, six, six)
    assert alone == statistics.gap_interval(of_speakers, 0, six) and alone[1] - alone[0] > 0.3


def test_holm_by_hand():
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm([0.6, 0.7]), [1, 1])


def test_pairs_are_by_group_for_each_pair_and_holm_over_all():
    rng = np.random.default_rng(7)
    groups, right = np.arange(120) // 4, rng.random((4, 120)) < [[0.9], [0.8], [0.7], [0.5]]
    weights = rng.random(120)
    found = statistics.pairs(right, groups, weights)
    i, j = np.triu_indices(4, 1)
    alone = [statistics.by_group(right[a], right[b], groups, weights) for a, b in zip(i, j, strict=True)]
    np.testing.assert_allclose(found.p[i, j], [test.p for test in alone])
    np.testing.assert_allclose(found.adjusted[j, i], statistics.holm([test.p for test in alone]))
    np.testing.assert_allclose(found.gap[1, 3], np.average(right[1] * 1.0 - right[3], weights=weights))
    assert found.n == 6 and found.smallest_adjusted == pytest.approx(6 * 2 / 10_000) and found.reachable
    few = statistics.pairs(right[:, :20], groups[:20])  # 5 groups: 2 / 32 even before Holm
    assert few.smallest_adjusted == pytest.approx(6 * 2 / 32) and not few.reachable
    assert statistics.pairs(right[:1], groups).n == 0


def test_random_reversals_agree_with_scipys():
    rng = np.random.default_rng(8)
    sums = rng.integers(-3, 5, 60)
    a, b = (np.repeat(np.maximum(side, 0) / 3.0, 3) for side in (sums, -sums))
    found = statistics.by_group(a, b, np.arange(180) // 3)
    wanted = stats.permutation_test((sums,), np.sum, permutation_type="samples", vectorized=True, rng=rng).pvalue
    assert found.p == pytest.approx(wanted, abs=0.02) and 0.001 < wanted < 0.5


def test_tiers_by_hand():
    """A and B are alike; C is unlike A but like B and D. B's tier is A's, since a tier is like its best."""
    p = np.ones((4, 4))
    for i, j in ((0, 2), (0, 3), (1, 3)):
        p[i, j] = p[j, i] = 0.01
    assert statistics.tiers([0.9, 0.8, 0.7, 0.6], p) == [1, 1, 2, 2]
    assert statistics.tiers([0.6, 0.7, 0.8, 0.9], p) == [2, 2, 1, 1]  # D opens, C joins; then B opens, A joins
    assert statistics.tiers([0.5], np.ones((1, 1))) == [1]


def test_corrected_t_by_hand():
    """Differences .01 to .05: mean .03, variance .00025; (1/5 + 1/4) x .00025 is .0106 squared, so t = 2.828."""
    d = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
    assert statistics.corrected_t(d, np.zeros(5), 1 / 4).p == pytest.approx(
        2 * stats.t.sf(0.03 / 0.0106066, 4), rel=1e-4
    )
    plain = statistics.corrected_t(d, d[::-1] * 0, 0).p  # without the correction: Student's
    assert plain == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    assert statistics.corrected_t(d, d, 1 / 4).p == 1 and statistics.corrected_t([1], [0], 1 / 4).p == 1
    assert statistics.corrected_t([0.2, 0.2], [0.1, 0.1], 1 / 4).p == 0  # no spread at all


def test_the_visible_gap_is_connors_and_is_seen_in_four_of_five_draws():
    """Connor (1987), n clips, share s discordant: d sqrt(n) = z sqrt(s) + z' sqrt(s - d^2)."""
    n, share = 2000, 0.12
    a, b = np.ones(n), np.ones(n)
    a[: n * 6 // 100], b[n * 6 // 100 : n * 12 // 100] = 0, 0
    gap = statistics.visible_gap(a, b, np.arange(n))
    z, power_z = stats.norm.ppf(0.975), stats.norm.ppf(0.8)
    assert gap * np.sqrt(n) == pytest.approx(z * np.sqrt(share) + power_z * np.sqrt(share - gap**2), rel=0.01)
    rng, seen, groups = np.random.default_rng(9), 0, np.arange(300) // 3
    signs = (rng.random((2, 300)) < 0.15) & (np.arange(300) % 3 < 2)
    gap = statistics.visible_gap(*signs, groups)
    for _ in range(200):  # groups that disagree as much, and as differently, around this gap
        drawn = (signs[0].astype(float) - signs[1]).reshape(100, 3)[rng.permutation(100)] * rng.choice(
            [-1, 1], (100, 1)
        )
        seen += statistics.by_group(drawn.ravel() + gap, np.zeros(300), groups).p < 0.05
    assert 145 <= seen <= 178  # 160 +- 3 sd
    assert statistics.visible_gap(a, b, np.arange(n) % 5) == np.inf  # five groups never reach .05
    assert statistics.visible_gap(a, b, np.arange(n) % 6) == np.inf  # six have to agree, all of them
    assert statistics.visible_gap(a, b, np.arange(n) % 12) < 1


def test_bootstrap_pairs_what_one_metric_computes():
    rng = np.random.default_rng(10)
    right = rng.random((2, 200)) < 0.7
    both = statistics.bootstrap(lambda times: times @ right.T / 200, np.arange(200), draws=1999)
    alone = statistics.bootstrap(lambda times: times @ right[1] / 200, np.arange(200), draws=1999)
    np.testing.assert_array_equal(both[:, 1], alone)
    low, high = statistics.interval(both[:, 0] - both[:, 1])
    assert (low, high) == pytest.approx(statistics.gap_interval(*right, np.arange(200)), abs=0.01)
    twice = statistics.bootstrap(lambda times: times.sum(axis=1), [0, 0, 1, 1], ["a", "b", "a", "b"], draws=9)
    assert (twice == 4).all()  # groups in two folds: drawn over all folds, whole


def test_bootstrap_in_blocks_is_as_good_as_at_once(monkeypatch):
    whole = statistics.gap_interval(np.arange(50) % 2, 0, np.arange(50))
    monkeypatch.setattr(statistics, "VALUES", 5_000)  # a hundred resamples at a time
    assert statistics.gap_interval(np.arange(50) % 2, 0, np.arange(50)) == pytest.approx(whole, abs=0.02)
    right = np.arange(400) % 7 < 3, np.arange(400) % 5 < 3
    few = statistics.by_group(*right, np.arange(400)).p
    monkeypatch.undo()
    assert statistics.by_group(*right, np.arange(400)).p == pytest.approx(few, abs=0.02)


def _equal_models(rng, n_groups, per_group, n_models):
    """(models, clips) right of equally good models: groups are hard for all, and each model knows some of its own."""
    group = np.arange(n_groups * per_group) // per_group
    hard = rng.normal(0, 1, n_groups)[group] + rng.normal(0, 1, len(group))
    own = rng.normal(0, 0.7, (n_models, n_groups))[:, group] + rng.normal(0, 0.7, (n_models, len(group)))
    return own + 1 > hard, group


def test_equal_models_are_called_different_in_at_most_one_of_twenty_cases():
    """400 draws of equally good models, by each default test: of two, of a family, over folds, by recall."""
    rng = np.random.default_rng(5)
    errors = dict.fromkeys(("by_group", "wilcoxon", "family", "recall"), 0)
    for _ in range(400):
        right, group = _equal_models(rng, 30, 4, 3)
        errors["by_group"] += statistics.by_group(right[0], right[1], group).p < 0.05
        errors["family"] += (statistics.pairs(right, group).adjusted < 0.05).any()
        folds = np.stack([right[:2, group % 10 == fold].mean(axis=1) for fold in range(10)], axis=1)
        errors["wilcoxon"] += statistics.wilcoxon(*folds).p < 0.05
        of = scores.weights(rng.integers(0, 4, len(group)))  # as unweighted average recall weighs classes
        errors["recall"] += statistics.by_group(right[0], right[1], group, of).p < 0.05
    assert all(n <= 20 for n in errors.values()), errors


def test_equal_models_are_seldom_called_different_where_each_clip_is_a_group():
    rng, errors = np.random.default_rng(6), 0
    for _ in range(400):
        errors += statistics.mcnemar(*(rng.random((2, 120)) < rng.random(120))).p < 0.05
    assert errors <= 20


def test_mcnemar_errs_where_clips_come_in_groups():
    """Why it is no default: the clips of a group are not independent."""
    rng, wrong = np.random.default_rng(7), 0
    for _ in range(200):
        right, _ = _equal_models(rng, 30, 4, 2)
        wrong += statistics.mcnemar(*right).p < 0.05
    assert wrong > 15


def test_the_papers_pooling_errs_often():
    """Why it is a replica: values of one fold come in fives that share their fold's luck."""
    rng, wrong, fair = np.random.default_rng(6), 0, 0
    for _ in range(60):
        each = rng.normal(0, 2, (10, 1)) + rng.normal(0, 1, (10, 5))  # of 10 folds x 5 trials, A minus B
        wrong += statistics.wilcoxon_pooled(each.ravel(), np.zeros(50)).p < 0.05
        fair += statistics.wilcoxon(each.mean(axis=1), np.zeros(10)).p < 0.05
    assert wrong > 12 and fair <= 7
