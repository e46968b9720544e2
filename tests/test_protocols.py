"""Protocols: nothing leaks, equal seeds give equal numbers; failures, several labels; what each one replicates."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from l3embed.errors import UsageError
from probes import protocols, splits
from probes.datasets import Clip, DataError, DataSet
from probes.estimators import PROBES
from probes.features import ArrayFeatures
from probes.protocols import PROTOCOLS, evaluate

FAST = ("linear", "svm", "svm-rbf", "knn", "prototype", "majority", "chance")


def _data(tmp_path, n=120, rule="folds", seed=0, noise=1.0, groups=30, several=False, metric="accuracy"):
    """Clips of four labels in five folds, or lists, of groups of four; vectors that tell them apart."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 4
    clips = []
    for i, code in enumerate(codes):
        group = i // 4 % groups
        where = {"folds": {"fold": str(group % 5)}, "lists": {"split": ("train", "train", "valid", "test")[group % 4]}}
        labels = (f"l{code}", f"l{(code + 1) % 4}") if several and i % 3 == 0 else (f"l{code}",) if several else ()
        clips.append(Clip(tmp_path / f"{i}.wav", f"l{code}", group=f"g{group}", id=f"{i}.wav", labels=labels,
                          **where.get(rule, {})))  # fmt: skip
    data = DataSet("made", tmp_path, tuple(clips), rule=rule, metric=metric)
    x = np.eye(4)[codes] + (np.eye(4)[(codes + 1) % 4] * (np.arange(n) % 3 == 0)[:, None] if several else 0)
    x = np.hstack([x, np.zeros((n, 4))]) * 2 + noise * rng.standard_normal((n, 8))
    return data, ArrayFeatures("m", x.astype(np.float32))


def _labels(data):
    return np.array([data.classes.index(label) for label in data.labels])


def _accuracy(outcome, data):
    return (outcome.predicted == _labels(data)[outcome.row]).mean()


@pytest.mark.parametrize("rule", ["folds", "lists", "none"])
@pytest.mark.parametrize("probe", FAST)
def test_nested_predicts_every_test_clip_once(tmp_path, probe, rule):
    data, features = _data(tmp_path, rule=rule)
    outcome = evaluate("nested", probe, features, data)
    expected = range(len(data)) if rule != "lists" else [i for i, c in enumerate(data.clips) if c.split == "test"]
    assert sorted(outcome.row) == list(expected)
    assert outcome.scores.shape == (len(outcome.row), 4) and np.isfinite(outcome.scores).all()
    np.testing.assert_array_equal(outcome.scores.argmax(axis=1), outcome.predicted)
    assert set(outcome.chosen) == set(outcome.n_train) == set(outcome.fold)
    points = [dict(point) for point in PROBES[probe].grid]
    assert all(chosen in points for chosen in outcome.chosen.values())
    if probe not in ("majority", "chance"):
        assert _accuracy(outcome, data) > 0.75
    else:
        assert abs(_accuracy(outcome, data) - 0.25) < 0.2


def test_nested_is_scikit_learns_nested_search(tmp_path):
    data, features = _data(tmp_path, noise=2.5)
    x, y, folds = features.pooled(), np.array(data.labels), np.array([c.fold for c in data.clips])
    outcome = evaluate("nested", "linear", features, data)
    for fold in "01234":
        test = folds == fold
        grid = {"logisticregression__C": [point["C"] for point in PROBES["linear"].grid]}
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, tol=1e-7))
        search = GridSearchCV(probe, grid, cv=LeaveOneGroupOut()).fit(x[~test], y[~test], groups=folds[~test])
        assert search.best_params_["logisticregression__C"] == outcome.chosen[f"fold {fold}"]["C"]
        mine = outcome.fold == f"fold {fold}"
        names = np.array(outcome.classes)[outcome.predicted[mine]]
        np.testing.assert_array_equal(names, search.predict(x[outcome.row[mine]]))


@pytest.mark.parametrize("rule", ["folds", "lists", "none"])
@pytest.mark.parametrize("probe", ["linear", "svm", "knn", "prototype", "prototype-learned"])
def test_neither_vectors_nor_labels_of_test_clips_matter_to_the_others(tmp_path, probe, rule):
    data, features = _data(tmp_path, rule=rule, noise=2.0)
    first = evaluate("nested", probe, features, data)
    fold = first.fold[0]
    spoilt = np.array(features.pooled())
    rows = first.row[first.fold == fold]
    spoilt[rows[1:]] = 1e4
    again = evaluate("nested", probe, ArrayFeatures("m", spoilt), data)
    assert again.chosen[fold] == first.chosen[fold]
    np.testing.assert_array_equal(again.scores[again.row == rows[0]], first.scores[first.row == rows[0]])


@pytest.mark.parametrize("probe", ["linear", "svm", "knn", "prototype", "mlp"])
def test_shuffled_labels_are_at_chance(tmp_path, probe):
    data, features = _data(tmp_path, n=200, groups=50)
    shuffled = ArrayFeatures("m", features.pooled()[np.random.default_rng(1).permutation(len(data))])
    assert abs(_accuracy(evaluate("nested", probe, shuffled, data), data) - 0.25) < 0.12


@pytest.mark.parametrize("probe", ["linear", "svm", "prototype-learned", "mlp"])
def test_jobs_change_nothing_and_seeds_decide(tmp_path, probe):
    data, features = _data(tmp_path, rule="none", noise=2.0)
    one, two = (evaluate("nested", probe, features, data, jobs=jobs, seed=3) for jobs in (1, 2))
    other = evaluate("nested", probe, features, data, seed=4)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one.chosen == two.chosen and (one.row == two.row).all()
    assert not np.array_equal(one.fold[np.argsort(one.row)], other.fold[np.argsort(other.row)])  # folds are made


def test_clips_that_a_model_fails_on_are_wrong_and_never_learned_from(tmp_path):
    data, features = _data(tmp_path)
    x = np.array(features.pooled())
    x[[3, 40]] = np.nan
    failing = ArrayFeatures("m", x)
    for probe in ("linear", "knn", "mlp", "prototype-learned"):
        outcome = evaluate("nested", probe, failing, data)
        assert sorted(outcome.row) == list(range(len(data)))
        failed = np.isin(outcome.row, [3, 40])
        assert (outcome.predicted[failed] == -1).all() and np.isnan(outcome.scores[failed]).all()
        assert (outcome.predicted[~failed] >= 0).all() and np.isfinite(outcome.scores[~failed]).all()
        assert sum(outcome.n_train.values()) == 4 * 118
    x[:] = np.nan
    with pytest.raises(DataError, match="failed on every clip"):
        evaluate("nested", "linear", ArrayFeatures("m", x), data)


def test_few_shot_draws_are_the_same_for_every_model_and_grow_better(tmp_path):
    data, features = _data(tmp_path, n=400, groups=100)
    other = ArrayFeatures("other", np.array(features.pooled()[:, ::-1]))
    accuracies = []
    for shots in (1, 5, 20):
        first, second = (evaluate("nested", "linear", some, data, shots=shots, draws=4) for some in (features, other))
        assert set(first.n_train.values()) == {4 * shots} and len(first.n_train) == 20
        assert set(first.draw) == {0, 1, 2, 3} and len(first.row) == 4 * len(data)
        assert set(first.chosen) == {f"fold {f}/{d}" for f in range(5) for d in range(4)}
        np.testing.assert_array_equal(first.row, second.row)
        np.testing.assert_array_equal(first.predicted, second.predicted)  # mirrored vectors, the same clips
        accuracies.append(_accuracy(first, data))
    assert accuracies == sorted(accuracies) and accuracies[0] > 0.3 and accuracies[-1] > 0.75
    task = protocols._nested(data, 0)[0]
    drawn, _ = protocols._drawn(data, [task], 5, 2, 0)
    np.testing.assert_array_equal(drawn[1].train, splits.few_shot(data, task.train, 5, 1, 0))


@pytest.mark.parametrize("probe", ["svm", "svm-rbf", "knn", "forest", "prototype", "prototype-learned", "mlp"])
def test_one_shot(tmp_path, probe, monkeypatch):
    data, features = _data(tmp_path)
    monkeypatch.setitem(PROBES["forest"].few_shot, "trees", 20)
    outcome = evaluate("nested", probe, features, data, shots=1, draws=1)
    assert len(outcome.row) == 120 and set(outcome.n_train.values()) == {4} and _accuracy(outcome, data) > 0.3


def test_few_groups_are_noted_and_too_few_clips_refused(tmp_path):
    data, features = _data(tmp_path, n=80, groups=10)
    outcome = evaluate("nested", "prototype", features, data, shots=10, draws=1)
    assert any("'l0' has 8 groups" in note and "10 shots" in note for note in outcome.notes)
    with pytest.raises(DataError, match="are to be drawn"):
        evaluate("nested", "prototype", features, data, shots=50, draws=1)


@pytest.mark.parametrize("probe", ["linear", "knn", "mlp"])
def test_clips_with_several_labels(tmp_path, probe):
    data, features = _data(tmp_path, several=True, noise=0.5, metric="map")
    outcome = evaluate("nested", probe, features, data)
    assert outcome.scores.shape == (120, 4) and np.isfinite(outcome.scores).all()
    from sklearn.metrics import average_precision_score

    truth = np.array([[label in data.clips[row].labels for label in data.classes] for row in outcome.row])
    assert average_precision_score(truth, outcome.scores) > 0.85
    assert np.mean([truth[i, p] for i, p in enumerate(outcome.predicted)]) > 0.9


def test_what_is_wrong_is_said(tmp_path):
    data, features = _data(tmp_path)
    for name, probe, how, said in (
        ("nestled", "linear", {}, "protocol must be one of nested"),
        ("nested", "liner", {}, "probe must be one of linear"),
        ("nested", "hear-mlp", {}, "part of protocol hear-mlp"),
        ("hear-mlp", "linear", {}, "goes with hear-mlp, not with linear"),
        ("esc2015", "knn", {"shots": 1}, "has no few-shot draws: use nested"),
        ("nested", "knn", {"shots": 0}, "must be 1 at least"),
    ):
        with pytest.raises(UsageError, match=said):
            evaluate(name, probe, features, data, **how)
    several, x = _data(tmp_path, several=True)
    with pytest.raises(UsageError, match="several labels, which svm cannot learn: use linear, knn"):
        evaluate("nested", "svm", x, several)
    with pytest.raises(UsageError, match="so many of each class cannot be drawn"):
        evaluate("nested", "linear", x, several, shots=2)


def test_one_group_to_learn_from_cannot_choose(tmp_path):
    clips = [Clip(tmp_path / f"{i}.wav", f"l{i % 2}", group="g", split="train", id=str(i)) for i in range(8)]
    clips += [Clip(tmp_path / f"{i}.wav", f"l{i % 2}", group="h", split="test", id=str(i)) for i in range(8, 12)]
    data = DataSet("made", tmp_path, tuple(clips), rule="lists")
    features = ArrayFeatures("m", np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32))
    with pytest.raises(DataError, match="all training clips are of one group"):
        evaluate("nested", "linear", features, data)
    assert len(evaluate("nested", "prototype", features, data).row) == 4


# --- replicas


def test_every_protocol_says_what_it_is():
    assert set(PROTOCOLS) == {"nested", "look-listen-learn-more", "esc2015", "hear-mlp", "evar-linear", "maeb-lr8"}
    for name, protocol in PROTOCOLS.items():
        assert protocol.summary and protocol.source and protocol.name == name
        assert bool(protocol.faults) == (name != "nested")
        assert all(probe in PROBES for probe in protocol.probes)


def test_windows_of_a_clip_are_on_both_sides_in_the_papers_protocol_only(tmp_path, monkeypatch):
    data, features = _data(tmp_path, n=60, groups=15)
    rng = np.random.default_rng(0)
    windows = ArrayFeatures(
        "m", [row + 0.1 * rng.standard_normal((3, 8)).astype(np.float32) for row in features.pooled()]
    )
    seen = {}
    probe = PROBES["mlp-windows"].make
    real = probe.together

    def spy(self, source, targets, parts, tests):
        seen["parts"], seen["source"] = parts, source
        self.epochs = 2
        return real(self, source, targets, parts, tests)

    monkeypatch.setattr(probe, "together", spy)
    for name, shared in (("look-listen-learn-more", True), ("nested", False)):
        outcome = evaluate(name, "mlp-windows", windows, data)
        assert sorted(outcome.row) == list(range(60)) and set(outcome.n_train.values()) == {48}
        for part, test in zip(seen["parts"], sorted({c.fold for c in data.clips}), strict=True):
            clip_of = seen["source"].clip_of
            assert bool(set(clip_of[part.fit]) & set(clip_of[part.validation])) == shared
            assert test not in {data.clips[i].fold for i in clip_of[np.concatenate([part.fit, part.validation])]}
            if shared:
                assert len(part.validation) / 144 == pytest.approx(0.15, abs=0.02)
            else:
                groups = [{data.clips[i].group for i in clip_of[rows]} for rows in (part.fit, part.validation)]
                assert not groups[0] & groups[1]


def test_hear_validates_on_the_next_fold_and_chooses_once(tmp_path, monkeypatch):
    data, features = _data(tmp_path)
    tasks = PROTOCOLS["hear-mlp"].plan(data, 0)
    held = [{data.clips[i].fold for i in task.choose[0][1]} for task in tasks]
    assert held == [{"1"}, {"2"}, {"3"}, {"4"}, {"0"}]
    assert all(not set(task.choose[0][0]) & set(task.choose[0][1]) for task in tasks)
    small = PROBES["hear-mlp"].make
    monkeypatch.setattr(small.__init__, "__defaults__", (4, 32, 200, 0))
    outcome = evaluate("hear-mlp", "hear-mlp", features, data)
    chosen = list(outcome.chosen.values())
    assert all(one == chosen[0] for one in chosen) and set(chosen[0]) == {"layers", "rate", "start"}
    assert sorted(outcome.row) == list(range(120)) and _accuracy(outcome, data) > 0.4


def test_evar_and_maeb(tmp_path):
    data, features = _data(tmp_path)
    outcome = evaluate("evar-linear", "evar-linear", features, data)
    assert sorted(outcome.row) == list(range(120)) and set(outcome.n_train.values()) == {96}
    outcome = evaluate("maeb-lr8", "maeb-lr", features, data)
    assert set(outcome.n_train.values()) == {32} and set(outcome.fold) == {f"random fold {i}" for i in range(1, 6)}
    groups = {fold: {data.clips[i].group for i in outcome.row[outcome.fold == fold]} for fold in set(outcome.fold)}
    assert len(set.union(*groups.values())) < sum(map(len, groups.values()))  # its fault: groups are divided
    lists, features = _data(tmp_path, rule="lists")
    outcome = evaluate("maeb-lr8", "maeb-lr", features, lists)
    assert set(outcome.draw) == set(range(10)) and set(outcome.n_train.values()) == {32}


def test_mfcc_reach_the_published_figures(shared_data, esc10_mfcc):
    """Piczak 2015: 66.7 (neighbours), 67.5 (linear SVM), 72.7 (random forest) on ESC-10; within four points."""
    data, features = esc10_mfcc
    for probe, published in (("knn", 66.7), ("svm", 67.5), ("forest", 72.7)):
        outcome = evaluate("esc2015", probe, features, data)
        right = outcome.predicted == _labels(data)[outcome.row]
        mean = np.mean([right[outcome.fold == fold].mean() for fold in set(outcome.fold)])
        assert abs(100 * mean - published) < 4, (probe, mean)


@pytest.fixture(scope="module")
def esc10_mfcc(shared_data):
    from probes import baselines, datasets

    data = datasets.read(f"esc10={shared_data / 'esc10'}")
    return data, baselines.features("mfcc", data, jobs=2)
