"""A labelled data set: clips, the groups and folds that keep them apart, and what its authors published about it.

A group is what a recording shares with others and a probe must not profit from: its source, its speaker, its video. No
group is in two folds, whoever made them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from l3embed.errors import DataError, UsageError

N_FOLDS = 5
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Clip:
    """A recording, or the stretch of one from start_s to end_s, with its label."""

    path: Path
    label: str  # of several, the first
    fold: str = ""  # clips of one fold are never on both sides of a split
    group: str = ""  # clips of one group are never in two folds; "": the clip is a group of its own
    split: str = ""  # "train", "valid", "test", or "" where the set has no lists
    id: str = ""  # unique in its set: its path below the set's root, with slashes
    labels: tuple[str, ...] = ()  # of a set in which a clip may have several
    start_s: float | None = None
    end_s: float | None = None

    @property
    def unit(self) -> str:
        """What may be drawn or flipped by itself in a test: the group, or the recording."""
        return self.group or str(self.path)


@dataclass(frozen=True)
class DataSet(Sequence):
    """Clips, in an order that depends on neither the machine nor the order of lines, and what is known about them."""

    name: str
    root: Path
    clips: tuple[Clip, ...]
    rule: str = "none"  # what the set prescribes: "folds", "lists" (train, valid, test) or "none"
    metric: str = "accuracy"  # that its papers report: "accuracy", "uar" or "map"
    licence: str = "unknown"
    source: str = ""  # where it is from, whom to cite
    published: dict = field(default_factory=dict)  # clips, hours; and by name: classes, folds, splits -> clips
    notes: tuple[str, ...] = ()  # what a reader of results must know
    left_out: dict[str, str] = field(default_factory=dict)  # id -> why it is no clip: it has no label, say

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, at):
        return self.clips[at]

    @property
    def multilabel(self) -> bool:
        return any(clip.labels for clip in self.clips)

    @property
    def classes(self) -> list[str]:
        return sorted({label for clip in self.clips for label in clip.labels or (clip.label,)})

    @property
    def labels(self) -> list[str]:
        return [clip.label for clip in self.clips]

    @property
    def units(self) -> list[str]:
        return [clip.unit for clip in self.clips]

    @property
    def folds(self) -> list[str]:
        """Names of the folds that are there, numbers by size."""
        return sorted({clip.fold for clip in self.clips if clip.fold}, key=natural)


def natural(name: str) -> tuple:
    """A key of sorting: "2" before "10"."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def relative(path: Path, root: Path) -> str:
    """What a clip is called: its path below the root, with slashes; the path itself where it is elsewhere."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()


def named(clips: Iterable[Clip], root: Path) -> tuple[Clip, ...]:
    """The clips with their ids, in the order of these."""
    out = []
    for clip in clips:
        name = clip.id or relative(clip.path, root)
        if clip.start_s is not None and not clip.id:
            name += f"#{clip.start_s:g}-{'' if clip.end_s is None else f'{clip.end_s:g}'}"
        out.append(replace(clip, id=name))
    return tuple(sorted(out, key=lambda clip: clip.id))


def fold(clips: Sequence[Clip], n_folds: int = N_FOLDS, seed: int = 0) -> list[Clip]:
    """The clips with folds "1" to "n": groups stay whole, labels are as even as they allow; decided by the seed.

    scikit-learn's StratifiedGroupKFold: large, uneven groups are dealt out first, each to the fold that stays evenest.
    """
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    units, labels = [clip.unit for clip in clips], [clip.label for clip in clips]
    if len(set(units)) < n_folds:
        raise DataError(f"{len(set(units))} groups cannot be dealt out to {n_folds} folds: ask for fewer folds")
    if (most := Counter(labels).most_common(1)[0])[1] < n_folds:
        raise DataError(f"the most frequent label, {most[0]!r}, has {most[1]} clips, too few for {n_folds} folds: "
                        "ask for fewer")  # fmt: skip
    splits = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    out = list(clips)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels with fewer groups than folds: as even as they allow
        for i, (_, test) in enumerate(splits.split(labels, labels, units), 1):
            for k in test:
                out[k] = replace(clips[k], fold=str(i))
    return out


def folded(data: DataSet, n_folds: int = N_FOLDS, seed: int = 0) -> list[Clip]:
    """The clips of a set with its own folds or, where it has none, with folds that `fold` makes."""
    if data.rule == "lists":
        raise DataError(f"{data.root}: has a fixed split, and this needs folds: name them in a column fold, or empty "
                        "split")  # fmt: skip
    if found := leaks(data.clips):
        raise DataError(f"{data.root}: {found[0]}")
    clips = sorted(data.clips, key=lambda clip: clip.path)  # folds depend neither on names of folders nor on ids
    clips = clips if data.rule == "folds" else fold(clips, n_folds, seed)
    for label in data.classes:
        if len({clip.fold for clip in clips if clip.label == label}) < 2:
            raise DataError(f"{data.root}: label {label!r} is in one fold only: it cannot be both learned and tested")
    return clips


def checked(clips: Sequence[Clip], where: Path, name: str, n: int | None = None) -> Sequence[Clip]:
    """The clips themselves. Raises DataError where there are none, not `n`, or one is there twice."""
    if not clips:
        raise DataError(f"{where}: holds no clips of {name}: give the folder that the data set unpacks to")
    if n is not None and len(clips) != n:
        raise DataError(f"{where}: holds {len(clips)} clips of {name}, expected {n}: is the copy complete?")
    counts = Counter((clip.path, clip.start_s, clip.end_s) for clip in clips)
    if (twice := counts.most_common(1)[0])[1] > 1:
        raise DataError(f"{where}: names {twice[0][0]} twice: a clip would be trained and tested on")
    return clips


def leaks(clips: Sequence[Clip]) -> list[str]:
    """Each group that is in two folds or lists, in a sentence."""
    found = []
    for key, kind in (("fold", "folds"), ("split", "lists")):
        places = defaultdict(set)
        for clip in clips:
            places[clip.unit].add(getattr(clip, key))
        for group, names in places.items():
            if len(names - {""}) > 1:
                found.append(f"group {group!r} is in the {kind} {', '.join(sorted(names, key=natural))}: it may be in "
                             "one only")  # fmt: skip
    return found


def without_rare(data: DataSet, least: int) -> DataSet:
    """The set without the labels that have fewer groups than `least`; which, and how many clips, is in its notes."""
    groups = defaultdict(set)
    for clip in data.clips:
        for label in clip.labels or (clip.label,):
            groups[label].add(clip.unit)
    rare = {label: len(units) for label, units in groups.items() if len(units) < least}
    if not rare:
        return data
    clips, left_out = [], dict(data.left_out)
    for clip in data.clips:
        labels = tuple(label for label in clip.labels if label not in rare)
        if clip.label in rare and not labels:
            left_out[clip.id] = f"its label {clip.label!r} has {rare[clip.label]} groups, fewer than {least}"
        else:
            clips.append(replace(clip, label=labels[0] if labels else clip.label, labels=labels))
    names = ", ".join(sorted(rare)[:10]) + (" and others" if len(rare) > 10 else "")
    note = f"{len(rare)} labels of fewer than {least} groups are left out ({len(data) - len(clips)} clips): {names}"
    if not clips:
        raise DataError(f"{data.root}: no label has {least} groups")
    return replace(data, clips=tuple(clips), left_out=left_out, notes=(*data.notes, note))


def whole_number(value, name: str) -> int:
    """Of an option, which may come as text. Raises UsageError."""
    if not str(value).isdecimal():
        raise UsageError(f"{name} must be a whole number. Received: {value!r}")
    return int(value)
