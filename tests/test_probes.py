"""Data sets as they lie on disk; vectors of clips; a linear probe that never sees its test fold."""

import csv
import json

import numpy as np
import pytest

pytest.importorskip("sklearn")
from conftest import tone, write

from l3embed.frontend import spectrograms
from l3embed.spec import small_front_end
from probes import datasets, features, linear

CLASSES = ["Dog bark", "Rain", "Sea waves", "Baby cry", "Clock tick", "Person sneeze", "Helicopter", "Chainsaw",
           "Rooster", "Fire crackling"]  # fmt: skip


def test_esc10_in_its_original_layout(tmp_path):
    for i, name in enumerate(CLASSES, 1):
        for clip in range(40):
            path = tmp_path / f"{i:03} - {name}" / f"{clip % 5 + 1}-{1000 + clip}-A.ogg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
    (tmp_path / "001 - Dog bark" / "notes.txt").write_text("not a clip")
    clips = datasets.esc10(tmp_path)
    assert len(clips) == 400 and {c.label for c in clips} == set(CLASSES)
    assert {c.fold for c in clips} == set("12345")
    assert all(c.path.name.startswith(c.fold) and c.label in c.path.parent.name for c in clips)
    clips[0].path.unlink()
    with pytest.raises(datasets.DataError, match="holds 399 clips of ESC-10, expected 400: is the copy complete"):
        datasets.esc10(tmp_path)


def test_esc10_inside_esc50(tmp_path):
    (tmp_path / "meta").mkdir()
    with open(tmp_path / "meta" / "esc50.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("filename,fold,target,category,esc10,src_file,take".split(","))
        for i in range(800):
            writer.writerow([f"{i % 5 + 1}-{i}-A-0.wav", i % 5 + 1, 0, f"c{i % 20}", i % 20 < 10, i, "A"])
    clips = datasets.esc10(tmp_path)
    assert len(clips) == 400 and len({c.label for c in clips}) == 10
    assert clips[1].path == tmp_path / "audio" / "2-1-A-0.wav" and clips[1].fold == "2"


def test_digits_are_split_by_speaker(tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps({"george": {}, "lucas": {}}))
    (tmp_path / "recordings").mkdir()
    for name in ("7_george_0.wav", "0_lucas_3.wav", "1_nobody_0.wav"):
        (tmp_path / "recordings" / name).write_bytes(b"")
    assert [(c.label, c.fold) for c in datasets.digits(tmp_path)] == [("0", "lucas"), ("7", "george")]
    with pytest.raises(datasets.DataError, match="holds no clips of Free Spoken Digit"):
        datasets.digits(tmp_path / "recordings")


def test_real_esc10(shared_data):
    assert len(datasets.esc10(shared_data / "esc10")) == 400


# --- the probe


def _separable(n=200, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    x = np.eye(4)[labels] + noise * rng.standard_normal((n, 4))
    return np.hstack([x, rng.standard_normal((n, 6))]), labels.astype(str), rng.integers(0, 5, n).astype(str)


def test_probe_finds_what_is_there_and_nothing_in_noise():
    x, labels, folds = _separable()
    predicted, chosen = linear.nested(x, labels, folds)
    accuracies = linear.fold_accuracies(predicted, labels, folds)
    assert accuracies.shape == (5,) and accuracies.mean() > 0.9
    assert set(chosen) == set(folds) and set(chosen.values()) <= set(linear.C_GRID)
    shuffled = np.random.default_rng(1).permutation(labels)
    predicted, _ = linear.nested(x, shuffled, folds)
    assert abs(linear.fold_accuracies(predicted, shuffled, folds).mean() - 0.25) < 0.12


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


def test_accuracy_of_each_fold():
    found = linear.fold_accuracies(["a", "b", "a", "a"], ["a", "a", "a", "b"], ["1", "1", "2", "2"])
    np.testing.assert_array_equal(found, [0.5, 0.5])


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


def test_log_mel_statistics(clips):
    x = features.log_mel_statistics(clips)
    assert x.shape == (3, 256) and np.isfinite(x).all()
    import soundfile

    sound, _ = soundfile.read(clips[1].path)
    whole = spectrograms(sound, np.array([0]), small_front_end())[0, :, :, 0]  # its first second
    assert (x[1, 128:192] <= whole.min(axis=1) + 1e-4).all() and (x[1, 192:] >= whole.max(axis=1) - 1e-4).all()
    assert (x[1, 128:192] <= x[1, :64]).all() and (x[1, :64] <= x[1, 192:]).all()
