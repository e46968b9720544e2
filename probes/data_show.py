"""A data set in numbers: labels, folds, groups, lengths, rates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from .data_facts import Fact
from .datasets import DataSet
from .datasets.clips import natural


def summary(data: DataSet, known: dict[str, Fact]) -> dict:
    """For people and for programs. `known`: of each clip, as `data_facts.facts` finds it (at any depth)."""
    seconds = sorted(fact.seconds for fact in known.values() if fact.seconds is not None)
    clips_of, groups_of = Counter(), defaultdict(set)
    for clip in data.clips:
        for label in clip.labels or (clip.label,):
            clips_of[label] += 1
            groups_of[label].add(clip.unit)
    return {
        "name": data.name, "root": str(data.root), "rule": data.rule, "metric": data.metric,
        "licence": data.licence, "source": data.source, "clips": len(data), "groups": len(set(data.units)),
        "hours": round(sum(seconds) / 3600, 4), "unknown_lengths": len(data) - len(seconds),
        "seconds": _quartiles(seconds),
        "labels": {label: {"clips": n, "groups": len(groups_of[label])} for label, n in sorted(clips_of.items())},
        "folds": _counted(clip.fold for clip in data.clips),
        "lists": _counted(clip.split for clip in data.clips),
        "rates_hz": _counted(f"{fact.rate_hz:g}" for fact in known.values() if fact.rate_hz),
        "channels": _counted(str(fact.channels) for fact in known.values() if fact.channels),
        "published": data.published, "left_out": len(data.left_out), "notes": list(data.notes),
        "problems": {name: fact.problem for name, fact in known.items() if fact.problem},
    }  # fmt: skip


def _counted(values: Iterable[str]) -> dict[str, int]:
    counts = Counter(value for value in values if value)
    return {value: counts[value] for value in sorted(counts, key=natural)}


def _quartiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    at = {"shortest": 0, "median": len(values) // 2, "longest": len(values) - 1}
    return {name: round(values[i], 3) for name, i in at.items()}
