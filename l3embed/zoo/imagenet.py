"""Networks trained on ImageNet (ResNet50, MobileNet, SqueezeNet 1.1), with a spectrogram as their picture.

Two front ends, of the same mel bands: "picture" scales the levels, 80 dB below the maximum of a window to the maximum,
to the range of grey that the networks were trained on; "raw" hands them decibels as they are, as the report on spoken
languages did (reference of its front end: 16 kHz, windows of 5 s, 128 Slaney mel bands up to 8300 Hz).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..spec import Cutting, FrontEnd, Model, Network
from . import Entry, File, take
from .torch_names import from_torch

KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
SQUEEZENET = "https://github.com/rcmalli/keras-squeezenet/releases/download/v1.0/"
# variant -> (short name, numbers of its last map, licence, file with the classifier)
NETWORKS = {
    "resnet50-torchvision": (
        "resnet50", 2048, "BSD-3-Clause (code)",
        File("imagenet", "resnet50-0676ba61.pth", "https://download.pytorch.org/models/resnet50-0676ba61.pth",
             "sha256:0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"),
    ),
    "resnet50-keras": (
        "resnet50-keras", 2048, "MIT (weights by K. He et al.), Apache-2.0 (code)",
        File("imagenet", "resnet50_weights_tf_dim_ordering_tf_kernels.h5",
             KERAS + "resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5", "md5:2cb95161c43110f7111970584f804107"),
    ),
    "mobilenet": (
        "mobilenet", 1024, "Apache-2.0 (code and weights)",
        File("imagenet", "mobilenet_1_0_224_tf.h5", KERAS + "mobilenet/mobilenet_1_0_224_tf.h5"),
    ),
    "squeezenet": (
        "squeezenet", 512, "MIT (code and weights)",
        File("imagenet", "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5",
             SQUEEZENET + "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5",
             "sha256:2d935d8c102ad1232484a77da8e6fbdf3ff4ab608974a0d8b6283115ffff204f"),
    ),
}  # fmt: skip


def front_end(raw: bool) -> FrontEnd:
    """128 mel bands of energies, 20 to 8300 Hz, at 16 kHz: 157 frames of 128 ms, every 32 ms, for 5 s of sound.

    The highest bands reach beyond half the rate, as in the report; how ends are padded it does not say: reflected, as
    librosa did then.
    """
    return FrontEnd(
        "spectrogram-raw" if raw else "spectrogram-picture", 1, rate_hz=16_000, window_samples=80_000, n_fft=2048,
        hop_samples=512, pad_samples=(1024, 1024), n_mels=128, mel_scale="slaney", mel_norm="slaney", mel_of="energy",
        amin=1e-10, range_db=80.0, f_min_hz=20.0, f_max_hz=8300.0, pad_mode="reflect", relative=not raw,
    )  # fmt: skip


def entries() -> list[Entry]:
    return [
        _entry(variant, raw, output)
        for variant in NETWORKS for raw in (False, True) for output in ("", "logits")
        if not (variant == "squeezenet" and output)
    ]  # fmt: skip


def _entry(variant: str, raw: bool, output: str) -> Entry:
    short, dim, licence, file = NETWORKS[variant]
    name = "-".join(["imagenet", short, *["raw"] * raw, *([output] if output else [])])
    dim = 1000 if output else dim
    network = Network("imagenet", 64, (), variant=variant, output=output)
    model = Model(name, front_end(raw), network, dim, "", Cutting(hop_s=5.0, center=False), "f32")
    what = "scores of ImageNet's classes before softmax" if output else "mean of the last map"
    about = f"{short} of ImageNet, spectrogram {'in decibels' if raw else 'as a picture'}, {what}, {dim} numbers"
    return Entry(model, about, licence, (file,), arrays)


def arrays(tensors: Mapping[str, np.ndarray], model: Model) -> list[np.ndarray]:
    """From PyTorch's or Keras' file. Raises ValueError for one of another network."""
    variant, classify = model.network.variant, model.network.output == "logits"
    if variant == "resnet50-torchvision":
        if "conv1_conv/kernel" in _short(tensors):
            raise ValueError("its layers are those of keras.applications: name imagenet-resnet50-keras")
        layers = [*_torchvision(), *[("dense", "fc")] * classify]
        return from_torch(tensors, layers, r"fc\..*")
    layers = {"resnet50-keras": _resnet50_keras, "mobilenet": _mobilenet, "squeezenet": _squeezenet}[variant]()
    head = {"resnet50-keras": ("dense", "predictions"), "mobilenet": ("conv", "conv_preds")}.get(variant)
    layers = [*layers, *[head] * classify]
    names = [f"{name}/{key}" for kind, name in layers for key in KEYS[kind]]
    found = _short(tensors)
    # MobileNet's depthwise kernels had a name of their own until Keras 3
    found = {k.replace("/depthwise_kernel", "/kernel"): a for k, a in found.items()}
    return take(found, names, lambda name: head is not None and name.startswith(head[1]))


KEYS = {  # what Keras calls the arrays of a layer
    "conv": ("kernel", "bias"),
    "plain": ("kernel",),  # a convolution without bias
    "dense": ("kernel", "bias"),
    "norm": ("gamma", "beta", "moving_mean", "moving_variance"),
}


def _short(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Paths in a Keras file, ``fire2/squeeze1x1/fire2/squeeze1x1_3/kernel``, to ``fire2/squeeze1x1/kernel``.

    A layer's name stands in it twice, the second time with a number behind it where a session had built several.
    """
    short = {}
    for path, array in tensors.items():
        *parts, kind = path.split("/")
        layer = "/".join(parts[: max(1, len(parts) // 2)])
        short[f"{layer}/{kind}"] = array
    return short


# --- layers in the order in which Keras lists them: of those equally far from the end, the first that was met


def _torchvision():
    yield from (("conv", "conv1"), ("norm", "bn1"))
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for i in range(blocks):
            name, first = f"layer{stage}.{i}", i == 0
            for j in (1, 2):
                yield from (("conv", f"{name}.conv{j}"), ("norm", f"{name}.bn{j}"))
            yield "conv", f"{name}.conv3"
            yield from [("conv", f"{name}.downsample.0")] * first
            yield "norm", f"{name}.bn3"
            yield from [("norm", f"{name}.downsample.1")] * first


def _resnet50_keras():
    yield from (("conv", "conv1_conv"), ("norm", "conv1_bn"))
    for stage, blocks in enumerate((3, 4, 6, 3), 2):
        for i in range(1, blocks + 1):
            name, first = f"conv{stage}_block{i}", i == 1
            for j in (1, 2):
                yield from (("conv", f"{name}_{j}_conv"), ("norm", f"{name}_{j}_bn"))
            yield from [("conv", f"{name}_0_conv")] * first
            yield "conv", f"{name}_3_conv"
            yield from [("norm", f"{name}_0_bn")] * first
            yield "norm", f"{name}_3_bn"


def _mobilenet():
    yield from (("plain", "conv1"), ("norm", "conv1_bn"))
    for i in range(1, 14):
        for kind in ("dw", "pw"):
            yield from (("plain", f"conv_{kind}_{i}"), ("norm", f"conv_{kind}_{i}_bn"))


def _squeezenet():
    yield "conv", "conv1"
    for i in range(2, 10):
        for part in ("squeeze1x1", "expand1x1", "expand3x3"):
            yield "conv", f"fire{i}/{part}"
