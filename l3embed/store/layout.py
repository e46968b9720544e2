"""Where things lie in a store, and what it is keyed by.

<store>/store.toml                    what this folder is, its schema, the fields of a key
<store>/<key>/config.json             the recipe that the key is the hash of, and the versions of the libraries
<store>/<key>/shards/*.npy            vectors (rows, D), never changed once they are there
<store>/<key>/manifest/*.parquet      which rows of which shard are which recording's (`manifest`)
<store>/<key>/at-work/*               one file for each process that writes (`leases`)
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import numpy as np

from .. import windows
from ..errors import StoreError, UsageError
from ..spec import digest
from .files import naming, write_whole

SCHEMA = 1  # raised when an older l3embed would misread what a newer one writes
DTYPES = ("float32", "float16")
LIBRARIES = ("l3embed", "numpy", "openvino", "soundfile", "soxr", "pyarrow")


def key_of(recipe: dict) -> str:
    """16 hexadecimal digits: the hash of everything that decides the vectors, the dtype they are kept in included."""
    return digest(recipe)


def create(store: Path, recipe: dict) -> Path:
    """The folder of a key, made with what belongs into it where it is not there yet."""
    folder = store / key_of(recipe)
    with naming(store):
        for name in ("shards", "manifest", "at-work"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    if (store / "store.toml").exists():
        check(store)
    else:
        write_whole(store / "store.toml", _store_toml(recipe).encode())
    if not (folder / "config.json").exists():
        config = {"recipe": recipe, "versions": {name: _version(name) for name in LIBRARIES}}
        write_whole(folder / "config.json", json.dumps(config, indent=2, sort_keys=True).encode())
    elif config_of(folder)["recipe"] != recipe:
        raise StoreError(f"{folder / 'config.json'}: is not the recipe that this folder's name was made from")
    return folder


def _store_toml(recipe: dict) -> str:
    fields = "".join(f'    "{name}",\n' for name in sorted(recipe))
    return (
        "# A store of l3embed: embeddings in shards, one folder a recipe (docs/store.md).\n"
        f"schema = {SCHEMA}\n"
        "# A folder's name is the hash of these (or more: its config.json holds its own, in clear).\n"
        f"key_fields = [\n{fields}]\n"
    )


def _version(package: str) -> str | None:
    if package == "l3embed":
        from .. import __version__

        return __version__
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check(store: Path) -> None:
    """Raises StoreError unless the folder is a store that this version can read."""
    path = Path(store) / "store.toml"
    try:
        schema = tomllib.loads(path.read_text(encoding="utf-8"))["schema"]
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{store}: is not a store of l3embed: it holds no store.toml") from None
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
    if not isinstance(schema, int) or schema > SCHEMA:
        raise StoreError(f"{path}: has schema {schema}, this l3embed knows up to {SCHEMA}: use a newer one")


def keys(store: Path) -> list[str]:
    """Names of the keys in a store, sorted. Raises StoreError unless it is one."""
    check(store)
    return sorted(path.parent.name for path in Path(store).glob("*/config.json"))


def folder_of(store: Path, key: str | None = None) -> Path:
    """The folder of a key, of which a beginning is enough, and which a store of only one key needs no telling."""
    found = [name for name in keys(store) if name.startswith(key or "")]
    if len(found) == 1:
        return Path(store) / found[0]
    known = "; ".join(f"{name} ({describe(config_of(Path(store) / name)['recipe'])})" for name in keys(store))
    if not known:
        raise StoreError(f"{store}: holds no embeddings yet")
    if key is None:
        raise UsageError(f"{store}: holds several keys, say which (key=, --key): {known}")
    raise UsageError(f"{store}: key must be the beginning of one of {known}. Received: {key!r}")


def config_of(folder: Path) -> dict:
    """What config.json holds: recipe and versions."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config["recipe"], dict):
            raise ValueError("recipe is no table")
        return config
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def describe(recipe: dict) -> str:
    """A recipe in the user's words."""
    names = ("model", "front_end", "hop_s", "center", "precision", "dtype")
    return ", ".join(f"{name} {recipe[name]}" for name in names if name in recipe)


# --- times


def hop_s(recipe: dict) -> float | None:
    """Seconds between rows, where the recipe fixes them."""
    return recipe["hop_samples"] / recipe["rate_hz"] if {"hop_samples", "rate_hz"} <= recipe.keys() else None


def times(first_s: float, n: int, recipe: dict) -> np.ndarray:
    """(n,) float64 seconds, equal to the last bit to those of the extraction."""
    return first_s + windows.times(n, recipe["hop_samples"], recipe["rate_hz"])


# --- names of recordings: any bytes are allowed in a file's name, text has to be valid


def clip_id(name: str) -> str:
    r"""A recording's relative path as an id: `/` between folders, bytes that are not UTF-8 as `\xff`, `\` as `\\`."""
    name = name.replace(os.sep, "/").replace("\\", "\\\\")
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in name)


def name_of(clip: str) -> str:
    """The relative path that an id stands for, `/` between folders."""
    pieces = (piece for piece in clip.split("\\\\"))
    return "\\".join(_unescaped(piece) for piece in pieces)


def _unescaped(piece: str) -> str:
    first, *rest = piece.split("\\x")
    return first + "".join(chr(0xDC00 + int(r[:2], 16)) + r[2:] for r in rest)
