"""Scores against scikit-learn, with and without resampling, and by hand."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from probes import scores, statistics


def _made(seed: int, n: int = 200, classes: int = 5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    predicted = np.where(rng.random(n) < 0.6, labels, rng.integers(-1, classes, n))
    return labels, predicted, rng.normal(size=(n, classes)).round(1)  # rounded: many ties


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_scores_are_scikit_learns(seed):
    labels, predicted, each = _made(seed)
    there = list(range(5))
    assert scores.uar(predicted == labels, labels) == pytest.approx(
        metrics.recall_score(labels, predicted, labels=there, average="macro")
    )
    assert scores.macro_f1(predicted, labels) == pytest.approx(
        metrics.f1_score(labels, predicted, labels=there, average="macro")
    )
    targets = np.eye(5, dtype=bool)[labels] | (each > 1.5)  # several labels a clip
    assert scores.mean_average_precision(each, targets) == pytest.approx(metrics.average_precision_score(targets, each))
    one = np.eye(5)[labels]
    assert scores.mean_average_precision(each, labels) == pytest.approx(metrics.average_precision_score(one, each))
    found = scores.confusion(predicted, labels, 5)
    np.testing.assert_array_equal(
        found[:, [5, *there]], metrics.confusion_matrix(labels, predicted, labels=[-1, *there])[1:]
    )


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_a_clip_drawn_twice_counts_twice(seed):
    labels, predicted, each = _made(seed, 60, 4)
    times = np.random.default_rng(seed).integers(0, 3, (3, 60)).astype(float)
    right, folds = predicted == labels, np.arange(60) % 3
    of = scores.weights(folds)
    for row in range(3):
        drawn = np.repeat(np.arange(60), times[row].astype(int))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class that was not drawn
            for found, wanted in (
                (scores.uar(right, labels, times), scores.uar(right[drawn], labels[drawn])),
                (scores.macro_f1(predicted, labels, times), scores.macro_f1(predicted[drawn], labels[drawn])),
                (scores.mean_average_precision(each, labels, times),
                 scores.mean_average_precision(each[drawn], labels[drawn])),
                (scores.share(right, of, times), np.average(right[drawn], weights=of[drawn])),
            ):  # fmt: skip
                assert found[row] == pytest.approx(wanted)
    both = np.stack([right, ~right], axis=1)
    np.testing.assert_allclose(scores.share(both, of, times)[:, 0], scores.share(right, of, times))
    np.testing.assert_allclose(scores.uar(both, labels, times)[:, 0], scores.uar(right, labels, times))


def test_weights_make_a_mean_of_folds_and_of_classes():
    labels, predicted, _ = _made(1)
    folds = np.array(["a", "b", "b", "c"] * 50)
    right = predicted == labels
    assert scores.share(right, scores.weights(folds)) == pytest.approx(
        scores.fold_accuracies(predicted, labels, folds).mean()
    )
    assert scores.share(right, scores.weights(labels)) == pytest.approx(scores.uar(right, labels))


def test_a_clip_that_failed_is_wrong_and_last():
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, -1, 1, 1])
    assert scores.uar(predicted == labels, labels) == 0.75
    assert scores.macro_f1(predicted, labels) == pytest.approx((2 / 3 + 1) / 2)
    each = np.array([[0.9, 0.1], [np.nan, np.nan], [0.1, 0.9], [0.2, 0.8]])
    assert scores.mean_average_precision(each, labels) == pytest.approx(((1 + 2 / 4) / 2 + 1) / 2)
    assert scores.confusion(predicted, labels, 2).tolist() == [[1, 0, 1], [0, 2, 0]]


def test_calibration_error_by_hand():
    """Four clips said with .8, three of them right, and one with .6, wrong: (4 x |.75 - .8| + |0 - .6|) / 5."""
    confidence = np.array([0.8, 0.8, 0.8, 0.8, 0.6])
    each = np.log(np.stack([confidence, 1 - confidence], axis=1))
    assert scores.calibration_error(each, [0, 0, 0, 1, 1]) == pytest.approx((4 * 0.05 + 0.6) / 5)
    failed = np.append(each, [[np.nan, np.nan]], axis=0)
    assert scores.calibration_error(failed, [0, 0, 0, 1, 1, 0]) == pytest.approx((4 * 0.05 + 0.6) / 5)
    assert scores.calibration_error(each * 2, [0, 0, 0, 1, 1]) is None  # decision values are no probabilities


def test_equal_models_by_map_are_seldom_called_different():
    """The bootstrap p of mAP, for sets with several labels a clip: 400 draws, at most one of twenty."""
    rng, errors, groups = np.random.default_rng(3), 0, np.arange(90) // 2
    for _ in range(400):
        targets = rng.random((90, 3)) < 0.4
        both = targets + rng.normal(0, 1, (2, 90, 3)) + rng.normal(0, 0.5, (2, 45, 3))[:, groups]

        def gap(times, both=both, targets=targets):
            return np.subtract(*(scores.mean_average_precision(each, targets, times) for each in both))

        errors += statistics.bootstrap_p(statistics.bootstrap(gap, groups, draws=199)) < 0.05
    assert errors <= 20
