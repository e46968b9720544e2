"""Data sets as they lie on disk; vectors of clips; a linear probe that never sees its test fold."""

import csv
import json
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("sklearn")
from conftest import tone, write
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from l3embed.frontend import spectrograms
from l3embed.spec import small_front_end
from probes import datasets, features, linear, scores

CLASSES = ["Dog bark", "Rain", "Sea waves", "Baby cry", "Clock tick", "Person sneeze", "Helicopter", "Chainsaw",
           "Rooster", "Fire crackling"]  # fmt: skip


def test_esc10_in_its_original_layout(tmp_path):
    for i, name in enumerate(CLASSES, 1):
        for clip in range(40):
            path = tmp_path / f"{i:03} - {name}" / f"{clip % 5 + 1}-{1000 + clip}-A.ogg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
    (tmp_path / "001 - Dog bark" / "notes.txt").write_text("not a clip")
    clips = datasets.read(tmp_path)
    assert clips.name == "esc10" and len(clips) == 400 and clips.classes == sorted(CLASSES)
    assert {c.fold for c in clips} == set("12345")
    assert all(c.path.name.startswith(f"{c.fold}-{c.group}-") and c.label in c.path.parent.name for c in clips)
    clips[0].path.unlink()
    with pytest.raises(datasets.DataError, match="holds 399 clips of esc10, expected 400: is the copy complete"):
        datasets.read(tmp_path)
    assert len(datasets.read(f"{tmp_path}?strict=no")) == 399


def test_esc10_inside_esc50(tmp_path):
    (tmp_path / "meta").mkdir()
    with open(tmp_path / "meta" / "esc50.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("filename,fold,target,category,esc10,src_file,take".split(","))
        for i in range(800):
            writer.writerow([f"{i % 5 + 1}-{i}-A-0.wav", i % 5 + 1, 0, f"c{i % 20}", i % 20 < 10, i, "A"])
    clips = datasets.read(f"esc10={tmp_path}")
    assert len(clips) == 400 and len({c.label for c in clips}) == 10
    assert clips[1].path.parent == tmp_path / "audio" and all(c.path.name.startswith(c.fold + "-") for c in clips)


def test_digits_are_split_by_speaker(tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps({"george": {}, "lucas": {}}))
    (tmp_path / "recordings").mkdir()
    for name in ("7_george_0.wav", "0_lucas_3.wav", "1_nobody_0.wav"):
        (tmp_path / "recordings" / name).write_bytes(b"")
    assert [(c.label, c.fold) for c in datasets.digits(tmp_path)] == [("0", "lucas"), ("7", "george")]
    with pytest.raises(datasets.DataError, match="holds no clips of Free Spoken Digit"):
        datasets.digits(tmp_path / "recordings")


@pytest.mark.parametrize(("name", "n", "labels", "folds"), [
    ("esc10", 400, 10, 5), ("language", 373, 6, 5), ("accent", 241, 4, 5), ("primate", 540, 5, 5),
    ("digits", 1200, 10, 6),
])  # fmt: skip
def test_real_sets(shared_data, name, n, labels, folds):
    data = datasets.read(shared_data / name)
    clips = datasets.folded(data)
    assert data.name == name
    assert len(clips) == n and all(c.path.exists() for c in clips)
    assert len({c.label for c in clips}) == labels and len({c.fold for c in clips}) == folds
    per_fold = [Counter(c.label for c in clips if c.fold == f) for f in {c.fold for c in clips}]
    # every label is tested in every fold; of primates, one recorder alone holds a fifth of the clips
    uneven = name == "primate"
    assert min(map(len, per_fold)) >= labels - uneven
    assert max(map(Counter.total, per_fold)) <= (2 if uneven else 1.3) * min(map(Counter.total, per_fold))


# --- any set, by a table


def _table(folder, rows, columns="path,label,group"):
    folder.mkdir(exist_ok=True)
    (folder / "index.csv").write_text("\n".join([columns, *rows]) + "\n")
    return folder


def _uneven():
    """120 clips of 3 labels in 30 groups: a third of the clips lie in 4 groups."""
    rng, rows = np.random.default_rng(0), []
    for i in range(120):
        label = "abc"[int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
        rows.append(f"{label}/{i:03}.wav,{label},{'big' if i < 40 else 'small'}{i % 4 if i < 40 else i % 26}")
    return rows


def test_folds_keep_groups_whole_and_labels_even_and_are_decided_by_the_seed(tmp_path):
    rows = _uneven()
    clips = datasets.indexed(_table(tmp_path / "a", rows))
    assert [c.path.parent.name for c in clips] == [c.label for c in clips]
    folds_of = {}
    for clip in clips:
        folds_of.setdefault(clip.group, set()).add(clip.fold)
    assert all(len(folds) == 1 for folds in folds_of.values()) and len(folds_of) == 30
    for label in "abc":
        each = [sum(c.label == label for c in clips if c.fold == f) for f in "12345"]
        assert max(each) <= 2 * min(each), (label, each)
    of = {c.path.name: c.fold for c in clips}
    other_order = datasets.indexed(_table(tmp_path / "b", rows[::-1]))
    assert {c.path.name: c.fold for c in other_order} == of  # neither the place nor the order of lines decides
    assert {c.path.name: c.fold for c in datasets.indexed(tmp_path / "a", seed=1)} != of
    assert {c.fold for c in datasets.indexed(tmp_path / "a", n_folds=3)} == set("123")


def test_folds_of_a_table_are_taken_as_they_are(tmp_path):
    rows = ["x.wav,a,g1,test", "y.wav,a,g2,train", "z.wav,b,g1,test", "w.wav,b,,train"]
    clips = datasets.indexed(_table(tmp_path, rows, "path,label,group,fold"))
    assert {c.path.name: c.fold for c in clips} == {
        "x.wav": "test",
        "y.wav": "train",
        "z.wav": "test",
        "w.wav": "train",
    }


@pytest.mark.parametrize(("columns", "rows", "said"), [
    ("path,group", ["a.wav,g"], "has no column label"),
    ("path,label", [], "holds no clips"),
    ("path,label", ["a.wav,x", ",y"], "line 3 has no path"),
    ("path,label", ["a.wav,x", "b.wav"], "line 3 has no label"),
    ("path,labels", ["a.wav,x;y", "b.wav,;"], "line 3 has no label"),
    ("path,label,split", ["a.wav,x,train", "b.wav,x,later"], "line 3: split must be one of train, valid, test"),
    ("path,label,start", ["a.wav,x,1", "a.wav,x,soon"], "line 3: start must be a time in seconds. Received: 'soon'"),
    ("path,label,start,end", ["a.wav,x,1,2", "a.wav,x,2,1"], "ends at 1 s, before it begins at 2 s"),
    ("path,label,fold", ["a.wav,x,1", "b.wav,x,2", "a.wav,x,3"], "twice"),
    ("path,label,group,fold", ["a.wav,x,g,1", "b.wav,x,g,2"], "group 'g' is in the folds 1, 2"),
    ("path,label,fold", ["a.wav,x,1", "b.wav,x,"], "1 of 2 clips have no fold"),
    ("path,label,fold", ["a.wav,x,1", "b.wav,x,2", "c.wav,y,2"], "label 'y' is in one fold only"),
    ("path,label,split", ["a.wav,x,train", "b.wav,x,test"], "has a fixed split"),
    ("path,label,group", ["a.wav,x,g", "b.wav,y,g"], "1 groups cannot be dealt out to 5 folds"),
])  # fmt: skip
def test_tables_that_would_mislead_are_refused(tmp_path, columns, rows, said):
    with pytest.raises(datasets.DataError, match=said):
        datasets.indexed(_table(tmp_path, rows, columns))


def test_a_table_that_cannot_be_read(tmp_path):
    with pytest.raises(datasets.DataError, match=r"index\.csv: cannot be read \(No such file"):
        datasets.indexed(tmp_path)
    (tmp_path / "index.csv").write_bytes(b"path,label\n\xff\xfe,x\n")
    with pytest.raises(datasets.DataError, match="cannot be read"):
        datasets.indexed(tmp_path)


# --- the probe


def _separable(n=200, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    x = np.eye(4)[labels] + noise * rng.standard_normal((n, 4))
    return np.hstack([x, rng.standard_normal((n, 6))]), labels.astype(str), rng.integers(0, 5, n).astype(str)


def test_probe_finds_what_is_there_and_nothing_in_noise():
    x, labels, folds = _separable()
    predicted, chosen = linear.nested(x, labels, folds)
    accuracies = scores.fold_accuracies(predicted, labels, folds)
    assert accuracies.shape == (5,) and accuracies.mean() > 0.9
    assert set(chosen) == set(folds) and set(chosen.values()) <= set(linear.C_GRID)
    shuffled = np.random.default_rng(1).permutation(labels)
    predicted, _ = linear.nested(x, shuffled, folds)
    assert abs(scores.fold_accuracies(predicted, shuffled, folds).mean() - 0.25) < 0.12


@pytest.mark.parametrize("dims", [12, 300])  # fewer and more than clips: as they are, and in coordinates they span
def test_the_probe_is_scikit_learns_nested_search(dims):
    rng = np.random.default_rng(dims)
    labels, folds = rng.choice(["cat", "yellowhammer", "ox"], 90, p=[0.5, 0.3, 0.2]), rng.integers(0, 4, 90)
    x = rng.standard_normal((90, dims)) * rng.uniform(0.1, 5, dims) + 7
    x[:, :3] += 6 * (labels[:, None] == np.array(["cat", "yellowhammer", "ox"]))
    predicted, chosen = linear.nested(x, labels, folds)
    for fold in range(4):
        test = folds == fold
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, tol=1e-7))
        grid = {"logisticregression__C": list(linear.C_GRID)}
        search = GridSearchCV(probe, grid, cv=LeaveOneGroupOut()).fit(x[~test], labels[~test], groups=folds[~test])
        assert search.best_params_["logisticregression__C"] == chosen[str(fold)]
        np.testing.assert_array_equal(search.predict(x[test]), predicted[test])


def test_a_probe_needs_folds_to_choose_in():
    x, labels, _ = _separable(20)
    with pytest.raises(datasets.DataError, match="needs three folds"):
        linear.nested(x, labels, np.arange(20) % 2)


def test_predictions_of_a_fold_do_not_depend_on_its_labels_nor_on_its_other_clips():
    """Neither scaler nor C nor weights may see the test fold."""
    x, labels, folds = _separable(120, noise=1.0)
    predicted, chosen = linear.nested(x, labels, folds)
    test = folds == "2"
    spoilt, wrong = x.copy(), labels.copy()
    wrong[test] = "0"
    spoilt[np.flatnonzero(test)[1:]] = 1e6
    again, chosen_again = linear.nested(spoilt, wrong, folds)
    first = np.flatnonzero(test)[0]
    assert again[first] == predicted[first] and chosen_again["2"] == chosen["2"]


def test_what_a_table_says():
    clips = [datasets.Clip(str(i), label, fold) for i, (label, fold) in enumerate(zip("aaabbb", "112223", strict=True))]
    row = scores.table_row(list("abaabb"), clips)
    assert row["folds"] == [50, 66.67, 100] and row["accuracy"] == pytest.approx(72.22, abs=0.01)
    assert row["uar"] == pytest.approx(66.67, abs=0.01)  # two thirds of the a, two thirds of the b
    assert row["interval"][0] <= 66.67 <= row["interval"][1]


# --- vectors of clips


@pytest.fixture
def clips(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", tone(0.6 + i, hz=300 + 400 * i)) for i in range(3)]
    return [datasets.Clip(p, str(i), str(i)) for i, p in enumerate(paths)]


def test_embeddings_are_pooled_windows(shipped, clips):
    x = features.embeddings(shipped, clips, "mean+std")
    assert x.shape == (3, 768)
    windows = shipped.embed(clips[2].path)[0]
    np.testing.assert_allclose(x[2], np.concatenate([windows.mean(0), windows.std(0)]), rtol=1e-4, atol=1e-4)


def test_threads_and_cache_change_nothing(shipped, clips, tmp_path):
    alone = features.embeddings(shipped, clips * 12)
    np.testing.assert_array_equal(features.embeddings(shipped, clips * 12, jobs=2), alone)
    made = []

    def make():
        made.append(1)
        return np.full(3, len(made))

    first = features.cached(tmp_path / "kept", {"model": "a"}, clips, make)
    np.testing.assert_array_equal(features.cached(tmp_path / "kept", {"model": "a"}, clips, make), first)
    assert len(made) == 1
    features.cached(tmp_path / "kept", {"model": "b"}, clips, make)
    write(clips[0].path, tone(0.9))
    features.cached(tmp_path / "kept", {"model": "a"}, clips, make)  # the file is another one now
    assert len(made) == 3 and features.cached(None, {}, clips, make)[0] == 4


def test_log_mel_statistics(clips):
    x = features.log_mel_statistics(clips)
    assert x.shape == (3, 256) and np.isfinite(x).all()
    import soundfile

    sound, _ = soundfile.read(clips[1].path)
    whole = spectrograms(sound, np.array([0]), small_front_end())[0, :, :, 0]  # its first second
    assert (x[1, 128:192] <= whole.min(axis=1) + 1e-4).all() and (x[1, 192:] >= whole.max(axis=1) - 1e-4).all()
    assert (x[1, 128:192] <= x[1, :64]).all() and (x[1, :64] <= x[1, 192:]).all()
