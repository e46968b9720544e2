"""SoundNet of 8 layers (Aytar, Vondrick, Torralba 2016; cvondrick/soundnet), in the layouts of its public ports.

Its input is the first channel, times 256. Short recordings are repeated to ten seconds, as its authors do, and for
probabilities to the twenty of its training; long ones are taken a minute at a time. What a layer gives over time is a
vector a frame; "-mean" and "-max" are one vector a recording.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import numpy as np

from ..spec import Cutting, Model, Network, Waveform
from . import Entry, File, take
from .torch_names import from_torch

log = logging.getLogger("l3embed")
LICENCE = "MIT (code and weights)"
RATE_HZ = 22_050
REMARKS = (
    "sound8.npy (eborboihuc/SoundNet-tensorflow; the Python package soundnet 0.1.2 holds it), sound8.pth "
    "(smallflyingpig/SoundNet_Pytorch), its authors' soundnet8_final.t7, or the .h5 of a Keras port: put it there by "
    "hand, or name it as the weights. soundnet8_final.pth (keunhong/pytorch-soundnet) is read, but its batch "
    "normalisation was never converted."
)
# layer -> (numbers, samples from one step to the next or 0 for the mean over time, what it is)
LAYERS = {
    "conv5": (256, 2048, "fifth convolution after ReLU"),
    "pool5": (256, 8192, "fifth convolution after pooling, which its authors classified sounds with"),
    "conv7": (1024, 32_768, "seventh convolution after ReLU, its authors' default"),
    "objects": (1000, 0, "probabilities of ImageNet's classes"),
    "scenes": (401, 0, "probabilities of Places2's classes"),
}
HEADS = {"objects": "conv8", "scenes": "conv8_2"}
MODULES = (1, 5, 9, 12, 15, 19, 22)  # of Torch7's network: its convolutions, each before its batch normalisation
WHOLE = 41 * 32_768  # samples, 60.9 s
SHORTEST, SHORTEST_OF_HEADS = 10 * RATE_HZ, 20 * RATE_HZ


def entries() -> list[Entry]:
    pooled = [f"{layer}-{how}" for layer in ("conv5", "pool5", "conv7") for how in ("mean", "max")]
    return [_entry(output) for output in (*LAYERS, *pooled)]


def _entry(output: str) -> Entry:
    layer, _, pooling = output.partition("-")
    dim, step, what = LAYERS[layer]
    # the heads see 12 s at once, and windows of a second would be too short for them
    least, window = (SHORTEST_OF_HEADS,) * 2 if layer in HEADS else (SHORTEST, RATE_HZ)
    fe = Waveform("soundnet", 1, RATE_HZ, window, 256.0, mix="first")
    cut = Cutting(hop_s=None, center=False, least_samples=least, most_samples=WHOLE, repeats=True,
                  frame_samples=0 if pooling else step)  # fmt: skip
    network = Network("soundnet", 16, (), output=output)
    model = Model(f"soundnet-{output}", fe, network, dim, "", cut, "f32")
    over_time = pooling or (f"every {step / RATE_HZ:.3g} s" if step else "mean")
    about = f"SoundNet, {what}, {over_time}, {dim} numbers"
    return Entry(model, about, LICENCE, (File("soundnet", "sound8.npy"),), arrays, remarks=REMARKS)


def arrays(tensors: Mapping[str, np.ndarray], model: Model) -> list[np.ndarray]:
    """From any of the ports' files. Raises ValueError for one of another network."""
    layer = model.network.output.partition("-")[0]
    n = 5 if layer in ("conv5", "pool5") else 7
    if "1.weight" in tensors:
        return _from_torch7(tensors, n, layer)
    if "conv1/weights" in tensors:
        return _from_dictionary(tensors, n, HEADS.get(layer))
    if "conv1.0.weight" in tensors or "conv1.weight" in tensors:
        return _from_state(tensors, n, HEADS.get(layer))
    if any("conv1d" in name for name in tensors):
        return _from_keras(tensors, n, HEADS.get(layer))
    raise ValueError("it holds neither conv1/weights nor conv1.weight, 1.weight or a layer conv1d: of another model?")


def _from_torch7(tensors: Mapping, n: int, layer: str) -> list[np.ndarray]:
    """Its authors' own soundnet8_final.t7: modules by number, in the last of which both heads lie side by side."""
    layers = [(kind, str(at + i)) for at in MODULES[:n] for i, kind in enumerate(("conv+bias", "norm"))]
    if layer in HEADS:
        dim = LAYERS[layer][0]
        fitting = [name for name in ("25.1", "25.2", "25") if tensors.get(f"{name}.bias", np.empty(0)).shape == (dim,)]
        if not fitting:
            raise ValueError(f"it holds no layer of {dim} classes")
        layers.append(("conv+bias", fitting[0]))
    beyond = "|".join(str(at + i) for at in MODULES[n:] for i in (0, 1))
    return from_torch(tensors, layers, rf"({beyond or '25'}|25.*)\..*")


def _beyond(n: int) -> str:
    """A pattern: layers that a shorter network leaves out."""
    return rf"conv[{n + 1}-8].*|batchnorm[{n + 1}-8].*|conv8_.*"


def _from_dictionary(tensors: Mapping, n: int, head: str | None) -> list[np.ndarray]:
    """sound8.npy: kernels (k, 1, in, out), as Keras has them."""
    kinds = ("weights", "biases", "gamma", "beta", "mean", "var")
    names = [f"conv{i}/{kind}" for i in range(1, n + 1) for kind in kinds]
    names += [f"{head}/weights", f"{head}/biases"] if head else []
    return take(tensors, names, lambda name: re.fullmatch(_beyond(n), name) is not None)


def _from_state(tensors: Mapping, n: int, head: str | None) -> list[np.ndarray]:
    """sound8.pth and soundnet8_final.pth: PyTorch's kernels (out, in, k, 1)."""
    if "conv1.0.weight" in tensors:
        convolution, normalisation, heads = "conv{}.0", "conv{}.1", {"conv8": "conv8.0", "conv8_2": "conv8_2.0"}
    else:
        convolution, normalisation = "conv{}", "batchnorm{}"
        heads = {"conv8": "conv8_objs", "conv8_2": "conv8_scns"}
    layers = []
    for i in range(1, n + 1):
        layers += [("conv+bias", convolution.format(i)), ("norm", normalisation.format(i))]
    layers += [("conv+bias", heads[head])] if head else []
    found = from_torch(tensors, layers, _beyond(n))
    if all((found[6 * i + 4] == 0).all() and (found[6 * i + 5] == 1).all() for i in range(n)):
        log.warning("the batch normalisation of these SoundNet weights is untrained: the file does not hold SoundNet")
    return found


def _from_keras(tensors: Mapping, n: int, head: str | None) -> list[np.ndarray]:
    """pseeth/soundnet_keras saved as .h5: layers conv1d_i, kernels (k, in, out), numbered as the session did."""
    convolutions = _numbered(tensors, "conv1d")
    normalisations = _numbered(tensors, "batch_normalization")
    if len(convolutions) < n or len(normalisations) < n:
        raise ValueError(
            f"it holds {len(convolutions)} convolutions and {len(normalisations)} normalisations: of another model?"
        )
    names = []
    for i in range(n):
        names += [f"{convolutions[i]}/{kind}" for kind in ("kernel", "bias")]
        names += [f"{normalisations[i]}/{kind}" for kind in ("gamma", "beta", "moving_mean", "moving_variance")]
    if head:
        classes = {"conv8": 1000, "conv8_2": 401}[head]
        fitting = [c for c in convolutions[7:] if tensors[f"{c}/bias"].shape == (classes,)]
        if not fitting:
            raise ValueError(f"it holds no layer of {classes} classes")
        names += [f"{fitting[0]}/{kind}" for kind in ("kernel", "bias")]
    found = take(tensors, names, lambda name: True)
    return [a[:, None] if a.ndim == 3 else a for a in found]


def _numbered(tensors: Mapping, kind: str) -> list[str]:
    """The groups of layers of a kind, by their number."""
    groups = {name.rpartition("/")[0] for name in tensors if re.match(rf"{kind}(_\d+)?/", name)}
    return sorted(groups, key=lambda group: int("0" + re.match(rf"{kind}_?(\d*)", group)[1]))
