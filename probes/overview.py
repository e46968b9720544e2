"""A run in a few lines, for a terminal. The report says more: intervals, tests, costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import results, scores

COLUMNS = ("data", "metric", "protocol", "shots", "model", "pooling")  # of text; then a probe each


def lines(folder: Path, jobs: list[dict]) -> list[str]:
    """A row for each model, a column for each probe: the metric that the data set's papers report, in %."""
    data = results.read_run(folder)["data"]
    cells, probes = {}, list(dict.fromkeys(job["probe"] for job in jobs))
    for job in jobs:
        metric, shots = data[job["data"]]["metric"], "all" if job["shots"] is None else str(job["shots"])
        pooling = "" if job["pooling"] == "windows" else job["pooling"]
        row = (job["data"], metric, job["protocol"], shots, job["model"], pooling)
        cells.setdefault(row, {})[job["probe"]] = _cell(folder, job, metric)
    for row in [
        row for row in cells if not row[-1]
    ]:  # a probe of windows knows no pooling: it stands in the rows of all
        if others := [other for other in cells if other[:-1] == row[:-1] and other[-1]]:
            for other in others:
                cells[other] |= cells[row]
            del cells[row]
    order = sorted(cells, key=lambda row: (row[0], row[2], 0 if row[3] == "all" else int(row[3])))
    return _aligned([(*COLUMNS, *probes), *((*row, *(cells[row].get(p, "") for p in probes)) for row in order)])


def _cell(folder: Path, job: dict, metric: str) -> str:
    if job["status"] != "ok":
        return "failed"
    found = results.read_predictions(folder, job)
    if metric == "map":
        labels = dict(zip(*(results.read_clips(folder, job["data"]).column(k).to_pylist() for k in ("clip", "labels")),
                          strict=True))  # fmt: skip
        targets = np.array([[name in labels[clip] for name in found.classes] for clip in found.clip])
        value = scores.mean_average_precision(found.scores, targets)
    elif metric == "uar":
        value = scores.uar(found.right, np.unique(found.label, return_inverse=True)[1])
    else:
        value = found.right.mean()
    return f"{100 * float(value):.1f}"


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = [str.ljust if i < len(COLUMNS) else str.rjust for i in range(len(widths))]
    return ["  ".join(side(text, w) for side, text, w in zip(sides, line, widths, strict=True)).rstrip()
            for line in table]  # fmt: skip
