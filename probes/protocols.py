"""How a probe is trained, chosen and tested, by name. docs/protocols.md tells each one's faults.

evaluate("nested", "linear", features, data) -> Outcome, a prediction for every clip that was tested
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from l3embed.errors import UsageError

from . import selection, splits
from .datasets import DataError, DataSet, fold
from .estimators import PROBES, Probe
from .estimators.networks import Part
from .estimators.windows import Windows
from .selection import Solved, Task

RANDOM = "random folds: groups and the set's own folds are ignored"
INNER_FOLDS = 5  # made inside the training part where the set's own folds cannot serve


@dataclass(frozen=True)
class Protocol:
    """A way to test, whose name every number that it gives carries."""

    name: str
    summary: str
    faults: tuple[str, ...]
    source: str
    plan: Callable[[DataSet, int], list[Task]]
    probes: tuple[str, ...] = ()  # that go with it; (): all
    fixed: dict[str, dict] = field(default_factory=dict)  # probe -> parameters: nothing is chosen
    hold: tuple[str, float | None] = ("group", None)  # unit and share (None: the probe's) that networks validate on
    shots: bool = False  # whether it has few-shot draws


@dataclass
class Outcome:
    """A row for every clip that was tested, once for each draw."""

    classes: list[str]
    row: np.ndarray  # (m,) int, into data.clips
    fold: np.ndarray  # (m,) str
    draw: np.ndarray  # (m,) int, 0 where nothing was drawn
    predicted: np.ndarray  # (m,) int, into classes (of several labels the likeliest); -1: the model failed on the clip
    scores: np.ndarray  # (m, classes) float32: log-probabilities or decision values; NaN where the model failed
    chosen: dict[str, dict]  # by fold (fold/draw): parameters
    n_train: dict[str, int]  # by fold (fold/draw): clips learned from
    notes: list[str]


def evaluate(
    protocol: str, probe: str, features, data: DataSet, *, seed: int = 0, jobs: int = 1, shots: int | None = None,
    draws: int = 10, pooling: str = "mean+max",
) -> Outcome:  # fmt: skip
    """Every test clip predicted by a probe that was trained, and chosen, on others only.

    Parameters
    ----------
    protocol, probe : keys of PROTOCOLS and PROBES
    features : `probes.features.Features` or another with its attributes, in the order of data.clips
    seed : decides folds that are made, validation, draws and starting weights
    jobs : processes that fit at the same time; the numbers are the same whatever their count
    shots, draws : learn from so many clips a class, drawn so many times; the same ones for every model
    pooling : of windows, for probes that take one vector a clip

    Raises UsageError for names and combinations that there are not, DataError where the data set does not allow it.
    """
    if why := refusal(protocol, probe, shots):
        raise UsageError(why)
    which, family = PROTOCOLS[protocol], PROBES[probe]
    if data.multilabel and not family.several:
        several = ", ".join(name for name, one in PROBES.items() if one.several)
        raise UsageError(f"{data.name}: its clips have several labels, which {probe} cannot learn: use {several}")
    tasks, notes, grid = which.plan(data, seed), [], _grid(which, family, shots)
    if shots is not None:
        tasks, notes = _drawn(data, tasks, shots, draws, seed)
    elif len(grid) > 1 and not hasattr(family.make, "together"):
        tasks = [task if task.choose else replace(task, choose=_made(data, task.train, seed)) for task in tasks]
    ok = np.asarray(features.ok)
    usable = [_without_failed(task, ok) for task in tasks]
    if empty := [task.name for task in usable if not len(task.train)]:
        raise DataError(f"{data.name}, {empty[0]}: the model failed on every clip that could be learned from")
    with selection.one_thread():
        solved = _solve(which, family, grid, features, data, usable, seed, jobs, shots, pooling)
    return _outcome(data, ok, tasks, solved, notes)


def refusal(protocol: str, probe: str, shots: int | None = None) -> str | None:
    """Why a protocol does not go with a probe, or None."""
    if protocol not in PROTOCOLS:
        return f"protocol must be one of {', '.join(PROTOCOLS)}. Received: {protocol!r}"
    if probe not in PROBES:
        return f"probe must be one of {', '.join(PROBES)}. Received: {probe!r}"
    which = PROTOCOLS[protocol]
    if which.probes and probe not in which.probes:
        return f"protocol {protocol} goes with {' and '.join(which.probes)}, not with {probe}"
    if not which.probes and PROBES[probe].only:
        return f"probe {probe} is part of protocol {PROBES[probe].only}, and goes with no other"
    if shots is not None and not which.shots:
        return f"protocol {protocol} has no few-shot draws: use nested"
    return None


# --- plans


def _nested(data: DataSet, seed: int) -> list[Task]:
    outer = splits.usual(data, seed)
    return [Task(split.name, _learned(split), split.test, _inner(split, outer)) for split in outer]


def _learned(split) -> np.ndarray:
    return np.sort(np.concatenate([split.train, split.valid]))


def _inner(split, outer: list) -> tuple:
    """The valid list where there is one, else each other fold in turn; () where neither can serve."""
    if len(split.valid):
        return ((split.train, split.valid),)
    others = [other.test for other in outer if other is not split and np.isin(other.test, split.train).all()]
    return tuple((np.setdiff1d(split.train, held), held) for held in others) if len(others) > 1 else ()


def _made(data: DataSet, rows: np.ndarray, seed: int) -> tuple:
    """Folds made inside the training part, each in turn."""
    clips = [data.clips[row] for row in rows]
    n = min(INNER_FOLDS, len({clip.unit for clip in clips}))
    if n < 2:
        raise DataError(f"{data.name}: all training clips are of one group, so nothing can be chosen without a leak: "
                        "give the clips groups, or use a probe with nothing to choose")  # fmt: skip
    names = np.array([clip.fold for clip in fold(clips, n, seed)])
    return tuple((rows[names != name], rows[names == name]) for name in np.unique(names))


def _next_fold(data: DataSet, seed: int) -> list[Task]:
    """The valid list or, of folds, the one after the tested one to validate on; else a fifth of the groups."""
    outer, out = splits.usual(data, seed), []
    for i, split in enumerate(outer):
        after = outer[(i + 1) % len(outer)].test
        if len(split.valid):
            pair = split.train, split.valid
        elif len(outer) > 2:
            pair = np.setdiff1d(split.train, after), after
        else:
            pair = splits.validation(data, split.train, 0.2, seed)
        out.append(Task(split.name, _learned(split), split.test, (pair,)))
    return out


def _valid_list(data: DataSet, seed: int) -> list[Task]:
    outer = splits.usual(data, seed)
    return [Task(s.name, _learned(s), s.test, ((s.train, s.valid),) if len(s.valid) else ()) for s in outer]


def _eight(data: DataSet, seed: int) -> list[Task]:
    """Eight clips a label: ten draws from the train list, or one from each training part of five random folds."""
    from sklearn.model_selection import KFold

    if data.rule == "lists":
        (split,) = splits.lists(data)
        rows = _learned(split)
        return [Task(split.name, _first(data, rows, [seed, i]), split.test, (), i, True) for i in range(10)]
    out = []
    for i, (train, test) in enumerate(KFold(5, shuffle=True, random_state=seed).split(np.arange(len(data))), 1):
        split = splits.Split(f"random fold {i}", train, [], test, data, replica=RANDOM)
        out.append(Task(split.name, _first(data, split.train, [seed, i]), split.test))
    return out


def _first(data: DataSet, rows: np.ndarray, seed: list[int], n: int = 8) -> np.ndarray:
    order, counts = np.random.default_rng(seed).permutation(rows), Counter()
    kept = []
    for row in order:
        label = data.clips[row].label
        if counts[label] < n:
            counts[label] += 1
            kept.append(row)
    return np.sort(np.array(kept))


def _own(data: DataSet, seed: int) -> list[Task]:
    """The set's own split, nothing held back."""
    return [Task(split.name, _learned(split), split.test) for split in splits.usual(data, seed)]


def _drawn(data: DataSet, tasks: list[Task], shots: int, draws: int, seed: int) -> tuple[list[Task], list[str]]:
    """Each task, `draws` times, with so many clips of each class of what it may learn from. Nothing is chosen."""
    if shots < 1 or draws < 1:
        raise UsageError(f"shots and draws must be 1 at least. Received: {shots}, {draws}")
    if data.multilabel:
        raise UsageError(f"{data.name}: its clips have several labels: so many of each class cannot be drawn")
    out, notes = [], []
    for task in tasks:
        groups = {label: set() for label in data.classes}
        for row in task.train:
            groups[data.clips[row].label].add(data.clips[row].unit)
        for label, units in groups.items():
            if units and len(units) < shots:
                notes.append(f"{task.fold}: {label!r} has {len(units)} groups, so that some of {shots} shots share one")
        out += [Task(task.fold, splits.few_shot(data, task.train, shots, draw, seed), task.test, (), draw, True)
                for draw in range(draws)]  # fmt: skip
    return out, notes


def _without_failed(task: Task, ok: np.ndarray) -> Task:
    choose = tuple((fit[ok[fit]], held[ok[held]]) for fit, held in task.choose)
    choose = tuple((fit, held) for fit, held in choose if len(fit) and len(held))
    return Task(task.fold, task.train[ok[task.train]], task.test[ok[task.test]], choose, task.draw, task.drawn)


# --- from tasks to an outcome


def _grid(which: Protocol, family: Probe, shots: int | None) -> list[dict]:
    if shots is not None:
        return [family.few_shot]
    return [which.fixed[family.name]] if family.name in which.fixed else list(family.grid)


def _solve(which: Protocol, family: Probe, grid, features, data, tasks, seed, jobs, shots, pooling) -> list[Solved]:
    estimator, targets = family.make(), _targets(data)
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=seed)
    if shots is not None:
        estimator.set_params(**family.few_shot)
    if hasattr(estimator, "together"):
        return _networks(which, family, estimator, features, data, targets, tasks, seed, shots, pooling)
    metric = data.metric if data.metric in selection.METRICS else "accuracy"
    return selection.solve(estimator, grid, features.pooled(pooling), targets, len(data.classes), tasks, metric, jobs)


def _networks(which, family, estimator, features, data, targets, tasks, seed, shots, pooling) -> list[Solved]:
    """Those that train for all tasks side by side, and choose by clips that they hold back."""
    x = features.pooled(pooling) if family.input == "pooled" else features
    source = Windows(x, ok=features.ok) if family.input == "pooled" else Windows(x)
    parts = [_part(which, estimator, source, data, task, [seed, i]) for i, task in enumerate(tasks)]
    if targets.ndim == 1:
        targets = np.eye(len(data.classes))[targets]
    found = estimator.together(source, targets, parts, [task.test for task in tasks])
    return [Solved(scores, chosen, len(task.train)) for task, (scores, chosen) in zip(tasks, found, strict=True)]


def _part(which: Protocol, estimator, source: Windows, data: DataSet, task: Task, seed: list[int]) -> Part:
    unit, share = which.hold
    share = estimator.validation if share is None else share
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    if not estimator.validation:
        fit, held = task.train, task.train[:0]
    elif len(task.choose) == 1:
        fit, held = task.choose[0]
    elif unit == "window" and not estimator.clipwise:
        windows = source.of(task.train)
        places = splits.validation(data, task.train, share, seed[0], unit, np.diff(source.first))
        return Part(*(windows[some] for some in places), number)
    else:
        fit, held = splits.validation(data, task.train, share, seed[0], "clip" if unit == "window" else unit)
    return Part(fit, held, number) if estimator.clipwise else Part(source.of(fit), source.of(held), number)


def _targets(data: DataSet) -> np.ndarray:
    """(clips,) codes or, of several labels, (clips, classes) of 0 and 1."""
    place = {label: code for code, label in enumerate(data.classes)}
    if not data.multilabel:
        return np.array([place[clip.label] for clip in data.clips])
    out = np.zeros((len(data), len(place)))
    for row, clip in enumerate(data.clips):
        out[row, [place[label] for label in clip.labels or (clip.label,)]] = 1
    return out


def _outcome(data: DataSet, ok: np.ndarray, tasks: list[Task], solved: list[Solved], notes: list[str]) -> Outcome:
    scores = [np.full((len(task.test), len(data.classes)), np.nan, np.float32) for task in tasks]
    predicted = [np.full(len(task.test), -1) for task in tasks]
    for task, one, values, best in zip(tasks, solved, scores, predicted, strict=True):
        values[ok[task.test]] = one.scores
        best[ok[task.test]] = values[ok[task.test]].argmax(axis=1)
    notes = [*notes, *(f"{task.name}: {note}" for task, one in zip(tasks, solved, strict=True) for note in one.notes)]
    return Outcome(
        data.classes,
        np.concatenate([task.test for task in tasks]),
        np.concatenate([np.full(len(task.test), task.fold, object) for task in tasks]).astype(str),
        np.concatenate([np.full(len(task.test), task.draw) for task in tasks]),
        np.concatenate(predicted),
        np.concatenate(scores),
        {task.name: one.chosen for task, one in zip(tasks, solved, strict=True)},
        {task.name: one.n_train for task, one in zip(tasks, solved, strict=True)},
        notes,
    )


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "nested",
            "the set's own folds or lists; scaler and parameters chosen inside the training part, groups whole",
            (),
            "this package",
            _nested,
            shots=True,
        ),
        Protocol(
            "look-listen-learn-more",
            "the set's own folds; the MLP's grid chosen by 15 % of the training windows; likelihoods averaged by clip",
            (
                "windows of one clip are fitted and validated on, so that the most overfitted point may look best",
                "one trial a fold (the paper's tables average 2 on UrbanSound8K and 5 on ESC-50)",
            ),
            "Cramer et al. 2019, Look, listen, and learn more; marl/l3embedding",
            _own,
            probes=("mlp-windows", "mlp"),
            hold=("window", 0.15),
        ),
        Protocol(
            "esc2015",
            "the set's own folds, nothing held back: MFCC statistics with neighbours, a linear SVM or a random forest",
            (
                "parameters are scikit-learn's defaults (5 neighbours, Euclidean; C = 1) and 500 trees, features are "
                "standardised: what the paper did is not known to us",
                "five folds of one seed: no interval came with the published figures",
            ),
            "Piczak 2015, ESC: dataset for environmental sound classification",
            _own,
            probes=("knn", "svm", "forest"),
            fixed={"knn": {"k": 5, "metric": "l2"}, "svm": {"C": 1.0}, "forest": {}},
        ),
        Protocol(
            "hear-mlp",
            "fold i tests, fold i + 1 validates; eight random points tried on the first split, the best used on all",
            (
                "the point chosen on the first split serves all others, whose test folds so took part in the choice",
                "HEAR pools by each model's own scene embedding; here by the pooling that is asked for",
            ),
            "hear-eval-kit, heareval/predictions/task_predictions.py",
            _next_fold,
            probes=("hear-mlp",),
        ),
        Protocol(
            "evar-linear",
            "standard scaler, one linear layer, Adam; stopped by the valid list or a tenth of the training clips",
            (
                "of sets with folds, clips of one group are fitted and validated on",
                "one learning rate, 3e-4; EVAR has one for each model in its files, whose choice it does not tell",
                "its published +- is over seeds, not over folds",
            ),
            "nttcslab/eval-audio-repr, lineareval.py",
            _valid_list,
            probes=("evar-linear",),
            hold=("clip", None),
        ),
        Protocol(
            "maeb-lr8",
            "logistic regression of at most 100 steps on eight clips a label, unscaled; random folds",
            (
                "random folds where the set has its own: clips of one source are learned and tested",
                "only eight clips a label are learned from, however many there are",
            ),
            "embeddings-benchmark/mteb, abstasks/classification.py",
            _eight,
            probes=("maeb-lr",),
        ),
    )
}
