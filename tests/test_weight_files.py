"""Weight files of other programs: in order whatever the names, from every layout, or refused with the reason."""

import gzip
import pickle

import numpy as np
import pytest
from made_weights import (
    front_end_layer,
    l3_arrays,
    l3_layers,
    torchopenl3_state,
    write_keras,
    write_torch,
)

pytest.importorskip("h5py")

from l3embed import weights
from l3embed.errors import WeightsError
from l3embed.frontend import mel_filterbank
from l3embed.spec import l3_front_end, openl3_model
from l3embed.weights import arrays as files
from l3embed.weights import resolve

SMALL = (1, 2, 2, 3, 3, 4, 4, 5, 5)


@pytest.fixture(scope="module")
def arrays():
    return l3_arrays(channels=SMALL)


def _same(path, arrays) -> bool:
    found = weights.read_arrays(path)
    assert len(found) == len(arrays) == 48
    return all(a.dtype == np.float32 and np.array_equal(a, b) for a, b in zip(found, arrays, strict=True))


# --- Keras


def _renamed(layers, name_of):
    return [(name_of(i), {f"{name_of(i)}/{k}": a for k, a in w.items()}) for i, (_, w) in enumerate(layers)]


@pytest.mark.parametrize("make", [
    lambda layers: dict(layers=layers),
    lambda layers: dict(layers=_renamed(layers, "{:03d}_x".format)),
    # alphabetical order, in which HDF5 keeps groups, is the reverse of the right one
    lambda layers: dict(layers=_renamed(layers, lambda i: f"{999 - i}_layer")),
    lambda layers: dict(layers=layers[::-1], listed=[name for name, _ in layers]),
    lambda layers: dict(layers=layers, group="model_weights"),
    lambda layers: dict(layers=layers, pieces=3),
    lambda layers: dict(layers=[layers[0], front_end_layer(64, np.ones((33, 8))), *layers[1:]]),
    lambda layers: dict(layers=[layers[0], front_end_layer(64, None, "spectrogram_1"), *layers[1:]]),
    lambda layers: dict(layers=[layers[0], front_end_layer(64, np.ones((33, 8)), "mel_layer"), *layers[1:]]),
    lambda layers: dict(layers=[layers[0], ("melspectrogram", {"x/odd:0": np.ones((2, 2))}), *layers[1:]]),
], ids=["v0_4_0", "renamed", "reversed names", "regrouped", "model.save", "cut list", "v0_2_0", "v0_2_0 linear",
        "v0_2_0 renamed", "v0_2_0 odd"])  # fmt: skip
@pytest.mark.parametrize("compress", [False, True], ids=["h5", "gz"])
def test_keras_files_are_read_in_the_order_they_list(tmp_path, arrays, make, compress):
    path = write_keras(tmp_path / "w.h5", **make(l3_layers(arrays, 8)))
    if compress:
        path = tmp_path / "w.h5.gz"
        path.write_bytes(gzip.compress((tmp_path / "w.h5").read_bytes()))
    assert _same(path, arrays)


def test_the_front_end_inside_a_file_is_told(tmp_path, arrays):
    bank = np.random.default_rng(0).random((33, 8)).astype(np.float32)
    layers = l3_layers(arrays)
    path = write_keras(tmp_path / "w.h5", [front_end_layer(64, bank), *layers])
    found = files.read(path)
    assert found.n_fft == 64 and np.array_equal(found.filterbank, bank)
    found = files.read(write_keras(tmp_path / "v.h5", layers))
    assert found.n_fft is None and found.filterbank is None


def test_what_keras_3_itself_writes(tmp_path):
    """model.save to .h5 keeps the legacy layout; .weights.h5 does not tell an order."""
    pytest.importorskip("keras")
    from l3embed import networks
    from l3embed.spec import Network

    network = networks.family("l3").audio_network(l3_front_end("mel128"), Network("l3", 2, (4, 8)))
    network.save(tmp_path / "whole.h5")
    assert _same(tmp_path / "whole.h5", network.get_weights())
    network.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(WeightsError, match=r"w\.weights\.h5: .*Keras 3 .*does not tell the order of its layers"):
        weights.read_arrays(tmp_path / "w.weights.h5")


# --- torchopenl3


@pytest.mark.parametrize("how", [{}, {"legacy": True}, {"nested": "state_dict"}, {"nested": "model", "legacy": True}],
                         ids=["zip", "stream", "nested", "nested stream"])  # fmt: skip
def test_torchopenl3_files_are_read(tmp_path, arrays, how):
    bank = np.random.default_rng(0).random((8, 33)).astype(np.float32)
    path = write_torch(tmp_path / "w.pth.tar", torchopenl3_state(arrays, bank), **how)
    assert _same(path, arrays)
    assert np.array_equal(files.read(path).filterbank, bank.T)


def test_a_real_checkpoint_and_other_number_types(fixtures, tmp_path):
    path = fixtures / "panns" / "Cnn10_synthetic.pth.gz"
    state = weights.read_state_dict(path)
    assert state["fc_audioset.weight"].shape == (527, 512) and state["bn0.num_batches_tracked"].shape == ()
    assert state["bn0.running_var"].min() > 0
    # STFT kernels of a known size: the first column of the real one is the window itself (Hann, 1024)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    np.testing.assert_allclose(state["spectrogram_extractor.stft.conv_real.weight"][0, 0], window, atol=1e-6)
    state = {"a": np.arange(6, dtype=np.int64).reshape(2, 3).T, "b": np.float16([1.5, 2]), "c": np.float64([0.1])}
    found = weights.read_state_dict(write_torch(tmp_path / "t.pth", {"module." + k: v for k, v in state.items()}))
    assert list(found) == list(state)
    np.testing.assert_array_equal(found["b"], state["b"])
    assert found["c"].dtype == np.float64 and found["a"].shape == (3, 2)


class _Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "stream"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, arrays, legacy):
    trap = tmp_path / "trap"
    code = pickle.dumps(_Code(str(trap)), 0)[:-1]  # without the full stop: a value inside the dictionary
    path = write_torch(tmp_path / "w.pth", torchopenl3_state(arrays), extra=code, legacy=legacy)
    with pytest.raises(WeightsError, match=r"w\.pth: .*pickled with code, (_io|io)\.open, which is not run"):
        weights.read_arrays(path)
    (tmp_path / "v.pth").write_bytes(pickle.dumps(_Code(str(trap))))
    with pytest.raises(WeightsError, match=r"v\.pth: .*pickled with code"):
        weights.read_state_dict(tmp_path / "v.pth")
    assert not trap.exists()


@pytest.mark.parametrize("name", [
    "builtins.eval", "builtins.getattr", "os.system", "torch.load", "torch.storage._load_from_bytes", "numpy.load",
    "torch._utils._rebuild_from_type_v2", "collections.namedtuple", "torch.FloatStorage.__class__",
    "copyreg._reconstructor",
])  # fmt: skip
def test_names_that_are_not_needed_are_refused(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    extra = f"c{module}\n{attribute}\n(X\x01\x00\x00\x00xtR".encode()
    path = write_torch(tmp_path / "w.pth", {"a": np.zeros(2, np.float32)}, extra=extra)
    with pytest.raises(WeightsError, match="is pickled with code"):
        weights.read_state_dict(path)


def test_a_pickle_cannot_change_the_reader(tmp_path):
    """BUILD sets attributes of what a pickle named: there must be nothing to set, for the next file's sake."""
    good = write_torch(tmp_path / "good.pth", {"a": np.arange(3, dtype=np.float32)})
    for named in ("ctorch\nFloatStorage\n", "ctorch._utils\n_rebuild_tensor_v2\n", "ccollections\nOrderedDict\n"):
        for state in ("}", "N}X\x04\x00\x00\x00kindX\x05\x00\x00\x00wrongs\x86"):
            extra = f"{named}{state}b".encode()
            path = write_torch(tmp_path / "bad.pth", {"a": np.zeros(2, np.float32)}, extra=extra)
            try:
                weights.read_state_dict(path)
            except WeightsError:
                pass
            assert np.array_equal(weights.read_state_dict(good)["a"], [0, 1, 2])


def test_an_array_beyond_its_storage_is_refused(tmp_path):
    state = {"a": np.zeros((3, 4), np.float32)}
    data = write_torch(tmp_path / "w.pth", state).read_bytes()
    for count in (b"J\x05\x00\x00\x00", b"J\xff\xff\xff\xff", b"J\xff\xff\xff\x7f"):
        (tmp_path / "w.pth").write_bytes(_rezip(data, b"J\x03\x00\x00\x00", count))
        with pytest.raises(WeightsError, match=r"reaches beyond its storage|is damaged"):
            weights.read_state_dict(tmp_path / "w.pth")


def _rezip(data: bytes, old: bytes, new: bytes) -> bytes:
    """The archive with the first occurrence of `old` in its pickle replaced."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert old in members["archive/data.pkl"]
    members["archive/data.pkl"] = members["archive/data.pkl"].replace(old, new, 1)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


# --- what is refused


@pytest.mark.parametrize(("content", "why"), [
    (b"", "it is empty"),
    (b"not a weight file", "neither HDF5 nor a PyTorch checkpoint"),
    (b"\n<!DOCTYPE html><html>", "it is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS's pointer"),
    (gzip.compress(b"nor this")[:-4], "ended before"),
    (gzip.compress(b""), "it is empty"),
    (b"PK\x03\x04 not much of an archive", "not a zip file"),
    (b"\x80\x04", "damaged"),
    (pickle.dumps({"a": 1}), "a pickle, but not a PyTorch checkpoint"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["w.h5", "w.h5.gz", "w.pth.tar"])
def test_files_that_hold_no_weights_are_refused(tmp_path, content, why, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"(?s)is not a weight file that l3embed can read \(.*{why}"):
        weights.read_arrays(tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, arrays, share):
    whole = {
        "w.h5": write_keras(tmp_path / "w", l3_layers(arrays)).read_bytes(),
        "w.pth": write_torch(tmp_path / "w", torchopenl3_state(arrays)).read_bytes(),
        "old.pth": write_torch(tmp_path / "w", torchopenl3_state(arrays), legacy=True).read_bytes(),
    }
    for name, data in whole.items():
        for part in (data[: int(share * len(data))], gzip.compress(data[: int(share * len(data))])):
            (tmp_path / name).write_bytes(part)
            with pytest.raises(WeightsError, match=f"{name}: is not a weight file"):
                weights.read_arrays(tmp_path / name)
        (tmp_path / name).write_bytes(gzip.compress(data)[: int(share * len(gzip.compress(data)))])
        with pytest.raises(WeightsError, match=f"{name}: is not a weight file"):
            weights.read_arrays(tmp_path / name)


def test_damaged_lists_are_refused(tmp_path, arrays):
    layers = l3_layers(arrays)
    names = [name for name, _ in layers]
    for listed, why in (([*names, "conv2d_99"], "conv2d_99"), ([*names, "conv2d_3"], "lists a layer twice")):
        with pytest.raises(WeightsError, match=why):
            weights.read_arrays(write_keras(tmp_path / "w.h5", layers, listed=listed))
    odd = [*layers[:-1], ("audio_embedding_layer", {"kernel:0": np.arange(3)})]
    with pytest.raises(WeightsError, match="does not hold floating-point numbers"):
        weights.read_arrays(write_keras(tmp_path / "w.h5", odd))
    with pytest.raises(WeightsError, match="is a directory"):
        weights.read_arrays(tmp_path)


@pytest.fixture(scope="module")
def network():
    """The published audio network and random weights for it."""
    pytest.importorskip("keras")
    from l3embed.weights.release import build

    return build(openl3_model("openl3-mel128-music-512")), l3_arrays()


def test_weights_of_the_published_shapes_are_taken(network):
    network, arrays = network
    weights.set_arrays(network, arrays, "w.h5")
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), arrays, strict=True))


def test_weights_of_another_network_are_refused(network, shared_data, fixtures):
    network, arrays = network
    swapped = [*arrays[:12], *arrays[18:24], *arrays[12:18], *arrays[24:]]
    of_image = weights.read_arrays(fixtures / "openl3" / "openl3_image_synthetic.h5.gz")
    edge = weights.read_arrays(shared_data / "weights" / "edgel3_sea_ust_audio_emb_64.h5.gz")
    squeeze = shared_data / "weights" / "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
    for found, why in (
        (arrays[:-1], "holds 47 arrays, the network has 48: of another network or version"),
        (arrays[6:], "holds 42 arrays"),
        (of_image, r"array 0 has shape \(3,\), the network expects \(1,\): of an image network"),
        (edge, "holds 52 arrays"),
        (weights.read_arrays(squeeze), "holds 50 arrays"),
        (swapped, r"array 12 has shape .* of another network, or out of order"),
    ):
        with pytest.raises(WeightsError, match=f"w.h5: {why}"):
            weights.set_arrays(network, found, "w.h5")


@pytest.mark.parametrize(("i", "value", "why"), [
    (4, np.nan, "array 4 holds NaN"), (47, np.inf, "array 47 holds NaN or inf"), (9, -1.0, "array 9 is a variance"),
])  # fmt: skip
def test_numbers_no_training_ends_with_are_refused(network, i, value, why):
    network, arrays = network
    spoilt = [a.copy() for a in arrays]
    spoilt[i].flat[-1] = value
    with pytest.raises(WeightsError, match=why):
        weights.set_arrays(network, spoilt, "w.h5")


# --- which front end a file was trained with


def _file(arrays, model: str, front_end: str, n_fft=2048) -> files.WeightFile:
    fe = l3_front_end(model, front_end)
    return files.WeightFile(arrays, n_fft, mel_filterbank(fe).T.astype(np.float32))


@pytest.mark.parametrize("representation", ["mel128", "mel256"])
@pytest.mark.parametrize(("name", "expected"), [("training", "training"), ("kapre-0.1.4", "kapre-0.1.4"),
                                                ("openl3-0.4-kapre", "other")])  # fmt: skip
def test_the_filterbank_in_a_file_tells_its_front_end(arrays, representation, name, expected):
    model = openl3_model(f"openl3-{representation}-env-512")
    assert resolve._trained_with(model, _file(arrays, representation, name), "") == expected


def test_without_a_filterbank_only_the_hash_can_tell(arrays):
    model, plain = openl3_model("openl3-mel256-env-512"), files.WeightFile(arrays)
    assert resolve._trained_with(model, plain, "openl3_audio_mel256_env-v0_4_0") == "kapre-0.1.4"
    assert resolve._trained_with(model, plain, "") == ""


def test_a_front_end_of_other_sizes_is_refused(arrays, tmp_path):
    model = openl3_model("openl3-mel256-env-512")
    with pytest.raises(WeightsError, match="was trained with 128 mel bands, openl3-mel256-env-512 has 256"):
        resolve._check_front_end(model, _file(arrays, "mel128", "kapre-0.1.4"), tmp_path)
    with pytest.raises(WeightsError, match="a Fourier transform of 512 samples, openl3-mel256-env-512 has 2048"):
        resolve._check_front_end(model, files.WeightFile(arrays, 512), tmp_path)
    resolve._check_front_end(model, _file(arrays, "mel256", "kapre-0.1.4"), tmp_path)


@pytest.mark.parametrize(("trained", "named", "used", "said"), [
    ("kapre-0.1.4", None, "kapre-0.1.4", ""),
    ("training", None, "training", ""),
    ("", None, "training", "does not tell which front end"),
    ("other", None, "training", "holds a mel filterbank that no front end"),
    ("kapre-0.1.4", "training", "training", "was trained with front end kapre-0.1.4, not with training"),
    ("kapre-0.1.4", "openl3-0.4-kapre", "openl3-0.4-kapre", ""),
    ("", "training", "training", ""),
])  # fmt: skip
def test_the_front_end_is_the_one_named_or_else_the_one_trained_with(tmp_path, caplog, trained, named, used, said):
    from l3embed.spec import published

    name = "openl3-mel256-env-512"
    card = weights.Card(tmp_path, openl3_model(name, named), {"origin": {"front_end": trained}})
    found = resolve._with_front_end(card, published(name), named, "w.h5")
    assert found.model.front_end == l3_front_end("mel256", used)
    assert caplog.text.count("w.h5") == bool(said) and said in caplog.text
