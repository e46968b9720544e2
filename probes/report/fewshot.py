"""Few-shot jobs -> a curve for each model of a family, and which of them differ."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .. import curves, statistics
from .reading import Found, Job, Tested, tested


@dataclass
class Shots:
    """The curves of one probe and protocol on one data set, the largest area first."""

    data: str
    protocol: str
    probe: str
    curves: dict[str, curves.Curve]  # model ->
    pairs: statistics.Pairs
    tiers: list[int]
    n_draws: int
    notes: list[str] = field(default_factory=list)


def families(found: Found) -> list[Shots]:
    groups: dict[tuple, list[Job]] = {}
    for job in found.jobs:
        if job.shots is not None:
            groups.setdefault((job.data, job.protocol, job.probe), []).append(job)
    return [one for one in (_family(found, jobs) for jobs in groups.values()) if one is not None]


def _family(found: Found, jobs: list[Job]) -> Shots | None:
    numbers = sorted({job.shots for job in jobs})
    of: dict[str, dict[int, Tested]] = {}
    for job in jobs:
        of.setdefault(job.model, {})[job.shots] = tested(found, job)
    full = {model: tables for model, tables in of.items() if sorted(tables) == numbers}
    notes = [f"{model} lacks some numbers of shots and has no curve" for model in of if model not in full]
    if not full:
        return None
    each = [table for tables in full.values() for table in tables.values()]
    clips = np.array(sorted(set.intersection(*(set(t.rows.tolist()) for t in each))))
    n_draws = min(len(np.unique(t.draw)) for t in each)
    if not len(clips) or not n_draws:
        return None
    if left_out := max(len(np.unique(t.rows)) for t in each) - len(clips):
        notes.append(f"{left_out} clips are not tested for every model and are left out of all")
    data, first = found.sets[jobs[0].data], each[0]
    folds = _folds(first, clips)
    units = data.units[clips]
    made = {
        model: curves.curve({n: _right(t, clips, n_draws) for n, t in tables.items()}, units, folds)
        for model, tables in full.items()
    }
    made = dict(sorted(made.items(), key=lambda item: (-round(item[1].area, 12), item[0])))
    pairs = curves.compare(list(made.values()), units, folds)
    tiers = statistics.tiers([curve.area for curve in made.values()], pairs.adjusted)
    return Shots(jobs[0].data, jobs[0].protocol, jobs[0].probe, made, pairs, tiers, n_draws, notes)


def _right(table: Tested, clips: np.ndarray, n_draws: int) -> np.ndarray:
    """(draws, clips) share right; a clip that a draw tests several times is a share."""
    draws = np.unique(table.draw)[:n_draws]
    place = np.searchsorted(clips, table.rows)
    place = np.minimum(place, len(clips) - 1)
    keep = (clips[place] == table.rows) & np.isin(table.draw, draws)
    at = (np.searchsorted(draws, table.draw[keep]), place[keep])
    out, n = np.zeros((n_draws, len(clips))), np.zeros((n_draws, len(clips)))
    np.add.at(out, at, table.right[keep])
    np.add.at(n, at, 1)
    return out / np.maximum(n, 1)


def _folds(table: Tested, clips: np.ndarray) -> np.ndarray:
    """The fold that each clip is tested in (in the first draw)."""
    fold = dict(zip(table.rows[::-1].tolist(), table.fold[::-1].tolist(), strict=True))
    return np.array([fold[clip] for clip in clips.tolist()])
