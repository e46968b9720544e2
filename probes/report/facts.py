"""Predictions -> what a report says: scores with intervals, which models differ, tiers.

A *family* is what may be compared: the models that one probe was trained on, under one protocol, on one data set. All
pairs of models of a family are tested, and corrected for together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from l3embed.errors import DataError

from .. import scores, statistics
from .reading import Found, Job, Tested, tested

DRAWS = 1_999  # resamples of scores that are no shares of clips
SHARES = 4_999  # of those that are
WORK = 2_000_000_000  # resamples x clips x classes of mAP: fewer resamples of the largest sets
LEVEL = statistics.LEVEL


@dataclass(frozen=True)
class Score:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass
class Row:
    """One model in a family."""

    model: str
    job: Job
    accuracy: Score
    uar: Score
    f1: Score
    map: Score | None
    calibration: float | None
    folds: np.ndarray  # accuracy of each fold, mean over draws
    confusion: np.ndarray
    n_failed: int
    right: np.ndarray  # (tests,) bool
    drawn: np.ndarray  # (SHARES or DRAWS,) bootstrap values of the set's own score
    metric: str
    tier: int = 0
    best: bool = False  # in the first tier, where tiers can be told

    @property
    def score(self) -> Score:
        return getattr(self, self.metric)


@dataclass
class Family:
    """The models of one probe and protocol on one data set, the best first."""

    data: str
    protocol: str
    probe: str
    metric: str  # accuracy, uar or map: what decides
    rows: list[Row]
    pairs: statistics.Pairs
    gaps: np.ndarray  # (models, models, 2) 95 % interval of each gap
    units: np.ndarray  # (tests,) groups
    weights: np.ndarray  # (tests,) of the score, where it is a share
    n_clips: int
    n_groups: int
    visible: float  # smallest gap that is likely seen between two models (a share; inf: none)
    visible_family: float  # after Holm, as the family's clearest
    notes: list[str] = field(default_factory=list)
    table: Tested | None = None  # of the best model, for what is listed by clip


def _put_in_tiers(rows: list, values: list[float], pairs: statistics.Pairs) -> None:
    for row, tier in zip(rows, statistics.tiers(values, pairs.adjusted), strict=True):
        row.tier, row.best = tier, tier == 1 and pairs.reachable


def families(found: Found) -> list[Family]:
    """All families of jobs that learned from all clips, in the order of the runs."""
    groups: dict[tuple, list[Job]] = {}
    for job in found.jobs:
        if job.shots is None:
            groups.setdefault((job.data, job.protocol, job.probe), []).append(job)
    return [family(found, jobs) for jobs in groups.values()]


def family(found: Found, jobs: list[Job]) -> Family:
    data, first = found.sets[jobs[0].data], jobs[0]
    metric = "map" if data.multi_label else data.metric
    tables, notes = aligned([tested(found, job) for job in jobs])
    units = data.units[tables[0].rows]
    rows = _rows(jobs, tables, units, metric)
    order = sorted(range(len(rows)), key=lambda k: (-round(rows[k].score.value, 12), rows[k].model))
    rows, tables = [rows[k] for k in order], [tables[k] for k in order]
    weights = scores.weights(tables[0].label if metric == "uar" else tables[0].parts)
    compared = compare(rows, units, weights)
    _put_in_tiers(rows, [row.score.value for row in rows], compared)
    drawn = np.stack([row.drawn for row in rows])
    gaps = np.quantile(drawn[:, None] - drawn[None], [0.025, 0.975], axis=-1).transpose(1, 2, 0)
    seen = [_visible(rows, units, weights, level) for level in (LEVEL, LEVEL / max(compared.n, 1))]
    return Family(
        first.data, first.protocol, first.probe, metric, rows, compared, gaps, units, weights,
        len(np.unique(tables[0].rows)), len(np.unique(units)), *seen, notes, tables[0],
    )  # fmt: skip


def aligned(tables: list[Tested]) -> tuple[list[Tested], list[str]]:
    """The tests that all models have, in one order; what was left out, in words."""
    keys = [list(zip(t.draw.tolist(), t.rows.tolist(), strict=True)) for t in tables]
    if all(k == keys[0] for k in keys[1:]):
        return tables, []
    common = set(keys[0]).intersection(*keys[1:])
    if not common:
        raise DataError("the models of a probe were tested on different clips: report their runs apart")
    out = [t.take(np.array([key in common for key in k])) for t, k in zip(tables, keys, strict=True)]
    n = max(map(len, keys)) - len(common)
    return out, [f"{n} tests are not there for every model and are left out of all"]


def compare(rows: list[Row], units: np.ndarray, weights: np.ndarray) -> statistics.Pairs:
    """All pairs, by the score that decides."""
    if rows[0].metric != "map":
        return statistics.pairs(np.stack([row.right for row in rows]), units, weights)
    values = np.array([row.score.value for row in rows])
    i, j = np.triu_indices(len(rows), 1)
    p = [statistics.bootstrap_p(rows[a].drawn - rows[b].drawn) for a, b in zip(i, j, strict=True)]
    return statistics.from_p(values[:, None] - values, np.array(p), 2 / (len(rows[0].drawn) + 1))


def _visible(rows: list[Row], units, weights, level: float) -> float:
    """Median over pairs of models."""
    if len(rows) < 2 or rows[0].metric == "map":
        return np.nan
    pairs = zip(*np.triu_indices(len(rows), 1), strict=True)
    return float(np.median([
        statistics.visible_gap(rows[i].right, rows[j].right, units, weights, level=level) for i, j in pairs
    ]))  # fmt: skip


def _rows(jobs: list[Job], tables: list[Tested], units: np.ndarray, metric: str) -> list[Row]:
    """A row a job; all of them see the same resamples."""
    first, right = tables[0], np.stack([table.right for table in tables])
    of, labels, k = scores.weights(first.parts), first.label, len(tables)
    draws = int(np.clip(WORK // max(1, first.scores.size), 199, DRAWS))
    shared = statistics.bootstrap(
        lambda times: np.stack([scores.share(right.T, of, times), scores.uar(right.T, labels, times)]).swapaxes(0, 1),
        units, first.fold, SHARES,
    )  # fmt: skip
    others = statistics.bootstrap(
        lambda times: np.stack([_others(table, times) for table in tables]).transpose(2, 1, 0), units, first.fold, draws
    )
    values = np.stack([scores.share(right.T, of), scores.uar(right.T, labels), *_points(tables)])  # (4, models)
    drawn = {name: (shared, others)[n // 2][:, n % 2] for n, name in enumerate(("accuracy", "uar", "f1", "map"))}
    out = []
    for m in range(k):
        each = {
            name: None if np.isnan(value) else Score(float(value), *statistics.interval(drawn[name][:, m]))
            for name, value in zip(drawn, values[:, m], strict=True)
        }
        out.append(_row(jobs[m], tables[m], each, drawn[metric][:, m], metric))
    return out


def _others(table: Tested, times: np.ndarray) -> np.ndarray:
    """(2, draws) macro-F1 and mAP."""
    has_scores = not np.isnan(table.scores).all()
    ap = scores.mean_average_precision(table.scores, table.targets, times) if has_scores else np.zeros(len(times))
    return np.stack([scores.macro_f1(table.predicted, table.label, times), ap])


def _points(tables: list[Tested]) -> np.ndarray:
    """(2, models) macro-F1 and mAP as they are; mAP is NaN where there are no scores."""
    found = np.stack([_others(table, np.ones((1, len(table.rows))))[:, 0] for table in tables], axis=1)
    found[1, [np.isnan(table.scores).all() for table in tables]] = np.nan
    return found


def _row(job: Job, table: Tested, each: dict, drawn: np.ndarray, metric: str) -> Row:
    right, several = table.right, bool((table.targets.sum(axis=1) > 1).any())
    return Row(
        job.model, job, **each, calibration=None if several else scores.calibration_error(table.scores, table.label),
        folds=_folds(right, table), confusion=scores.confusion(table.predicted, table.label, len(table.classes)),
        n_failed=len(np.unique(table.rows[table.predicted < 0])), right=right, drawn=drawn, metric=metric,
    )  # fmt: skip


def _folds(right: np.ndarray, table: Tested) -> np.ndarray:
    """Accuracy of each fold, mean over draws where draws share folds."""
    return np.array([right[table.fold == fold].mean() for fold in np.unique(table.fold)])


# --- over data sets


@dataclass
class Standing:
    """One model over all data sets."""

    model: str
    mean: Score
    sets: dict[str, Row]
    tier: int = 0
    best: bool = False


@dataclass
class Ranking:
    """The models of one probe and protocol over data sets, by the mean of each set's own score."""

    protocol: str
    probe: str
    sets: list[str]
    rows: list[Standing]
    pairs: statistics.Pairs
    missing: dict[str, list[str]]  # model -> sets it has no result on: not ranked

    @property
    def values(self) -> np.ndarray:
        """(models, sets) each set's own score."""
        return np.array([[row.sets[name].score.value for name in self.sets] for row in self.rows])


def rankings(found: Found, all_families: list[Family]) -> list[Ranking]:
    groups: dict[tuple, list[Family]] = {}
    for one in all_families:
        groups.setdefault((one.protocol, one.probe), []).append(one)
    return [_ranking(list(found.models), each) for each in groups.values()]


def _ranking(models: list[str], each: list[Family]) -> Ranking:
    there = {model: {f.data: r for f in each for r in f.rows if r.model == model} for model in models}
    sets = [f.data for f in each]
    full = [model for model in models if len(there[model]) == len(sets)]
    missing = {m: [s for s in sets if s not in there[m]] for m in models if m not in full and there[m]}
    rows = []
    for model in full:
        # sets are independent: each takes its resamples in another order
        n = min(len(there[model][s].drawn) for s in sets)
        drawn = np.mean([_turned(there[model][s].drawn, k)[:n] for k, s in enumerate(sets)], axis=0)
        value = float(np.mean([there[model][s].score.value for s in sets]))
        rows.append((Standing(model, Score(value, *statistics.interval(drawn)), there[model]), drawn))
    rows.sort(key=lambda row: (-round(row[0].mean.value, 12), row[0].model))
    standing, drawn = [row for row, _ in rows], [d for _, d in rows]
    if not rows:
        return Ranking(each[0].protocol, each[0].probe, sets, [], _nothing(), missing)
    pairs = _over_sets(standing, drawn, each)
    _put_in_tiers(standing, [row.mean.value for row in standing], pairs)
    return Ranking(each[0].protocol, each[0].probe, sets, standing, pairs, missing)


def _turned(drawn: np.ndarray, k: int) -> np.ndarray:
    return np.random.default_rng(k).permutation(drawn)


def _nothing() -> statistics.Pairs:
    return statistics.Pairs(*np.zeros((3, 0, 0)), 1.0)


def _over_sets(standing: list[Standing], drawn: list[np.ndarray], each: list[Family]) -> statistics.Pairs:
    """Groups of all sets reversed, each set weighing the same: would other clips of *these* sets say the same?"""
    if any(f.metric == "map" for f in each):
        mean = np.array([row.mean.value for row in standing])
        i, j = np.triu_indices(len(standing), 1)
        p = [statistics.bootstrap_p(drawn[a] - drawn[b]) for a, b in zip(i, j, strict=True)]
        return statistics.from_p(mean[:, None] - mean, np.array(p), 2 / (len(drawn[0]) + 1))
    right = np.concatenate([np.stack([row.sets[f.data].right for row in standing]) for f in each], axis=1)
    units = np.concatenate([np.char.add(f"{k}:", f.units) for k, f in enumerate(each)])
    return statistics.pairs(right, units, np.concatenate([f.weights / len(each) for f in each]))
