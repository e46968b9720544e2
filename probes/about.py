"""What run.json says of a run, and how two such descriptions differ."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from l3embed.spec import digest
from l3embed.store.layout import _version as version

from . import models
from .config import NUMBERS, Settings, combinations
from .data_facts import Fact
from .datasets import DataSet
from .features import ArrayFeatures, Features
from .models import System

CODE = 2  # raised when equal settings give other predictions than before: then no job that was done is reused
LIBRARIES = ("l3embed", "numpy", "scipy", "scikit-learn", "joblib", "pyarrow", "openvino", "keras", "tensorflow", "jax")


@dataclass
class Loaded:
    """A data set with what is known about its files, and each model's vectors of it."""

    data: DataSet
    contents: list[Fact]
    features: dict[str, Features | ArrayFeatures] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)  # model -> why it gave nothing at all
    excluded: dict[int, str] = field(default_factory=dict)  # row -> why, under the rule "exclude"

    @cached_property
    def sha256(self) -> str:
        """Of everything about the clips that decides results: bytes, labels, groups, folds."""
        rows = [[c.id, f.sha256, c.label, list(c.labels), c.group, c.fold, c.split, c.start_s, c.end_s]
                for c, f in zip(self.data.clips, self.contents, strict=True)]  # fmt: skip
        return digest({"rows": rows, "rule": self.data.rule})

    @property
    def kept(self) -> np.ndarray:
        return np.array([i for i in range(len(self.data.clips)) if i not in self.excluded], np.int64)


def describe(settings: Settings, loaded: dict[str, Loaded], systems: dict[str, System]) -> dict:
    """run.json, but for times."""
    from . import estimators, protocols

    data = {name: _about_data(each) for name, each in loaded.items()}
    probes = {name: estimators.PROBES[name] for _, name, _ in combinations(settings)[0]}
    chosen = {name: protocols.PROTOCOLS[name] for name in settings.protocols}
    return {
        "settings": {key: getattr(settings, key) for key in (*NUMBERS, "data")}, "seed": settings.seed,
        "failed_rule": settings.failed, "code": CODE,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "machine": {"system": platform.system(), "machine": platform.machine(), "processor": _processor(),
                    "cpus": _cpus()},
        "protocols": {name: {"summary": p.summary, "faults": list(p.faults), "source": p.source}
                      for name, p in chosen.items()},
        "data": data,
        "models": {name: models.about(system) for name, system in systems.items()},
        "probes": {name: {"input": p.input, "grid": list(p.grid), "source": p.source} for name, p in probes.items()},
    }  # fmt: skip


def _about_data(each: Loaded) -> dict:
    data, seconds = each.data, [fact.seconds for fact in each.contents]
    return {
        "root": str(data.root), "rule": data.rule, "metric": data.metric, "licence": data.licence,
        "source": data.source, "notes": list(data.notes), "published": data.published, "classes": data.classes,
        "n_clips": len(data.clips), "n_groups": len({clip.unit for clip in data.clips}),
        "seconds": round(sum(s for s in seconds if s), 3), "sha256": each.sha256,
        "left_out": data.left_out,
    }  # fmt: skip


def clip_rows(each: Loaded) -> list[dict]:
    return [
        {"clip": c.id, "path": str(c.path), "label": c.label, "labels": list(c.labels or (c.label,)), "group": c.group,
         "fold": c.fold, "split": c.split, "seconds": f.seconds, "rate_hz": f.rate_hz, "sha256": f.sha256,
         "start_s": c.start_s, "end_s": c.end_s, "excluded": each.excluded.get(i, "")}
        for i, (c, f) in enumerate(zip(each.data.clips, each.contents, strict=True))
    ]  # fmt: skip


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def differences(there: dict, here: dict, extend: bool = False) -> Iterator[str]:
    """In the user's words. With `extend`, what only adds jobs is no difference."""
    for key in (key for key in NUMBERS if key != "models"):  # which may be named in other words
        a, b = there["settings"].get(key), plain(here["settings"][key])
        adds = not set(a) - set(b) if isinstance(a, list) else key == "full" and b
        if a != b and not (extend and adds):
            yield f"{key} was {_short(a)}, is {_short(b)}"
    if there.get("code") != here["code"]:
        yield f"it was made by another version of the probes ({there.get('code')}, this is {here['code']})"
    for kind, what in (("data", "sha256"), ("models", "fingerprint"), ("models", "recipe")):
        for name in sorted({*there[kind], *here[kind]}):
            a, b = there[kind].get(name), here[kind].get(name)
            if a is None and extend:
                continue
            if a is None or b is None:
                yield f"{kind} {name!r} {'is new' if a is None else 'is missing'}"
            elif a[what] != plain(b[what]):
                yield f"{kind} {name!r} has changed ({_change(a[what], plain(b[what]))})"


def _change(a, b) -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        return ", ".join(f"{k} was {a.get(k)}, is {b.get(k)}" for k in sorted({*a, *b}) if a.get(k) != b.get(k))
    return "its clips, labels, groups or folds" if len(str(a)) == 16 else f"{a} to {b}"


def plain(value):
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def _short(value) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
