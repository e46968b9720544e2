"""The settings of a run: from a TOML file, the command line, or Python.

Those of `NUMBERS` decide what comes out, and are compared when a run goes on; the others only how it is computed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

from l3embed import weights
from l3embed.errors import UsageError, hint
from l3embed.pooling import check

from . import models
from .features import memory_bytes

FAILED = ("wrong", "exclude")


@dataclass(frozen=True)
class Settings:
    """Keys of a TOML file. Paths in one are relative to the file; texts may stand for lists of one."""

    data: tuple[str, ...] = ()  # PATH or NAME=PATH
    models: tuple[str | dict, ...] = ()  # see models.py
    probes: tuple[str, ...] = ("linear",)
    protocols: tuple[str, ...] = ("nested",)
    pooling: tuple[str, ...] = ("mean+max",)  # for probes of one vector a clip
    shots: tuple[int, ...] = ()  # clips a class to learn from
    full: bool = True  # learn from all clips, too (fewshot: no)
    draws: int = 10  # of clips, for each number of shots
    seed: int = 0
    failed: str = "wrong"  # what becomes of a clip on which a model fails: wrong for that model, or excluded for all
    hop: float = 0.0  # seconds between windows; 0: each model's own
    precision: str = "auto"
    device: str = "cpu"  # of the models; "gpu": an NVIDIA device, through Keras
    output: str = "probe-run"
    store: str = ""  # of the embeddings; "": OUTPUT/embeddings
    jobs: int = 0  # 0: one a processor
    memory: str = "2GB"
    scheduler: str = ""  # address of a Dask scheduler
    extend: bool = False  # add data, models, probes, protocols, poolings or shots to a run that is there

    @property
    def folder(self) -> Path:
        return Path(self.output)

    @property
    def store_folder(self) -> Path:
        return Path(self.store) if self.store else self.folder / "embeddings"

    @property
    def n_jobs(self) -> int:
        return self.jobs or os.cpu_count() or 1

    @property
    def memory_bytes(self) -> int:
        return memory_bytes(self.memory)


NUMBERS = ("models", "probes", "protocols", "pooling", "shots", "full", "draws", "seed", "failed", "hop", "precision")
PATHS = ("output", "store")
ALIASES = {"protocol": "protocols", "probe": "probes", "model": "models"}  # what people write


def read(path: str | Path) -> Settings:
    """A TOML file. Raises UsageError with the key that is wrong."""
    path = Path(path)
    table = weights.read_toml(path, UsageError)
    found = parse(table, str(path))
    beside = path.parent
    data = tuple(_beside(item, beside) for item in found.data)
    given = {key: str(beside / getattr(found, key)) for key in PATHS if getattr(found, key) and key in table}
    return replace(found, data=data, models=tuple(models.placed(item, beside) for item in found.models), **given)


def _beside(spec: str, folder: Path) -> str:
    """PATH or NAME=PATH, the path as seen from `folder`."""
    name = re.match(r"[\w.+-]+=(?=.)", spec)
    if name and not (folder / spec).exists():
        return f"{name[0]}{folder / spec[name.end() :]}"
    return str(folder / spec)


def parse(table: dict, where: str, whole: bool = True) -> Settings:
    """Plain values -> settings, each checked, and if `whole`, together. `where` begins messages."""
    known = {f.name: f for f in fields(Settings)}
    values, default = {}, Settings()
    for key, value in table.items():
        name = ALIASES.get(key, key)
        if name not in known:
            raise UsageError(f"{where}: unknown key {key!r}: {hint(key, known, ALIASES)}")
        values[name] = _value(getattr(default, name), value, name, f"{where}: {key}")
    return checked(Settings(**values), where) if whole else Settings(**values)


def _value(default, value, name: str, where: str):
    if isinstance(default, tuple):
        kinds = (int,) if name == "shots" else (str, dict) if name == "models" else (str,)
        items = [value] if isinstance(value, str | int | dict) and not isinstance(value, bool) else value
        if not isinstance(items, list | tuple) or not all(
            isinstance(i, kinds) and not isinstance(i, bool) for i in items
        ):
            raise UsageError(
                f"{where} must be a list of {'numbers' if name == 'shots' else 'names'}. Received: {value!r}"
            )
        return tuple(items)
    if name == "memory":
        return str(value)
    kind = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, kind) or (isinstance(value, bool) and not isinstance(default, bool)):
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        raise UsageError(f"{where} must be {words[type(default)]}. Received: {value!r}")
    return value


def checked(settings: Settings, where: str) -> Settings:
    """The settings themselves. Raises UsageError for values out of range."""
    for key, least in (("draws", 1), ("seed", 0), ("hop", 0), ("jobs", 0)):
        if getattr(settings, key) < least:
            raise UsageError(f"{where}: {key} must be at least {least}. Received: {getattr(settings, key)}")
    if wrong := [n for n in settings.shots if n < 1]:
        raise UsageError(f"{where}: shots must be at least 1. Received: {wrong[0]}")
    if settings.failed not in FAILED:
        raise UsageError(f"{where}: failed must be one of {', '.join(FAILED)}. Received: {settings.failed!r}")
    for pooling in settings.pooling:
        check(pooling)
    if not settings.full and not settings.shots:
        raise UsageError(f"{where}: nothing to do: neither shots nor all clips (full = true)")
    memory_bytes(settings.memory)
    for key in ("probes", "protocols", "pooling", "shots", "data"):
        items = getattr(settings, key)
        if len(set(items)) < len(items):
            raise UsageError(f"{where}: {key} names {next(i for i in items if items.count(i) > 1)!r} twice")
    return settings


def combinations(settings: Settings) -> tuple[list[tuple[str, str, int | None]], list[str]]:
    """[(protocol, probe, shots)] that there are, and why others are not.

    Where none of the probes goes with a protocol, those that it brings along do: `hear-mlp` has its own. Raises
    UsageError for names that there are not, and where nothing is left.
    """
    from . import estimators, protocols

    for key, known in (("probes", estimators.PROBES), ("protocols", protocols.PROTOCOLS)):
        for name in getattr(settings, key):
            if name not in known:
                raise UsageError(f"unknown {key[:-1]} {name!r}: expected one of {', '.join(known)}")
    found, refused = [], []
    for protocol in settings.protocols:
        own = protocols.PROTOCOLS[protocol].probes
        some_go = not own or set(own) & set(settings.probes)
        for probe in settings.probes if some_go else own:
            for shots in (*((None,) if settings.full else ()), *settings.shots):
                why = protocols.refusal(protocol, probe, shots)
                refused.append(why) if why else found.append((protocol, probe, shots))
    if not found:
        raise UsageError("; ".join(dict.fromkeys(refused)))
    return found, list(dict.fromkeys(refused))
