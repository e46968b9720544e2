"""Arrays to network, graph and card. Building a network and converting it need the train extra."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..errors import WeightsError
from ..spec import Cutting, Model, plain
from .arrays import read_arrays, write_arrays
from .cards import Card, enter, write
from .files import sha256


def build(model: Model, as_strips: bool = False, policy: str = "float32"):
    """The Keras network of a model, untrained.

    `as_strips`: with time left open, (N, F, T', 1) -> (N, windows, D). `policy`: Keras' dtype policy, such as
    "mixed_bfloat16".
    """
    from .. import networks

    family = networks.family(model.network.family)
    if model.modality == "image":
        return networks.build(family.image_network, policy, model.network)
    make = family.audio_strip_network if as_strips else family.audio_network
    return networks.build(make, policy, model.front_end, model.network)


def outline(model: Model):
    """The network without values in its weights, which takes no time: for `check_arrays` and for counting."""
    from .. import networks

    with networks.keras().StatelessScope(initialize_variables=False):
        return build(model)


def load_network(card: Card, as_strips: bool = False, policy: str = "float32"):
    """The card's Keras network (see `build`), weights loaded in order, every shape checked."""
    network = build(card.model, as_strips, policy)
    set_arrays(network, read_arrays(card.file("weights")), card.path)
    return network


def set_arrays(network, arrays: list, source) -> None:
    """Give a network its arrays, in topological order. Raises WeightsError, as `check_arrays`."""
    check_arrays(network, arrays, source)
    network.set_weights(arrays)


def check_arrays(network, arrays: list, source) -> None:
    """Whether arrays can be a network's.

    Raises WeightsError where count or a shape differs, and for numbers that no training ends with.
    """
    expected = [tuple(w.shape) for w in network.weights]
    found = [tuple(a.shape) for a in arrays]
    if len(found) != len(expected):
        raise WeightsError(
            f"{source}: holds {len(found)} arrays, the network has {len(expected)}: of another network or version?"
        )
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if a != b:
            whose = {(1,): "an audio", (3,): "an image"}.get(a) if i == 0 else None  # channels of the input
            guess = f"of {whose} network?" if whose else "of another network, or out of order?"
            raise WeightsError(f"{source}: array {i} has shape {a}, the network expects {b}: {guess}")
        if not np.isfinite(arrays[i]).all():
            raise WeightsError(f"{source}: array {i} holds NaN or infinity: the file is damaged")
        if network.weights[i].name == "moving_variance" and arrays[i].min() < 0:
            raise WeightsError(
                f"{source}: array {i} is a variance and holds negative numbers: damaged, or out of order?"
            )


def release(model: Model, arrays: list, folder: Path, about: dict, dtype: str = "float16") -> Card:
    """Write a model (see `save`), and the graph converted from the rounded weights."""
    return add_graph(save(model, arrays, folder, about, dtype))


def save(model: Model, arrays: list, folder: Path, about: dict, dtype: str = "float16") -> Card:
    """Write a model without its graph: its weights rounded to `dtype`, and the card.

    `arrays` are the network's, in order; `about` goes into the card as it is (description, licence, training).
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{model.name}.h5"
    write_arrays(file, arrays, dtype)
    table = {"name": model.name, "dim": model.dim, **about, **records(model)}
    table["files"] = {"weights": {"file": file.name, "sha256": sha256(file)}}
    return write(folder / f"{model.name}.toml", table)


def records(model: Model) -> dict:
    """What a card says of a model's records, which are read from it again."""
    tables = {"front_end": {k: v for k, v in plain(model.front_end).items() if v is not None},
              "network": plain(model.network)}  # fmt: skip
    if model.cutting != Cutting():
        tables["cutting"] = {**asdict(model.cutting), "hop_s": model.cutting.hop_s or 0}
    if model.auto != Model.auto:
        tables["auto"] = model.auto
    return tables


def add_graph(card: Card) -> Card:
    """`add_graphs` for one card."""
    return add_graphs([card])[0]


def add_graphs(cards: list[Card]) -> list[Card]:
    """Convert each card's weights to an OpenVINO graph beside it, and enter it in the card.

    float32, batch size and time open: one graph for windows and for long rows of them.

    By way of a TensorFlow SavedModel: DESIGN.md measured it several times faster than Keras' own OpenVINO export. It
    takes a process of its own, since a network that was built on another backend cannot be exported from this one.
    Cards of the same weights (a run whose best epoch is its last) are converted once.
    """
    if not cards:
        return []
    graphs = [card.path.with_name(f"{card.model.name}.xml") for card in cards]
    code = ("from l3embed import weights; (lambda *paths: [weights.convert(weights.card(path), graph) "
            "for path, graph in zip(paths[::2], paths[1::2])])")  # fmt: skip
    first: dict[tuple, tuple[Card, Path]] = {}
    made = [first.setdefault((card.model.name, card.model.weights_sha256), (card, graph))[1]
            for card, graph in zip(cards, graphs, strict=True)]  # fmt: skip
    paths = [str(path) for pair in first.values() for path in (pair[0].path, pair[1])]
    in_tensorflow(code, paths, ", ".join(str(card.path) for card in cards))
    for graph, source in zip(graphs, made, strict=True):
        for suffix in (".xml", ".bin") if graph != source else ():
            shutil.copyfile(source.with_suffix(suffix), graph.with_suffix(suffix))
    return [
        enter(card, {"graph": graph, "graph_data": graph.with_suffix(".bin")})
        for card, graph in zip(cards, graphs, strict=True)
    ]


def in_tensorflow(function: str, arguments: list[str], whose) -> None:
    """Call a function, named by code that ends in it, in a process of its own on Keras' TensorFlow backend.

    Raises WeightsError, naming `whose`, a file or several, where that fails.
    """
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-c", f"import sys; {function}(*sys.argv[1:])", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WeightsError(f"{whose}: its graph cannot be made: {last}")


def convert(card: Card, path: str) -> None:
    """The work of `add_graph`. Needs the train extra and Keras' TensorFlow backend."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        network = load_network(card, as_strips=card.model.step_samples is not None)
        network.export(folder, format="tf_saved_model", verbose=False)
        graph = openvino.convert_model(folder)
    openvino.save_model(graph, path, compress_to_fp16=False)
