"""Every family of networks on every engine: OpenVINO, and Keras on TensorFlow and on JAX, which is what a GPU runs."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import environment

pytest.importorskip("tensorflow")

import l3embed
from l3embed import weights, zoo
from l3embed.weights.release import add_graphs, build

# What it is, with few filters, and how many numbers that leaves.
TINY = {
    "edgel3-sea-64": (dict(width=2, variant="sea-4"), 4),
    "vggish-relu-pca": (dict(width=1), 128),
    "yamnet": (dict(width=2), 64),
    "panns-cnn6-frame-scores": (dict(width=1), 527),
    "soundnet-scenes": (dict(width=1), 401),
    "imagenet-squeezenet": (dict(), 512),
}
SECONDS = 2.35


def _model(name: str):
    network, dim = TINY[name]
    model = zoo.find(name).model
    return replace(model, network=replace(model.network, **network), dim=dim)


def _arrays(model) -> list[np.ndarray]:
    """At random, so that every layer passes on what it gets."""
    rng, found = np.random.default_rng(0), []
    for w in build(model).weights:
        if w.name in ("gamma", "moving_variance"):
            a = rng.uniform(0.6, 1.4, w.shape)
        elif w.ndim < 2:
            a = rng.normal(0, 0.1, w.shape)
        else:
            depthwise = "depthwise" in w.path
            a = rng.normal(0, (2 / np.prod(w.shape[:2] if depthwise else w.shape[:-1])) ** 0.5, w.shape)
        found.append(a.astype(np.float32))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A card of each, converted together."""
    folder = tmp_path_factory.mktemp("engines")
    models = [_model(name) for name in TINY]
    add_graphs([weights.save(model, _arrays(model), folder / model.name, {}, "float32") for model in models])
    return folder


def _embedded(folder: Path) -> dict[str, np.ndarray]:
    """What all models make of a sound, which is shorter than some of them want."""
    import warnings

    warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)
    found = {}
    for name in TINY:
        model = l3embed.load(folder / name, precision="f32", batch=1)
        rate_hz = model.spec.front_end.rate_hz
        sound = np.random.default_rng(1).normal(0, 0.1, round(SECONDS * rate_hz))
        found[f"{name} {model.engine.name}"] = model.embed(sound, rate_hz)[0]
    return found


CODE = """
import sys, numpy as np
import test_zoo_engines as tests
np.savez(sys.argv[2], **tests._embedded(tests.Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def openvino(folder):
    return _embedded(folder)


def _check(found, openvino) -> None:
    assert len(found) == len(openvino) == len(TINY)
    for key, expected in openvino.items():
        vectors = found[key.replace("openvino", "keras")]
        assert vectors.shape == expected.shape and np.ptp(expected) > 0
        difference = np.abs(vectors - expected)
        if key.startswith("vggish"):  # whole numbers: a rounding error may be one
            assert (difference == 0).mean() > 0.98 and difference.max() <= 1
        else:
            assert difference.max() <= 2e-4 * np.abs(expected).max(), key


def test_the_keras_network_gives_the_vectors_of_the_graph(folder, openvino, monkeypatch):
    monkeypatch.setenv("L3EMBED_ENGINE", "keras")
    _check(_embedded(folder), openvino)


def test_so_it_does_on_jax(folder, openvino, tmp_path):
    pytest.importorskip("jax")
    settings = {"L3EMBED_ENGINE": "keras", "KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    settings["PYTHONPATH"] = os.pathsep.join([environment()["PYTHONPATH"], str(Path(__file__).parent)])
    command = [sys.executable, "-c", CODE, str(folder), str(tmp_path / "found.npz")]
    done = subprocess.run(command, env={**environment(), **settings}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _check(np.load(tmp_path / "found.npz"), openvino)
