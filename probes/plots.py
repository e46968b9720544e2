"""The study's plots: one SVG for each figure of the paper. Equal results, equal files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .study import Probed

SIZE = (3.6, 3.0)  # inches of a panel
STYLE = {"svg.hashsalt": "l3embed", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
INK, GREY = "#222222", "#888888"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe & Ito: told apart by all eyes


def study(folder: Path, rows: list[dict], found: list[Probed]) -> dict[str, Path]:
    """Write the plots; name -> file."""
    import matplotlib

    best, sets, files = [p for p in found if p.best], list(dict.fromkeys(p.set for p in found)), {}
    plots = {"correspondence": (["held-out videos"], lambda axes, _: _correspondence(axes, rows))}
    if sets:
        plots["representation"] = sets, lambda axes, s: _levels(axes, s, best, found, "variant", "domain")
        plots["domain"] = sets, lambda axes, s: _levels(axes, s, best, found, "domain", "variant")
        plots["amount"] = sets, lambda axes, s: _amounts(axes, s, found)
    with matplotlib.rc_context(STYLE):
        for name, (panels, draw) in plots.items():
            files[name] = folder / f"{name}.svg"
            _panels(panels, draw).savefig(files[name], metadata={"Date": None, "Creator": None})
    return files


def _panels(names: list[str], draw: Callable):
    """A row of panels, one for each name."""
    from matplotlib.figure import Figure

    figure = Figure((SIZE[0] * len(names), SIZE[1]), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.set_title(name, fontsize=9, color=INK)
        draw(axes, name)
    return figure


def _levels(axes, name: str, best: list[Probed], found: list[Probed], across: str, colour: str) -> None:
    """Accuracy by one factor, coloured by the other; a point a run, with its interval."""
    here = [p for p in best if p.set == name]
    places = {level: i for i, level in enumerate(dict.fromkeys(getattr(p, across) for p in here))}
    colours = {level: COLOURS[i % 6] for i, level in enumerate(dict.fromkeys(getattr(p, colour) for p in here))}
    beside = {}
    for p in here:
        level = getattr(p, across)
        beside[level] = beside.get(level, -1) + 1
        x = places[level] + 0.12 * (beside[level] - (len(here) / len(places) - 1) / 2)
        low, high = p.row["interval"]
        axes.plot([x, x], [low, high], color=colours[getattr(p, colour)], lw=1)
        axes.plot(x, p.row["accuracy"], "o", ms=5, color=colours[getattr(p, colour)], label=getattr(p, colour))
    _rivals(axes, name, found)
    axes.set_xticks(list(places.values()), list(places))
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.set_ylabel("accuracy, %")
    _legend(axes)


def _amounts(axes, name: str, found: list[Probed]) -> None:
    """Accuracy against pairs seen, from random weights on; the mean of the trials of each run."""
    here = [p for p in found if p.set == name and not p.best]
    for i, (variant, domain) in enumerate(dict.fromkeys((p.variant, p.domain) for p in here if p.domain)):
        curve: dict[int, list[float]] = {}
        for p in here:
            if p.variant == variant and p.domain in (domain, ""):
                curve.setdefault(p.pairs, []).append(p.row["accuracy"])
        pairs = sorted(curve)
        axes.plot(pairs, [np.mean(curve[n]) for n in pairs], "o-", ms=3, lw=1, color=COLOURS[i % 6],
                  label=f"{variant}, {domain}")  # fmt: skip
    log_mel = [p.row["accuracy"] for p in here if not p.variant]
    axes.axhline(np.mean(log_mel), color=GREY, lw=0.8, ls=":", label="log-mel statistics")
    axes.set_xlabel("pairs seen (0: random weights)")
    axes.set_ylabel("accuracy, %")
    _legend(axes)


def _rivals(axes, name: str, found: list[Probed]) -> None:
    for style, label, rows in (
        ("--", "random weights, mean", [p for p in found if p.set == name and p.variant and not p.pairs]),
        (":", "log-mel statistics", [p for p in found if p.set == name and not p.variant]),
    ):
        axes.axhline(np.mean([p.row["accuracy"] for p in rows]), color=GREY, lw=0.8, ls=style, label=label)


def _correspondence(axes, rows: list[dict]) -> None:
    """Two-way accuracy of each run on each domain, chance at 50 %."""
    domains = list(dict.fromkeys(row["domain"] for row in rows))
    runs = list(dict.fromkeys(row["run"] for row in rows))
    for row in rows:
        x = runs.index(row["run"]) + 0.15 * (domains.index(row["domain"]) - (len(domains) - 1) / 2)
        colour = COLOURS[domains.index(row["domain"]) % 6]
        axes.plot([x, x], [100 * v for v in row["two_way_interval"]], color=colour, lw=1)
        axes.plot(x, 100 * row["two_way"], "o", ms=5, color=colour, label=f"on {row['domain']}")
    axes.axhline(50, color=GREY, lw=0.8, ls="--", label="chance")
    axes.set_xticks(range(len(runs)), runs, rotation=30, ha="right")
    axes.set_ylabel("match above mismatch, %")
    _legend(axes)


def _legend(axes) -> None:
    entries = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each label once
    axes.legend(entries.values(), entries.keys(), fontsize=7, frameon=False)
