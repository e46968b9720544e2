"""What a study found: tables and tests beside the paper's figures, as Markdown, JSON and plots."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import plots, statistics
from .datasets import Clip
from .study import LOG_MEL, Probed, Study

# Cramer et al. 2019, Tables 1 and 2, section 4; accuracy in %. The data, networks and amounts are theirs.
PAPER = {
    "correspondence": [["trained on", "Music", "Environmental"], ["Music", "77.04", "64.82"],
                       ["Environmental", "62.93", "78.08"]],
    "representation": "M256 above M128 above linear, significantly on UrbanSound8K and ESC-50 (Wilcoxon, pooled, .05); "
                      "the best, M256, reached 79.34 % on UrbanSound8K (Env) and 79.82 % on ESC-50 (Music)",
    "domain": "a training domain that matches the task brought no gain: M256 on UrbanSound8K, 78.23 % (Music) and "
              "79.34 % (Environmental)",
    "amount": "UrbanSound8K flattens at 13 M pairs (about 77 %), ESC-50 at 40 M (about 79 %), of 78.6 M",
    "beside": "above VGGish by 4.85 points on UrbanSound8K and 6.28 on ESC-50, above SoundNet by 9.48 and 32.16",
}  # fmt: skip


def write(study: Study, rows: list[dict], sets: dict[str, list[Clip]], found: list[Probed]) -> Path:
    """OUT/report.md, report.json, and a plot for each of the paper's figures."""
    best = [p for p in found if p.best]
    tests = {
        "representation": compare(sets, best, lambda p: p.variant, lambda p: (p.domain, p.trial)),
        "domain": compare(sets, best, lambda p: p.domain, lambda p: (p.variant, p.trial)),
        "beside": [*beside(sets, found, "random weights"), *beside(sets, found, LOG_MEL)],
    }
    for family in tests.values():
        for row, p in zip(family, statistics.holm([row["p_groups"] for row in family]), strict=True):
            row["p_holm"] = float(p)
    figures = plots.study(study.folder, rows, found)
    text = _markdown(study, rows, sets, found, tests, figures)
    (study.folder / "report.md").write_text(text, encoding="utf-8")
    plain = [{**vars(p), "right": int(p.right.sum())} for p in found]
    table = {"correspondence": rows, "probes": plain, "tests": tests, "paper": PAPER}
    (study.folder / "report.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return study.folder / "report.md"


# --- tests


def compare(sets: dict, found: list[Probed], level: Callable, rest: Callable) -> list[dict]:
    """Every two levels of one factor on every set; what else varies is pooled or averaged."""
    levels = list(dict.fromkeys(map(level, found)))
    rows = []
    for name, clips in sets.items():
        for a, b in itertools.combinations(levels, 2):
            by_rest = [{rest(p): p for p in found if p.set == name and level(p) == x} for x in (a, b)]
            shared = [key for key in by_rest[0] if key in by_rest[1]]
            rows.append(_test(name, clips, a, b, [(by_rest[0][key], by_rest[1][key]) for key in shared]))
    return rows


def beside(sets: dict, found: list[Probed], rival: str) -> list[dict]:
    """All trained networks, each against its own with random weights, or against log-mel statistics."""
    rows = []
    for name, clips in sets.items():
        here = [p for p in found if p.set == name]
        pairs = []
        for p in here:
            if p.best:
                own = (p.variant, p.trial) if rival != LOG_MEL else ("", 0)
                pairs += [(p, q) for q in here if not q.pairs and (q.variant, q.trial) == own]
        rows.append(_test(name, clips, "trained", rival, pairs))
    return rows


def _test(name: str, clips: list[Clip], a: str, b: str, pairs: list[tuple[Probed, Probed]]) -> dict:
    folds = np.array([[p.row["folds"] for p in pair] for pair in pairs])  # (variations, 2, folds)
    right = np.array([[p.right for p in pair] for pair in pairs]).mean(axis=0)  # (2, clips)
    units, fold_of = [c.unit for c in clips], [c.fold for c in clips]
    pooled = statistics.wilcoxon_pooled(folds[:, 0].ravel(), folds[:, 1].ravel())
    means = statistics.wilcoxon(*folds.mean(axis=0))
    interval = statistics.gap_interval(right[0], right[1], units, fold_of)
    return {
        "set": name, "a": a, "b": b, "accuracy_a": round(float(folds[:, 0].mean()), 2),
        "accuracy_b": round(float(folds[:, 1].mean()), 2), "interval": [round(100 * x, 2) for x in interval],
        "n_pooled": int(folds[:, 0].size), "p_pooled": pooled.p, "p_folds": means.p,
        "smallest_p_folds": means.smallest_p, "p_groups": statistics.by_group(right[0], right[1], units).p,
    }  # fmt: skip


# --- the report


PROBES = {"linear": "linear probe", "mlp": "MLP probe"}


def _markdown(study: Study, rows, sets, found, tests, figures) -> str:
    n_runs = len({row["run"] for row in rows})
    parts = [
        "# Which representation, which domain, how much data\n",
        f"{n_runs} runs: {', '.join(study.variants)} x {', '.join(study.domains)} x {study.settings.trials} trial(s). "
        "Beside each result stands the paper's (Cramer et al. 2019), which rests on other data, larger networks and "
        "78.6 M pairs a run: compare directions, not heights.\n",
        "## Correspondence on held-out videos (the paper's Table 1)\n",
        _figure(figures, "correspondence"), _correspondence(study, rows),
        "The paper, accuracy in %:\n", _grid(PAPER["correspondence"]),
        f"## Labelled sets, {PROBES[study.settings.probe]}\n", _sets(sets), _probes(found),
        "## By representation (Figure 2)\n", _figure(figures, "representation"), _tests(tests["representation"]),
        f"The paper: {PAPER['representation']}.\n",
        "## By training domain (Figure 3)\n", _figure(figures, "domain"), _tests(tests["domain"]),
        f"The paper: {PAPER['domain']}.\n",
        "## By amount of training (Figure 4)\n", _figure(figures, "amount"), f"The paper: {PAPER['amount']}.\n",
        "## Against random weights and log-mel statistics\n", _tests(tests["beside"]),
        f"The paper has neither row; its networks stood {PAPER['beside']}.\n",
        _LEGEND,
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


_LEGEND = """\
Tests, two-sided. *pooled*: Wilcoxon over folds x trials x variations as the paper has it, which takes values of one
fold for independent and so errs more often than it says. *folds*: the exact test on fold means, with the smallest p
that so many folds can reach. *groups*: permutation of whole groups on clips, the one to decide by; *Holm*: the same,
adjusted over the rows of the table. The interval of the gap draws groups.
"""


def _correspondence(study: Study, rows: list[dict]) -> str:
    text = []
    for measure, interval, title in (
        ("accuracy", "interval", "Accuracy in %, half of the questions are matches"),
        ("two_way", "two_way_interval", "Match against mismatch of the same sound, two-way, in %"),
    ):
        if any(row[measure] is None for row in rows):
            continue
        cells = {(row["run"], row["domain"]): f"{100 * row[measure]:.2f} ({100 * row[interval][0]:.1f} to "
                 f"{100 * row[interval][1]:.1f})" for row in rows}  # fmt: skip
        runs, domains = (list(dict.fromkeys(row[key] for row in rows)) for key in ("run", "domain"))
        grid = [["run", *(f"on {d}" for d in domains)], *([run, *(cells[run, d] for d in domains)] for run in runs)]
        text += [f"{title} (95 % interval over videos):\n", _grid(grid)]
    counts = dict.fromkeys(f"{row['domain']} {row['videos']} videos, {row['questions']} questions" for row in rows)
    return "\n".join([*text, f"Held out: {'; '.join(counts)}.\n"])


def _sets(sets: dict[str, list[Clip]]) -> str:
    told = [
        f"{name}: {len(clips)} clips, {len({c.label for c in clips})} labels, {len({c.unit for c in clips})} groups, "
        f"{len({c.fold for c in clips})} folds" for name, clips in sets.items()
    ]  # fmt: skip
    return "; ".join(told) + ".\n"


def _probes(found: list[Probed]) -> str:
    names = list(dict.fromkeys(p.set for p in found))
    lines: dict[tuple, dict] = {}
    for p in found:
        system = (
            f"{p.variant}, trained on {p.domain}"
            if p.domain
            else f"{p.variant}, random weights"
            if p.variant
            else LOG_MEL
        )
        amount = f"{p.pairs:,}{' (best epoch)' if p.best else ''}" if p.domain else ""
        low, high = p.row["interval"]
        cell = f"{p.row['accuracy']:.2f} ({low:.1f} to {high:.1f})"
        lines.setdefault((system, str(p.trial), amount), {})[p.set] = cell
    grid = [[*key, *(cells.get(n, "") for n in names)] for key, cells in lines.items()]
    return _grid([["system", "trial", "pairs", *names], *grid])


def _tests(rows: list[dict]) -> str:
    if not rows:
        return "Only one level: nothing to compare.\n"
    grid = [["set", "A", "B", "A %", "B %", "A - B, 95 %", "p pooled (n)", "p folds (smallest)", "p groups", "Holm"]]
    for r in rows:
        low, high = r["interval"]
        grid.append([
            r["set"], r["a"], r["b"], f"{r['accuracy_a']:.2f}", f"{r['accuracy_b']:.2f}", f"{low:.2f} to {high:.2f}",
            f"{r['p_pooled']:.4f} ({r['n_pooled']})", f"{r['p_folds']:.4f} ({r['smallest_p_folds']:.4f})",
            f"{r['p_groups']:.4f}", f"{r['p_holm']:.4f}",
        ])  # fmt: skip
    return _grid(grid)


def _figure(figures: dict[str, Path], name: str) -> str:
    return f"![{name}]({figures[name].name})\n" if name in figures else ""


def _grid(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"
