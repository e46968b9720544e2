"""Training from configuration to released model, on both backends, killed and resumed: tiny, but the whole path."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("kapre")
pytest.importorskip("h5py")

import h5py
import keras

from l3embed import weights
from l3embed.avc import loader, pairs, train
from l3embed.avc.config import DataConfig, FitConfig, ModelConfig, PairConfig, TrainConfig
from l3embed.engine import OpenVinoEngine
from l3embed.errors import TrainingError
from l3embed.frontend import spectrograms
from l3embed.networks.front_end import front_end_layers

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras runs on another backend here"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`:UserWarning"),
]

CODE = """
import os, signal
from pathlib import Path
from l3embed.avc import train
from l3embed.avc.config import AboutConfig, DataConfig, FitConfig, ModelConfig, PairConfig, TrainConfig
config = {config!r}
checked, check = [], train._check_loss
def kill_in_second_epoch(loss, when):
    check(loss, when)
    checked.append(loss)
    if {kill} and len(checked) == config.fit.steps + 1 + 2:
        os.kill(os.getpid(), signal.SIGKILL)
train._check_loss = kill_in_second_epoch
train.train(config, progress=True)
"""


def _config(run, **fit):
    return TrainConfig(
        run=str(run),
        seed=3,
        model=ModelConfig("tiny", "l3-small", width=4, image_width=4),
        data=DataConfig(scenes=1.0, clip_s=1.5, n_active=4, pairs_per_clip=4),
        pairs=PairConfig(),
        fit=FitConfig(**{"batch": 8, "steps": 3, "validation_steps": 2, "epochs": 2, "learning_rate": 1e-3, **fit}),
    )


def _start(config, kill, **environment):
    code = CODE.format(config=config, kill=kill)
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    """Two runs in processes of their own, started at once, so that they run while this process trains."""
    folder = tmp_path_factory.mktemp("children")
    started = {"killed": _start(_config(folder / "killed"), True)}
    try:
        import jax  # noqa: F401

        started["jax"] = _start(_config(folder / "jax"), False, KERAS_BACKEND="jax")
    except ImportError:
        pass
    yield folder, started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def trained(children, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, train.train(_config(run), progress=False)


def _history(run):
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def _arrays(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, x: found.update({name: x[()]}) if isinstance(x, h5py.Dataset) else None)
    return found


def test_a_run_leaves_history_checkpoints_and_a_model(trained):
    run, model = trained
    assert model == run / "model"
    assert {p.name for p in run.iterdir()} == {
        "config.json", "history.csv", "best.weights.h5", "newest-00002.weights.h5", "model",
    }  # fmt: skip
    rows = _history(run)
    assert [(row["epoch"], row["pairs"]) for row in rows] == [("1", "24"), ("2", "48")]
    for row in rows:
        assert 0 < float(row["loss"]) < 10 and 0 <= float(row["val_accuracy"]) <= 1
    assert {p.name for p in model.iterdir()} == {"tiny.toml", "tiny.h5", "tiny.xml", "tiny.bin"}
    card = weights.card(model)
    assert card.table["training"]["pairs"] == 48 and card.table["training"]["config"]["seed"] == 3
    assert card.model.dim == 4 * 8 * 2


def test_the_released_graph_is_the_network_that_was_trained(trained):
    run, model = trained
    card = weights.card(model)
    network = weights.load_network(card)
    newest = _arrays(run / "newest-00002.weights.h5")
    for array in network.get_weights():
        held = [x for name, x in newest.items() if x.shape == array.shape and not name.startswith("optimizer")]
        assert any(np.allclose(x, array, rtol=1e-3, atol=1e-6) for x in held)  # the release rounds to float16
    engine = OpenVinoEngine(card, precision="f32", batch=4)
    sound = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
    batch = spectrograms(sound, np.array([0, 10_000, 20_000, 30_000]), card.model.front_end)
    expected = network.predict_on_batch(batch)
    found = engine.finish(engine.start(batch))[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_a_killed_run_resumes_as_if_nothing_had_happened(trained, children, monkeypatch):
    whole, _ = trained
    folder, started = children
    _, said = started["killed"].communicate(timeout=120)
    assert started["killed"].returncode == -9, said
    assert [row["epoch"] for row in _history(folder / "killed")] == ["1"]
    assert (folder / "killed" / "newest-00001.weights.h5").exists() and not (folder / "killed" / "model").exists()
    monkeypatch.setattr(train, "_release", lambda config, run, tower: run)
    train.train(_config(folder / "killed"), progress=False)
    for a, b in zip(_history(whole), _history(folder / "killed"), strict=True):
        for key in ("epoch", "pairs", "loss", "accuracy", "val_loss", "val_accuracy"):
            assert float(a[key]) == pytest.approx(float(b[key]), rel=1e-4), key
    a, b = (_arrays(run / "newest-00002.weights.h5") for run in (whole, folder / "killed"))
    assert a.keys() == b.keys() and any("optimizer" in name for name in a)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-4, err_msg=name)
    assert max(int(x) for name, x in b.items() if "optimizer" in name and x.dtype.kind == "i") == 6  # Adam's steps


def test_the_same_run_on_jax(children):
    pytest.importorskip("jax")
    folder, started = children
    _, said = started["jax"].communicate(timeout=180)
    assert started["jax"].returncode == 0, said
    rows = _history(folder / "jax")
    assert len(rows) == 2 and all(np.isfinite(float(row["val_loss"])) for row in rows)
    card = weights.card(folder / "jax" / "model")
    assert card.model.dim == 64 and card.file("graph").exists()
    assert all(np.isfinite(x).all() for x in weights.load_network(card).get_weights())


@pytest.fixture
def eagerly():
    """Without tracing graphs, which takes longer than a few steps do."""
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


def test_another_configuration_in_the_same_folder_is_refused(trained):
    run, _ = trained
    config = replace(_config(run), pairs=PairConfig(flip=False), seed=4)
    with pytest.raises(TrainingError, match=r"holds a run with other settings \(seed, pairs\): choose another folder"):
        train.train(config, progress=False)
    train._claim(run, _config(run, epochs=5))  # a run may be made longer
    (run / "config.json").write_text("{")
    with pytest.raises(TrainingError, match=r"config.json: is damaged"):
        train._claim(run, _config(run))


def test_a_configuration_may_change_until_there_is_a_checkpoint(tmp_path):
    train._claim(tmp_path, _config(tmp_path))
    train._claim(tmp_path, _config(tmp_path, learning_rate=1e-4))


def test_a_wrong_path_ends_the_run_before_it_begins(tmp_path):
    config = replace(_config(tmp_path / "run"), data=DataConfig(videos=(str(tmp_path / "nowhere"),)))
    with pytest.raises(TrainingError, match="nowhere: holds no video"):
        train.train(config, progress=False)
    (tmp_path / "v").mkdir()
    for i in range(3):
        (tmp_path / "v" / f"{i}.mp4").touch()
    config = replace(config, data=DataConfig(videos=(str(tmp_path / "v"),), held_out=0.0))
    with pytest.raises(TrainingError, match="no files left for the held_out part"):
        train.train(config, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("steps", [1, 3])
def test_a_loss_that_is_not_a_number_ends_the_run_without_a_checkpoint(tmp_path, steps, eagerly):
    config = _config(tmp_path, learning_rate=1e30, steps=steps, validation_steps=1)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) .*: lower fit.learning_rate"):
        train.train(config, progress=False)
    assert not list(tmp_path.glob("*.h5"))


def test_the_contrastive_objective_trains_in_mixed_precision(tmp_path, monkeypatch, eagerly):
    monkeypatch.setattr(train, "_release", lambda config, run, tower: run)
    config = _config(tmp_path, objective="contrastive", precision="mixed_bfloat16", decay="cosine", epochs=1)
    train.train(config, progress=False)
    (row,) = _history(tmp_path)
    assert 0 < float(row["loss"]) < 20 and 0 <= float(row["accuracy"]) <= 1
    assert keras.config.dtype_policy().name == "float32"  # of the process: as it was


def test_training_on_real_videos(shared_data, tmp_path, monkeypatch, eagerly):
    monkeypatch.setattr(train, "_release", lambda config, run, tower: run)
    data = DataConfig(videos=(str(shared_data / "video"),), clip_s=3.0, n_active=4, pairs_per_clip=8)
    train.train(replace(_config(tmp_path, steps=2, epochs=1, validation_steps=1), data=data), progress=False)
    assert np.isfinite(float(_history(tmp_path)[0]["loss"]))


def test_an_error_in_the_pairs_passes_through_keras_unchanged():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")

    def batches():
        for _ in range(5):
            yield np.zeros((2, 1)), np.zeros((2, 1))
        raise TrainingError("the disk is full")

    with pytest.raises(TrainingError, match=r"^the disk is full$"), loader.own_errors(batches()) as watched:
        model.fit(watched, steps_per_epoch=10, verbose=0)
    with pytest.raises(ZeroDivisionError), loader.own_errors(batches()) as watched:
        next(watched)
        raise ZeroDivisionError


def test_the_published_network_is_the_same_with_and_without_its_front_end_in_the_graph(tmp_path, eagerly):
    config = replace(_config(tmp_path, batch=2), model=ModelConfig(representation="mel128"))
    sources = pairs.Sources(config, "train")
    inputs, target = next(pairs.batches(pairs.stream(config, sources, 224, [1]), config, [1]))
    assert inputs["image"].shape == (2, 224, 224, 3) and inputs["audio"].shape == (2, 48_000, 1)
    inside, _, size = train.build(config, in_graph=True)
    outside, _, _ = train.build(config, in_graph=False)
    assert size == 224 and inside.count_params() == outside.count_params()
    outside.set_weights(inside.get_weights())
    spectrogram = np.concatenate([spectrograms(x[:, 0], np.zeros(1, int), config.front_end) for x in inputs["audio"]])
    a = inside.predict_on_batch(inputs)
    b = outside.predict_on_batch({**inputs, "audio": spectrogram})
    np.testing.assert_allclose(a, b, atol=1e-3)
    assert np.isfinite(inside.test_on_batch(inputs, target)[0])
    layers = front_end_layers(config.front_end)
    np.testing.assert_allclose(layers(inputs["audio"]), spectrogram, atol=0.05)
