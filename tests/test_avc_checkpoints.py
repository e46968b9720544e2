"""What a run keeps: whole or not at all, of one run only, by one process at a time."""

import contextlib
import resource
import signal
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("pescador")

import keras
from tiny_runs import numbers, tiny

from l3embed.avc import checkpoints, model
from l3embed.avc.config import AboutConfig, ModelConfig, PairConfig
from l3embed.errors import TrainingError

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras runs on another backend here")


@pytest.fixture(scope="module")
def networks():
    keras.utils.set_random_seed(0)
    return model.build(tiny("r"), in_graph=False)


@pytest.fixture
def run(tmp_path, networks):
    with_checkpoint = checkpoints.Run(tiny(tmp_path))
    with_checkpoint.save(networks, checkpoints.State(epoch=1))
    with_checkpoint.close()
    return tmp_path


def _reopened(config):
    found = checkpoints.Run(config)
    found.close()
    return found


@contextlib.contextmanager
def _full_disk(n_bytes):
    """The kernel refuses to write more into a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(run, networks):
    before = numbers(run / "newest.npz")
    opened = checkpoints.Run(tiny(run))
    message = r"newest.npz: cannot be written \(file too large\): make room, and give the command again"
    with pytest.raises(TrainingError, match=message), _full_disk(100_000):
        opened.save(networks, checkpoints.State(epoch=2))
    opened.close()
    assert not list(run.glob("newest.npz.part"))
    after = numbers(run / "newest.npz")
    assert all((after[name] == before[name]).all() for name in before)
    assert _reopened(tiny(run)).newest.about["state"]["epoch"] == 1


@pytest.mark.parametrize("n_bytes", [10_000, 100_000])  # not enough for the audio network's file; enough for that
def test_a_model_folder_is_replaced_only_by_a_whole_one(run, networks, n_bytes, monkeypatch):
    opened = checkpoints.Run(tiny(run))
    monkeypatch.setattr(checkpoints, "_save_model", lambda config, networks, state, folder: folder.mkdir())
    opened.keep(networks, checkpoints.State(), "best")
    (run / "best" / "old").touch()
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="cannot be written"), _full_disk(n_bytes):
        opened.keep(networks, checkpoints.State(), "best")
    opened.close()
    assert (run / "best" / "old").exists()


def test_what_was_saved_comes_back_with_the_optimiser(run, networks):
    kept = numbers(run / "newest.npz")
    keras.utils.set_random_seed(1)
    other = model.build(tiny("r"), in_graph=False)
    opened = checkpoints.Run(tiny(run))
    state = opened.restore(other)
    opened.close()
    assert state == checkpoints.State(epoch=1)
    for a, b in zip(networks.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert sum(name.startswith("optimizer") for name in kept) == len(other.model.optimizer.variables)


def test_another_configuration_in_the_same_folder_is_refused(run):
    config = replace(tiny(run, batch=16), pairs=PairConfig(flip=False), seed=4)
    with pytest.raises(TrainingError, match=r"other settings \(fit.batch, pairs.flip, seed\): choose another folder"):
        checkpoints.Run(config)
    with pytest.raises(TrainingError, match=r"other settings \(model.width\)"):
        checkpoints.Run(replace(tiny(run), model=ModelConfig("tiny", "l3-small", width=8, image_width=4)))
    longer = tiny(run, epochs=5, keep_at=(8,), checkpoint_minutes=1.0, tensorboard=True, devices=1)
    assert _reopened(replace(longer, about=AboutConfig(licence="none"))).newest


def test_a_configuration_may_change_until_there_is_a_checkpoint(tmp_path):
    _reopened(tiny(tmp_path))
    assert _reopened(tiny(tmp_path, learning_rate=1e-4)).newest is None


def test_the_networks_of_another_architecture_are_refused(run, networks):
    """A checkpoint whose settings are right, but not its arrays."""
    found = checkpoints.read(run / "newest.npz")
    wide = model.build(replace(tiny("r"), model=ModelConfig("tiny", "l3-small", width=8, image_width=4)), False)
    checkpoints.write(run / "newest.npz", found.about, checkpoints._parts(wide))
    opened = checkpoints.Run(tiny(run))
    with pytest.raises(TrainingError, match=r"newest.npz: is of another network: holds array 4 of shape .*8\), .*4\)"):
        opened.restore(networks)
    opened.close()


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other"])
def test_a_damaged_checkpoint_is_named(run, damage):
    path = run / "newest.npz"
    if damage == "other":
        np.savez(path, x=np.zeros(3))
    else:
        path.write_bytes({"cut": path.read_bytes()[:5000], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(TrainingError, match=r"newest.npz: is not a checkpoint of l3embed, or is damaged \("):
        checkpoints.Run(tiny(run))
    _reopened(tiny(run / "elsewhere"))  # and the folder is let go of


def test_two_processes_do_not_share_a_folder(run):
    first = checkpoints.Run(tiny(run))
    with pytest.raises(TrainingError, match="another process trains in this folder"):
        checkpoints.Run(tiny(run))
    first.close()
    _reopened(tiny(run))


def test_weights_that_are_no_numbers_are_not_saved(run, networks):
    variable = networks.audio.weights[0]
    before = np.asarray(variable)
    variable.assign(np.full(before.shape, np.nan))
    opened = checkpoints.Run(tiny(run))
    with pytest.raises(TrainingError, match=r"the weights are no longer finite: lower fit.learning_rate"):
        opened.save(networks, checkpoints.State(epoch=1, step=1))
    opened.close()
    variable.assign(before)
