"""Bayesian comparisons and ranks: against other ways to compute them, by hand, and on what must come out."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
from scipy import stats

from probes import bayes, ranks


def _total(found):
    return found.worse + found.alike + found.better


def test_correlated_t_is_the_integral_of_its_posterior():
    a, b = np.array([0.80, 0.82, 0.79, 0.85, 0.81]), np.array([0.78, 0.81, 0.80, 0.80, 0.78])
    found, rng = bayes.correlated_t(a, b, 1 / 4), np.random.default_rng(0)
    # the posterior by drawing: a variance, then a mean given the variance, correlated as folds are
    d, n, rho = a - b, 5, 1 / 5
    variance = (n - 1) * d.var(ddof=1) / rng.chisquare(n - 1, 400_000)
    mean = rng.normal(d.mean(), np.sqrt(variance * (1 / n + rho / (1 - rho))))
    assert found.better == pytest.approx((mean > 0.01).mean(), abs=0.004)
    assert found.worse == pytest.approx((mean < -0.01).mean(), abs=0.004) and _total(found) == pytest.approx(1)
    other = bayes.correlated_t(b, a, 1 / 4)
    assert (other.worse, other.better) == pytest.approx((found.better, found.worse))


def test_correlated_t_without_spread():
    same = bayes.correlated_t([0.5, 0.6], [0.5, 0.6], 1)
    assert (same.worse, same.alike, same.better) == (0, 1, 0)
    assert bayes.correlated_t([0.7, 0.8], [0.5, 0.6], 1).better == 1


def test_signed_rank_is_its_definition():
    """Draw by draw, pair by pair, with Dirichlet weights from gamma variables."""
    a, b = [0.9, 0.7, 0.61, 0.804, 0.5], [0.85, 0.715, 0.55, 0.8, 0.525]
    z = [0.0, *np.subtract(a, b)]
    rng, won = np.random.default_rng(1), np.zeros(3)
    for _ in range(4000):
        w = rng.gamma([0.5, 1, 1, 1, 1, 1])
        mass = np.zeros(3)
        for wi, zi in zip(w, z, strict=True):
            for wj, zj in zip(w, z, strict=True):
                mass[int(zi + zj > 0.02) - int(zi + zj < -0.02) + 1] += wi * wj
        won[mass.argmax()] += 1
    found = bayes.signed_rank(a, b)
    np.testing.assert_allclose([found.worse, found.alike, found.better], won / 4000, atol=0.03)
    assert found == bayes.signed_rank(a, b) and _total(found) == pytest.approx(1)


def test_signed_rank_of_what_is_clear():
    x = np.linspace(0.5, 0.9, 8)
    assert bayes.signed_rank(x, x).alike > 0.999
    assert bayes.signed_rank(x, x - 0.1).better > 0.99 < bayes.signed_rank(x - 0.1, x).worse
    assert bayes.signed_rank(x, x + 0.004).alike > 0.99  # a test over 8 sets would call it significant


def test_ranks_by_hand():
    scores = [[0.9, 0.8, 0.7], [0.8, 0.8, 0.9], [0.1, 0.2, 0.3]]
    np.testing.assert_allclose(ranks.mean_ranks(scores), [(1 + 1.5 + 2) / 3, (2 + 1.5 + 1) / 3, 3])


def test_friedman_is_scipys_statistic_as_an_f():
    scores = np.random.default_rng(2).random((4, 9)) + np.array([[0.3], [0.1], [0.0], [0.0]])
    chi2 = stats.friedmanchisquare(*scores).statistic
    n, k = 9, 4
    f = (n - 1) * chi2 / (n * (k - 1) - chi2)
    assert ranks.friedman(scores).p == pytest.approx(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
    assert ranks.friedman(scores[:2]).p == 1 == ranks.friedman(scores[:, :1]).p == ranks.friedman(np.ones((3, 4))).p
    assert ranks.friedman(np.arange(3)[:, None] + np.zeros(4)).p == 0


def test_equal_models_are_called_different_in_one_of_twenty_cases():
    rng = np.random.default_rng(3)
    assert 5 <= sum(ranks.friedman(rng.random((5, 6))).p < 0.05 for _ in range(400)) <= 35  # 20 +- 3.5 sd


def test_critical_difference_is_demsars_table():
    """q of 2.343 for 3 models and 2.949 for 7, over sqrt 2 already (Demsar 2006, table 5)."""
    assert ranks.critical_difference(3, 10) == pytest.approx(2.343 * np.sqrt(3 * 4 / 60), rel=1e-3)
    assert ranks.critical_difference(7, 5) == pytest.approx(2.949 * np.sqrt(7 * 8 / 30), rel=1e-3)
