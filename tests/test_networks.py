"""Networks side by side: against Keras step by step, one engine against the other, alone against together, streamed
against in memory; the attention head by hand; and on data whose answer is known."""

import importlib.util
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone

from l3embed.errors import UsageError
from probes import mlp as study_mlp
from probes.datasets import DataError
from probes.estimators import arrays, attention, mlp, networks, published
from probes.estimators.networks import Part, Recipe, fit_all
from probes.estimators.windows import Windows

ENGINES = [name for name in arrays.ENGINES if importlib.util.find_spec(name)]
pytestmark = pytest.mark.skipif(not ENGINES, reason="neither JAX nor TensorFlow is installed")
GRID = [(1e-3, 1e-4), (1e-3, 1e-2), (1e-2, 1e-4), (1e-2, 1e-2)]
SMALL, BRIEF = mlp.Dense((16, 8)), Recipe(epochs=6, patience=3, batch=8)


class Kept:
    """What `Windows` needs of features: each clip's windows, which are read again at every pass."""

    def __init__(self, arrays):
        self.arrays, self.ok, self.dim = arrays, np.ones(len(arrays), bool), arrays[0].shape[1]
        self.n_windows = np.array([len(a) for a in arrays])

    def __len__(self):
        return len(self.arrays)

    def windows(self, rows=None):
        for row in range(len(self)) if rows is None else rows:
            yield row, self.arrays[row]


def _blobs(n_clips=24, dims=5, seed=0, noise=1.0):
    """Clips of 3 to 6 windows of three labels in four folds."""
    rng = np.random.default_rng(seed)
    labels = np.array(["a", "bb", "ccc"])[np.arange(n_clips) % 3]
    centres = 2 * rng.standard_normal((3, dims))
    windows = [(centres[i % 3] + noise * rng.standard_normal((rng.integers(3, 7), dims))).astype(np.float32)
               for i in range(n_clips)]  # fmt: skip
    return windows, labels, (np.arange(n_clips) // 3 % 4).astype(str)


TARGETS = np.eye(3)[np.arange(24) % 3]


def _part(source, clips, held, seed=4):
    return Part(source.of(np.array(clips)), source.of(np.array(held)), seed)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_learns_as_keras_does(engine):
    """The same start, batches, Adam and L2 in Keras: same weights, validation loss and choice."""
    keras = pytest.importorskip("keras")
    windows, *_ = _blobs()
    source = Windows(Kept(windows))
    x, codes = source.x, (np.arange(24) % 3)[source.clip_of]
    part = _part(source, range(18), range(18, 24))
    (fitted,) = fit_all(SMALL, source, TARGETS, [part], [(1e-2, 1e-3)], Recipe(3, 5, 8), engine)

    l2 = keras.regularizers.L2(1e-3)
    layers = [keras.layers.Dense(n, activation, kernel_regularizer=l2) for n, activation in
              ((16, "relu"), (8, "relu"), (3, "softmax"))]  # fmt: skip
    network = keras.Sequential([keras.Input((5,)), *layers])
    network.set_weights([w.reshape(v.shape) for w, v in zip(
        SMALL.start(np.random.default_rng([4, 2, 0]), 5, 3), network.weights, strict=True)])  # fmt: skip
    network.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"])
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    best, kept = np.inf, None
    for epoch in range(3):
        for rows in networks._batches(SMALL, source, [part], 8, epoch)[:, 0]:
            rows = rows[rows >= 0]
            network.train_on_batch(scaled[rows], codes[rows])
        loss, accuracy = network.evaluate(scaled[part.validation], codes[part.validation], verbose=0)
        if loss < best:
            best, kept = loss, (network.get_weights(), accuracy)
    for ours, theirs in zip(fitted.weights, kept[0], strict=True):
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, atol=2e-4)
    assert fitted.validation_accuracy == pytest.approx(kept[1])
    network.set_weights(kept[0])
    np.testing.assert_allclose(np.exp(fitted.log_probabilities(x)), network.predict(scaled, verbose=0), atol=2e-3)


def _all(parts, source, engine=None, network=SMALL, recipe=BRIEF, targets=TARGETS, grid=GRID):
    return fit_all(network, source, targets, parts, grid, recipe, engine)


def _same(some, others, atol=1e-4):
    for one, other in zip(some, others, strict=True):
        assert one.point == other.point and one.validation_accuracy == pytest.approx(other.validation_accuracy)
        for a, b in zip([*one.weights, *one.running], [*other.weights, *other.running], strict=True):
            np.testing.assert_allclose(a, b, atol=atol)


def test_side_by_side_is_as_alone(monkeypatch):
    """Neither other folds nor other points of the grid change a network: uneven parts, early stops, small groups and
    too little memory for all included."""
    source = Windows(Kept(_blobs(seed=1)[0]))
    parts = [_part(source, range(n, 24), range(n), seed=n) for n in (4, 12)]
    together = _all(parts, source)
    for name in ("CACHE", "BYTES"):  # groups of one network; then parts one after another, too
        monkeypatch.setattr(networks, name, 1)
        _same(_all(parts, source), together)


@pytest.mark.skipif(len(ENGINES) < 2, reason="JAX or TensorFlow is not installed")
@pytest.mark.parametrize("network", [attention.Heads(5, windows=3), mlp.Dense((8,), norm=True)])
def test_one_engine_is_as_the_other(network):
    source = Windows(Kept(_blobs(seed=1)[0]))
    clips = [(range(n, 24), range(n)) for n in (6, 9)]
    if network.clipwise:
        parts = [Part(np.array(fit), np.array(held), 0) for fit, held in clips]
    else:
        parts = [_part(source, *pair, seed=1) for pair in clips]
    first, second = (_all(parts, source, engine, network, targets=TARGETS) for engine in ENGINES)
    for one, other in zip(first, second, strict=True):
        assert one.point == other.point
        np.testing.assert_allclose(
            one.log_probabilities(source.x[:7]), other.log_probabilities(source.x[:7]), rtol=0.01, atol=0.01
        )


@pytest.mark.parametrize("network", [SMALL, attention.Heads(5, windows=3)])
def test_what_does_not_fit_into_memory_is_streamed_and_changes_nothing(network, monkeypatch):
    from probes.estimators import windows as module

    monkeypatch.setattr(module, "BLOCK", 4 * 5 * 8 * 3)  # of three steps of eight windows
    kept = Kept(_blobs(seed=1)[0])
    here, there = Windows(kept), Windows(kept, memory=1)
    assert here.resident and not there.resident
    clips = [(np.arange(n, 24), np.arange(n)) for n in (6, 9)]
    parts = [Part(*(pair if network.clipwise else map(here.of, pair)), n) for n, pair in enumerate(clips)]
    for a, b in zip(_all(parts, here, network=network), _all(parts, there, network=network), strict=True):
        assert a.point == b.point
        for one, other in zip(a.weights, b.weights, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    rows = np.array([1, 3, 4, 40, len(here) - 1])
    np.testing.assert_array_equal(there.take(rows), here.x[rows])
    np.testing.assert_allclose(here.moments([rows])[0][0], here.x[rows].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(there.moments([rows])[1][0], here.x[rows].std(axis=0), rtol=1e-5)


def test_batch_normalisation_by_hand():
    """PyTorch's: biased variance to divide by, unbiased in the running one; rows that are not there do not count."""
    rng = np.random.default_rng(0)
    network = mlp.Dense((4,), norm=True)
    weights = [w[None] for w in network.start(rng, 3, 2)]
    running = [r[None] for r in network.running()]
    x = rng.standard_normal((1, 6, 3)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 0, 0]], np.float32)
    scores, (mean, variance) = network.scores(arrays.NUMPY, weights, running, x, mask, 0)
    h = x[0] @ weights[0][0]
    seen = h[:4]
    normed = np.maximum((h - seen.mean(axis=0)) / np.sqrt(seen.var(axis=0) + 1e-5), 0)
    np.testing.assert_allclose(scores[0], normed @ weights[4][0], atol=1e-5)
    np.testing.assert_allclose(mean[0, 0], 0.1 * seen.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(variance[0, 0], 0.9 + 0.1 * seen.var(axis=0, ddof=1), atol=1e-6)
    later, _ = network.scores(arrays.NUMPY, weights, [mean, variance], x, mask, None)
    again = np.maximum((h - mean[0, 0]) / np.sqrt(variance[0, 0] + 1e-5), 0) @ weights[4][0]
    np.testing.assert_allclose(later[0], again, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_keeps_the_mean_and_is_decided_by_the_step(engine):
    ops = arrays.engine(engine)
    network = mlp.Dense((2000,), dropout=0.5)
    weights = [ops.constant(np.abs(w)[None]) for w in network.start(np.random.default_rng(0), 3, 2)]
    x, mask = ops.constant(np.ones((1, 2, 3), np.float32)), ops.constant(np.ones((1, 2), np.float32))
    whole, first, same, second = (np.asarray(network.scores(ops, weights, (), x, mask, draw)[0])
                                  for draw in (None, 1, 1, 2))  # fmt: skip
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, second) and not np.allclose(first[0, 0], first[0, 1])
    np.testing.assert_allclose(first, whole, rtol=0.1)


def test_the_attention_head_by_hand():
    """And the paper's counts: 43,320 of its classifiers and 36,760 of its attention, on 128 numbers and three labels."""
    start = attention.Heads().start(np.random.default_rng(0), 128, 3)
    assert sum(w.size for w in start[:6]) == 43_320 and sum(w.size for w in start[6:]) == 36_760
    heads, rng = attention.Heads(3, (4, 2), (6, 5)), np.random.default_rng(1)
    w = [0.7 * rng.standard_normal(v.shape) for v in heads.start(rng, 5, 2)]
    x = rng.standard_normal((4, 5))

    def softmax(v):
        return np.exp(v) / np.exp(v).sum()

    def relu(v):
        return np.maximum(v, 0)

    windows = []
    for t in x[:3]:
        listened = softmax(relu(relu(t @ w[6] + w[7][0]) @ w[8] + w[9][0]) @ w[10] + w[11][0])
        each = []
        for k in range(3):
            h = relu(t @ w[0][:, 4 * k : 4 * k + 4] + w[1][0, 4 * k : 4 * k + 4])
            each.append(softmax(relu(h @ w[2][k] + w[3][0, k]) @ w[4][k] + w[5][0, k]))
        windows.append(listened @ np.array(each))
    mask = np.array([[[1, 1, 1, 0]]], float)
    scores, _ = heads.scores(arrays.NUMPY, [v[None] for v in w], [], x[None, None], mask, None)
    np.testing.assert_allclose(np.exp(scores[0, 0]), np.mean(windows, axis=0), rtol=1e-6)


def test_parameters_of_the_paper():
    """329,610 for 512 numbers and 10 labels, and a grid of nine."""
    assert sum(w.size for w in mlp.Dense().start(np.random.default_rng(0), 512, 10)) == 329_610
    assert len(mlp.MLPProbe()._grid()) == len(mlp.GRID) == 9


@pytest.mark.parametrize("probe", [
    mlp.MLPProbe(hidden=(16, 8), rates=(1e-2,), decays=(1e-4,), epochs=10),
    attention.AttentionProbe(classifiers=5, rate=1e-2, epochs=20),
    published.HearProbe(points=3, units=16, epochs=200),
    published.EvarProbe(rate=1e-2),
], ids=lambda probe: type(probe).__name__)  # fmt: skip
def test_they_are_estimators(probe):
    windows, labels, _ = _blobs(seed=3)
    x, y = np.concatenate(windows), np.repeat(labels, [len(w) for w in windows])
    clips = np.repeat(np.arange(24), [len(w) for w in windows])
    fitted = clone(probe).fit(x, y, groups=clips)
    assert fitted.score(x, y) > 0.9
    p = fitted.predict_proba(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(x), p)
    np.testing.assert_array_equal(clone(probe).fit(x, y, groups=clips).predict_proba(x), p)


def test_several_labels_at_once():
    """A clip is loud or not, and high or not: four combinations, two labels that do not exclude each other."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (80, 2))
    x = (3 * targets @ rng.standard_normal((2, 6)) + 0.3 * rng.standard_normal((80, 6))).astype(np.float32)
    part = Part(np.arange(50), np.arange(50, 60), 0)
    probe = mlp.MLPProbe(hidden=(16,), rates=(1e-2,), decays=(1e-5,), epochs=40, patience=0, validation=0.0)
    ((scores, _),) = probe.together(Windows(x), targets, [part], [np.arange(60, 80)])
    assert ((scores > np.log(0.5)) == targets[60:]).mean() > 0.9 and (scores <= 0).all()


def test_the_study_finds_what_is_there_and_nothing_in_noise():
    windows, labels, folds = _blobs(60, seed=2)
    probe = mlp.MLPProbe(hidden=(16, 8), rates=(1e-2,), decays=(1e-4, 1e-2), epochs=15, patience=5)
    predicted, chosen = study_mlp.nested(windows, labels, folds, probe=probe)
    assert (predicted == labels).mean() > 0.9 and set(chosen) == set("0123")
    assert set(chosen.values()) <= set(probe._grid())
    shuffled = np.random.default_rng(0).permutation(labels)
    predicted, _ = study_mlp.nested(windows, shuffled, folds, probe=probe)
    assert abs((predicted == shuffled).mean() - 1 / 3) < 0.25


def test_predictions_of_a_fold_do_not_depend_on_it():
    windows, labels, folds = _blobs(noise=3.0)
    probe = mlp.MLPProbe(hidden=(16, 8), rates=(1e-3, 1e-2), decays=(1e-4, 1e-2), epochs=6, patience=3, batch=8)
    predicted, chosen = study_mlp.nested(windows, labels, folds, probe=probe)
    first, *others = np.flatnonzero(folds == "2")
    spoilt = [w * 100 if i in others else w for i, w in enumerate(windows)]
    wrong = labels.copy()
    wrong[folds == "2"] = "a"
    again, chosen_again = study_mlp.nested(spoilt, wrong, folds, probe=probe)
    assert again[first] == predicted[first] and chosen_again["2"] == chosen["2"]


def test_validation_takes_whole_units_of_every_label():
    codes, clips = np.repeat([0, 1], 30), np.repeat(np.arange(12), 5)
    part = mlp.split(np.arange(60), codes, clips, 0.1, seed=0)
    assert not set(clips[part.fit]) & set(clips[part.validation])
    assert set(codes[part.validation]) == {0, 1} and len(part.validation) == 10  # a clip of six, each label
    windows = mlp.split(np.arange(60), codes, np.arange(60), 0.15, seed=0)
    assert len(windows.validation) == 8 and set(clips[windows.fit]) & set(clips[windows.validation])
    assert sorted(np.concatenate([windows.fit, windows.validation])) == list(range(60))
    assert len(mlp.split(np.arange(60), codes, clips, 0, seed=0).validation) == 0
    with pytest.raises(DataError, match="two clips at least"):
        mlp.split(np.arange(2), np.array([0, 1]), np.arange(2), 0.1, seed=0)


def test_what_is_wrong_is_said():
    with pytest.raises(UsageError, match="engine must be one of jax, tensorflow"):
        arrays.engine("abacus")
    x = np.ones((6, 2), np.float32)
    x[3] = np.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        Windows(x).moments([np.arange(6)])
    ok = np.arange(6) != 3
    assert np.isfinite(Windows(x, ok=ok).moments([np.flatnonzero(ok)])[0]).all()
