"""Probes as scikit-learn estimators: its own checks, its estimators' answers, grids as their points alone."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

from l3embed.errors import UsageError
from probes.estimators import PROBES, scores_of, spread

LIGHT = ["linear", "svm", "svm-rbf", "knn", "forest", "prototype", "maeb-lr", "majority", "chance"]
FEWER = {"forest": {"trees": 20}}


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of linear algebra that wait for each other take longer than these small problems."""
    with threadpool_limits(1):
        yield


def _blobs(n=90, dims=12, labels=3, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % labels
    x = noise * rng.standard_normal((n, dims)) * rng.uniform(0.1, 5, dims) + 7
    x[:, :labels] += 6 * (codes[:, None] == np.arange(labels))
    return x, np.array(["cat", "yellowhammer", "ox", "bee"])[codes]


@pytest.mark.parametrize("name", LIGHT)
def test_scikit_learn_takes_them_for_its_own(name):
    results = check_estimator(PROBES[name].make(**FEWER.get(name, {})), on_fail=None, on_skip=None)
    failed = {r["check_name"]: str(r["exception"]) for r in results if r["status"] == "failed"}
    assert len(results) > 40 and not failed


@pytest.mark.parametrize("name", sorted(PROBES))
def test_every_probe_is_cloned_and_has_a_grid(name):
    probe = PROBES[name]
    estimator = probe.make()
    assert clone(estimator).get_params() == estimator.get_params()
    assert probe.grid and probe.source and probe.input in ("pooled", "windows")
    if not hasattr(estimator, "together"):
        for point in (*probe.grid, probe.few_shot):
            assert clone(estimator).set_params(**point).get_params().items() >= point.items()


@pytest.mark.parametrize("dims", [8, 150])  # fewer and more dimensions than clips
@pytest.mark.parametrize("name", ["linear", "svm", "svm-rbf", "knn"])
@pytest.mark.parametrize("labels", [2, 3])
def test_a_grid_at_once_is_its_points_alone(name, dims, labels):
    x, y = _blobs(60, dims, labels, noise=2.0)
    test, codes = _blobs(30, dims, labels, seed=1, noise=2.0)[0], np.unique(y, return_inverse=True)[1]
    probe = PROBES[name].make()
    tests = [test[:10], test[10:]]
    found = probe.path(PROBES[name].grid, x.copy(), codes, tests)
    assert len(found) == len(PROBES[name].grid)
    for point, each in zip(PROBES[name].grid, found, strict=True):
        alone = clone(probe).set_params(**point).fit(x, codes)
        for scores, some in zip(each, tests, strict=True):
            assert scores.shape == (len(some), labels)
            np.testing.assert_array_equal(scores.argmax(axis=1), alone.predict(some))
            np.testing.assert_allclose(scores, _both(alone, some), rtol=5e-3, atol=5e-3)


def _both(fitted, x):
    return fitted.predict_log_proba(x) if hasattr(fitted, "predict_log_proba") else fitted._checked_scores(x)


def test_the_answers_are_those_of_scikit_learn():
    x, y = _blobs(80, 6, noise=2.5)
    test, _ = _blobs(40, 6, seed=3, noise=2.5)
    pairs = {
        "linear": (LogisticRegression(C=0.3, tol=1e-8, max_iter=5000), {"C": 0.3}),
        "svm": (SVC(C=0.3, kernel="linear", break_ties=True), {"C": 0.3}),
        "svm-rbf": (SVC(C=3, gamma="scale", break_ties=True), {"C": 3}),
        "forest": (RandomForestClassifier(30, random_state=0), {"trees": 30}),
    }
    for name, (theirs, ours) in pairs.items():
        reference = make_pipeline(StandardScaler(), theirs).fit(x, y)
        np.testing.assert_array_equal(PROBES[name].make(**ours).fit(x, y).predict(test), reference.predict(test))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_neighbours_are_those_of_scikit_learn_and_ties_go_to_the_nearer(metric):
    x, y = _blobs(80, 6, noise=2.5)
    test, _ = _blobs(40, 6, seed=3, noise=2.5)
    scaled = StandardScaler().fit(x)
    theirs = KNeighborsClassifier(5, metric="cosine" if metric == "cosine" else "euclidean").fit(scaled.transform(x), y)
    ours = PROBES["knn"].make(k=5, metric=metric).fit(x, y)
    np.testing.assert_allclose(ours.decision_function(test), theirs.predict_proba(scaled.transform(test)), atol=2e-3)
    two = PROBES["knn"].make(k=2, metric=metric, standardise=False)
    two.fit([[1.0, 0.0], [0.9, 0.5], [0.0, 1.0], [-1.0, 1.0]], ["z", "a", "m", "m"])
    assert two.predict([[1.0, 0.05]]) == ["z"]  # one vote each, and z is nearer


def test_prototypes_by_hand():
    x, y = _blobs(30, 4)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    means = np.stack([z[y == label].mean(axis=0) for label in np.unique(y)])
    l2 = PROBES["prototype"].make(metric="l2").fit(x, y)
    np.testing.assert_allclose(l2.decision_function(x), -((z[:, None] - means) ** 2).sum(axis=2), atol=1e-8)
    cosine = PROBES["prototype"].make().fit(x, y)
    norms = np.linalg.norm(z, axis=1)[:, None] * np.linalg.norm(means, axis=1)
    np.testing.assert_allclose(cosine.decision_function(x), z @ means.T / norms, atol=1e-8)


@pytest.mark.parametrize("name", LIGHT)
def test_scores_say_what_is_predicted_and_survive_pickling(name):
    for labels in (2, 4):
        x, y = _blobs(60, 5, labels)
        fitted = PROBES[name].make(**FEWER.get(name, {})).fit(x, y)
        scores = scores_of(fitted, x)
        assert scores.shape == (60, labels) and np.isfinite(scores).all()
        np.testing.assert_array_equal(fitted.classes_[scores.argmax(axis=1)], fitted.predict(x))
        np.testing.assert_array_equal(scores_of(pickle.loads(pickle.dumps(fitted)), x), scores)


def test_scores_of_what_has_none():
    class Bare:
        pass

    with pytest.raises(UsageError, match="Bare gives no scores"):
        scores_of(Bare(), np.zeros((1, 1)))
    out = spread(np.array([[-500.0, 2.0]]), np.array([0, 2]), 4)
    assert out[0, 0] == -500 and out[0, 2] == 2 and (out[0, [1, 3]] < -500).all()


def test_what_is_wrong_is_said():
    x, _ = _blobs(10)
    with pytest.raises(UsageError, match="two classes at least"):
        PROBES["linear"].make().fit(x, np.zeros(10))
    with pytest.raises(UsageError, match="kernel must be"):
        PROBES["svm"].make(kernel="cubic").fit(*_blobs(10))


def test_dummies_know_nothing_but_counts():
    x, y = _blobs(40)
    y[:30] = "cat"
    assert (PROBES["majority"].make().fit(x, y).predict(x) == "cat").all()
    chance = PROBES["chance"].make().fit(x, y)
    np.testing.assert_array_equal(chance.predict(x)[::-1], chance.predict(x[::-1]))
    many = chance.predict(np.random.default_rng(0).standard_normal((3000, x.shape[1])))
    assert abs((many == "ox").mean() - 1 / 3) < 0.03
