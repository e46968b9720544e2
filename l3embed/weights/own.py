"""Models of one's own: any ``.keras``, ``.onnx``, ``.tflite`` or OpenVINO ``.xml``, with a small card beside it.

The card has the file's name with ``.toml``: what a window is and how it becomes the network's input (docs/models.md).

    rate_hz = 16000
    window_s = 0.975
    front_end = "waveform"     # or the name of a model whose front end it is, or a table of its own
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from dataclasses import fields, replace
from pathlib import Path

from .. import zoo
from ..errors import UsageError, WeightsError, reason
from ..spec import (
    Cutting,
    FrontEnd,
    Model,
    Network,
    Waveform,
    digest,
    front_end_of,
    openl3_model,
    plain,
    published_names,
)
from .cache import alone, cache_folder
from .cards import Card, available, card
from .cards import read as read_card
from .cards import write as write_card
from .files import sha256
from .release import in_tensorflow, records

SUFFIXES = (".keras", ".onnx", ".tflite", ".xml")
VERSION = 1  # of the conversion: what lies in the cache of another one is made anew
_KEYS = {"name", "description", "licence", "rate_hz", "window_s", "front_end", "scale", "hop_s", "center", "output"}


def is_own(name) -> bool:
    """Whether this is meant as the path of a model of one's own."""
    return isinstance(name, str | os.PathLike) and Path(name).suffix.lower() in SUFFIXES


def find(name) -> Card:
    """The card of such a model: its graph is made once, then cached.

    Raises WeightsError for files that are missing, damaged, or do not take what the card says, UsageError for a card
    that says something else than it should.
    """
    path = Path(name)
    told = _read(path.with_suffix(".toml"), path)
    try:
        identity = sha256(path)
        if path.suffix == ".xml":
            identity = digest({"graph": identity, "data": sha256(path.with_suffix(".bin"))})
    except OSError as error:
        raise WeightsError(f"{error.filename}: cannot be read ({reason(error)})") from error
    model = _model(path, told, identity)
    key = digest({**plain(model.front_end), "output": told.get("output"), "version": VERSION})
    folder = cache_folder() / f"{model.name}-{identity[:16]}-{key}"
    if not (folder / f"{model.name}.toml").exists():
        with alone(folder.parent):
            if not folder.exists():
                _make(path, model, told, folder)
    found = read_card(folder / f"{model.name}.toml")
    return replace(found, model=replace(found.model, cutting=model.cutting, auto=model.auto))


def _read(path: Path, of: Path) -> dict:
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(
            f"{of}: needs a card beside it, {path.name}, with rate_hz, window_s and front_end ({reason(error)})"
        ) from error
    except ValueError as error:
        raise WeightsError(f"{path}: is not TOML ({error})") from error
    if unknown := sorted(set(told) - _KEYS):
        raise UsageError(f"{path}: {unknown[0]} is not known: a card has {', '.join(sorted(_KEYS))}")
    return told


def _model(path: Path, told: dict, identity: str) -> Model:
    """What the card says, but for `dim`, which the graph knows."""
    where = path.with_suffix(".toml")
    front_end = _front_end(where, told)
    hop_s, center = told.get("hop_s", front_end.window_s), told.get("center", False)
    if not _is_number(hop_s) or hop_s <= 0 or not isinstance(center, bool):
        raise UsageError(f"{where}: hop_s must be a number of seconds > 0, center true or false")
    network = Network("own", 0, (), output=str(told.get("output", "")))
    cutting = Cutting(float(hop_s), center)
    return Model(str(told.get("name", path.stem)), front_end, network, 0, identity, cutting, auto="f32")


def _front_end(where: Path, told: dict) -> FrontEnd | Waveform:
    said = told.get("front_end")
    if said == "waveform":
        if not (_is_number(told.get("rate_hz")) and _is_number(told.get("window_s"))):
            raise UsageError(f"{where}: front end waveform needs rate_hz and window_s, numbers")
        rate_hz = int(told["rate_hz"])
        n_samples = round(told["window_s"] * rate_hz)
        if rate_hz < 1 or n_samples < 1:
            raise UsageError(f"{where}: rate_hz and window_s must be > 0")
        return Waveform("waveform", 1, rate_hz, n_samples, float(told.get("scale", 1.0)))
    if isinstance(said, dict):
        return _of_table(where, {"name": "own", "version": 1, **said}, told)
    if isinstance(said, str):
        return _of_table(where, _known(where, said), told)
    raise UsageError(f'{where}: front_end must be "waveform", the name of a model, or a table. Received: {said!r}')


def _of_table(where: Path, table: dict, told: dict) -> FrontEnd:
    """A front end by its fields; the card's own rate must be its rate, the card's window becomes its window."""
    unknown = sorted(set(table) - {f.name for f in fields(FrontEnd)})
    if "rate_hz" in told:
        table.setdefault("rate_hz", told["rate_hz"])
    try:
        if "window_s" in told:
            table["window_samples"] = round(told["window_s"] * table["rate_hz"])
        if unknown:
            raise ValueError(f"{unknown[0]} is not known")
        found = front_end_of(table)
        if found.rate_hz != told.get("rate_hz", found.rate_hz) or min(found.shape) < 1:
            raise ValueError("its rate or window is not that of the card")
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise UsageError(f"{where}: front_end is not whole or not right ({reason(error)})") from error
    return found


def _known(where: Path, name: str) -> dict:
    """The front end of a model, as a table."""
    if entry := zoo.find(name):
        front_end = entry.model.front_end
    elif name in published_names():
        front_end = openl3_model(name).front_end
    elif name in available():
        front_end = card(name).model.front_end
    else:
        raise UsageError(f"{where}: front_end {name!r} is neither waveform nor the name of a model")
    if not isinstance(front_end, FrontEnd):
        raise UsageError(f"{where}: the front end of {name} makes no spectrograms")
    return plain(front_end)


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- the graph


def _make(path: Path, model: Model, told: dict, folder: Path) -> None:
    import openvino

    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        made.mkdir()
        try:
            if path.suffix == ".keras":
                export = str(Path(temporary) / "export")
                in_tensorflow("from l3embed.weights import own; own.export", [str(path), export], path)
                graph = openvino.convert_model(export)
            else:
                graph = openvino.Core().read_model(path)
            graph, dim, at_once = _adapted(graph, model, path)
        except (RuntimeError, OSError) as error:
            last = (str(error).strip().splitlines() or ["no message"])[-1]
            raise WeightsError(f"{path}: OpenVINO cannot read this model: {last}") from error
        xml = made / f"{model.name}.xml"
        openvino.save_model(graph, xml, compress_to_fp16=False)
        about = {key: told[key] for key in ("description", "licence") if key in told}
        parts = {"graph": xml, "graph_data": xml.with_suffix(".bin")}
        table = {"name": model.name, "dim": dim, **about, **records(model), "sha256": model.weights_sha256,
                 "largest_batch": at_once, "origin": {"file": path.name},
                 "files": {k: {"file": p.name, "sha256": sha256(p)} for k, p in parts.items()}}  # fmt: skip
        write_card(made / f"{model.name}.toml", table)
        os.replace(made, folder)


def export(path: str, folder: str) -> None:
    """A ``.keras`` file to a TensorFlow SavedModel; code in it (Lambda layers) is not run. Needs the train extra."""
    from .. import networks

    network = networks.keras().saving.load_model(path, compile=False, safe_mode=True)
    network.export(folder, format="tf_saved_model", verbose=False)


def _adapted(graph, model: Model, path: Path):
    """(graph from rows of the front end to (N, dim), dim, rows at once: 0 for any number)."""
    import openvino
    from openvino import opset13 as ops

    graph = _with_output(graph, model.network.output, path)
    if len(graph.inputs) != 1:
        raise WeightsError(f"{path}: has {len(graph.inputs)} inputs, expected one")
    wanted, own = model.front_end.shape, graph.input(0)
    shape = [d.get_length() if d.is_static else -1 for d in own.partial_shape]
    batched, rest = _split(shape, wanted, path)
    row = ops.parameter([-1 if batched else 1, *wanted], openvino.Type.f32, name="row")
    target = [-1 if batched else 1, *rest] if len(rest) < len(shape) else rest
    reshaped = ops.convert(ops.reshape(row, target, special_zero=False), own.element_type)
    own.get_node().output(0).replace(reshaped.output(0))
    result = graph.output(0).get_node().input_value(0)
    dim = _dim(result.partial_shape, path)
    vectors = ops.convert(ops.reshape(result, [-1, dim], special_zero=False), openvino.Type.f32)
    return openvino.Model([ops.result(vectors)], [row], model.name), dim, 0 if batched else 1


def _split(shape: list[int], wanted: tuple[int, ...], path: Path) -> tuple[bool, list[int]]:
    """(whether the input's first axis counts windows, the other axes): axes of length 1 may lie anywhere."""

    def full(axes):
        return [n for n in axes if n != 1]

    ours = full(wanted)
    for batched, rest in ((shape[:1] == [-1], shape[1:]), (False, shape)):
        theirs = full(rest)
        if len(theirs) == len(ours) and all(a in (-1, b) for a, b in zip(theirs, ours, strict=True)):
            filled = iter(ours)
            return batched, [n if n == 1 else next(filled) for n in rest]
    raise WeightsError(
        f"{path}: takes input of shape {tuple(shape)}, the card's front end gives {wanted} for each window (axes of "
        "length 1 aside): correct window_s, front_end or its layout"
    )


def _with_output(graph, name: str, path: Path):
    """The graph with one output: its first one, or the tensor, node or kind of node (the last one) of that name."""
    import openvino
    from openvino import opset13 as ops

    found = graph.output(0).get_node().input_value(0) if not name else None
    for node in graph.get_ordered_ops() if name else ():
        if name in (node.get_friendly_name(), node.get_type_name()):
            found = node.output(0)
        found = next((output for output in node.outputs() if name in output.get_names()), found)
    if found is None:
        names = sorted(n for output in graph.outputs for n in output.get_names())
        raise WeightsError(f"{path}: has no tensor or node {name!r}: its outputs are {', '.join(names)}")
    return openvino.Model([ops.result(found)], graph.get_parameters(), "own")


def _dim(shape, path: Path) -> int:
    """Numbers of a window in an output (N, ...)."""
    rest = list(shape)[1:]
    if not rest or any(d.is_dynamic for d in rest):
        raise WeightsError(f"{path}: its output has shape {shape}: expected (windows, numbers), of a known size")
    dim = 1
    for d in rest:
        dim *= d.get_length()
    return dim
