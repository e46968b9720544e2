"""VGGish (Hershey et al. 2017; tensorflow/models, research/audioset/vggish): 128 numbers for each 0.96 s.

The release of 2017 had a ReLU after the last layer, the present one (tensorflow/models#9080) has not; both are of the
same checkpoint. AudioSet's own features are after PCA and 8-bit quantisation.
"""

from __future__ import annotations

import re

import numpy as np

from ..spec import Cutting, FrontEnd, Model, Network
from . import Entry, File, take

LICENCE = "Apache-2.0 (code and weights)"
URL = "https://storage.googleapis.com/audioset/"
PORT = File(
    "vggish", "vggish-10086976.pth",
    "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
    "sha256:10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b",
)  # fmt: skip
CHECKPOINT = File("vggish", "vggish_model.ckpt", URL + "vggish_model.ckpt", instead=PORT)
PCA = File(
    "vggish",
    "vggish_pca_params.npz",
    URL + "vggish_pca_params.npz",
    "sha256:4d878af3e306defbfb37095365aa7e5a6cecb86bad13e859e626151c4e6a8b9d",
)
# Examples of 96 frames, 0.96 s apart, incomplete ones dropped. The last frame ends 15 ms after the next example begins.
CUTTING = Cutting(hop_s=0.96, center=False, end="drop")
LAYERS = (
    "conv1", "conv2", "conv3/conv3_1", "conv3/conv3_2", "conv4/conv4_1", "conv4/conv4_2", "fc1/fc1_1", "fc1/fc1_2",
    "fc2",
)  # fmt: skip
_LEAVES = {layer.rpartition("/")[2]: layer for layer in LAYERS}
# harritaylor/torchvggish: the same weights; its dense layers take the maps in TensorFlow's order, too
TORCHVGGISH = dict(zip(
    (*(f"features.{i}" for i in (0, 3, 6, 8, 11, 13)), *(f"embeddings.{i}" for i in (0, 2, 4))), LAYERS, strict=True
))  # fmt: skip
OUTPUTS = {  # suffix of the name -> (layer, numbers, what it is)
    "": ("", 128, "128 numbers before PCA"),
    "-relu": ("relu", 128, "128 numbers before PCA, after the ReLU of the release of 2017"),
    "-pca": ("pca", 128, "128 numbers after PCA and quantisation, whole numbers from 0 to 255"),
    "-relu-pca": ("relu-pca", 128, "128 numbers after the ReLU of 2017, PCA and quantisation"),
    "-4096": ("fc1_2", 4096, "second dense layer, after ReLU"),
    "-12288": ("pool4", 12_288, "last maps (time, mel, channel), flattened"),
}


def front_end(name: str = "vggish", offset: float = 0.01) -> FrontEnd:
    """vggish_input.py and mel_features.py: frames of 25 ms every 10 ms, 64 mel bands of magnitudes, ln(mel + 0.01)."""
    return FrontEnd(
        name, 1, rate_hz=16_000, window_samples=15_600, n_fft=512, hop_samples=160, pad_samples=(0, 0), n_mels=64,
        mel_scale="htk", mel_norm="none", mel_of="magnitude", amin=offset, range_db=None, frame_samples=400,
        f_min_hz=125.0, f_max_hz=7500.0, triangles="mel", log="ln", layout="time-frequency",
    )  # fmt: skip


def entries() -> list[Entry]:
    return [
        Entry(
            Model(f"vggish{suffix}", front_end(), Network("vggish", 64, (), output=output), dim, "", CUTTING, "f32"),
            f"VGGish, {what}", LICENCE, (CHECKPOINT, PCA) if "pca" in output else (CHECKPOINT,), arrays,
        ) for suffix, (output, dim, what) in OUTPUTS.items()
    ]  # fmt: skip


def arrays(tensors, model: Model) -> list[np.ndarray]:
    """From the checkpoint's variables, ``vggish/conv1/weights`` ..., or a port's, and the PCA file's two arrays."""
    tensors = _as_published(tensors)
    found = take(tensors, [f"vggish/{layer}/{kind}" for layer in LAYERS for kind in ("weights", "biases")], _is_pca)
    n = {"pool4": 6, "fc1_2": 8}.get(model.network.output, 9)
    found = found[: 2 * n]
    if "pca" not in model.network.output:
        return found
    vectors, means = take(tensors, ["pca_eigen_vectors", "pca_means"], lambda name: not _is_pca(name))
    return [*found, vectors.T, means.reshape(-1)]


def _is_pca(name: str) -> bool:
    return name.startswith("pca_")


def _as_published(tensors) -> dict[str, np.ndarray]:
    """With TensorFlow's names and axes, whatever the port: torchvggish, or Keras with layers named as TensorFlow's."""
    found = {}
    for name, array in tensors.items():
        layer, _, kind = name.rpartition(".")
        keras = re.fullmatch(r"(?:.*[/_])?(conv\d(?:_\d)?|fc\d(?:_\d)?)/(kernel|bias)", name)
        if layer in TORCHVGGISH:
            name = f"vggish/{TORCHVGGISH[layer]}/{'weights' if kind == 'weight' else 'biases'}"
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        elif keras and keras[1] in _LEAVES:
            name = f"vggish/{_LEAVES[keras[1]]}/{'weights' if keras[2] == 'kernel' else 'biases'}"
        name = name.removeprefix("pproc.")
        if name in found:
            raise ValueError(f"it holds {name} twice")
        found[name] = array
    return found
