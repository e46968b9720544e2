"""Facts -> the tables of a report, each with the name of the protocol in every row that holds a score."""

from __future__ import annotations

import numpy as np

from .. import bayes, ranks, statistics
from .facts import LEVEL, Family, Ranking, Score
from .fewshot import Shots
from .reading import Found
from .tables import Column, Table

METRICS = {"accuracy": "accuracy", "uar": "unweighted average recall", "map": "mAP"}


def _texts(*keys: str) -> list[Column]:
    return [Column(key, {"data": "data set", "a": "model A", "b": "model B"}.get(key, key)) for key in keys]


WHERE = _texts("data", "protocol", "probe")


def verdict(adjusted: float, smallest: float) -> str:
    """What the test says of a pair; the word is kept for what it can show."""
    if smallest >= LEVEL:
        return "cannot be told"
    return "significant" if adjusted < LEVEL else "not told apart"


def kind(found: Found, model: str) -> str:
    return {"random": "random weights", "baseline": "baseline"}.get(found.models[model].get("kind"), "model")


# --- scores


def ranking(found: Found, one: Ranking) -> Table:
    """Models of one probe, over all data sets."""
    sets = [Column(f"set:{name}", name, "share") for name in one.sets]
    rows = [
        {"protocol": one.protocol, "probe": one.probe, "tier": row.tier, "model": row.model,
         "kind": kind(found, row.model), "mean": row.mean, **{f"set:{s}": row.sets[s].score for s in one.sets}}
        for row in one.rows
    ]  # fmt: skip
    columns = [Column("tier", "tier", "count"), *_texts("model", "kind", "protocol", "probe"),
               Column("mean", "mean", "share"), *sets]  # fmt: skip
    if len(one.sets) > 1:
        columns.append(Column("rank", "mean rank", "number"))
        rows = [{**row, "rank": float(rank)} for row, rank in zip(rows, ranks.mean_ranks(one.values), strict=True)]
    title = f"Ranking: {one.probe} probe, protocol {one.protocol}"
    caption = ("Mean over data sets of each set's own score, with 95 % bootstrap intervals over groups. Bold: not told "
               "apart from the best.")  # fmt: skip
    table = Table(f"ranking-{stem(one.protocol, one.probe)}", title, columns, rows, caption)
    for i, row in enumerate(one.rows):
        table.bold |= {(i, "mean")} if row.best else set()
        table.bold |= {(i, f"set:{s}") for s in one.sets if row.sets[s].best}
    return table


def matrix(families: list[Family], data: str, protocol: str) -> Table:
    """One data set: models down, probes across."""
    here = [f for f in families if f.data == data and f.protocol == protocol]
    metric = here[0].metric
    order: dict[str, list[float]] = {}
    for one in here:
        for row in one.rows:
            order.setdefault(row.model, []).append(row.score.value)
    models = sorted(order, key=lambda m: (-float(np.mean(order[m])), m))
    rows, cells = [], {(f.probe, r.model): r for f in here for r in f.rows}
    for model in models:
        rows.append({"model": model, "protocol": protocol,
                     **{f"probe:{f.probe}": cells[f.probe, model].score if (f.probe, model) in cells else None
                        for f in here}})  # fmt: skip
    columns = [Column("model", "model"), Column("protocol", "protocol"),
               *(Column(f"probe:{f.probe}", f.probe, "share") for f in here)]  # fmt: skip
    title = f"{data}: {METRICS[metric]}, protocol {protocol}"
    caption = "With 95 % bootstrap intervals over groups. Bold: not told apart from the best of its column."
    table = Table(f"matrix-{stem(data, protocol)}", title, columns, rows, caption)
    table.bold = {
        (i, f"probe:{f.probe}") for f in here for i, m in enumerate(models)
        if (f.probe, m) in cells and cells[f.probe, m].best
    }  # fmt: skip
    return table


SCORES = [
    *WHERE, *_texts("model"), Column("tier", "tier", "count"), Column("score", "score", "share", "the set's own"),
    Column("accuracy", "accuracy", "share", "mean of folds"), Column("spread", "sd of folds", "share"),
    Column("uar", "unweighted average recall", "share"), Column("f1", "macro-F1", "share"),
    Column("map", "mAP", "share"), Column("calibration", "calibration error", "share"),
    Column("failed", "failed clips", "count"), Column("clips", "clips", "count"),
    Column("seconds", "seconds", "number", "of the probe"),
]  # fmt: skip


def scores(families: list[Family]) -> Table:
    """Everything about every job that learned from all clips."""
    rows = [
        {"data": f.data, "protocol": f.protocol, "probe": f.probe, "model": r.model,
         "tier": r.tier if f.pairs.reachable else None, "score": r.score, "accuracy": r.accuracy,
         "spread": float(r.folds.std(ddof=1)) if len(r.folds) > 1 else None,
         "uar": r.uar, "f1": r.f1, "map": r.map, "calibration": r.calibration, "failed": r.n_failed, "clips": f.n_clips,
         "seconds": r.job.about.get("seconds")}
        for f in families for r in f.rows
    ]  # fmt: skip
    return Table(
        "scores", "All scores", SCORES, rows, "95 % bootstrap intervals over groups; sd: over folds, not of the mean."
    )


FAMILY = [
    Column("gap", "A minus B, points", "points"), Column("p", "p", "p", "groups reversed"),
    Column("adjusted", "p, Holm", "p"), Column("verdict", "verdict"), Column("family", "pairs in the family", "count"),
    Column("smallest", "smallest p in reach", "p", "after Holm"),
]  # fmt: skip

NO_CHANCES = dict.fromkeys(("worse", "alike", "better"))


def _chances(where: str) -> list[Column]:
    return [
        Column("worse", "A worse", "share", f"by more than a point, {where}"),
        Column("alike", "alike", "share", "within a point"), Column("better", "A better", "share"),
    ]  # fmt: skip


PAIRS = [
    *WHERE, *_texts("a", "b"), *FAMILY, Column("mcnemar", "p, McNemar", "p", "clips as if independent"),
    Column("wilcoxon", "p, Wilcoxon", "p", "over folds"),
    Column("wilcoxon_smallest", "smallest p in reach", "p", "over folds"),
    Column("corrected_t", "p, corrected t", "p", "over folds"), *_chances("over folds"),
]  # fmt: skip


def pairs(families: list[Family]) -> Table:
    """Every pair of models of every family, by every test."""
    return Table("pairs", "Pairs of models", PAIRS, [row for f in families for row in _pairs(f)],
                 "p by groups reversed decides; Holm over all pairs of the family.")  # fmt: skip


def _pairs(f: Family) -> list[dict]:
    out = []
    for i, j in zip(*np.triu_indices(len(f.rows), 1), strict=True):
        a, b = f.rows[i], f.rows[j]
        folds = len(a.folds)
        over_folds = statistics.wilcoxon(a.folds, b.folds) if folds > 1 else None
        once = len(np.unique(f.table.draw)) == 1
        out.append({
            "data": f.data, "protocol": f.protocol, "probe": f.probe, "a": a.model, "b": b.model,
            "gap": Score(float(f.pairs.gap[i, j]), *map(float, f.gaps[i, j])), "p": float(f.pairs.p[i, j]),
            "adjusted": float(f.pairs.adjusted[i, j]), "smallest": f.pairs.smallest_adjusted,
            "verdict": verdict(f.pairs.adjusted[i, j], f.pairs.smallest_adjusted), "family": f.pairs.n,
            "mcnemar": float(statistics.mcnemar(a.right, b.right).p) if once else None,
            "wilcoxon": over_folds.p if over_folds else None,
            "wilcoxon_smallest": 2.0 / 2**folds if folds > 1 else None,
            "corrected_t": statistics.corrected_t(a.folds, b.folds, 1 / (folds - 1)).p if folds > 1 else None,
            **(vars(bayes.correlated_t(a.folds, b.folds, 1 / (folds - 1))) if folds > 1 else NO_CHANCES),
        })  # fmt: skip
    return out


def pairs_over_sets(all_rankings: list[Ranking]) -> Table:
    rows = []
    for one in all_rankings:
        values = one.values
        for i, j in zip(*np.triu_indices(len(one.rows), 1), strict=True):
            adjusted, smallest = float(one.pairs.adjusted[i, j]), one.pairs.smallest_adjusted
            rows.append({
                "protocol": one.protocol, "probe": one.probe, "a": one.rows[i].model, "b": one.rows[j].model,
                "gap": float(one.rows[i].mean.value - one.rows[j].mean.value), "p": float(one.pairs.p[i, j]),
                "adjusted": adjusted, "smallest": smallest, "verdict": verdict(adjusted, smallest),
                "family": one.pairs.n, "wilcoxon": statistics.wilcoxon(values[i], values[j]).p,
                "wilcoxon_smallest": 2.0 / 2 ** len(one.sets), **vars(bayes.signed_rank(values[i], values[j])),
                "sets": len(one.sets),
            })  # fmt: skip
    columns = [*WHERE[1:], *_texts("a", "b"), *FAMILY,
               Column("wilcoxon", "p, Wilcoxon", "p", "over data sets"),
               Column("wilcoxon_smallest", "smallest p in reach", "p", "over data sets"), *_chances("over data sets"),
               Column("sets", "data sets", "count")]  # fmt: skip
    return Table("pairs-over-sets", "Pairs of models over data sets", columns, rows,
                 "p by groups reversed: other clips of these sets; Wilcoxon: other sets.")  # fmt: skip


def confusion(families: list[Family]) -> Table:
    rows = []
    for f in families:
        for r in f.rows:
            classes = [*f.table.classes, ""]
            for i, j in zip(*np.nonzero(r.confusion), strict=True):
                rows.append({"data": f.data, "protocol": f.protocol, "probe": f.probe, "model": r.model,
                             "actual": classes[i], "predicted": classes[j], "n": int(r.confusion[i, j])})  # fmt: skip
    columns = [*WHERE, *_texts("model", "actual", "predicted"), Column("n", "clips", "count")]
    return Table("confusion", "Confusions", columns, rows)


def folds(families: list[Family]) -> Table:
    rows = []
    for f in families:
        for r in f.rows:
            for name, value in zip(np.unique(f.table.fold), r.folds, strict=True):
                rows.append({"data": f.data, "protocol": f.protocol, "probe": f.probe, "model": r.model,
                             "fold": str(name), "accuracy": float(value)})  # fmt: skip
    columns = [*WHERE, *_texts("model"), *_texts("fold"), Column("accuracy", "accuracy", "share")]
    return Table("folds", "Accuracy of each fold", columns, rows)


# --- few-shot


def curves(each: list[Shots]) -> Table:
    rows = [
        {"data": s.data, "protocol": s.protocol, "probe": s.probe, "model": model, "shots": n,
         "accuracy": Score(*(float(x[k]) for x in (c.mean, c.low, c.high))), "spread": float(c.spread[k]),
         "draws": s.n_draws}
        for s in each for model, c in s.curves.items() for k, n in enumerate(c.shots)
    ]  # fmt: skip
    columns = [*WHERE, *_texts("model"), Column("shots", "clips a class", "count"),
               Column("accuracy", "accuracy", "share"), Column("spread", "sd of draws", "share"),
               Column("draws", "draws", "count")]  # fmt: skip
    return Table("fewshot", "Few-shot curves", columns, rows, "95 % intervals over draws and groups; sd: over draws.")


def areas(each: list[Shots], data: str | None = None) -> Table:
    rows, bold = [], set()
    for s in each:
        if data in (None, s.data):
            for (model, c), tier in zip(s.curves.items(), s.tiers, strict=True):
                bold |= {(len(rows), "area")} if tier == 1 and s.pairs.reachable else set()
                rows.append({"data": s.data, "protocol": s.protocol, "probe": s.probe, "model": model, "tier": tier,
                             "area": c.area, "shots": ", ".join(map(str, c.shots)), "draws": s.n_draws})  # fmt: skip
    columns = [*WHERE, *_texts("model"), Column("tier", "tier", "count"), Column("area", "area", "share"),
               Column("shots", "clips a class"), Column("draws", "draws", "count")]  # fmt: skip
    return Table("fewshot-area", "Area under the few-shot curves", columns, rows,
                 "Mean accuracy along the logarithm of clips a class.", bold)  # fmt: skip


def curve_pairs(each: list[Shots]) -> Table:
    rows = []
    for s in each:
        names = list(s.curves)
        for i, j in zip(*np.triu_indices(len(names), 1), strict=True):
            adjusted, smallest = float(s.pairs.adjusted[i, j]), s.pairs.smallest_adjusted
            rows.append({"data": s.data, "protocol": s.protocol, "probe": s.probe, "a": names[i], "b": names[j],
                         "gap": float(s.pairs.gap[i, j]), "p": float(s.pairs.p[i, j]), "adjusted": adjusted,
                         "verdict": verdict(adjusted, smallest), "family": s.pairs.n})  # fmt: skip
    columns = [*WHERE, *_texts("a", "b"), Column("gap", "area A minus B, points", "points"),
               Column("p", "p", "p", "over draws and groups"), Column("adjusted", "p, Holm", "p"),
               Column("verdict", "verdict"), Column("family", "pairs in the family", "count")]  # fmt: skip
    return Table("fewshot-pairs", "Pairs of models, few-shot", columns, rows)


def stem(*parts: str) -> str:
    """A name for files from names of anything."""
    from ..results import file_name

    return "--".join(file_name(part).replace(" ", "_").replace(",", "") for part in parts)
