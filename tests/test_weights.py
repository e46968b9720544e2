"""Cards and weight files: right hash or refused; weights in order, of the right network, or refused."""

import gzip
import shutil

import numpy as np
import pytest

from l3embed import weights
from l3embed.errors import UsageError, WeightsError
from l3embed.spec import openl3_model


@pytest.fixture
def copy(tmp_path):
    """The shipped model in a folder of its own, to be spoilt."""
    for file in weights.shipped_folder().glob(f"{weights.DEFAULT}.*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def test_what_ships_is_whole_and_small():
    assert weights.DEFAULT in weights.available()
    total = 0
    for name in weights.available():
        card = weights.card(name)
        assert card.model.name == name
        assert card.model.front_end.window_s == 1.0 and card.model.dim <= 512
        for key in ("description", "licence", "training", "results"):
            assert card.table.get(key), f"{name}: the card says nothing of {key}"
        total += sum(card.file(kind).stat().st_size for kind in ("weights", "graph", "graph_data"))
    assert total <= 5e6


@pytest.mark.parametrize("suffix", ["bin", "xml", "h5"])
def test_a_changed_byte_is_found(copy, suffix):
    file = copy / f"{weights.DEFAULT}.{suffix}"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    card = weights.card(copy)
    with pytest.raises(WeightsError, match=rf"{suffix}: is damaged or of another version .*install the model again"):
        for kind in ("weights", "graph", "graph_data"):
            card.file(kind)


def test_missing_and_unreadable_cards(copy, tmp_path_factory):
    with pytest.raises(UsageError, match="unknown model 'resnet': expected one of"):
        weights.card("resnet")
    (copy / f"{weights.DEFAULT}.bin").unlink()
    with pytest.raises(WeightsError, match=r"\.bin: cannot be read \(No such file"):
        weights.card(copy).file("graph_data")
    (copy / f"{weights.DEFAULT}.toml").write_text("name = 3")
    with pytest.raises(WeightsError, match="is not a model card"):
        weights.card(copy)
    with pytest.raises(WeightsError, match="holds 0 model cards"):
        weights.card(tmp_path_factory.mktemp("empty"))


def test_fingerprint_changes_with_every_field():
    from dataclasses import replace

    model = weights.card().model
    others = [replace(model, weights_sha256="0"), replace(model, dim=1), replace(model, name="x"),
              replace(model, front_end=replace(model.front_end, amin=1.0)),
              replace(model, front_end=replace(model.front_end, version=2)),
              replace(model, network=replace(model.network, width=1))]  # fmt: skip
    assert len({m.fingerprint() for m in [model, *others]}) == 1 + len(others)


def test_toml_round_trip():
    import tomllib

    table = {"a": 'quote " \\ and\nline', "b": 1.5, "c": [1, 2], "d": True, "e": {"x": "é", "f": {"y": 1}}}
    assert tomllib.loads(weights.toml(table)) == table


# --- reading weight files


@pytest.fixture
def small_network():
    pytest.importorskip("keras")
    from l3embed import networks
    from l3embed.spec import Network, l3_front_end

    return networks.family("l3").audio_network(l3_front_end("mel128"), Network("l3", 2, (4, 8)))


def _legacy(path, network, rename=lambda n: n, front_end=False):
    """A file as Keras 2 wrote it: layers with their names, weightless ones included."""
    import h5py

    with h5py.File(path, "w") as file:
        names = []
        if front_end:
            group = file.create_group("melspectrogram_1")
            for name in ("real:0", "imag:0", "freq2mel:0"):
                group.create_dataset(f"melspectrogram_1/{name}", data=np.zeros((2, 2)))
            group.attrs["weight_names"] = [f"melspectrogram_1/{n}".encode() for n in ("real:0", "imag:0", "freq2mel:0")]
            names.append(b"melspectrogram_1")
        for layer in network.layers:
            name = rename(layer.name)
            group = file.create_group(name)
            keys = [f"{name}/{i}_{w.name}:0" for i, w in enumerate(layer.weights)]
            for key, array in zip(keys, layer.get_weights(), strict=True):
                group.create_dataset(key, data=array)
            group.attrs["weight_names"] = [k.encode() for k in keys]
            names.append(name.encode())
        file.attrs["layer_names"] = names


@pytest.mark.parametrize("front_end", [False, True], ids=["v0_4_0", "v0_2_0"])
@pytest.mark.parametrize("compress", [False, True], ids=["h5", "h5.gz"])
def test_legacy_files_are_read_in_order_whatever_the_names(tmp_path, small_network, front_end, compress):
    # zz_, yy_, ...: alphabetical order is the reverse of the right one
    names = {layer.name: f"{999 - i}_layer" for i, layer in enumerate(small_network.layers)}
    path = tmp_path / "w.h5"
    _legacy(path, small_network, names.get, front_end)
    if compress:
        path = tmp_path / "w.h5.gz"
        path.write_bytes(gzip.compress((tmp_path / "w.h5").read_bytes()))
    found = weights.read_arrays(path)
    for a, b in zip(found, small_network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_of_another_network_are_refused(tmp_path, small_network):
    arrays = small_network.get_weights()
    with pytest.raises(WeightsError, match=r"w\.h5: holds 47 arrays, the network has 48"):
        weights.set_arrays(small_network, arrays[:-1], "w.h5")
    with pytest.raises(WeightsError, match=r"array 4 has shape \(3, 3, 2, 1\), the network expects \(3, 3, 1, 2\)"):
        weights.set_arrays(small_network, [a.transpose(0, 1, 3, 2) if a.ndim == 4 else a for a in arrays], "w.h5")


@pytest.mark.parametrize("content", [b"", b"not a weight file", gzip.compress(b"nor this")[:-4]])
def test_files_that_hold_no_weights_are_refused(tmp_path, content):
    pytest.importorskip("h5py")
    for name in ("w.h5", "w.h5.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match="is not a weight file that l3embed can read"):
            weights.read_arrays(tmp_path / name)


def test_published_names(tmp_path):
    assert openl3_model("openl3-mel128-env-512").dim == 512
    for name in ("openl3-mel64-env-512", "openl3-mel128-env", "openl3-mel128-speech-512", "openl3-mel128-env-1024"):
        with pytest.raises(UsageError):
            weights.find(name)
    with pytest.raises(WeightsError, match=r"none\.h5: cannot be read .*give the path of a weight file"):
        weights.find("openl3-mel128-env-512", tmp_path / "none.h5")
    with pytest.raises(UsageError, match="has one front end, log-mel"):
        weights.find(None, None, "training")


def test_openl3_reference_outputs(fixtures, tmp_path, monkeypatch):
    """Vectors of OpenL3 0.4.2, from weights in its layout: cosine >= 0.99999, relative error <= 1e-3."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("h5py")
    import l3embed

    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path))
    expected = np.load(fixtures / "openl3" / "expected_audio.npz")
    file = fixtures / "openl3" / "openl3_audio_linear_synthetic.h5.gz"
    model = l3embed.load("openl3-linear-music-6144", weights=file, front_end="openl3-0.4-kapre", precision="f32")
    keys = [k for k in expected if k.startswith("openl3-0.4-kapre/linear/6144/") and not k.endswith("timestamps")]
    assert keys
    for key in keys:
        clip, hop, center = key.split("/")[3:]
        wav = fixtures / "openl3" / "audio" / f"{clip}.wav"
        found, times = model.embed(wav, hop=float(hop.removeprefix("hop")), center=center == "center1")
        reference = expected[key]
        assert found.shape == reference.shape
        cosine = (found * reference).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(reference, axis=1)
        assert cosine.min() >= 0.99999 and np.linalg.norm(found - reference) <= 1e-3 * np.linalg.norm(reference)
        np.testing.assert_allclose(times, expected[f"{key}/timestamps"], atol=1e-12)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)  # the second time the converted graph is enough
    assert l3embed.load("openl3-linear-music-6144", weights=file).dim == 6144
