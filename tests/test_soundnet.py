"""SoundNet: published sizes and lengths, every layout of its weights against NumPy, files that do not fit."""

import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
from made_weights import write_keras, write_t7, write_torch

pytest.importorskip("keras")

from l3embed import engine, networks, weights, zoo
from l3embed.errors import WeightsError
from l3embed.weights import resolve, tensors
from l3embed.windows import Framing, chunks
from l3embed.zoo import soundnet

WIDTH = 1
SAMPLES = 260_000  # enough for the heads
KERNELS = (64, 32, 16, 8, 4, 4, 4)
POOLS = {1: 8, 2: 8, 5: 4}


def _entry(output: str, width: int = WIDTH) -> zoo.Entry:
    entry = zoo.find(f"soundnet-{output}")
    return replace(entry, model=replace(entry.model, network=replace(entry.model.network, width=width)))


def _run(output: str, found, sound):
    entry = _entry(output)
    network = networks.family("soundnet").audio_network(entry.model.front_end, entry.model.network)
    weights.set_arrays(network, soundnet.arrays(found, entry.model), "test")
    return np.asarray(network(sound[None, :, None, None]))[0]


# --- in NumPy, told a second time


@pytest.fixture(scope="module")
def layers():
    """Of the port's dictionary: conv1 ... conv7, conv8, conv8_2; kernels (k, 1, in, out)."""
    rng, made, before = np.random.default_rng(0), {}, 1
    for i, k in enumerate(KERNELS):
        n = WIDTH * 2**i
        made[f"conv{i + 1}"] = {
            "weights": rng.normal(0, (k * before) ** -0.5, (k, 1, before, n)), "biases": rng.normal(0, 0.1, n),
            "gamma": rng.uniform(0.6, 1.4, n), "beta": rng.normal(0, 0.1, n), "mean": rng.normal(0, 0.1, n),
            "var": rng.uniform(0.6, 1.4, n),
        }  # fmt: skip
        before = n
    for name, classes in (("conv8", 1000), ("conv8_2", 401)):
        kernel = rng.normal(0, 0.1, (8, 1, before, classes))
        made[name] = {"weights": kernel, "biases": rng.normal(0, 0.1, classes)}
    return {name: {key: a.astype(np.float32) for key, a in layer.items()} for name, layer in made.items()}


@pytest.fixture(scope="module")
def sound():
    return np.random.default_rng(1).normal(0, 1, SAMPLES).astype(np.float32)


def _convolved(x, layer, pad: int):
    kernel = layer["weights"][:, 0].astype(float)
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((pad, pad), (0, 0))), len(kernel), axis=0)[::2]
    return np.einsum("tck,kco->to", seen, kernel) + layer["biases"]


@pytest.fixture(scope="module")
def wanted(layers, sound):
    """Output of every layer, (time, channels)."""
    found, x = {}, sound[:, None].astype(float)
    for i, k in enumerate(KERNELS, 1):
        layer = layers[f"conv{i}"]
        x = _convolved(x, layer, k // 2)
        x = (x - layer["mean"]) / np.sqrt(layer["var"] + 1e-5) * layer["gamma"] + layer["beta"]
        found[f"conv{i}"] = x = np.maximum(x, 0)
        if i in POOLS:
            n = len(x) // POOLS[i]
            found[f"pool{i}"] = x = x[: n * POOLS[i]].reshape(n, POOLS[i], -1).max(axis=1)
    for name, head in (("objects", "conv8"), ("scenes", "conv8_2")):
        logits = np.exp(_convolved(x[:-1], layers[head], 0))  # the last step, half of it zeros, is left out
        found[name] = logits / logits.sum(axis=1, keepdims=True)
    return found


# --- the files of its ports


def _npy(path, layers, protocol=3):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(stream.getvalue() + pickle.dumps(np.array(layers, dtype=object), protocol))
    return path


def _npy_of_python2(path, layers):
    return _npy(path, layers, protocol=2)


def _state(layers, convolution, normalisation, heads):
    state = {}
    for name, layer in layers.items():
        conv = heads.get(name) or convolution.format(name[4:])
        state[f"{conv}.weight"] = np.ascontiguousarray(layer["weights"].transpose(3, 2, 0, 1))
        state[f"{conv}.bias"] = layer["biases"]
        keys = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
        if "gamma" in layer:
            norm = normalisation.format(name[4:])
            state |= {f"{norm}.{key}": layer[kind] for kind, key in keys.items()}
            state[f"{norm}.num_batches_tracked"] = np.array(3)
    return state


def _pth(path, layers):
    heads = {"conv8": "conv8.0", "conv8_2": "conv8_2.0"}
    return write_torch(path, _state(layers, "conv{}.0", "conv{}.1", heads))


def _pth_of_keunhong(path, layers):
    heads = {"conv8": "conv8_objs", "conv8_2": "conv8_scns"}
    return write_torch(path, _state(layers, "conv{}", "batchnorm{}", heads))


def _h5(path, layers, group=None):
    """A Keras port: one-dimensional kernels (k, in, out); numbered from wherever the session was."""
    listed = []
    for i, layer in enumerate(layers.values(), 9):
        name = f"conv1d_{i}"
        listed.append((name, {f"{name}/kernel:0": layer["weights"][:, 0], f"{name}/bias:0": layer["biases"]}))
        if "gamma" in layer:
            name = f"batch_normalization_{i}"
            keys = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "var": "moving_variance"}
            listed.append((name, {f"{name}/{key}:0": layer[kind] for kind, key in keys.items()}))
    return write_keras(path, listed, group=group)


def _h5_of_a_model(path, layers):
    return _h5(path, layers, "model_weights")


def _modules(layers):
    """The authors' network: a module for every layer, those without weights among them, and the heads in the 25th."""
    modules, at = {}, iter(range(1, 99))
    for i in range(1, 8):
        layer = layers[f"conv{i}"]
        kernel = np.ascontiguousarray(layer["weights"].transpose(3, 2, 0, 1))
        buffers = {"gradWeight": np.ones_like(kernel), "output": None, "train": False}
        modules[next(at)] = ("cudnn.SpatialConvolution", {"weight": kernel, "bias": layer["biases"], **buffers})
        norm = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}
        modules[next(at)] = ("cudnn.SpatialBatchNormalization", {key: layer[kind] for key, kind in norm.items()})
        modules[next(at)] = ("cudnn.ReLU", {"inplace": True})
        if i in POOLS:
            modules[next(at)] = ("cudnn.SpatialMaxPooling", {"kW": 1.0})
    heads = {}
    for i, name in enumerate(("conv8", "conv8_2"), 1):
        kernel = np.ascontiguousarray(layers[name]["weights"].transpose(3, 2, 0, 1))
        heads[i] = ("cudnn.SpatialConvolution", {"weight": kernel, "bias": layers[name]["biases"]})
    modules[next(at)] = ("nn.ConcatTable", {"modules": heads})
    assert list(modules) == list(range(1, 26))
    return modules


def _t7(path, layers):
    return write_t7(path, ("nn.Sequential", {"modules": _modules(layers), "_type": "torch.CudaTensor"}))


LAYOUTS = [_npy, _npy_of_python2, _pth, _pth_of_keunhong, _h5, _h5_of_a_model, _t7]


@pytest.mark.parametrize("write", LAYOUTS)
def test_every_layout_gives_the_same_numbers(tmp_path, layers, sound, wanted, write):
    found, _ = tensors.read([write(tmp_path / "w", layers)])
    for output in ("pool5", "conv7", "scenes", "objects"):
        expected = wanted[output].mean(axis=0) if output in soundnet.HEADS else wanted[output]
        np.testing.assert_allclose(_run(output, found, sound), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("output", [*soundnet.LAYERS, "conv5-mean", "conv7-max"])
def test_every_output(tmp_path, layers, sound, wanted, output):
    found, _ = tensors.read([_npy(tmp_path / "w.npy", layers)])
    layer, _, pooling = output.partition("-")
    pooling = "mean" if layer in soundnet.HEADS else pooling
    expected = wanted[layer]
    expected = expected.mean(axis=0) if pooling == "mean" else expected.max(axis=0) if pooling else expected
    np.testing.assert_allclose(_run(output, found, sound), expected, rtol=1e-4, atol=1e-5)


def test_published_sizes():
    """Parameters and lengths of cvondrick/soundnet; 20 s at 22.05 kHz."""
    counts = {"conv7": 2_874_320, "objects": 2_874_320 + 8_193_000, "scenes": 2_874_320 + 3_285_393}
    steps = {"conv5": 217, "pool5": 54, "conv7": 15}
    for output in soundnet.LAYERS:
        entry = _entry(output, 16)
        network = networks.family("soundnet").audio_network(entry.model.front_end, entry.model.network)
        n_trainable = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
        assert n_trainable == counts.get(output, n_trainable)
        assert network.output_shape[-1] == entry.model.dim
        if output in steps:
            assert network.compute_output_shape((1, 441_000, 1, 1)) == (1, steps[output], entry.model.dim)
            # the time stamps of a recording's second piece follow those of the first
            cutting = entry.model.cutting
            assert cutting.most_samples % cutting.frame_samples == 0
            n = cutting.most_samples // cutting.frame_samples
            assert network.compute_output_shape((1, cutting.most_samples, 1, 1))[1] >= n


def test_short_sounds_are_repeated():
    cutting = zoo.find("soundnet-conv7").model.cutting
    short = np.arange(7_000, dtype=np.float32)
    how = dict(whole=True, least=cutting.least_samples, repeats=cutting.repeats)
    ((signal, _, _),) = chunks([short], Framing(cutting.most_samples, cutting.frame_samples, **how))
    np.testing.assert_array_equal(signal, np.resize(short, 220_500))


def test_a_whole_recording_is_a_batch_of_its_own_and_windows_are_not():
    def batch(output, samples):
        card = weights.Card(None, zoo.find(f"soundnet-{output}").model, {})
        return engine.PlaceholderEngine(card, precision="f32", batch=16).shape((samples, 1, 1))[0]

    assert [batch(output, 441_000) for output in ("scenes", "conv7", "conv7-mean")] == [1, 1, 1]
    assert [batch("scenes", 500_000), batch("conv7-mean", 22_050)] == [1, 16]


# --- files that do not fit


class _Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickled_file_with_code_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"
    for bad in ({"conv1": _Code(str(trap))}, {"conv1": {"weights": np.array([_Code(str(trap))], dtype=object)}}):
        with pytest.raises(WeightsError, match=r"w\.npy: .*pickled with code, (_io|io)\.open, which is not run"):
            tensors.read([_npy(tmp_path / "w.npy", bad)])
    assert not trap.exists()


def test_other_npy_files_are_refused(tmp_path, layers):
    np.save(tmp_path / "plain.npy", np.ones(3))
    data = _npy(tmp_path / "w.npy", layers).read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[:-100])
    _npy(tmp_path / "text.npy", {"a": "b"})
    for name, message in (("plain", "a plain array"), ("cut", "damaged"), ("text", "no arrays")):
        with pytest.raises(WeightsError, match=rf"{name}\.npy: .*{message}"):
            tensors.read([tmp_path / f"{name}.npy"])


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.pop("conv3/gamma"), r"holds no conv3/gamma"),
    (lambda t: t.pop("conv8_2/biases"), r"holds no conv8_2/biases"),
    (lambda t: t.update({"conv9/weights": np.ones(1)}), r"holds conv9/weights, which"),
    (lambda t: t.pop("conv1/weights"), "neither conv1/weights nor conv1.weight"),
], ids=["missing", "no head", "extra", "another's"])  # fmt: skip
def test_dictionaries_that_do_not_fit_are_refused(tmp_path, layers, change, message):
    found, _ = tensors.read([_npy(tmp_path / "w.npy", layers)])
    change(found)
    with pytest.raises(ValueError, match=message):
        soundnet.arrays(found, _entry("scenes").model)


def test_a_file_whose_normalisation_was_not_converted_is_told(tmp_path, layers, caplog):
    bare = {name: dict(layer) for name, layer in layers.items()}
    for layer in bare.values():
        layer |= {k: np.full_like(layer[k], v) for k, v in (("mean", 0), ("var", 1)) if k in layer}
    found, _ = tensors.read([_pth_of_keunhong(tmp_path / "w.pth", bare)])
    soundnet.arrays(found, _entry("conv7").model)
    assert "untrained" in caplog.text
    caplog.clear()
    found, _ = tensors.read([_pth_of_keunhong(tmp_path / "v.pth", layers)])
    soundnet.arrays(found, _entry("conv7").model)
    assert not caplog.text


def test_torch7_files_that_are_damaged_or_hold_functions_are_refused(tmp_path, layers):
    path = _t7(tmp_path / "w.t7", layers)
    data = path.read_bytes()
    for end in (16, 100, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:end])
        with pytest.raises(WeightsError, match=r"w\.t7: is not a weight file that l3embed can read"):
            tensors.read([path])
    path.write_bytes(data.replace(b"\x05\x00\x00\x00\x01\x00\x00\x00", b"\x06\x00\x00\x00\x01\x00\x00\x00", 1))
    with pytest.raises(WeightsError, match="holds a function, which is not read"):
        tensors.read([path])
    write_t7(path, ("nn.Sequential", {"modules": {}}))
    with pytest.raises(WeightsError, match="holds no modules with weights"):
        tensors.read([path])


@pytest.mark.parametrize(("change", "message"), [
    (lambda m: m[13][1].pop("running_var"), r"holds no 13\.running_var"),
    (lambda m: m[3][1].update({"weight": np.ones(3, np.float32)}), r"holds 3\.weight, which the network has not"),
    (lambda m: m[25][1]["modules"].pop(2), "holds no layer of 401 classes"),
    (lambda m: m[5][1].update({"weight": np.ones((2, 1, 31, 1), np.float32)}), r"has shape \(31, 1, 1, 2\), the net"),
], ids=["missing", "extra", "no head", "shape"])  # fmt: skip
def test_torch7_files_that_do_not_fit_are_refused(tmp_path, monkeypatch, layers, change, message):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))
    modules = _modules(layers)
    change(modules)
    path = write_t7(tmp_path / "w.t7", ("nn.Sequential", {"modules": modules}))
    with pytest.raises(WeightsError, match=message):
        resolve._find_entry(_entry("scenes"), path)
