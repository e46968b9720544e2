"""YAMNet (Plakal & Ellis; tensorflow/models, research/audioset/yamnet): MobileNet v1 on log-mel patches, 521 classes.

`yamnet.h5` is the Keras network; `yamnet.tflite` is another one, with ReLU6 and quantised to 8 bits: its numbers are
not those of `yamnet.h5`. Which of the two a file is decides the variant of the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..spec import Cutting, Model, Network
from . import Entry, File, take
from .vggish import front_end

LICENCE = "Apache-2.0 (code and weights)"
WEIGHTS = File(
    "yamnet", "yamnet.h5", "https://storage.googleapis.com/audioset/yamnet.h5",
    "sha256:13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744",
)  # fmt: skip
CUTTING = Cutting(hop_s=0.48, center=False)
DEPTHS = range(2, 15)


def entries() -> list[Entry]:
    about = {"": ("", 1024, "1024 numbers"), "-scores": ("scores", 521, "scores of AudioSet's 521 classes")}
    return [
        Entry(
            Model(f"yamnet{suffix}", front_end("yamnet", 0.001), Network("yamnet", 32, (), output=output), dim, "",
                  CUTTING, "f32"),  # its TFLite file is in steps that bf16 would shift
            f"YAMNet, {what}", LICENCE, (WEIGHTS,), arrays, network,
        ) for suffix, (output, dim, what) in about.items()
    ]  # fmt: skip


def network(tensors: Mapping[str, np.ndarray], model: Model) -> Network:
    """The network that a file holds the weights of."""
    return replace(model.network, variant="tflite") if _is_tflite(tensors) else model.network


def arrays(tensors: Mapping[str, np.ndarray], model: Model) -> list[np.ndarray]:
    """From the variables of `yamnet.h5` (``layer1/conv/...``), or the constants of `yamnet.tflite`."""
    wanted = "scores" if model.network.output == "scores" else ""
    return _from_tflite(tensors, wanted) if _is_tflite(tensors) else _from_keras(tensors, wanted)


def _is_tflite(tensors: Mapping[str, np.ndarray]) -> bool:
    return "mel_spectrogram" in tensors


def _from_keras(tensors: Mapping[str, np.ndarray], wanted: str) -> list[np.ndarray]:
    """Layers contain slashes, so the path of each array holds its layer's name twice."""
    names = _of_layer("layer1/conv", "kernel", "layer1/conv/bn")
    for i in DEPTHS:
        names += _of_layer(f"layer{i}/depthwise_conv", "depthwise_kernel", f"layer{i}/depthwise_conv/bn")
        names += _of_layer(f"layer{i}/pointwise_conv", "kernel", f"layer{i}/pointwise_conv/bn")
    last = "dense" if "dense/dense/kernel" in tensors else "logits"  # later code of the same network says dense
    names += [f"{last}/{last}/kernel", f"{last}/{last}/bias"]
    found = take(tensors, names)
    return found if wanted else found[:-2]


def _of_layer(convolution: str, kernel: str, normalisation: str) -> list[str]:
    path = f"{normalisation}/{normalisation}"
    return [
        f"{convolution}/{convolution}/{kernel}",
        *(f"{path}/{k}" for k in ("beta", "moving_mean", "moving_variance")),
    ]


def _from_tflite(tensors: Mapping[str, np.ndarray], wanted: str) -> list[np.ndarray]:
    """Kernels (out, height, width, in), those of depthwise convolutions (1, height, width, channels).

    Behind every convolution comes the step of the map that it makes: `tflite.read` calls it ``MAP:step``.
    """
    layers: dict[int, list[np.ndarray]] = {}
    steps: dict[int, np.ndarray] = {}
    for name, array in tensors.items():
        if found := re.search(r"\blayer(\d+)/", name):
            if name.endswith(":step"):
                steps[int(found[1])] = array
            else:
                layers.setdefault(int(found[1]), []).append(array)
    try:
        found = [tensors["tfl.quantize:step"]]
        for i in range(1, 28):
            kernel, bias = sorted(layers[i], key=np.ndim, reverse=True)
            found += [kernel.transpose(1, 2, 3, 0), bias, steps[i]]
        found.append(steps[28])
        if wanted:
            kernel, bias = sorted(layers[29], key=np.ndim, reverse=True)
            found += [kernel.T, bias, steps[29]]
    except (KeyError, ValueError):
        raise ValueError("it is a TensorFlow Lite file, but not that of YAMNet") from None
    return [np.asarray(array, np.float32) for array in found]
