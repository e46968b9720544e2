"""Model cards and their files: name or path -> card -> files whose hash is right -> network or graph.

A card is a TOML file that says everything about a model: its records (spec.py), its files with their SHA-256, licence,
training and measured results. Beside it lie the weights (HDF5, arrays in the network's own order; float16, which holds
the released numbers exactly) and the graph that OpenVINO runs, converted from those weights once.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path

from .errors import MissingExtraError, UsageError, WeightsError, reason
from .spec import Model, Network, digest, front_end_of, openl3_model

DEFAULT = "l3-small-1"
GRAPH = 2  # version of the conversion: of what lies in the cache, the rest is made anew


@dataclass(frozen=True)
class Card:
    path: Path
    model: Model
    table: dict  # the whole TOML file

    def file(self, kind: str) -> Path:
        """The verified path of one of the card's files: "weights", "graph" or "graph_data"."""
        if kind not in self.table["files"]:
            raise WeightsError(f"{self.path}: has no {kind}: make it with 'l3embed models convert'")
        entry = self.table["files"][kind]
        path = self.path.parent / entry["file"]
        check(path, entry["sha256"])
        return path


def available() -> list[str]:
    """Names of the models that ship."""
    return sorted(p.stem for p in shipped_folder().glob("*.toml"))


def shipped_folder() -> Path:
    return Path(str(resources.files("l3embed_weights")))


def find(name=None, file=None, front_end=None) -> Card:
    """The card of a model: shipped, published (openl3-...), or at a path; with weights from `file` where given.

    Raises UsageError for unknown names, WeightsError for files that are missing, damaged, or of another network.
    """
    if name is not None and str(name).startswith("openl3-") and not os.path.exists(name):
        model = openl3_model(str(name), front_end)
        if file is None:
            raise WeightsError(
                f"{name}: name its weight file too (--weights, or weights=): it does not ship with l3embed"
            )
        return with_file(model, file)
    found = card(name)
    if front_end not in (None, found.model.front_end.name):
        raise UsageError(f"{found.model.name} has one front end, {found.model.front_end.name}. Received: {front_end!r}")
    return found if file is None else with_file(found.model, file)


def card(name: str | os.PathLike | None = None) -> Card:
    """A shipped model by name, or any model by the path of its card or of the folder that holds it.

    Raises UsageError for an unknown name and WeightsError for a card that cannot be read.
    """
    if not isinstance(name, str | os.PathLike | None):
        raise UsageError(f"a model is a name or the path of a card. Received: {name!r}")
    name = DEFAULT if name is None else os.fspath(name)
    path = Path(name)
    if path.is_dir():
        cards = sorted(path.glob("*.toml"))
        if len(cards) != 1:
            raise WeightsError(f"{path}: holds {len(cards)} model cards (*.toml), expected one: name the card itself")
        path = cards[0]
    elif path.suffix != ".toml":
        if name not in available():
            raise UsageError(f"unknown model {name!r}: expected one of {', '.join(available())}, or the path of a card")
        path = shipped_folder() / f"{name}.toml"
    return _read(path)


def _read(path: Path) -> Card:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        network = {**table["network"], "pool": tuple(table["network"]["pool"])}
        model = Model(
            table["name"],
            front_end_of(table["front_end"]),
            Network(**{f.name: network[f.name] for f in fields(Network)}),
            table["dim"],
            table["files"]["weights"]["sha256"],
        )
    except OSError as error:
        raise WeightsError(f"{path}: the model card cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: is not a model card of l3embed ({error})") from error
    return Card(path, model, table)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, expected: str) -> None:
    """Raises WeightsError unless the file is there and has this SHA-256."""
    try:
        found = sha256(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}): install the model again") from error
    if found != expected:
        raise WeightsError(
            f"{path}: is damaged or of another version (SHA-256 {found[:12]}..., the card says {expected[:12]}...): "
            "install the model again"
        )


# --- the Keras side; needs the train extra


def load_network(card: Card, as_strips: bool = False, policy: str = "float32"):
    """The card's Keras network, weights loaded in order, every shape checked.

    `as_strips`: with time left open, (N, F, T', 1) -> (N, windows, D), for families whose windows share computation.
    `policy`: Keras' dtype policy, such as "mixed_bfloat16".
    """
    network = _build(card.model, as_strips, policy)
    set_arrays(network, read_arrays(card.file("weights")), card.path)
    return network


def _build(model: Model, as_strips: bool = False, policy: str = "float32"):
    from . import networks

    family = networks.family(model.network.family)
    if model.modality == "image":
        return networks.build(family.image_network, policy, model.network)
    build = family.audio_strip_network if as_strips else family.audio_network
    return networks.build(build, policy, model.front_end, model.network)


def set_arrays(network, arrays: list, source) -> None:
    """Give a network its arrays, in topological order. Raises WeightsError where count or a shape differs."""
    expected = [tuple(w.shape) for w in network.weights]
    found = [tuple(a.shape) for a in arrays]
    if len(found) != len(expected):
        raise WeightsError(f"{source}: holds {len(found)} arrays, the network has {len(expected)}: of another network?")
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if a != b:
            raise WeightsError(f"{source}: array {i} has shape {a}, the network expects {b}: of another network?")
    network.set_weights(arrays)


def read_arrays(path: Path) -> list:
    """Arrays of a weight file in the network's order, float32: l3embed's own layout, or Keras' legacy HDF5 (`.gz` too).

    A legacy file (OpenL3's) lists its layers in `layer_names` and each one's arrays in `weight_names`; names are not
    stable between files, the order is. Front-end kernels inside the file (OpenL3 0.2) are left out.
    """
    h5py = _h5py()
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        with h5py.File(io.BytesIO(data), "r") as file:
            if "layer_names" not in file.attrs:
                return [file[key][()].astype("float32") for key in sorted(file)]
            layers = [file[_text(name)] for name in file.attrs["layer_names"] if b"spectrogram" not in _bytes(name)]
            return [layer[_text(n)][()].astype("float32") for layer in layers for n in layer.attrs["weight_names"]]
    except (OSError, EOFError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: is not a weight file that l3embed can read ({reason(error)})") from error


def write_arrays(path: Path, arrays: list, dtype: str = "float16") -> None:
    """Arrays numbered in order; deflated, which saves a little and never changes a number."""
    with _h5py().File(path, "w", libver="latest") as file:
        for i, array in enumerate(arrays):
            deflate = {"compression": "gzip", "shuffle": True} if array.size > 1000 else {}
            file.create_dataset(f"{i:03d}", data=array.astype(dtype), **deflate)


def release(model: Model, arrays: list, folder: Path, about: dict, dtype: str = "float16") -> Card:
    """Write a model: its weights rounded to `dtype`, the graph converted from the rounded ones, and the card.

    `arrays` are the network's, in order; `about` goes into the card as it is (description, licence, training).
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{model.name}.h5"
    write_arrays(file, arrays, dtype)
    front_end = {k: v for k, v in asdict(model.front_end).items() if v is not None}
    table = {"name": model.name, "dim": model.dim, **about, "front_end": front_end, "network": asdict(model.network)}
    table["files"] = {"weights": {"file": file.name, "sha256": sha256(file)}}
    return add_graph(_write(folder / f"{model.name}.toml", table))


def add_graph(card: Card) -> Card:
    """Convert the card's weights to an OpenVINO graph beside it, and enter it in the card.

    float32, batch size open; time, too, where windows share computation: one graph for windows and for strips of them.

    By way of a TensorFlow SavedModel: DESIGN.md measured it several times faster than Keras' own OpenVINO export. It
    takes a process of its own, since a network that was built on another backend cannot be exported from this one.
    """
    folder, name = card.path.parent, card.model.name
    code = "import sys; from l3embed import weights; weights.convert(weights.card(sys.argv[1]), sys.argv[2])"
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-c", code, str(card.path), str(folder / f"{name}.xml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WeightsError(f"{card.path}: its graph cannot be made: {last}")
    for kind, suffix in (("graph", "xml"), ("graph_data", "bin")):
        file = folder / f"{name}.{suffix}"
        card.table["files"][kind] = {"file": file.name, "sha256": sha256(file)}
    return _write(card.path, card.table)


def convert(card: Card, path: str) -> None:
    """The work of `add_graph`. Needs the train extra and Keras' TensorFlow backend."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        network = load_network(card, as_strips=card.model.step_samples is not None)
        network.export(folder, format="tf_saved_model", verbose=False)
        graph = openvino.convert_model(folder)
    openvino.save_model(graph, path, compress_to_fp16=False)


def with_file(model: Model, file: str | os.PathLike) -> Card:
    """The card of a model with weights from a file: converted once, then taken from the cache folder.

    The cache folder is L3EMBED_CACHE, or `l3embed` in the user's cache folder.
    """
    path = Path(file)
    try:
        identity = sha256(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({reason(error)}): give the path of a weight file") from error
    kind = digest({**asdict(model.network), "graph": GRAPH})
    name = f"{model.name}-{identity[:16]}-{kind}"
    folder = cache_folder() / name
    if not (folder / f"{model.name}.toml").exists():
        arrays = read_arrays(path)
        set_arrays(_build(model), arrays, path)
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
            release(model, arrays, Path(temporary) / name, {}, "float32")
            with contextlib.suppress(OSError):  # another process was faster: the same files
                os.rename(Path(temporary) / name, folder)
    found = _read(folder / f"{model.name}.toml")
    return replace(found, model=replace(found.model, front_end=model.front_end, weights_sha256=identity))


def cache_folder() -> Path:
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("L3EMBED_CACHE") or Path(user) / "l3embed")


def _write(path: Path, table: dict) -> Card:
    path.write_text(toml(table), encoding="utf-8")
    return _read(path)


def _text(name) -> str:
    return _bytes(name).decode()


def _bytes(name) -> bytes:
    return name.encode() if isinstance(name, str) else bytes(name)


def toml(table: dict, prefix: str = "") -> str:
    """TOML text of plain values (strings, numbers, booleans, lists, nested tables)."""
    plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
    text = "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in plain.items())
    for key, value in table.items():
        if isinstance(value, dict):
            text += f"\n[{prefix}{key}]\n" + toml(value, f"{prefix}{key}.")
    return text


def _h5py():
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("reading network weights", "train") from error
    return h5py
