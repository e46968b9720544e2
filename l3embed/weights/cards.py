"""Model cards: what a model is, and where its files lie.

A card is a TOML file that says everything about a model: its records (spec.py), its files with their SHA-256, licence,
training and measured results. Beside it lie the weights (HDF5, arrays in the network's own order; float16, which holds
the released numbers exactly) and the graph that OpenVINO runs, converted from those weights once.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from ..errors import L3EmbedError, UsageError, WeightsError
from ..spec import Model, Network, cutting_of, front_end_of
from .files import check, sha256

DEFAULT = "l3-small-taught-1"


@dataclass(frozen=True)
class Card:
    path: Path
    model: Model
    table: dict  # the whole TOML file

    def file(self, kind: str) -> Path:
        """The verified path of one of the card's files: "weights", "graph" or "graph_data"."""
        if kind not in self.table["files"]:
            how = f"quantize {self.model.name} --sounds FOLDER" if kind.startswith("int8") else f"convert {self.path}"
            raise WeightsError(f"{self.path}: has no {kind}: make it with 'l3embed models {how}'")
        entry = self.table["files"][kind]
        path = self.path.parent / entry["file"]
        cached = {"remedy": f"delete {path.parent}, and it is made again"} if "origin" in self.table else {}
        check(path, entry["sha256"], **cached)
        return path


def available() -> list[str]:
    """Names of the models that ship."""
    return sorted(p.stem for p in shipped_folder().glob("*.toml"))


def shipped_folder() -> Path:
    return Path(str(resources.files("l3embed_weights")))


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
            raise UsageError(
                f"unknown model {name!r}: expected one of {', '.join(available())}, a name that "
                "'l3embed models list' prints, or the path of a card"
            )
        path = shipped_folder() / f"{name}.toml"
    return read(path)


def read(path: Path) -> Card:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        model = Model(
            table["name"],
            front_end_of(table["front_end"]),
            Network(**{**table["network"], "pool": tuple(table["network"]["pool"])}),
            table["dim"],
            table.get("sha256") or table["files"]["weights"]["sha256"],
            cutting_of(table.get("cutting", {})),
            table.get("auto", Model.auto),
        )
    except OSError as error:
        raise WeightsError(f"{path}: the model card cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: is not a model card of l3embed ({error})") from error
    return Card(path, model, table)


def write(path: Path, table: dict) -> Card:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(toml(table), encoding="utf-8")
    os.replace(part, path)  # others may be reading it
    return read(path)


def enter(card: Card, files: dict[str, Path], **tables: dict) -> Card:
    """The card with files (kind -> path beside the card) and tables added, on disk, too."""
    entries = {kind: {"file": path.name, "sha256": sha256(path)} for kind, path in files.items()}
    table = {**card.table, **tables, "files": {**card.table["files"], **entries}}
    write(card.path, table)
    return replace(card, table=table)


def read_toml(path: Path, kind: type[L3EmbedError]) -> dict:
    """The table in a TOML file that a user wrote. Raises `kind` where there is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise kind(f"{path}: cannot be read ({error.strerror}): give the path of a TOML file") from error
    except ValueError as error:
        raise kind(f"{path}: is not valid TOML: {error}") from error


def toml(table: dict, prefix: str = "") -> str:
    """TOML text of plain values (strings, numbers, booleans, lists, nested tables)."""
    named = {k if re.fullmatch(r"[\w-]+", k, re.ASCII) else json.dumps(k): v for k, v in table.items()}
    plain = {k: v for k, v in named.items() if not isinstance(v, dict)}
    text = "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in plain.items())
    for key, value in named.items():
        if isinstance(value, dict):
            text += f"\n[{prefix}{key}]\n" + toml(value, f"{prefix}{key}.")
    return text
