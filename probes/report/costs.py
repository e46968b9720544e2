"""What embeddings cost, beside what they are worth."""

from __future__ import annotations

from .facts import Ranking
from .reading import Found
from .tables import Column, Table

COLUMNS = [
    Column("model", "model"), Column("speed", "sound, s/s", "number", "seconds of sound per second"),
    Column("weights_bytes", "weights, MB", "number"), Column("parameters", "parameters, M", "number"),
    Column("bytes_per_hour", "MB per hour of sound", "number", "embeddings, float32"),
    Column("dim", "numbers a window", "count"),
    Column("hop_s", "hop, s", "number"), Column("peak_mb", "peak memory, MB", "number"),
    Column("precision", "precision"), Column("device", "device"), Column("jobs", "processes", "count"),
]  # fmt: skip


def costs(found: Found, ranking: Ranking | None) -> Table:
    """A row a model, over all data sets; the score is the mean of `ranking`."""
    score = {row.model: row.mean for row in ranking.rows} if ranking else {}
    rows = []
    for model, about in found.models.items():
        each = [cost for cost in found.costs if cost["model"] == model]
        timed = [c for c in each if c.get("wall_s") and c.get("sound_s")]
        sizes = [c for c in each if c.get("bytes") and found.sets[c["data"]].about.get("seconds")]
        hours = sum(found.sets[c["data"]].about["seconds"] for c in sizes) / 3600
        rows.append({
            "model": model, "score": score.get(model),
            "speed": sum(c["sound_s"] for c in timed) / sum(c["wall_s"] for c in timed) if timed else None,
            "weights_bytes": _mega(about.get("weights_bytes")), "parameters": _mega(about.get("parameters")),
            "bytes_per_hour": sum(c["bytes"] for c in sizes) / hours / 1e6 if hours else None,
            "dim": about.get("dim"), "hop_s": about.get("hop_s"),
            "peak_mb": max((c["peak_mb"] for c in each if c.get("peak_mb")), default=None),
            **{key: _all(c.get(key) for c in each) for key in ("precision", "device", "jobs")},
        })  # fmt: skip
    rows.sort(key=lambda row: (-(row["score"].value if row["score"] else -1), row["model"]))
    title = f"mean, {ranking.probe}, {ranking.protocol}" if ranking else "mean"
    columns = [COLUMNS[0], Column("score", title, "share"), *COLUMNS[1:]]
    return Table("cost", "Cost", columns, rows, "Times hold for the machine and the precision they were taken with.")


def best_in_both(points: list[tuple[float, float]]) -> list[int]:
    """Points that no other one beats in both coordinates (larger is better), by the first coordinate."""
    keep = [
        i for i, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)
    ]  # fmt: skip
    return sorted(keep, key=lambda i: points[i])


def _mega(value) -> float | None:
    return value / 1e6 if value else None


def _all(values) -> str | int | None:
    there = list(dict.fromkeys(v for v in values if v is not None))
    return there[0] if len(there) == 1 else ", ".join(map(str, there)) or None
