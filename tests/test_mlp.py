"""The MLP probe: against Keras step by step, side by side against alone, and on data whose answer is known."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("tensorflow")
from sklearn.base import clone

from probes import mlp
from probes.datasets import DataError

SMALL = mlp.How(hidden=(16, 8), rates=(1e-3, 1e-2), decays=(1e-4, 1e-2), epochs=6, patience=3, batch=8)


def _blobs(n_clips=24, dims=5, seed=0, noise=1.0):
    """Clips of 3 to 6 windows of three labels in four folds."""
    rng = np.random.default_rng(seed)
    labels = np.array(["a", "bb", "ccc"])[np.arange(n_clips) % 3]
    centres = 2 * rng.standard_normal((3, dims))
    windows = [(centres[i % 3] + noise * rng.standard_normal((rng.integers(3, 7), dims))).astype(np.float32)
               for i in range(n_clips)]  # fmt: skip
    return windows, labels, (np.arange(n_clips) // 3 % 4).astype(str)


def test_it_learns_as_keras_does():
    """The same start, batches, Adam and L2 in Keras: same weights, validation loss and choice."""
    import keras

    windows, *_ = _blobs()
    x, codes = np.concatenate(windows), np.repeat(np.arange(24) % 3, [len(w) for w in windows])
    clips = np.repeat(np.arange(24), [len(w) for w in windows])
    part = mlp.split(np.arange(len(x)), codes, clips, 0.2, seed=4)
    how = mlp.How((16, 8), (1e-2,), (1e-3,), epochs=3, patience=5, batch=8, validation=0.2)
    (fitted,) = mlp.fit_all(x, codes, 3, [part], how)

    start = mlp._Networks(x, codes, 3, [part], how, fitted.mean[None], fitted.deviation[None]).kept(0, 0)
    l2 = keras.regularizers.L2(1e-3)
    layers = [keras.layers.Dense(n, activation, kernel_regularizer=l2) for n, activation in
              ((16, "relu"), (8, "relu"), (3, "softmax"))]  # fmt: skip
    network = keras.Sequential([keras.Input((5,)), *layers])
    network.set_weights(start)
    network.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"])
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    best, kept = np.inf, None
    for epoch in range(3):
        for rows in mlp._batches([part], 8, epoch)[:, 0]:
            rows = rows[rows >= 0]
            network.train_on_batch(scaled[rows], codes[rows])
        loss, accuracy = network.evaluate(scaled[part.validation], codes[part.validation], verbose=0)
        if loss < best:
            best, kept = loss, (network.get_weights(), accuracy)
    for ours, theirs in zip(fitted.weights, kept[0], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert fitted.validation_accuracy == pytest.approx(kept[1])
    network.set_weights(kept[0])
    np.testing.assert_allclose(fitted.likelihoods(x), network.predict(scaled, verbose=0), atol=2e-3)


def test_side_by_side_is_as_alone():
    """Neither other folds nor other points of the grid change a network: uneven parts, early stops included."""
    windows, *_ = _blobs(seed=1)
    x, codes = np.concatenate(windows), np.repeat(np.arange(24) % 3, [len(w) for w in windows])
    clip = np.repeat(np.arange(24), [len(w) for w in windows])
    parts = [mlp.split(np.flatnonzero(clip % n != 0), codes, clip, 0.2, seed=n) for n in (2, 3, 5)]
    together = mlp.fit_all(x, codes, 3, parts, SMALL)
    for part, fitted in zip(parts, together, strict=True):
        (alone,) = mlp.fit_all(x, codes, 3, [part], SMALL)
        assert alone.chosen == fitted.chosen
        for a, b in zip(alone.weights, fitted.weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def test_the_probe_finds_what_is_there_and_nothing_in_noise():
    windows, labels, folds = _blobs(60, seed=2)
    how = mlp.How((16, 8), (1e-2,), (1e-4, 1e-2), epochs=15, patience=5)
    predicted, chosen = mlp.nested(windows, labels, folds, how=how)
    assert (predicted == labels).mean() > 0.9 and set(chosen) == set("0123")
    assert set(chosen.values()) <= set(how.grid)
    shuffled = np.random.default_rng(0).permutation(labels)
    predicted, _ = mlp.nested(windows, shuffled, folds, how=how)
    assert abs((predicted == shuffled).mean() - 1 / 3) < 0.25


def test_predictions_of_a_fold_do_not_depend_on_it():
    windows, labels, folds = _blobs(noise=3.0)
    predicted, chosen = mlp.nested(windows, labels, folds, how=SMALL)
    first, *others = np.flatnonzero(folds == "2")
    spoilt = [w * 100 if i in others else w for i, w in enumerate(windows)]
    wrong = labels.copy()
    wrong[folds == "2"] = "a"
    again, chosen_again = mlp.nested(spoilt, wrong, folds, how=SMALL)
    assert again[first] == predicted[first] and chosen_again["2"] == chosen["2"]


def test_validation_takes_whole_units_of_every_label():
    codes, clips = np.repeat([0, 1], 30), np.repeat(np.arange(12), 5)
    part = mlp.split(np.arange(60), codes, clips, 0.1, seed=0)
    assert not set(clips[part.fit]) & set(clips[part.validation])
    assert set(codes[part.validation]) == {0, 1} and len(part.validation) == 10  # a clip of six, each label
    windows = mlp.split(np.arange(60), codes, np.arange(60), 0.15, seed=0)
    assert len(windows.validation) == 8 and set(clips[windows.fit]) & set(clips[windows.validation])
    assert sorted(np.concatenate([windows.fit, windows.validation])) == list(range(60))
    with pytest.raises(DataError, match="two clips at least"):
        mlp.split(np.arange(2), np.array([0, 1]), np.arange(2), 0.1, seed=0)


def test_parameters_of_the_paper():
    """329,610 for 512 numbers and 10 labels, and a grid of nine."""
    x = np.random.default_rng(0).standard_normal((12, 512)).astype(np.float32)
    how = mlp.How(rates=(1e-3,), decays=(1e-3,), epochs=1)
    part = mlp.split(np.arange(12), np.arange(12) % 3, np.arange(12), 0.3, 0)
    (fitted,) = mlp.fit_all(x, np.arange(12) % 10, 10, [part], how)
    assert sum(w.size for w in fitted.weights) == 329_610 and len(mlp.How().grid) == 9


def test_it_is_an_estimator():
    windows, labels, _ = _blobs(seed=3)
    x, y = np.concatenate(windows), np.repeat(labels, [len(w) for w in windows])
    clips = np.repeat(np.arange(24), [len(w) for w in windows])
    probe = clone(mlp.MLPProbe(hidden=(16, 8), rates=(1e-2,), decays=(1e-4,), epochs=10))
    assert probe.fit(x, y, groups=clips).score(x, y) > 0.9
    p = probe.predict_proba(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (probe.classes_[p.argmax(axis=1)] == probe.predict(x)).all()
