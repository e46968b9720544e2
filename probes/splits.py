"""Splits that cannot leak: a Split says which clips are learned from, chosen by and tested on, and checks that itself.

Rows are indices into `DataSet.clips`. Training, validation and test share neither a clip nor a group; a split that
replicates a published protocol in which they do must name that fault (`replica`). Which rows are drawn depends on the
seed and the ids of the clips, never on the model that is probed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from l3embed.errors import UsageError

from .datasets import N_FOLDS, DataError, DataSet, fold
from .datasets.clips import relative

WINDOWS = "windows of one clip are on both sides"  # the replica's fault, marl/l3embedding's classifier
SHARED = "validation shares groups with training"  # that of validation by clip
PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Rows to learn from, to choose by (may be empty) and to test on.

    Raises DataError where they share a clip or, `replica` being empty, a group. `replica` names the fault of a
    published protocol that is repeated on purpose; training and test share no clip even there.
    """

    name: str  # "fold 3", "test list"
    train: np.ndarray  # (n,) int, ascending; so are the others
    valid: np.ndarray
    test: np.ndarray
    of: InitVar[DataSet]
    replica: str = ""

    def __post_init__(self, of: DataSet):
        for part in PARTS:
            rows = np.sort(np.asarray(getattr(self, part), dtype=np.int64).reshape(-1))
            if rows.size and not 0 <= rows[0] <= rows[-1] < len(of):
                raise DataError(f"{of.name}, {self.name}: {part} has a row outside the {len(of)} clips")
            rows.flags.writeable = False  # it was checked as it is
            object.__setattr__(self, part, rows)
        if not self.train.size or not self.test.size:
            raise DataError(f"{of.name}, {self.name}: has no clips to {'test on' if self.train.size else 'learn from'}")
        self._refuse_leaks(of)

    def _refuse_leaks(self, of: DataSet) -> None:
        said = f"{of.name}, {self.name}"
        units = {part: {of.clips[row].unit for row in getattr(self, part)} for part in PARTS}
        for part in PARTS:
            if (np.diff(getattr(self, part)) == 0).any():
                raise DataError(f"{said}: {part} has a clip twice")
        for one, other in combinations(PARTS, 2):
            if (both := np.intersect1d(getattr(self, one), getattr(self, other))).size:
                raise DataError(
                    f"{said}: clip {of.clips[both[0]].id or of.clips[both[0]].path} is in {one} and {other}"
                )
            if not self.replica and (shared := units[one] & units[other]):
                raise DataError(f"{said}: group {min(shared)!r} is in {one} and {other}: it may be in one only")


# --- what a set prescribes


def folds(data: DataSet, replica: str = "") -> list[Split]:
    """Each predefined fold tested once, all others learned from; clips without a fold (an evaluation set) stay out.

    `replica`: names the fault of published folds that share groups; without it such are refused.
    """
    column = np.array([clip.fold for clip in data.clips])
    if len(data.folds) < 2:
        raise DataError(f"{data.name}: has {len(data.folds)} folds, and needs two")
    splits = []
    for name in data.folds:
        train, test = np.flatnonzero((column != name) & (column != "")), np.flatnonzero(column == name)
        splits.append(Split(f"fold {name}", train, [], test, data, replica))
    return _learnable(data, splits)


def lists(data: DataSet, replica: str = "") -> list[Split]:
    """The one split of train, valid and test lists; where the labels of the test list are withheld, valid is tested.

    `replica`: as for `folds`.
    """
    column = np.array([clip.split for clip in data.clips])
    train, valid, test = (np.flatnonzero(column == part) for part in PARTS)
    if test.size or not valid.size:
        return _learnable(data, [Split("test list", train, valid, test, data, replica)])
    return _learnable(data, [Split("valid list", train, [], valid, data, replica)])


def leave_out(data: DataSet) -> list[Split]:
    """Each group tested once, all others learned from."""
    units = np.array(data.units)
    names = sorted(set(units))
    if len(names) < 2:
        raise DataError(f"{data.name}: has {len(names)} groups, and needs two")
    splits = [
        Split(
            f"without {relative(Path(name), data.root)}",
            np.flatnonzero(units != name),
            [],
            np.flatnonzero(units == name),
            data,
        )
        for name in names
    ]
    return _learnable(data, splits)


def usual(data: DataSet, seed: int = 0, n_folds: int = N_FOLDS) -> list[Split]:
    """By the set's own rule; where it has none, folds that keep groups whole and labels even (`datasets.fold`)."""
    if data.rule == "folds":
        return folds(data)
    return lists(data) if data.rule == "lists" else folds(with_folds(data, n_folds, seed))


def with_folds(data: DataSet, n_folds: int = N_FOLDS, seed: int = 0) -> DataSet:
    """The set, its clips in the same order, with folds that `datasets.fold` makes."""
    order = sorted(range(len(data)), key=lambda row: data.clips[row].path)  # the same folds wherever ids come from
    clips = list(data.clips)
    for row, clip in zip(order, fold([data.clips[row] for row in order], n_folds, seed), strict=True):
        clips[row] = clip
    return replace(data, clips=tuple(clips), rule="folds")


def _learnable(data: DataSet, splits: list[Split]) -> list[Split]:
    """The splits. Raises DataError for a label that is tested where it cannot have been learned."""
    if data.multilabel:
        return splits
    labels = np.array(data.labels)
    for split in splits:
        if strange := sorted(set(labels[split.test]) - set(labels[split.train])):
            n = int(np.sum(labels == strange[0]))
            raise DataError(f"{data.name}, {split.name}: label {str(strange[0])!r} (clips in all: {n}) is tested and "
                            "never learned: give it clips of other groups, or leave it out")  # fmt: skip
    return splits


# --- what is drawn


def group_halves(data: DataSet, seed: int = 0, inside: float = 0.2, unit: str = "group") -> list[Split]:
    """Half of each label's groups tested, the other half learned from, of which a share `inside` to choose by.

    A language report's split of VoxForge (800 of 1,600 users a language each way, then 80/20 by utterance): with
    unit="clip" its random part is by clip, as it was, and speakers are in training and validation (a named replica).
    """
    halves = _shares(data, np.arange(len(data)), 0.5, ("halves", seed), "group")
    train, valid = validation(data, halves[0], inside, seed, unit)
    return _learnable(data, [Split("group half", train, valid, halves[1], data, _fault(data, train, valid))])


def validation(
    data: DataSet, rows: Sequence[int], share: float = 0.15, seed: int = 0, unit: str = "group", n_windows=None
) -> tuple[np.ndarray, np.ndarray]:
    """(train, valid): `rows` in two, labels as even as whole groups (unit "group") or clips ("clip") allow.

    No label loses its last group or clip to validation. unit="window" is the replica of marl/l3embedding (`WINDOWS`):
    with `n_windows` (clips,), the windows of all rows, one clip after another, are dealt out, and indices of windows
    returned.
    """
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    if not 0 < share < 1:
        raise UsageError(f"share must be between 0 and 1. Received: {share}")
    if unit not in ("group", "clip", "window"):
        raise UsageError(f"unit must be 'group', 'clip' or 'window'. Received: {unit!r}")
    if unit != "window":
        return _shares(data, rows, share, ("validation", seed), unit)
    if n_windows is None:
        raise UsageError("unit 'window' needs the number of windows of each clip (n_windows)")
    labels = np.repeat(np.array(data.labels)[rows], np.asarray(n_windows)[rows])
    rng = np.random.default_rng(_number("windows", seed, *(data.clips[row].id for row in rows)))
    valid = np.zeros(len(labels), bool)
    for label in sorted(set(labels)):
        of = np.flatnonzero(labels == label)
        valid[rng.permutation(of)[: min(round(share * len(of)), len(of) - 1)]] = True
    return np.flatnonzero(~valid), np.flatnonzero(valid)


def inside(data: DataSet, split: Split, share: float = 0.15, seed: int = 0, unit: str = "group") -> Split:
    """The split with a part of its training clips to choose by."""
    train, valid = validation(data, split.train, share, seed, unit)
    return Split(split.name, train, valid, split.test, data, split.replica or _fault(data, train, valid))


def _fault(data: DataSet, train: np.ndarray, valid: np.ndarray) -> str:
    units = data.units
    return SHARED if {units[row] for row in train} & {units[row] for row in valid} else ""


def _shares(data: DataSet, rows: np.ndarray, share: float, key: tuple, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """(kept, taken): units are taken, in an order drawn, where that brings the labels' counts nearer to the share."""
    members = defaultdict(list)
    for row in rows:
        members[data.clips[row].unit if unit == "group" else int(row)].append(int(row))
    codes = np.unique([data.clips[row].label for row in rows], return_inverse=True)[1]
    code = dict(zip(map(int, rows), codes, strict=True))
    counts = {name: np.unique([code[row] for row in of], return_counts=True) for name, of in members.items()}
    order = _drawn(members, key, lambda name: min(data.clips[row].id for row in members[name]))
    total = np.bincount(codes)
    left = np.bincount(np.concatenate([labels for labels, _ in counts.values()]))  # units that hold each label
    taken, wanted = [], share * total
    for name in order:
        labels, n = counts[name]
        error, then = wanted[labels] ** 2, (wanted[labels] - n) ** 2
        if (left[labels] > 1).all() and (then / total[labels]).sum() < (error / total[labels]).sum():
            taken.append(name)
            wanted[labels] -= n
            left[labels] -= 1
    if not taken:  # all are too large for the share: the smallest that can be spared
        spare = [name for name in order if (left[counts[name][0]] > 1).all()]
        if not spare:
            raise DataError(f"{data.name}: no {unit} can be spared to choose by: each is the last of one of its labels")
        taken = [min(spare, key=lambda name: len(members[name]))]
    chosen = np.array([row for name in taken for row in members[name]], dtype=np.int64)
    return np.setdiff1d(rows, chosen), np.sort(chosen)


def few_shot(data: DataSet, rows: Sequence[int], n: int, draw: int = 0, seed: int = 0) -> np.ndarray:
    """n of the `rows` for each label, ascending: of n groups where there are as many, else of all, in turn.

    Draws differ by `draw`, by n and by `rows` (the fold), and by nothing else: all models learn from the same clips.
    Raises DataError where a label has fewer than n clips.
    """
    if n < 1:
        raise UsageError(f"a draw needs at least one clip a label. Received: {n}")
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    of_label = defaultdict(lambda: defaultdict(list))
    for row in rows:
        of_label[data.clips[row].label][data.clips[row].unit].append(int(row))
    key = ("few", seed, draw, n, _number(*(data.clips[row].id for row in rows)))
    return np.sort([row for label in sorted(of_label) for row in _turns(data, label, of_label[label], n, key)])


def _turns(data: DataSet, label: str, groups: dict[str, list[int]], n: int, key: tuple) -> list[int]:
    if (there := sum(map(len, groups.values()))) < n:
        raise DataError(f"{data.name}: label {label!r} has {there} clips to learn from, and {n} are to be drawn")
    order = _drawn(groups, key, lambda name: min(data.clips[row].id for row in groups[name]))
    queues = [_drawn(groups[name], key, lambda row: data.clips[row].id) for name in order]
    turns = [(turn, at, row) for at, queue in enumerate(queues) for turn, row in enumerate(queue)]
    return [row for _, _, row in sorted(turns)[:n]]


def _drawn(names: Iterable, key: tuple, called) -> list:
    """In an order drawn by the key, whatever order they come in."""
    return sorted(names, key=lambda name: _number(*key, called(name)))


def _number(*parts) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogateescape")).digest()[:16])
