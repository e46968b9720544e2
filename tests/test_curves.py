"""Few-shot curves: means, areas and intervals by hand or by simulation; equal models are not told apart."""

import numpy as np
import pytest

pytest.importorskip("scipy")
from probes import curves


def _models(rng, n_models=2, better=0.0, draws=10):
    """A right_of for each model: clips come in threes that are alike; a draw has its own luck, shared by models."""
    groups = np.arange(90) // 3
    hard = rng.normal(0, 1, 30)[groups] + rng.normal(0, 0.5, 90)
    out = []
    for k in range(n_models):
        own = rng.normal(0, 0.5, 30)[groups]
        out.append({n: rng.normal(0, 0.3, (draws, 1)) + rng.normal(0, 0.5, (draws, 90)) + own + k * better
                    + np.log2(n) / 3 > hard for n in (1, 2, 5)})  # fmt: skip
    return out, groups, np.arange(90) % 5


def test_a_curve_is_the_mean_over_folds_and_draws():
    (right_of, _), groups, folds = _models(np.random.default_rng(0))
    found = curves.curve(right_of, groups, folds)
    for k, n in enumerate((1, 2, 5)):
        each = np.array([[draw[folds == f].mean() for f in range(5)] for draw in right_of[n]]).mean(axis=1)
        assert found.mean[k] == pytest.approx(each.mean()) and found.spread[k] == pytest.approx(each.std())
    assert found.shots == (1, 2, 5)
    assert (found.low < found.mean).all() and (found.mean < found.high).all()
    shuffled = curves.curve(dict(reversed(right_of.items())), groups, folds)
    np.testing.assert_array_equal(shuffled.low, found.low)


def test_the_area_is_the_mean_height_over_the_logarithm_of_shots():
    np.testing.assert_allclose(curves.area_weights([1, 2, 4]), [0.25, 0.5, 0.25])
    np.testing.assert_allclose(curves.area_weights([1, 4, 8]), [1 / 3, 0.5, 1 / 6])
    assert curves.area_weights([7]).tolist() == [1]
    (right_of, _), groups, folds = _models(np.random.default_rng(1))
    found = curves.curve(right_of, groups, folds)
    at = np.log2(found.shots)
    assert found.area == pytest.approx(np.trapezoid(found.mean, at) / (at[-1] - at[0]))


def test_the_interval_widens_with_what_draws_and_groups_differ_by():
    rng = np.random.default_rng(2)
    groups, folds = np.arange(200) // 2, np.zeros(200)
    clips_differ = {1: np.tile(rng.random(100)[groups] < 0.5, (10, 1))}
    draws_differ = {1: np.tile(rng.random((10, 1)), (1, 200))}
    by_clips, by_draws = (curves.curve(r, groups, folds) for r in (clips_differ, draws_differ))
    assert by_clips.high - by_clips.low == pytest.approx(2 * 1.96 * 0.05, rel=0.15)  # 100 groups of shares of a half
    assert by_draws.high - by_draws.low == pytest.approx(2 * 1.96 * by_draws.spread / np.sqrt(10), rel=0.15)


def test_models_are_compared_draw_by_draw_and_group_by_group():
    (a, b), groups, folds = _models(np.random.default_rng(3), better=1.0)
    both = [curves.curve(r, groups, folds) for r in (a, b)]
    found = curves.compare(both, groups, folds)
    assert found.gap[1, 0] == pytest.approx(both[1].area - both[0].area) and found.gap[1, 0] > 0.1
    assert found.p[0, 1] < 0.01
    one = [curves.curve({n: r[:1] for n, r in right_of.items()}, groups, folds) for right_of in (a, b)]
    assert curves.compare(one, groups, folds).p[0, 1] == 1  # one draw does not tell how much draws differ
    same = [curves.curve(a, groups, folds)] * 2
    assert curves.compare(same, groups, folds).p[0, 1] == 1


def test_without_one_of_the_two_it_is_the_t_test_of_the_other():
    from scipy import stats

    rng = np.random.default_rng(5)
    draws = rng.random((2, 10, 1))
    made = [_bare({1: np.tile(d, (1, 40))}) for d in draws]
    found = curves.compare(made, np.arange(40), np.zeros(40)).p[0, 1]
    assert found == pytest.approx(stats.ttest_rel(*draws[..., 0]).pvalue)
    clips = rng.random((2, 1, 40))
    made = [_bare({1: np.tile(c, (10, 1))}) for c in clips]
    found = curves.compare(made, np.arange(40), np.zeros(40)).p[0, 1]
    assert found == pytest.approx(stats.ttest_rel(*clips[:, 0]).pvalue)


def test_equal_models_are_seldom_called_different():
    rng, errors = np.random.default_rng(4), 0
    for _ in range(400):
        models, groups, folds = _models(rng)
        made = [_bare(right_of) for right_of in models]
        errors += curves.compare(made, groups, folds).p[0, 1] < 0.05
    assert errors <= 20


def _bare(right_of):
    """A curve without its interval, which `compare` does not use."""
    right = np.stack([np.asarray(r, float) for r in right_of.values()])
    return curves.Curve(tuple(right_of), right, *[right.mean(axis=(1, 2))] * 4)
