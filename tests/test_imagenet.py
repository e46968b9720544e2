"""Networks of ImageNet: published sizes, ResNet50 in NumPy, keras.applications, real weights of SqueezeNet."""

import re
from dataclasses import replace

import numpy as np
import pytest
from made_weights import write_torch

pytest.importorskip("keras")

import keras

from l3embed import networks, weights, zoo
from l3embed.errors import WeightsError
from l3embed.frontend import spectrograms
from l3embed.weights import resolve, tensors
from l3embed.zoo import imagenet

BANDS, FRAMES = 64, 65


def _entry(name: str, relative: bool = True) -> zoo.Entry:
    """With a small spectrogram."""
    entry = zoo.find(f"imagenet-{name}")
    fe = replace(entry.model.front_end, n_mels=BANDS, window_samples=512 * (FRAMES - 1), relative=relative)
    return replace(entry, model=replace(entry.model, front_end=fe))


def _network(entry: zoo.Entry, found=None):
    network = networks.family("imagenet").audio_network(entry.model.front_end, entry.model.network)
    if found is not None:
        weights.set_arrays(network, imagenet.arrays(found, entry.model), "test")
    return network


@pytest.fixture(scope="module")
def levels():
    """A spectrogram relative to its maximum, (1, F, T, 1) dB."""
    return np.random.default_rng(2).uniform(-80, 0, (1, BANDS, FRAMES, 1)).astype(np.float32)


@pytest.mark.parametrize(("name", "trainable", "all_of_them"), [
    ("resnet50-logits", 25_557_032, 25_557_032 + 53_120), ("resnet50", 23_508_032, None),
    ("resnet50-keras-logits", 25_583_592, 25_636_712), ("mobilenet-logits", 4_231_976, 4_253_864),
    ("squeezenet", 722_496, 722_496),
])  # fmt: skip
def test_published_parameter_counts(name, trainable, all_of_them):
    network = _network(_entry(name))
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == trainable
    assert all_of_them in (None, network.count_params())
    assert network.output_shape == (None, zoo.find(f"imagenet-{name}").model.dim)


def test_the_front_end_has_the_size_of_the_report():
    """128 bands, 157 frames for 5 s; the picture is the raw one, mapped."""
    raw, picture = imagenet.front_end(raw=True), imagenet.front_end(raw=False)
    assert raw.shape == picture.shape == (128, 157, 1)
    sound = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
    a, b = (spectrograms(sound, [0], fe)[0] for fe in (raw, picture))
    np.testing.assert_allclose(a - a.max(), b, atol=1e-4)
    assert b.max() == 0 and a.max() > 0 and np.ptp(b) <= 80


# --- torchvision's ResNet50


class Twin:
    """(channels, height, width); makes up its arrays, under torchvision's names, when first asked for them."""

    def __init__(self):
        self.state, self.rng = {}, np.random.default_rng(0)

    def array(self, name, shape, low=None):
        if name not in self.state:
            normal = self.rng.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[1:], dtype=np.float32))
            self.state[name] = normal if low is None else self.rng.uniform(low, low + 0.8, shape).astype(np.float32)
        return self.state[name]

    def unit(self, x, out, k, conv, norm, stride=1):
        kernel, pad = self.array(f"{conv}.weight", (out, len(x), k, k)), k // 2
        seen = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (pad, pad), (pad, pad))), (k, k), (1, 2))
        seen = seen[:, ::stride, ::stride]
        x = np.tensordot(kernel, seen, axes=([1, 2, 3], [0, 3, 4]))
        mean, variance = (
            self.array(f"{norm}.running_mean", (out,), -0.3),
            self.array(f"{norm}.running_var", (out,), 0.6),
        )
        gamma, beta = self.array(f"{norm}.weight", (out,), 0.6), self.array(f"{norm}.bias", (out,), -0.3)
        self.state[f"{norm}.num_batches_tracked"] = np.array(1)
        scale = gamma / np.sqrt(variance + 1e-5)
        return (x - mean[:, None, None]) * scale[:, None, None] + beta[:, None, None]

    def __call__(self, picture):
        x = np.maximum(self.unit(picture, 64, 7, "conv1", "bn1", 2), 0)
        x = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2].max(axis=(3, 4))
        for stage, blocks in enumerate((3, 4, 6, 3), 1):
            for i in range(blocks):
                name, stride, width = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1, 32 * 2**stage
                y = np.maximum(self.unit(x, width, 1, f"{name}.conv1", f"{name}.bn1"), 0)
                y = np.maximum(self.unit(y, width, 3, f"{name}.conv2", f"{name}.bn2", stride), 0)
                y = self.unit(y, 4 * width, 1, f"{name}.conv3", f"{name}.bn3")
                if i == 0:
                    x = self.unit(x, 4 * width, 1, f"{name}.downsample.0", f"{name}.downsample.1", stride)
                x = np.maximum(x + y, 0)
        pooled = x.mean(axis=(1, 2))
        return pooled, self.array("fc.weight", (1000, 2048)) @ pooled + self.array("fc.bias", (1000,), -0.4)


@pytest.fixture(scope="module")
def torchvision(levels):
    """(state dictionary, pooled vector and logits of the picture, of the raw decibels)."""
    twin = Twin()
    grey = (levels[0, :, :, 0] + 80) / 80
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    return twin.state, twin((grey - mean) / std), twin(np.repeat(levels[:, :, :, 0], 3, axis=0))


@pytest.mark.parametrize(("name", "prefix", "wanted"), [
    ("resnet50", "module.", lambda picture, raw: picture[0]), ("resnet50-logits", "", lambda picture, raw: picture[1]),
    ("resnet50-raw", "", lambda picture, raw: raw[0]),
], ids=["pooled", "logits", "raw"])  # fmt: skip
def test_torchvisions_resnet50(tmp_path, torchvision, levels, name, prefix, wanted):
    state, picture, raw = torchvision
    path = write_torch(tmp_path / "w.pth", {prefix + key: a for key, a in state.items()})
    network = _network(_entry(name, relative="raw" not in name), tensors.read([path])[0])
    found, expected = np.asarray(network(levels))[0], wanted(picture, raw)
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


# --- keras.applications, as it saves itself


def _random(model):
    """Batch normalisation that does something."""
    rng = np.random.default_rng(0)
    model.set_weights([
        rng.uniform(0.6, 1.4, w.shape) if w.name in ("gamma", "moving_variance") else rng.normal(0, 0.1, w.shape)
        if w.ndim == 1 else w.numpy() for w in model.weights
    ])  # fmt: skip
    return model


@pytest.mark.parametrize(("name", "make", "preprocess"), [
    ("resnet50-keras", keras.applications.ResNet50, keras.applications.resnet.preprocess_input),
    ("mobilenet", keras.applications.MobileNet, keras.applications.mobilenet.preprocess_input),
])  # fmt: skip
def test_files_of_keras_applications(tmp_path, levels, name, make, preprocess):
    model = _random(make(weights=None, input_shape=(BANDS, FRAMES, 3), include_top=False, pooling="avg"))
    model.save(tmp_path / "w.h5")
    grey = 255 * (levels + 80) / 80
    expected = np.asarray(model(preprocess(np.repeat(grey, 3, axis=3))))
    found = np.asarray(_network(_entry(name), tensors.read([tmp_path / "w.h5"])[0])(levels))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


# --- SqueezeNet's real weights


def test_real_squeezenet(shared_data, levels):
    """The published file through NumPy: convolutions, pools and concatenations, 1x1 filters first."""
    found, _ = tensors.read([shared_data / "weights" / "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"])
    arrays = {re.sub(r"(_\d+)?/(kernel|bias)$", r"/\2", name): a for name, a in found.items()}

    def conv(x, name, stride=1, pad=0):
        kernel, bias = arrays[f"{name}/{name}/kernel"], arrays[f"{name}/{name}/bias"]
        x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
        seen = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (0, 1))[::stride, ::stride]
        return np.maximum(np.einsum("hwcij,ijco->hwo", seen, kernel) + bias, 0)

    grey = 255 * (levels[0] + 80) / 80
    x = conv(np.repeat(grey, 3, axis=2) - [103.939, 116.779, 123.68], "conv1", 2)
    for i in range(2, 10):
        if i in (2, 4, 6):
            x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))[::2, ::2].max(axis=(3, 4))
        x = conv(x, f"fire{i}/squeeze1x1")
        x = np.concatenate([conv(x, f"fire{i}/expand1x1"), conv(x, f"fire{i}/expand3x3", pad=1)], axis=2)
    vector = np.asarray(_network(_entry("squeezenet"), found)(levels))[0]
    np.testing.assert_allclose(vector, x.mean(axis=(0, 1)), rtol=1e-4, atol=1e-5 * x.max())


# --- files that do not fit


@pytest.mark.parametrize(("name", "change", "message"), [
    ("resnet50", lambda s: s.pop("layer3.5.bn2.running_mean"), r"holds no layer3\.5\.bn2\.running_mean"),
    ("resnet50", lambda s: s.update({"avgpool.weight": np.ones(2, np.float32)}), r"holds avgpool\.weight, which"),
    ("resnet50-keras", lambda s: None, r"holds no conv1_conv/kernel"),
    ("resnet50-logits", lambda s: s.update({"fc.weight": s["fc.weight"][:10], "fc.bias": s["fc.bias"][:10]}),
     r"has shape \(2048, 10\), the network expects \(2048, 1000\)"),
], ids=["missing", "extra", "another layout", "other classes"])  # fmt: skip
def test_files_that_do_not_fit_are_refused(tmp_path, monkeypatch, torchvision, name, change, message):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))
    state = dict(torchvision[0])
    change(state)
    path = write_torch(tmp_path / "w.pth", state)
    with pytest.raises(WeightsError, match=message):
        resolve._find_entry(_entry(name), path)
