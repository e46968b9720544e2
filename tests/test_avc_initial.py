"""Fine-tuning: which weights a run begins with, and what is refused."""

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("pescador")
pytest.importorskip("h5py")

import keras
from made_weights import front_end_layer, l3_arrays, l3_layers, write_keras
from tiny_runs import tiny

from l3embed import weights
from l3embed.avc import checkpoints, config, initial, model
from l3embed.avc.config import ModelConfig
from l3embed.errors import L3EmbedError, TrainingError

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras runs on another backend here")


def _config(init="", init_image="", **changes):
    small = {"name": "tiny", "family": "l3-small", "width": 4, "image_width": 4, **changes}
    return replace(tiny("r"), model=ModelConfig(**small, init=str(init), init_image=str(init_image)))


def _networks(settings, seed=1):
    keras.utils.set_random_seed(seed)
    return model.build(settings, in_graph=False)


def _values(part):
    return [np.asarray(v) for v in part.weights]


def _equal(a, b):
    return all(x.shape == y.shape and (x == y).all() for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A run of its own: (folder, its networks)."""
    folder = tmp_path_factory.mktemp("own")
    networks, run = _networks(_config(), seed=0), checkpoints.Run(tiny(folder))
    rng = np.random.default_rng(0)
    for variable in networks.model.weights:  # as training would leave them
        variable.assign(rng.uniform(0.1, 1, variable.shape))
    run.save(networks, checkpoints.State(epoch=1))
    run.keep(networks, checkpoints.State(epoch=1), "model")
    run.close()
    return folder, networks


@pytest.mark.parametrize("where", ["", "model", "newest.npz", "model/networks.npz"])
def test_a_run_brings_both_networks_and_the_head(own, where):
    folder, trained = own
    networks = _networks(_config())
    found = initial.start(networks, _config(init=folder / where))
    for name, part in networks.parts().items():
        assert _equal(_values(part), _values(trained.parts()[name])), name
    file = folder / ("newest.npz" if where == "newest.npz" else "model/networks.npz" if where else "newest.npz")
    told = {"from": f"{file.parent.name}/{file.name}", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert found == {"audio": told, "image": told, "head": told}


def test_parts_that_are_not_asked_for_or_do_not_fit_stay_random(own):
    folder, trained = own
    for settings, expected in (
        (_config(folder, "none"), {"audio"}),
        (_config("", folder), {"image"}),
        (replace(_config(folder), fit=replace(tiny("r").fit, objective="contrastive")), {"audio", "image"}),
        (_config(folder, bands=4), {"audio", "image"}),
    ):
        networks = _networks(settings)
        before = {name: _values(part) for name, part in networks.parts().items()}
        assert set(initial.start(networks, settings)) == expected
        for name, part in networks.parts().items():
            n = len(before[name]) - (4 if settings.model.bands == 4 and name == "audio" else 0)  # the tower's last BN
            if name in expected:
                assert _equal(_values(part)[:n], _values(trained.parts()[name])[:n]), name
            else:
                assert _equal(_values(part), before[name]), name


def test_audio_alone_from_weight_files_and_models_without_towers(own):
    folder, trained = own
    n = len(weights.build(initial._model(_config(), "audio")).weights)
    networks = _networks(_config())
    assert set(initial.start(networks, _config(folder / "model" / "tiny.h5"))) == {"audio"}
    for a, b in zip(_values(networks.audio)[:n], _values(trained.audio), strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-3)  # a released file holds float16
    settings = _config("l3-small-1", width=24, image_width=16)
    networks = _networks(settings)
    found = initial.start(networks, settings)
    shipped = weights.card("l3-small-1")
    assert found == {"audio": {"from": "l3-small-1", "sha256": shipped.table["files"]["weights"]["sha256"]}}
    assert _equal(_values(networks.audio)[: len(shipped_arrays := weights.read_arrays(shipped.file("weights")))],
                  shipped_arrays)  # fmt: skip


def test_published_layouts_initialise_the_full_networks(tmp_path):
    audio, image = l3_arrays(0), l3_arrays(1, (3, 64, 64, 128, 128, 256, 256, 512, 512))
    write_keras(tmp_path / "audio.h5", l3_layers(audio))
    (tmp_path / "audio.h5.gz").write_bytes(gzip.compress((tmp_path / "audio.h5").read_bytes(), 1))
    write_keras(tmp_path / "image.h5", l3_layers(image))
    settings = replace(
        tiny("r"), model=ModelConfig(init=str(tmp_path / "audio.h5.gz"), init_image=str(tmp_path / "image.h5"))
    )
    networks = _networks(settings)
    assert set(initial.start(networks, settings)) == {"audio", "image"}
    assert _equal(_values(networks.audio)[: len(audio)], audio)
    assert _equal(_values(networks.image)[: len(image)], image)
    assert len(networks.audio.weights) == len(audio) + 4  # the batch normalisation after the embedding

    def refused(init, message, **changes):
        with pytest.raises(L3EmbedError, match=message):
            initial.start(networks, replace(settings, model=replace(settings.model, init=str(init), **changes)))

    refused(tmp_path / "image.h5", r"image.h5: array 0 has shape \(3,\).* of an image network")
    refused("", r"audio.h5: array 0 has shape \(1,\)", init_image=str(tmp_path / "audio.h5"))
    write_keras(tmp_path / "m128.h5", [front_end_layer(2048, np.ones((1025, 128))), *l3_layers(audio)])
    refused(tmp_path / "m128.h5", r"m128.h5: was trained with 128 mel bands, l3 has 256")
    refused(
        "l3-small-1", r"l3-small-1: holds .* family l3-small, width 24, .*; the configuration asks for .* l3, width"
    )


def test_a_published_file_of_another_representation_is_refused(tmp_path, monkeypatch):
    path = write_keras(tmp_path / "a.h5", l3_layers(l3_arrays(0)))
    asked = initial._model(replace(tiny("r"), model=ModelConfig()), "audio")
    for name in ("openl3_audio_mel128_music-v0_4_0", "openl3_image_mel256_music-v0_4_0"):
        monkeypatch.setattr(weights.resolve, "identify", lambda *_, name=name: name)
        with pytest.raises(L3EmbedError, match=f"a.h5: is {name}: l3 is of another modality or representation"):
            weights.arrays_of(asked, path)
    monkeypatch.setattr(weights.resolve, "identify", lambda *_: "openl3_audio_mel256_env-v0_4_0")
    assert len(weights.arrays_of(asked, path)) == 48


@pytest.mark.parametrize(("init", "message"), [
    ("nowhere/x.h5", "nowhere/x.h5: there is no such file, nor a model of this name"),
    ("nobody", "unknown model 'nobody'"),
    ("text.h5", "text.h5: is not a weight file that l3embed can read"),
    ("text.npz", "text.npz: is not a checkpoint of l3embed, or is damaged"),
    ("empty", "empty: holds 0 model cards"),
])  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path, init, message):
    (tmp_path / "empty").mkdir()
    for name in ("text.h5", "text.npz"):
        (tmp_path / name).write_text("hello")
    path = tmp_path / init if (tmp_path / init).exists() else init
    with pytest.raises(L3EmbedError, match=message):
        initial.start(_networks(_config()), _config(path))


def test_networks_of_another_architecture_are_refused(own):
    settings = _config(own[0], width=8)
    with pytest.raises(TrainingError, match=r"holds an audio network .* width 4, .*; .* asks for .* width 8"):
        initial.start(_networks(settings), settings)
    settings = _config(own[0], image_width=8)
    with pytest.raises(TrainingError, match=r"holds an image network .* width 4; .* asks for .* width 8"):
        initial.start(_networks(settings), settings)


def test_a_frozen_image_network_stays_as_it_is(own):
    folder, trained = own
    settings = replace(_config(folder), fit=replace(tiny("r").fit, train="audio"))
    networks = _networks(settings)
    initial.start(networks, settings)
    rng = np.random.default_rng(0)
    inputs = {"audio": rng.normal(size=(4, *settings.front_end.shape)).astype(np.float32),
              "image": rng.integers(0, 255, (4, 64, 64, 3), np.uint8)}  # fmt: skip
    networks.model.train_on_batch(inputs, np.eye(2, dtype=np.float32)[[0, 1, 0, 1]])
    assert _equal(_values(networks.image), _values(trained.image))
    for name in ("audio", "head"):
        assert not _equal(_values(networks.parts()[name]), _values(trained.parts()[name]))
    settings = replace(settings, model=replace(settings.model, init_image="none"))
    with pytest.raises(TrainingError, match=r"its weights are random: name some for it with model.init_image"):
        initial.start(networks, settings)


def test_the_command_and_the_file_name_the_same(tmp_path):
    (tmp_path / "run").mkdir()
    path = tmp_path / "c.toml"
    path.write_text("data.scenes = 1\nmodel.init = 'run'\nmodel.init_image = 'openl3-image-mel256-music-512'")
    found = config.read(path)
    assert (found.model.init, found.model.init_image) == (str(tmp_path / "run"), "openl3-image-mel256-music-512")
    named = config.begin_with(found, "l3-small-1", None)
    assert (named.model.init, named.model.init_image) == ("l3-small-1", found.model.init_image)
