"""The clips that are hardest, and the ones that failed: what to listen to."""

from __future__ import annotations

import numpy as np

from .facts import Family
from .reading import Found
from .tables import Column, Table

WORST = 12  # of a data set


def worst(found: Found, family: Family, n: int = WORST) -> Table:
    """The clips that most models get wrong, of those the ones on which the best model errs most clearly.

    How clearly is the score of what it says minus the highest score of a right label: in nats for log-probabilities.
    Random weights and baselines are not counted, where there are others. Where a clip is tested in several draws, the
    first counts.
    """
    table, data = family.table, found.sets[family.data]
    first = np.unique(table.rows, return_index=True)[1]
    judges = [row for row in family.rows if found.models[row.model].get("kind", "model") == "model"] or family.rows
    wrong = np.sum([~row.right for row in judges], axis=0)[first]
    right_score = np.where(table.targets, table.scores, -np.inf).max(axis=1)
    margin = np.nan_to_num(table.scores.max(axis=1) - right_score, nan=np.inf)[first]
    order = [k for k in np.lexsort((table.rows[first], -margin, -wrong)) if wrong[k]][:n]
    rows = []
    for k in order:
        at = first[k]
        clip = data.clips[table.rows[at]]
        said = table.predicted[at]
        rows.append({
            "data": family.data, "protocol": family.protocol, "probe": family.probe, "clip": clip["clip"],
            "label": ", ".join(data.several(table.rows[at])),
            "predicted": table.classes[said] if said >= 0 else "failed",
            "right": bool(table.right[at]), "wrong": f"{wrong[k]} of {len(judges)}", "best": family.rows[0].model,
            "margin": float(margin[k]) if said >= 0 and np.isfinite(margin[k]) and margin[k] > 0 else None,
            "group": clip["group"], "fold": _fold(str(table.fold[at])), "path": clip["path"],
            "row": int(table.rows[at]),
        })  # fmt: skip
    columns = [
        Column("data", "data set"), Column("protocol", "protocol"), Column("probe", "probe"), Column("clip", "clip"),
        Column("label", "label"), Column("predicted", f"said by {family.rows[0].model}"),
        Column("wrong", "models that are wrong"), Column("margin", "margin", "number"), Column("group", "group"),
        Column("fold", "fold"),
    ]  # fmt: skip
    return Table("worst-clips", "Hardest clips", columns, rows,
                 f"{family.probe} probe, protocol {family.protocol}.")  # fmt: skip


def _fold(name: str) -> str:
    return f"fold {name}" if name.isdigit() else name


def failed_clips(found: Found) -> Table:
    """Each clip that a model could not embed, with its reason; the rule says what became of it."""
    rows = [
        {"data": cost["data"], "model": cost["model"], "clip": clip, "reason": why}
        for cost in found.costs for clip, why in sorted((cost.get("failed") or {}).items())
    ]  # fmt: skip
    keys = {"data": "data set", "model": "model", "clip": "clip", "reason": "reason"}
    columns = [Column(key, title) for key, title in keys.items()]
    rules = sorted({about.get("failed_rule", "wrong") for about in found.about})
    says = {"wrong": "counted as wrong for that model", "exclude": "left out for all models"}
    return Table(
        "failed-clips", "Clips that failed", columns, rows, "Rule: " + "; ".join(says.get(r, r) for r in rules) + "."
    )


def failed_jobs(found: Found) -> Table:
    keys = ("data", "model", "probe", "protocol", "pooling", "shots", "error")
    rows = [{key: job.get(key) for key in keys} for job in found.failed]
    columns = [Column(key, {"data": "data set", "error": "reason"}.get(key, key)) for key in keys]
    return Table("failed-jobs", "Jobs that failed", columns, rows)
