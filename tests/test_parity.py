"""Vectors of OpenL3 0.4.2 and torchopenl3 1.0.1, from weights in every layout in which they are published."""

import gzip
import runpy

import numpy as np
import pytest
from conftest import ROOT
from made_weights import front_end_layer, l3_layers, torchopenl3_state, write_keras, write_torch

pytest.importorskip("tensorflow")
pytest.importorskip("h5py")

import l3embed
from l3embed import weights
from l3embed.frontend import mel_filterbank
from l3embed.spec import l3_front_end

TABLE = runpy.run_path(str(ROOT / "scripts" / "parity_table.py"))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L3EMBED_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_all_reference_outputs(fixtures, precision):
    """Cosine >= 0.99999 and relative error <= 1e-5 in f32, cosine >= 0.9995 in bf16; time stamps are the same."""
    if precision == "bf16" and not _bf16():
        pytest.skip("this processor does not compute in bfloat16")
    n = 0
    for key, found, reference in TABLE["cases"](fixtures, precision):
        assert found.shape == reference.shape, key
        if key.endswith("timestamps"):
            np.testing.assert_allclose(found, reference, atol=1e-12)
            continue
        cosine, error = TABLE["compare"](found, reference)
        least, most = (0.99999, 1e-5) if precision == "f32" else (0.9995, 1.0)
        assert cosine >= least and error <= most, f"{key}: cosine {cosine}, relative error {error}"
        n += 1
    assert n == 16


@pytest.fixture
def published_file(fixtures):
    return fixtures / "openl3" / "openl3_audio_mel256_synthetic.h5.gz"


def test_every_layout_gives_the_same_arrays(published_file, tmp_path):
    """So that what holds for one layout holds for all of them."""
    arrays = weights.read_arrays(published_file)
    bank = mel_filterbank(l3_front_end("mel256", "kapre-0.1.4"))
    layers = l3_layers(arrays, 22)
    files = [
        write_keras(tmp_path / "renumbered.h5", layers),
        write_keras(tmp_path / "v0_2_0.h5", [layers[0], front_end_layer(2048, bank.T), *layers[1:]]),
        write_torch(tmp_path / "zip.pth.tar", torchopenl3_state(arrays, bank)),
        write_torch(tmp_path / "stream.pth.tar", torchopenl3_state(arrays), legacy=True),
    ]
    for path in files:
        found = weights.read_arrays(path)
        assert len(found) == 48 and all(np.array_equal(a, b) for a, b in zip(found, arrays, strict=True)), path.name


def test_a_v0_2_0_file_brings_its_front_end(fixtures, published_file, tmp_path, caplog):
    """Its filterbank says kapre-0.1.4, or training; whichever is named is used."""
    arrays = weights.read_arrays(published_file)
    bank = mel_filterbank(l3_front_end("mel256", "training")).T
    layers = l3_layers(arrays)
    path = write_keras(tmp_path / "v.h5", [layers[0], front_end_layer(2048, bank), *layers[1:]])
    model = l3embed.load("openl3-mel256-music-512", weights=path, precision="f32")
    assert model.spec.front_end.name == "training" and not caplog.text
    assert weights.find("openl3-mel256-music-512", path, "kapre-0.1.4").model.front_end.mel_norm == "slaney"
    assert "was trained with front end training, not with kapre-0.1.4" in caplog.text
    with np.load(fixtures / "openl3" / "expected_audio.npz") as file:  # pooled further: 512 from the maps of 6144
        expected = file["training/mel256/6144/dog/hop0.5/center0"].reshape(4, 12, 512).max(axis=1)
    found, _ = model.embed(fixtures / "openl3" / "audio" / "dog.wav", hop=0.5, center=False)
    cosine, error = TABLE["compare"](found, expected)
    assert cosine >= 0.99999 and error <= 1e-3
    with pytest.raises(
        l3embed.errors.WeightsError, match="was trained with 256 mel bands, openl3-mel128-music-512 has 12"
    ):
        l3embed.load("openl3-mel128-music-512", weights=path)


def test_by_name_from_the_cache_folder(fixtures, tmp_path, monkeypatch):
    """A file whose hash is the published one (here made so) was trained with kapre-0.1.4. It is converted once."""
    from l3embed.weights import published
    from l3embed.weights.files import blob

    source = fixtures / "openl3" / "openl3_audio_mel256_synthetic.h5.gz"
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path))
    place = tmp_path / "openl3" / "openl3_audio_mel256_music-v0_2_0.h5.gz"
    place.parent.mkdir()
    place.write_bytes(source.read_bytes())
    monkeypatch.setitem(published.BLOBS, "openl3_audio_mel256_music-v0_2_0", blob(place))
    model = l3embed.load("openl3-mel256-music-512-v0_2_0")
    assert (model.spec.front_end.name, model.spec.front_end.mel_norm) == ("kapre-0.1.4", "slaney")
    assert model.card.table["origin"]["published"] == "openl3_audio_mel256_music-v0_2_0"
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    assert l3embed.load("openl3-mel256-music-512-v0_2_0").dim == 512
    assert gzip.decompress(place.read_bytes())  # used, not moved


def test_openl3_time_stamps(fixtures, published_file):
    """OpenL3 multiplies by the hop that was asked for, wherever its windows are."""
    model = l3embed.load("openl3-mel256-music-512", weights=published_file, front_end="training")
    wav = fixtures / "openl3" / "audio" / "dog.wav"
    exact, times = model.embed(wav, hop=0.33333)
    same, nominal = model.embed(wav, hop=0.33333, timestamps="openl3")
    assert np.array_equal(exact, same)
    np.testing.assert_array_equal(nominal, np.arange(len(nominal)) * 0.33333)
    np.testing.assert_array_equal(times, np.arange(len(times)) * 15999 / 48000)
    with pytest.raises(l3embed.errors.UsageError, match="timestamps must be one of exact, openl3"):
        model.embed(wav, timestamps="nominal")
    assert model.recipe(model.framing(0.1)) != model.recipe(model.framing(0.1, timestamps="openl3"))
