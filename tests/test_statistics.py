"""Tests of the tests: against scipy and by hand, and that equal models are not called different too often."""

import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn")
from scipy import stats

from probes import statistics


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


def test_equal_models_are_seldom_called_different():
    """150 pairs of equally good models: each test errs in about 5 % of cases or fewer (10 % is 2.8 sd above)."""
    rng = np.random.default_rng(5)
    errors = dict.fromkeys(("wilcoxon", "mcnemar", "by_group"), 0)
    groups = np.arange(120) // 12
    for _ in range(150):
        hard = rng.normal(0, 1, 10)[groups]  # clips of one group are hard together, and one of the models knows some
        a, b = ((rng.normal(0, 1, 10)[groups] + rng.normal(0, 1, 120) > hard) for _ in range(2))
        errors["by_group"] += statistics.by_group(a, b, groups).p < 0.05
        independent = rng.random((2, 120)) < rng.random(120)
        errors["mcnemar"] += statistics.mcnemar(*independent).p < 0.05
        errors["wilcoxon"] += statistics.wilcoxon(*rng.normal(0, 1, (2, 10))).p < 0.05
    assert all(n <= 15 for n in errors.values()), errors


def test_the_papers_pooling_errs_often():
    """Why it is a replica: values of one fold come in fives that share their fold's luck."""
    rng, wrong, fair = np.random.default_rng(6), 0, 0
    for _ in range(60):
        each = rng.normal(0, 2, (10, 1)) + rng.normal(0, 1, (10, 5))  # of 10 folds x 5 trials, A minus B
        wrong += statistics.wilcoxon_pooled(each.ravel(), np.zeros(50)).p < 0.05
        fair += statistics.wilcoxon(each.mean(axis=1), np.zeros(10)).p < 0.05
    assert wrong > 12 and fair <= 7
