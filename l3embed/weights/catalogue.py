"""All models by name: those that ship, OpenL3's, and the other published ones; what a card would say of each."""

from __future__ import annotations

from pathlib import Path

from .. import zoo
from ..spec import Model, published, published_names
from . import cards, fetch
from . import published as openl3
from .release import records
from .resolve import fetch_published


def lines() -> list[str]:
    """A line for each model."""
    found = []
    for name in cards.available():
        default = "  (default)" if name == cards.DEFAULT else ""
        found.append(f"{name}{default}  {cards.card(name).table.get('description', '')}".rstrip())
    for name in published_names():
        which = published(name)
        found.append(f"{name}  {openl3.describe(which)}, {openl3.LICENCE}, {openl3.state(which)}")
    for name in zoo.names():
        entry = zoo.find(name)
        found.append(f"{name}  {entry.description}, {entry.licence}, {_state(entry)}")
    return found


def show(name: str | None) -> str:
    """A model's card, as TOML; of a published one what it would say."""
    if openl3.is_published(name):
        return cards.toml(openl3.about(name))
    if entry := zoo.find(name):
        return cards.toml(about(entry))
    return cards.card(name).path.read_text(encoding="utf-8")


def fetch_files(name: str) -> list[Path]:
    """Fetch what a published model needs; returns where it lies."""
    if entry := zoo.find(name):
        return [fetch.fetch(file) for file in entry.files]
    return [fetch_published(published(name))]


def about(entry: zoo.Entry) -> dict:
    """What a card would say of a published model."""
    table = {"name": entry.name, "dim": entry.model.dim, "description": entry.description, "licence": entry.licence}
    if entry.remarks:
        table["remarks"] = entry.remarks
    files = {file.name: {"url": file.url, "hash": file.hash, "file": str(fetch.place(file)),
                         "state": "at hand" if fetch.place(file).exists() else "not fetched"}
             for known in entry.files for file in (known, known.instead) if file}  # fmt: skip
    return {**table, "input": _input(entry.model), **records(entry.model), "files": files}


def _input(model: Model) -> dict:
    """What a user has to know of how a model of sound takes recordings."""
    front_end, cutting = model.front_end, model.cutting
    table = {"shape": list(front_end.shape)}
    if model.modality == "image":
        return table
    table |= {"rate_hz": front_end.rate_hz, "window_s": front_end.window_s, "minimum_s": zoo.minimum(model)}
    if cutting.hop_s is None:
        table["default_hop"] = "none: a recording is one window"
        return {**table, "shorter": "repeated" if cutting.repeats else "zero-padded"}
    last = "dropped" if cutting.end == "drop" else "zero-padded"
    return {**table, "default_hop_s": cutting.hop_s, "default_center": cutting.center, "shorter": "zero-padded",
            "incomplete_last_window": last}  # fmt: skip


def _state(entry: zoo.Entry) -> str:
    either = [[file for file in (known, known.instead) if file] for known in entry.files]
    if all(any(fetch.place(file).exists() for file in files) for files in either):
        return "at hand"
    return "not fetched" if all(any(file.url and file.hash for file in files) for files in either) else "by hand"
