"""PANNs (Kong et al. 2020; qiuqiangkong/audioset_tagging_cnn): networks that tag AudioSet's 527 classes.

Their program takes a recording whole, whatever its length, and so does l3embed up to 92 s; a hop makes windows of one
second (they were trained on ten). A vector a frame comes from the head of Cnn14_DecisionLevelMax (docs/models.md).
Checkpoints are dictionaries with the weights under `model`, the front end's kernels among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..frontend import mel_filterbank
from ..spec import Cutting, FrontEnd, Model, Network
from . import Entry, File
from .torch_names import from_torch

LICENCE = "MIT (code), CC BY 4.0 (weights)"
CLASSES = 527
URL = "https://zenodo.org/records/3987831/files/"
# (network, rate) -> published file and its hash: MD5 as Zenodo gives it, SHA-256 where somebody has published one
FILES = {
    ("cnn6", 32): ("Cnn6_mAP=0.343.pth", "md5:e25e26b84585b14c7754c91e48efc9be"),
    ("cnn10", 32): ("Cnn10_mAP=0.380.pth", "md5:bfb1f1f9968938fa8ef4012b8471f5f6"),
    ("cnn14", 32): (
        "Cnn14_mAP=0.431.pth", "sha256:0dc499e40e9761ef5ea061ffc77697697f277f6a960894903df3ada000e34b31",
    ),
    ("cnn14", 16): (
        "Cnn14_16k_mAP=0.438.pth", "sha256:e2ee543a27919542c2ea03eabaa70b24dcd4e6c8e05621de6b67a94e4c5058e6",
    ),
    ("cnn14", 8): ("Cnn14_8k_mAP=0.416.pth", ""),
    ("mobilenetv1", 32): ("MobileNetV1_mAP=0.389.pth", "md5:a419303e1c88aa1b9d2ac3811563d371"),
    ("resnet22", 32): ("ResNet22_mAP=0.430.pth", "md5:cf36d413096793c4e15dc752a3abd599"),
}  # fmt: skip
GRIDS = {32: (1024, 320, 14_000.0), 16: (512, 160, 8_000.0), 8: (256, 80, 4_000.0)}  # kHz -> window, hop, highest Hz
DIMS = {"cnn6": 512, "cnn10": 512, "cnn14": 2048, "mobilenetv1": 1024, "resnet22": 2048}
REDUCTION = {"cnn6": 16, "cnn10": 16, "cnn14": 32, "mobilenetv1": 32, "resnet22": 32}  # spectrogram frames in a column
OUTPUTS = {"": "embedding of a clip", "scores": "scores of a clip", "frames": "an embedding for each frame",
           "frame-scores": "scores for each frame"}  # fmt: skip
WHOLE_FRAMES = 6144  # 61.44 s: a multiple of every REDUCTION; bounds memory


def front_end(khz: int = 32) -> FrontEnd:
    """torchlibrosa's: centred frames, reflected ends, 64 Slaney mel bands of energies, 10 log10, nothing subtracted."""
    n_fft, hop, f_max_hz = GRIDS[khz]
    return FrontEnd(
        f"panns-{khz}k", 1, rate_hz=1000 * khz, window_samples=1000 * khz, n_fft=n_fft, hop_samples=hop,
        pad_samples=(n_fft // 2, n_fft // 2), n_mels=64, mel_scale="slaney", mel_norm="slaney", mel_of="energy",
        amin=1e-10, range_db=None, f_min_hz=50.0, f_max_hz=f_max_hz, pad_mode="reflect", layout="time-frequency",
    )  # fmt: skip


def cutting(kind: str, hop_samples: int, frames: bool) -> Cutting:
    """A recording whole; at least as long as it takes for one column of the last map."""
    reduction = REDUCTION[kind]
    return Cutting(
        hop_s=None, center=False, least_samples=(reduction - 1) * hop_samples, most_samples=WHOLE_FRAMES * hop_samples,
        frame_samples=reduction * hop_samples * frames,
    )  # fmt: skip


def entries() -> list[Entry]:
    return [_entry(kind, khz, output) for kind, khz in FILES for output in OUTPUTS]


def _entry(kind: str, khz: int, output: str) -> Entry:
    name, hash = FILES[kind, khz]
    parts = ["panns", kind, *([f"{khz}k"] if khz != 32 else []), *([output] if output else [])]
    fe, dim = front_end(khz), CLASSES if "scores" in output else DIMS[kind]
    cut = cutting(kind, fe.hop_samples, output.startswith("frame"))
    model = Model("-".join(parts), fe, Network("panns", 64, (), variant=kind, output=output), dim, "", cut, "f32")
    file = File("panns", name, URL + name.replace("=", "%3D"), hash)
    return Entry(model, f"PANNs {kind} at {khz} kHz, {OUTPUTS[output]}, {dim} numbers", LICENCE, (file,), arrays)


# --- checkpoints


def arrays(tensors: Mapping[str, np.ndarray], model: Model) -> list[np.ndarray]:
    """From a checkpoint. Raises ValueError for one of another network, or that was trained with another front end."""
    kind, own = model.network.variant, recognised(tensors)
    if own not in (kind, None):
        raise ValueError(f"its arrays are those of {own}: name panns-{own}")
    _check_front_end(tensors, model.front_end)
    head = [("dense", "fc1"), *[("dense", "fc_audioset")] * ("scores" in model.network.output)]
    beside = r"(spectrogram|logmel)_extractor\..*|fc_audioset\..*"
    return from_torch(tensors, [("norm", "bn0"), *LAYERS[kind](), *head], beside)


def recognised(tensors: Mapping) -> str | None:
    """Which of the networks a checkpoint is of, by the names that only this one has."""
    telling = {"mobilenetv1": "features.13.4.weight", "resnet22": "conv_block_after1.conv1.weight",
               "cnn14": "conv_block6.conv2.weight", "cnn10": "conv_block4.conv2.weight",
               "cnn6": "conv_block4.conv1.weight"}  # fmt: skip
    return next((kind for kind, name in telling.items() if name in tensors), None)


def _check_front_end(tensors: Mapping, fe: FrontEnd) -> None:
    """The Fourier kernels (n_fft // 2 + 1, 1, n_fft) and mel filters (bins, bands) that a checkpoint keeps."""
    kernels = tensors.get("spectrogram_extractor.stft.conv_real.weight")
    if kernels is not None and kernels.shape[-1] != fe.n_fft:
        raise ValueError(
            f"it was trained with windows of {kernels.shape[-1]} samples, not {fe.n_fft}: of another rate?"
        )
    bank, known = tensors.get("logmel_extractor.melW"), mel_filterbank(fe).T
    if bank is not None and (bank.shape != known.shape or np.abs(bank - known).max() > 1e-4 * known.max()):
        raise ValueError(f"it was trained with other mel bands than {fe.name} has")


def _cnn(blocks: int, convolutions: int) -> Iterator[tuple[str, str]]:
    for i in range(1, blocks + 1):
        yield from _block(f"conv_block{i}", convolutions)


def _block(name: str, convolutions: int = 2) -> Iterator[tuple[str, str]]:
    for i in range(1, convolutions + 1):
        yield "conv", f"{name}.conv{i}"
        yield "norm", f"{name}.bn{i}"


def _mobilenet() -> Iterator[tuple[str, str]]:
    yield from (("conv", "features.0.0"), ("norm", "features.0.2"))
    for i in range(1, 14):
        name = f"features.{i}"
        yield from (("depthwise", f"{name}.0"), ("norm", f"{name}.2"), ("conv", f"{name}.4"), ("norm", f"{name}.5"))


def _resnet22() -> Iterator[tuple[str, str]]:
    yield from _block("conv_block1")
    for stage in range(1, 5):
        for i in range(2):
            name = f"resnet.layer{stage}.{i}"
            shortcut = stage > 1 and i == 0
            yield from (("conv", f"{name}.conv1"), ("norm", f"{name}.bn1"), ("conv", f"{name}.conv2"))
            yield from [("conv", f"{name}.downsample.1")] * shortcut
            yield "norm", f"{name}.bn2"
            yield from [("norm", f"{name}.downsample.2")] * shortcut
    yield from _block("conv_block_after1")


LAYERS = {  # of the trunks, in the order in which Keras lists them
    "cnn6": lambda: _cnn(4, 1),
    "cnn10": lambda: _cnn(4, 2),
    "cnn14": lambda: _cnn(6, 2),
    "mobilenetv1": _mobilenet,
    "resnet22": _resnet22,
}
