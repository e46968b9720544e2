"""Facts, tables, plots and sounds -> one HTML file that needs nothing beside it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from . import tables, words
from .facts import Family, Ranking, Score
from .reading import Found
from .tables import Table

NAME = "index.html"
MARK = "l3embed report"  # in the head: a folder with it is a report and may be replaced


@dataclass
class Section:
    """What the page has about one data set."""

    name: str
    about: dict
    gap: str = ""
    warnings: list[str] = field(default_factory=list)
    matrices: list[Table] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)  # SVG
    scores: Table | None = None
    pairs: list[tuple[str, str, Table]] = field(default_factory=list)  # heading, sentence, table
    confusions: list[dict] = field(default_factory=list)
    curves: list[str] = field(default_factory=list)
    curve_notes: list[str] = field(default_factory=list)
    areas: Table | None = None
    maps: list[str] = field(default_factory=list)
    worst: Table | None = None


@dataclass
class Page:
    found: Found
    rankings: list[tuple[Ranking, Table, list[str], list]]  # with what is said of it, and plots
    sections: list[Section]
    cost: Table
    cost_figures: list[str]
    over_sets: Table
    models: Table
    trained: list[tuple[str, str]]  # model, what it was trained on
    protocols: list[dict]
    probes: Table
    failed_jobs: Table
    failed_clips: Table
    settings: list[tuple[str, str]]
    links: list[str]  # of further files


def render(template: str, **values) -> str:
    """The text of a page. Everything that comes from data is escaped."""
    from importlib import resources

    import jinja2

    here = resources.files(__package__)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (here / name).read_text(encoding="utf-8")), autoescape=True,
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {
        "shown": tables.shown,
        "sortable": tables.sort_value,
        "slug": slug,
        "plain": tables.plain,
        "counted": words.counted,
        "lowest": lowest,
    }
    environment.globals |= {"Score": Score, "css": _file(here, "page.css"), "js": _file(here, "page.js"), "mark": MARK,
                            "track": track, "is_score": lambda v: isinstance(v, Score)}  # fmt: skip
    return environment.get_template(template).render(**values)


def _file(here, name: str) -> str:
    return (here / name).read_text(encoding="utf-8")


def slug(text: str) -> str:
    """An id for a heading; texts that differ give ids that differ."""
    return re.sub(r"[^A-Za-z0-9-]", lambda m: "-" if m[0] == " " else f"_{ord(m[0]):x}", text)


def track(score: Score, low: float) -> dict:
    """Where an interval lies on a bar from `low` to 1, in per cent of the bar."""

    def at(x: float) -> float:
        return round(100 * min(1.0, max(0.0, (x - low) / (1 - low))), 2)

    return {"left": at(score.low), "width": round(at(score.high) - at(score.low), 2), "at": at(score.value)}


def lowest(scores: list[Score]) -> float:
    """Where bars begin: a round number below all intervals."""
    return max(0.0, math.floor(10 * min((s.low for s in scores), default=0.0)) / 10)


def confusion(family: Family, k: int) -> dict:
    """The matrix of the k-th model; cells are (count, share of the row)."""
    row, classes = family.rows[k], family.table.classes
    n = row.confusion.sum(axis=1, keepdims=True)
    failed = bool(row.confusion[:, -1].any())
    columns = len(classes) + failed
    return {
        "model": row.model, "probe": family.probe, "protocol": family.protocol, "classes": classes, "failed": failed,
        "rows": [
            [(int(c), round(float(c) / max(int(total[0]), 1), 3)) for c in counts[:columns]]
            for counts, total in zip(row.confusion, n, strict=True)
        ],
    }  # fmt: skip


def warnings(found: Found, name: str, heard: dict[tuple[str, str], str]) -> list[str]:
    about = found.sets[name].about
    said = [str(note) for note in about.get("notes") or ()]
    said += [f"{model} may know these sounds: {why}." for (model, data), why in heard.items() if data == name]
    published, n = about.get("published") or {}, about.get("n_clips")
    if isinstance(published.get("clips"), int) and published["clips"] != n:
        said.append(f"{n} clips are here, {published['clips']} were published.")
    if left := about.get("left_out"):
        said.append(f"{len(left)} recordings take no part: {words.listed(sorted(set(left.values()))[:3])}.")
    return said
