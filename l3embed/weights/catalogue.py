"""All models by name: those that ship, OpenL3's, and the other published ones; what a card would say of each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .. import zoo
from ..spec import Model, openl3_model, published, published_names
from . import cards, fetch, own
from . import published as openl3
from .release import records
from .resolve import fetch_published


def lines(words: Iterable[str] = ()) -> list[str]:
    """A line for each model: name, numbers in a vector, where its weights are, what it is. Of `words` it holds all."""
    rows = []
    for name in cards.available():
        found = cards.card(name)
        first = found.table.get("description", "").partition(". ")[0]
        rows.append((name, found.model.dim, "default" if name == cards.DEFAULT else "ships", first))
    for name in published_names():
        which = published(name)
        rows.append((name, which.dim, openl3.state(which), openl3.describe(which)))
    for entry in map(zoo.find, zoo.names()):
        rows.append((entry.name, entry.model.dim, _state(entry), entry.description))
    width = max(len(name) for name, *_ in rows)
    told = [f"{name:{width}} {dim:6}  {state:11}  {what}" for name, dim, state, what in rows]
    return [line for line in told if all(word.lower() in line.lower() for word in words)]


def show(name: str | None) -> str:
    """A model's card, as TOML; of a published one what it would say, of one's own what it was converted with."""
    if own.is_own(name):
        return cards.toml(own.find(name).table)
    if openl3.is_published(name):
        about_it = openl3.about(name)
        return cards.toml({**about_it, "input": _input(openl3_model(name))})
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
    """What a user has to know of how a model takes recordings, or pictures."""
    front_end, cutting = model.front_end, model.cutting
    table = {"shape": list(front_end.shape)}
    if model.modality == "image":
        return table
    table |= {"rate_hz": front_end.rate_hz, "window_s": front_end.window_s, "minimum_s": zoo.minimum(model)}
    if cutting.hop_s is None:
        table["shorter"] = "repeated" if cutting.repeats else "zero-padded"
        if cutting.frame_samples:
            return {**table, "vector_every_s": cutting.frame_samples / front_end.rate_hz, "other_hop": "none"}
        longest_s = (cutting.most_samples or front_end.window_samples) / front_end.rate_hz
        return {**table, "default_hop": "none: one vector for a recording, or for each piece of a long one",
                "longest_piece_s": 1.5 * longest_s, "piece_of_longer_s": longest_s}  # fmt: skip
    last = "dropped" if cutting.end == "drop" else "zero-padded"
    return {**table, "default_hop_s": cutting.hop_s, "default_center": cutting.center, "shorter": "zero-padded",
            "incomplete_last_window": last}  # fmt: skip


def _state(entry: zoo.Entry) -> str:
    either = [[file for file in (known, known.instead) if file] for known in entry.files]
    if all(any(fetch.place(file).exists() for file in files) for files in either):
        return "at hand"
    return "not fetched" if all(any(file.url and file.hash for file in files) for files in either) else "by hand"
