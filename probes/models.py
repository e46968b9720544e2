"""What a run calls a model -> what gives its vectors.

A name is one of

- a shipped or published model, or the path of a card: ``l3-small-1``, ``openl3-mel256-music-512``, ``my.toml``
- one with its weight file: ``yamnet=/path/yamnet.tflite`` (several: joined by ``,`` inside a TOML list)
- the network of one with random weights: ``random:l3-small-1:0`` (name, seed)
- a baseline (`probes.baselines`): ``mfcc``, ``log-mel``, ``noise``

In a TOML file it may be a table: ``{name = "half", model = "l3-small-1", hop = 0.5, precision = "f32"}``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from l3embed import embed, weights, zoo
from l3embed.embed import EmbeddingModel
from l3embed.errors import UsageError, hint
from l3embed.spec import Model, openl3_model
from l3embed.weights import own
from l3embed.weights.published import is_published

from .twins import random_twin

SUFFIXES = (".toml", ".onnx", ".keras", ".tflite", ".xml")  # of models that are named by their path


@dataclass(frozen=True)
class Named:
    """A model as the user named it."""

    name: str  # what tables call it
    kind: str = "model"  # or "random", "baseline"
    model: str = ""  # name or card
    weights: tuple[str, ...] = ()
    front_end: str = ""
    hop: float = 0.0  # seconds; 0: the model's own
    precision: str = "auto"
    seed: int = 0  # of random weights


@dataclass(frozen=True)
class System:
    """A model that is ready to embed. `model` is None for a baseline."""

    named: Named
    model: EmbeddingModel | None
    recipe: dict = field(default_factory=dict)  # everything that decides the vectors

    @property
    def name(self) -> str:
        return self.named.name


def parse(items: list[str | dict], **defaults) -> list[Named]:
    """Names or tables -> records with different names; `defaults` are hop and precision.

    Raises UsageError for a table with an unknown key, and for a model that is named twice.
    """
    found = [_parse(item, defaults) for item in items]
    names = [named.name for named in found]
    found = [named if names.count(named.name) == 1 else replace(named, name=_full(item))
             for named, item in zip(found, items, strict=True)]  # fmt: skip
    names = [named.name for named in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"model {twice[0]!r} is named twice: give one of them a name of its own (name = in TOML)")
    return found


def _parse(item: str | dict, defaults: dict) -> Named:
    if isinstance(item, dict):
        return _from_table(item, defaults)
    if not isinstance(item, str) or not item:
        raise UsageError(f"a model is a name, or a table in TOML. Received: {item!r}")
    if item in _baselines():
        return Named(item, "baseline", item)
    kind, _, rest = item.partition(":")
    if kind == "random":
        model, _, seed = rest.rpartition(":")
        if not seed.isdecimal():  # random:NAME, random
            model, seed = rest, "0"
        return Named(item, "random", model, seed=int(seed), **defaults)
    name, _, files = item.partition("=")
    path = Path(name)
    short = path.stem if path.suffix in SUFFIXES or path.name != name else name
    return Named(short, model=name, weights=tuple(part for part in files.split(",") if part), **defaults)


def _from_table(table: dict, defaults: dict) -> Named:
    known = {f.name: f for f in fields(Named) if f.name not in ("kind", "seed")}
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"models: unknown key {key!r}: {hint(key, known)}")
        if key == "hop":
            right = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        else:
            right = isinstance(value, str) or (key == "weights" and isinstance(value, list))
        if not right:
            raise UsageError(f"models: {key} must be {'seconds' if key == 'hop' else 'a text'}. Received: {value!r}")
    if not table.get("model"):
        raise UsageError(f"models: a table needs model = NAME. Received: {table!r}")
    own = _parse(table["model"], defaults)
    given = {key: value for key, value in table.items() if key != "model"}
    if "weights" in given:
        given["weights"] = tuple([given["weights"]] if isinstance(given["weights"], str) else given["weights"])
    return replace(own, **given)


def _full(item: str | dict) -> str:
    return item.get("name", item["model"]) if isinstance(item, dict) else item


def _baselines() -> tuple[str, ...]:
    from . import baselines

    return tuple(baselines.BASELINES)


def placed(item: str | dict, folder: Path) -> str | dict:
    """What a file in `folder` names, its paths relative to it, as seen from here. Names of models stay as they are."""
    if isinstance(item, dict):
        files = item.get("weights", [])
        files = [files] if isinstance(files, str) else files
        changed = {"weights": [_path(file, folder) for file in files]} if "weights" in item else {}
        return {**item, "model": placed(item.get("model", ""), folder), **changed}
    if item.startswith("random:"):
        name, _, seed = item.removeprefix("random:").rpartition(":")
        return f"random:{_path(name, folder)}:{seed}" if name else item
    name, sign, files = item.partition("=")
    return f"{_path(name, folder)}{sign}{','.join(_path(file, folder) for file in files.split(','))}"


def _path(text: str, folder: Path) -> str:
    return str(folder / text) if text and not os.path.isabs(text) and (folder / text).exists() else text


def load(named: Named, folder: Path, device: str = "cpu") -> System:
    """The model, its files verified; `folder` keeps random twins. Raises what `l3embed.load` raises, name in front."""
    if named.kind == "baseline":
        from . import baselines

        return System(named, None, {"baseline": named.model, "version": baselines.VERSION})
    files = list(named.weights) if len(named.weights) > 1 else (named.weights[0] if named.weights else None)
    name, front_end = named.model or None, named.front_end or None
    if named.kind == "random":
        model = random_twin(_spec(named), named.seed, folder / "twins", named.precision, device)
    else:
        if not own.is_own(name):
            _spec(named)  # before anything is fetched
        model = embed.load_of_sound(
            name, weights_file=files, front_end=front_end, precision=named.precision, device=device
        )
    return System(named, model, model.recipe(model.framing(named.hop or None)))


def _spec(named: Named) -> Model:
    """Of a model, its weights neither needed nor fetched. Raises UsageError for a model of pictures."""
    entry = zoo.find(named.model or None)
    if entry:
        spec = entry.model
    elif is_published(named.model):
        spec = openl3_model(named.model, named.front_end or None)
    else:
        spec = weights.card(named.model or None).model
    if spec.modality != "audio":
        raise UsageError(f"{named.name}: {spec.name} embeds pictures, and here is sound: name a model of sound")
    return spec


def about(system: System) -> dict:
    """What run.json says of a model."""
    named, model = system.named, system.model
    table = {"kind": named.kind, "recipe": system.recipe}
    if model is None:
        from . import baselines

        which = baselines.BASELINES[named.model]
        return {**table, "fingerprint": f"{named.model}-{baselines.VERSION}", "summary": which.summary,
                "source": which.source}  # fmt: skip
    card = model.card.table
    return {
        **table, "model": model.name, "fingerprint": model.spec.fingerprint(), "dim": model.dim,
        "parameters": _parameters(model), "weights_bytes": _weights_bytes(model), "licence": card.get("licence", ""),
        "trained_on": "" if named.kind == "random" else card.get("data", ""), "precision": model.precision,
        "summary": card.get("description", ""),
        "hop_s": system.recipe["hop_s"], "weights_sha256": model.spec.weights_sha256,
    }  # fmt: skip


def _weights_bytes(model: EmbeddingModel) -> int | None:
    """Of the file that the model's weights come in."""
    files = model.card.table.get("files", {})
    path = model.card.path.parent / files.get("weights", files.get("graph_data", {})).get("file", "")
    return path.stat().st_size if path.is_file() else None


def _parameters(model: EmbeddingModel) -> int | None:
    """Numbers in the weight file; None where it cannot be read without the train extra."""
    from l3embed.weights.arrays import read_arrays

    files = model.card.table.get("files", {})
    if "weights" not in files:
        return None
    try:
        return int(sum(a.size for a in read_arrays(model.card.path.parent / files["weights"]["file"])))
    except Exception:  # a figure for the table, nothing depends on it
        return None
