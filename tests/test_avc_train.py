"""Training from configuration to released model, on both backends, killed and resumed: tiny, but the whole path."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("kapre")
pytest.importorskip("h5py")

import keras
from tiny_runs import begin, learned, numbers, rows, tiny

from l3embed import weights
from l3embed.avc import checkpoints, evaluate, loader, model, pairs, restore, train
from l3embed.avc.config import DataConfig, ModelConfig
from l3embed.engine import OpenVinoEngine
from l3embed.errors import TrainingError
from l3embed.frontend import spectrograms
from l3embed.networks import heads
from l3embed.networks.front_end import front_end_layers

pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras runs on another backend here"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`:UserWarning"),
]


def _two_devices(folder):
    """JAX, with what it compiled kept for the next process."""
    return {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    """Runs in processes of their own, started at once, so that they run while this process trains."""
    folder = tmp_path_factory.mktemp("children")
    started = {"killed": begin(f"start({tiny(folder / 'killed', checkpoint_minutes=0.0)!r}, kill_at=6)")}
    try:
        import jax  # noqa: F401

        one = tiny(folder / "one", objective="contrastive", devices=1)
        two = tiny(folder / "two", objective="contrastive")
        killed = tiny(folder / "jax-killed", objective="contrastive", devices=1, checkpoint_minutes=0.0)
        code = f"start({one!r}, convert=True)\nstart({two!r})\nstart({killed!r}, kill_at=6)"
        started["jax"] = begin(code, **_two_devices(folder))
    except ImportError:
        pass
    yield folder, started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def trained(children, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, train.train(tiny(run, keep_at=(10,)), progress=False)


@pytest.fixture
def unconverted(monkeypatch):
    monkeypatch.setattr(checkpoints.Run, "add_graphs", lambda run: None)


def test_a_run_leaves_history_checkpoints_and_models(trained):
    run, folder = trained
    assert folder == run / "model"
    assert {p.name for p in run.iterdir()} == {
        "config.json", "history.csv", "batches.csv", "newest.npz", "lock", "best", "at-16", "model",
    }  # fmt: skip
    history = rows(run / "history.csv")
    assert [(row["epoch"], row["pairs"]) for row in history] == [("1", "24"), ("2", "48")]
    batches = rows(run / "batches.csv")
    assert [row["pairs"] for row in batches] == ["8", "16", "24", "32", "40", "48"]
    for i, row in enumerate(history):
        mean = np.mean([float(row["loss"]) for row in batches[3 * i : 3 * i + 3]])
        assert float(row["loss"]) == pytest.approx(mean, rel=1e-6)
        assert 0 <= float(row["val_accuracy"]) <= 1 and 0 <= float(row["waited"]) <= 1
        assert float(row["network_pairs_per_s"]) >= float(row["pairs_per_s"]) > 0 < float(row["loader_pairs_per_s"])
    for name in ("best", "at-16", "model"):
        assert {p.name for p in (run / name).iterdir()} == {
            "tiny.toml", "tiny.h5", "tiny.xml", "tiny.bin", "networks.npz",
        }  # fmt: skip
    assert checkpoints.kept(run) == {16: run / "at-16"}
    cards = {name: weights.card(run / name).table["training"] for name in ("best", "at-16", "model")}
    best = max(history, key=lambda row: float(row["val_accuracy"]))
    assert cards["best"]["pairs"] == int(best["pairs"])
    assert cards["best"]["held_out_accuracy"] == round(float(best["val_accuracy"]), 4)
    assert cards["at-16"]["pairs"] == 16 and "held_out_accuracy" not in cards["at-16"]
    assert cards["model"]["pairs"] == 48 and cards["model"]["config"]["seed"] == 3
    assert weights.card(folder).model.dim == 4 * 8 * 2


def test_the_released_graph_is_the_network_that_was_trained(trained):
    run, folder = trained
    card = weights.card(folder)
    network = weights.load_network(card)
    newest = numbers(run / "newest.npz")
    for i, array in enumerate(network.get_weights()):  # the release rounds to float16
        np.testing.assert_allclose(array, newest[f"audio.{i}"], rtol=1e-3, atol=1e-6)
    engine = OpenVinoEngine(card, precision="f32", batch=4)
    sound = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
    batch = spectrograms(sound, np.array([0, 10_000, 20_000, 30_000]), card.model.front_end)
    expected = network.predict_on_batch(batch)
    found = engine.finish(engine.start(batch))[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_a_run_killed_within_an_epoch_resumes_as_if_nothing_had_happened(trained, children, unconverted):
    whole, _ = trained
    folder, started = children
    run = folder / "killed"
    _, said = started["killed"].communicate(timeout=900)
    assert started["killed"].returncode == -9, said
    about = checkpoints.read(run / "newest.npz").about["state"]
    assert (about["epoch"], about["step"]) == (1, 1)  # 3 batches and the validation, 1 batch; killed in the next one
    assert not (run / "model").exists()
    with open(run / "batches.csv", "a") as file:  # as if the checkpoint were older than the last line
        file.write("40,9.9,0.5\n48,9")
    train.train(tiny(run), progress=False)
    assert learned(run) == learned(whole)
    a, b = numbers(whole / "newest.npz"), numbers(run / "newest.npz")
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert b["optimizer.0"] == 6  # Adam's steps


def test_the_same_run_on_jax(children, unconverted):
    pytest.importorskip("jax")
    folder, started = children
    _, said = started["jax"].communicate(timeout=900)
    assert started["jax"].returncode == -9, said
    card = weights.card(folder / "one" / "model")
    assert card.model.dim == 64 and card.file("graph").exists()
    assert all(np.isfinite(x).all() for x in weights.load_network(card).get_weights())
    again = begin(f"start({tiny(folder / 'jax-killed', objective='contrastive', devices=1)!r})", **_two_devices(folder))
    _, said = again.communicate(timeout=900)
    assert again.returncode == 0, said
    assert learned(folder / "jax-killed") == learned(folder / "one")
    one, two = (learned(folder / name)[1] for name in ("one", "two"))
    np.testing.assert_allclose(np.array(two, float), np.array(one, float), rtol=1e-3)
    assert two != one  # rounding tells that the work was done otherwise


def test_restored_networks_are_those_of_the_run(trained):
    """Held-out pairs give the loss and the accuracy that its history tells of the last epoch."""
    run, folder = trained
    networks, config = restore.restore(folder)
    sources = pairs.Sources(tiny(run), "held_out")
    batches = loader.held_out(tiny(run), sources, networks.image_size, model.front_end_in_graph())
    found = [networks.model.evaluate(*next(batches), verbose=0, return_dict=True) for _ in range(2)]
    row = rows(run / "history.csv")[-1]
    for key in ("loss", "accuracy"):
        assert np.mean([f[key] for f in found]) == pytest.approx(float(row[f"val_{key}"]), rel=1e-5)
    assert config.model == tiny(run).model and restore.restore(run)[1].data == tiny(run).data
    with pytest.raises(TrainingError, match="is no run, model folder of a run, or checkpoint"):
        restore.restore(run / "nothing")


def test_runs_are_asked_about_correspondence(trained, tmp_path, capsys):
    """`l3embed evaluate RUN`: of a run, at its best epoch, on its own data; of what it kept, by itself."""
    from l3embed import cli

    run = trained[0]
    assert cli.main(["evaluate", str(run), str(run / "at-16"), "--most", "6", "--moments", "2", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["rows"]
    assert (first["run"], first["domain"], second["run"], second["domain"]) == (run.name, run.name, "at-16", run.name)
    assert first["videos"] == 6 and first["questions"] == 24 and 0 <= first["two_way"] <= 1
    best, at = evaluate.restored([run, run / "at-16"])
    assert best.config.data == at.config.data == tiny(run).data  # though cards tell the names of files only
    sound, image = next(
        iter(evaluate.Questions(evaluate.Domain("d", tiny(run).data), None, 32_000, best.image_size, 0, 2, 6, 1))
    )[:2]
    answers = best.networks.predict({"audio": sound[..., None], "image": image}, batch_size=12, verbose=0)
    expected = answers[:, 1] if first["objective"] == "binary" else np.diagonal(answers)
    np.testing.assert_allclose(best.scores(sound, image), expected, atol=1e-4)  # whatever fills the batch up
    assert cli.main(["evaluate", str(run / "nothing")]) == 1
    assert "is no run, model folder of a run" in capsys.readouterr().err


@pytest.fixture
def eagerly():
    """Without tracing graphs, which takes longer than a few steps do."""
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


def test_a_wrong_path_ends_the_run_before_it_begins(tmp_path):
    config = replace(tiny(tmp_path / "run"), data=DataConfig(videos=(str(tmp_path / "nowhere"),)))
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
    config = tiny(tmp_path, learning_rate=1e30, steps=steps, validation_steps=1)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) .*: lower fit.learning_rate"):
        train.train(config, progress=False)
    assert not (tmp_path / "newest.npz").exists() and not (tmp_path / "best").exists()


def test_the_contrastive_objective_trains_in_mixed_precision(tmp_path, unconverted, eagerly):
    config = tiny(tmp_path, objective="contrastive", precision="mixed_bfloat16", decay="cosine", epochs=1)
    train.train(config, progress=False)
    (row,) = rows(tmp_path / "history.csv")
    assert 0 < float(row["loss"]) < 20 and 0 <= float(row["accuracy"]) <= 1
    assert keras.config.dtype_policy().name == "float32"  # of the process: as it was


def test_training_on_real_videos(shared_data, tmp_path, unconverted, eagerly):
    data = DataConfig(videos=(str(shared_data / "video"),), clip_s=3.0, n_active=4, pairs_per_clip=8)
    train.train(replace(tiny(tmp_path, steps=2, epochs=1, validation_steps=1), data=data), progress=False)
    assert np.isfinite(float(rows(tmp_path / "history.csv")[0]["loss"]))


def test_the_published_network_is_the_same_with_and_without_its_front_end_in_the_graph(tmp_path, eagerly):
    config = replace(tiny(tmp_path, batch=2), model=ModelConfig(representation="mel128"))
    sources = pairs.Sources(config, "train")
    inputs, target = next(pairs.batches(pairs.stream(config, sources, 224, [1]), config, [1]))
    assert inputs["image"].shape == (2, 224, 224, 3) and inputs["audio"].shape == (2, 48_000, 1)
    networks = model.build(config, in_graph=True)
    inside, outside = networks.model, model.build(config, in_graph=False).model
    assert networks.image_size == 224 and inside.count_params() == outside.count_params()
    outside.set_weights(inside.get_weights())
    spectrogram = np.concatenate([spectrograms(x[:, 0], np.zeros(1, int), config.front_end) for x in inputs["audio"]])
    a = inside.predict_on_batch(inputs)
    b = outside.predict_on_batch({**inputs, "audio": spectrogram})
    np.testing.assert_allclose(a, b, atol=1e-3)
    assert np.isfinite(inside.test_on_batch(inputs, target)[0])
    layers = front_end_layers(config.front_end)
    np.testing.assert_allclose(layers(inputs["audio"]), spectrogram, atol=0.05)


def test_the_penalty_on_kernels_is_part_of_the_loss():
    plain, penalised = (model.build(tiny("r", l2=l2), in_graph=False).model for l2 in (0.0, 0.5))
    assert not plain.losses
    kernels = [v for v in penalised.trainable_variables if v.name == "kernel"]
    assert len(kernels) == 7 + 7 + 2  # convolutions of both towers, the head's two layers
    expected = sum(0.5 * float(np.square(np.asarray(v)).sum()) for v in kernels)
    assert float(sum(penalised.losses)) == pytest.approx(expected, rel=1e-5)


def test_each_objective_of_the_configuration_has_its_functions():
    from l3embed.avc.config import OBJECTIVES

    assert tuple(heads.OBJECTIVES) == OBJECTIVES


def test_too_large_a_batch_is_a_sentence():
    def full(*_, **__):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12 bytes")

    with pytest.raises(
        TrainingError, match=r"a batch of 3 pairs does not fit into the device's memory: lower fit.batch"
    ):
        train._compute(full, {}, np.zeros(3))


def test_several_devices_need_jax(tmp_path):
    with pytest.raises(TrainingError, match=r"fit.devices above 1 needs Keras' JAX backend"):
        train.train(tiny(tmp_path, devices=2), progress=False)
