"""A report's plots, one small panel a figure: a page lays them out in any width. Equal facts, equal bytes."""

from __future__ import annotations

import html
import io
import re

import numpy as np

from .. import ranks
from ..plots import COLOURS, GREY, INK, STYLE
from .costs import best_in_both
from .facts import Family, Ranking
from .fewshot import Shots
from .tables import Table

SIZE = (4.2, 3.4)  # inches
RULES = {**STYLE, "svg.fonttype": "none", "font.family": "sans-serif", "axes.edgecolor": GREY, "axes.labelcolor": INK,
         "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
         "text.color": INK}  # fmt: skip
MARKERS = "osD^vPX*<>hp"


class Look:
    """Colour and marker of each model, the same in all plots."""

    def __init__(self, models: list[str]):
        self.of = {m: {"color": COLOURS[i % 6], "marker": MARKERS[i % 12]} for i, m in enumerate(models)}

    def __getitem__(self, model: str) -> dict:
        return self.of.get(model, {"color": GREY, "marker": "o"})


def dots(families: list[Family], look: Look):
    """One data set, one protocol: a point for each model and probe, with its interval."""
    models = list(dict.fromkeys(row.model for f in families for row in f.rows))
    figure, axes = _panel((SIZE[0], 0.6 + len(models) * (0.16 + 0.1 * len(families))))
    for k, f in enumerate(families):
        for row in f.rows:
            y = models.index(row.model) + 0.7 * ((k + 0.5) / len(families) - 0.5)
            colour = COLOURS[k % 6]
            axes.plot([100 * row.score.low, 100 * row.score.high], [y, y], color=colour, lw=1.2, solid_capstyle="round")
            axes.plot(100 * row.score.value, y, MARKERS[k % 12], ms=4, color=colour, label=f.probe)
    _listed(axes, models, f"{_metric(families[0].metric)}, % ({families[0].protocol})")
    if len(families) > 1:
        _legend(axes, figure, loc="outside lower center", ncols=3)
    return figure


def mean_ranks(ranking: Ranking):
    """A point for each model, with half of Nemenyi's critical difference on both sides: who overlaps is not told apart.

    None where ranks say nothing: of fewer than three models or two data sets.
    """
    k, n = len(ranking.rows), len(ranking.sets)
    if k < 3 or n < 2:
        return None
    found, half = ranks.mean_ranks(ranking.values), ranks.critical_difference(k, n) / 2
    order = np.argsort(found, kind="stable")
    figure, axes = _panel((SIZE[0], 0.6 + 0.24 * k))
    axes.hlines(range(k), found[order] - half, found[order] + half, color=COLOURS[0], lw=1.2)
    axes.plot(found[order], range(k), "o", ms=4, color=COLOURS[0])
    names = [ranking.rows[i].model for i in order]
    _listed(axes, names, f"mean rank over {n} data sets ({ranking.probe}, {ranking.protocol})")
    return figure


def curves(shots: Shots, look: Look):
    """Accuracy against clips a class."""
    figure, axes = _panel()
    for model, c in shots.curves.items():
        axes.fill_between(c.shots, 100 * c.low, 100 * c.high, color=look[model]["color"], alpha=0.12, lw=0)
        axes.plot(c.shots, 100 * c.mean, ms=4, lw=1.3, label=model, **look[model])
    axes.set_xscale("log", base=2)
    axes.set_xticks(c.shots, map(str, c.shots))
    axes.minorticks_off()
    axes.set_xlabel("clips a class")
    axes.set_ylabel(f"accuracy, % ({shots.protocol})")
    axes.grid(axis="y", lw=0.4, color=GREY, alpha=0.4)
    _legend(axes, figure, loc="outside lower center", ncols=3)
    return figure


def cost(table: Table, ranking: Ranking, key: str, label: str, larger_is_better: bool, look: Look):
    """The mean score against what it costs; the line joins those that nothing beats in both."""
    rows = [row for row in table.rows if row["score"] and row.get(key)]
    if len(rows) < 2:
        return None
    figure, axes = _panel()
    points = [(row[key] if larger_is_better else -row[key], row["score"].value) for row in rows]
    edge = [rows[i] for i in best_in_both(points)]
    axes.plot([r[key] for r in edge], [100 * r["score"].value for r in edge], color=GREY, lw=1, ls="--", zorder=0)
    for row in rows:
        s = row["score"]
        axes.plot([row[key]] * 2, [100 * s.low, 100 * s.high], color=look[row["model"]]["color"], lw=1)
        axes.plot(row[key], 100 * s.value, ms=6, ls="", label=row["model"], **look[row["model"]])
    _cost_axis(axes, [row[key] for row in rows])
    axes.set_xlabel(label)
    axes.set_ylabel(f"mean score, % ({ranking.probe}, {ranking.protocol})")
    axes.grid(lw=0.4, color=GREY, alpha=0.4)
    _legend(axes, figure, loc="outside lower center", ncols=3)
    return figure


def _cost_axis(axes, values: list[float]) -> None:
    """Logarithmic where costs differ by much, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    if max(values) > 5 * min(values):
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 1.5, max(values) * 1.5)
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if max(values) < 200 * min(values) else (1,)))
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.10g}"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.margins(x=0.15)


def places(points: np.ndarray, labels: list[str]):
    """A map of a data set's clips, coloured by label; (n, 2)."""
    figure, axes = _panel((SIZE[0], SIZE[1] + 0.2))
    classes = sorted(set(labels))
    for k, name in enumerate(classes):
        here = np.array([label == name for label in labels])
        axes.plot(*points[here].T, MARKERS[k // 6 % 12], color=COLOURS[k % 6], ms=4, alpha=0.75, mew=0,
                  label=name if len(classes) <= 20 else None)  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    if len(classes) <= 20:
        _legend(axes, figure, loc="outside lower center", ncols=3, handletextpad=0.2)
    return figure


def _panel(size: tuple[float, float] = SIZE):
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    return figure, figure.subplots()


def _listed(axes, names: list[str], label: str) -> None:
    """Names down the side, the first on top; what is measured along the bottom."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.grid(axis="x", lw=0.4, color=GREY, alpha=0.4)
    axes.tick_params(axis="y", length=0)


def _legend(axes, figure=None, **how) -> None:
    """Beside the axes where a figure is given."""
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))  # each label once
    (figure or axes).legend(entries.values(), entries.keys(), fontsize=7, frameon=False, **how)


def _metric(name: str) -> str:
    return {"uar": "unweighted average recall", "map": "mAP"}.get(name, name)


# --- forms


def svg(figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return out.getvalue()


def png(figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=200, metadata={"Software": None})
    return out.getvalue()


def inline(text: bytes, name: str, title: str) -> str:
    """An SVG as a page holds it: colours are the page's (light and dark), ids its own, the title is read aloud."""
    body = text.decode()[text.decode().index("<svg") :]
    for i, colour in enumerate(COLOURS):
        body = body.replace(colour, f"var(--c{i})")
    body = body.replace(INK, "var(--ink)").replace(GREY, "var(--quiet)")
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    head = rf'<svg viewBox="\1" role="img" aria-label="{html.escape(title)}">'
    body = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', head, body, count=1)
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", body)
