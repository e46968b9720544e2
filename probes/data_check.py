"""What is wrong with a data set, before numbers are made of it: files, counts, duplicates, leaks, labels, sound."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .data_facts import Fact, facts, hashes
from .datasets import N_FOLDS, Clip, DataError, DataSet, leaks
from .datasets.clips import natural, relative
from .datasets.folders import sounds

# Cosine, between mean and standard deviation over windows of the shipped model, each standardised over the set, from
# which two clips are told as alike. On ESC-10, of copies coded as MP3, cut by 0.25 s, cut by 1 s, made 12 dB quieter:
# 100, 98, 81, 64 % are above it, and 4 of the 79,651 pairs of clips from different sources
# (scripts/measure_near_duplicates.py).
ALIKE = 0.9
MOST = 50_000  # clips among which pairs are searched: their number grows with the square
TOLD = 1000  # pairs, at most
_BLOCK = 1024  # rows of the table of cosines at a time


@dataclass(frozen=True)
class Finding:
    """One thing to mend (`problem`) or to know."""

    kind: str
    text: str  # one sentence
    clips: tuple[str, ...] = ()
    problem: bool = True


def check(
    data: DataSet, near: bool = True, jobs: int = 1, model=None, tick: Callable[[], None] | None = None
) -> tuple[list[Finding], dict[str, Fact]]:
    """(what there is to say, facts of each clip). `near`: search near-duplicates by `model` (None: the shipped one).

    Decodes every file once and, with `near`, a second time. `tick` is called after each file.
    """
    known = facts(data, jobs, tick)
    found = [
        *files(data), *counts(data), *(Finding("leak", text) for text in leaks(data.clips)), *labels(data),
        *duplicates(data, {name: fact.sha256 for name, fact in known.items()}), *audio(data, known),
    ]  # fmt: skip
    if near:
        found += near_duplicates(data, *vectors(data, known, model))
    return found, known


# --- files and counts


def files(data: DataSet) -> Iterator[Finding]:
    for clip in data.clips:
        if not clip.path.exists():
            yield Finding("missing", f"{clip.id}: is not there", (clip.id,))
    for name, why in data.left_out.items():
        yield Finding("left out", f"{name}: {why}", (name,), problem=False)
    ours = {clip.path for clip in data.clips}
    for path in sounds(data.root):
        if path not in ours and (name := relative(path, data.root)) not in data.left_out:
            yield Finding("extra", f"{name}: is no clip of the set", (name,), problem=False)


def counts(data: DataSet) -> Iterator[Finding]:
    """Where numbers of clips are not the published ones."""
    there = {"classes": Counter(data.labels), "folds": Counter(clip.fold for clip in data.clips),
             "splits": Counter(clip.split for clip in data.clips)}  # fmt: skip
    if (n := data.published.get("clips", len(data))) != len(data):
        yield Finding("count", f"{len(data)} clips, published are {n}")
    for key, name in (("classes", "label"), ("folds", "fold"), ("splits", "list")):
        yield from _compared(data.published.get(key, {}), there[key], name)
    for split, published in data.published.get("split_classes", {}).items():
        of = Counter(clip.label for clip in data.clips if clip.split == split)
        yield from _compared(published, of, f"list {split!r}, label")


def _compared(published: dict[str, int], there: Counter, name: str) -> Iterator[Finding]:
    for key, n in published.items():
        if there[key] != n:
            yield Finding("count", f"{name} {key!r} has {there[key]} clips, published are {n}")
    if published:
        for key in sorted(set(there) - set(published) - {""}):
            yield Finding("count", f"{name} {key!r} ({there[key]} clips) is not among the published")


# --- labels


def labels(data: DataSet) -> Iterator[Finding]:
    """Labels that cannot be both learned and tested, and folds that lack one."""
    of_label = defaultdict(list)
    for clip in data.clips:
        for label in clip.labels or (clip.label,):
            of_label[label].append(clip)
    for label, clips in sorted(of_label.items()):
        yield from _label(data, label, clips)
    for fold in data.folds:
        if lacking := sorted(set(of_label) - {clip.label for clip in data.clips if clip.fold == fold}):
            text = f"fold {fold!r} tests no clip of {_list(lacking)}"
            yield Finding("label", text, problem=False)
    if data.rule == "none" and (n := len(set(data.units))) < N_FOLDS:
        yield Finding("label", f"{n} groups are too few for {N_FOLDS} folds")


def _label(data: DataSet, label: str, clips: list[Clip]) -> Iterator[Finding]:
    ids = tuple(clip.id for clip in clips)
    if len(clips) == 1:
        yield Finding("label", f"label {label!r} has one clip: it can be learned or tested, not both", ids)
    elif data.rule == "lists":
        lists = {clip.split for clip in clips}
        if "train" not in lists and lists & {"valid", "test"}:
            yield Finding("label", f"label {label!r} is tested and never learned: it is in no training list", ids)
    elif data.rule == "folds" and len({clip.fold for clip in clips}) == 1:
        yield Finding("label", f"label {label!r} is in one fold only: it cannot be both learned and tested", ids)
    elif data.rule == "none" and len({clip.unit for clip in clips}) == 1:
        yield Finding("label", f"label {label!r} is of one group only: it cannot be both learned and tested", ids)


# --- duplicates


def duplicates(data: DataSet, sha256: dict[str, str]) -> list[Finding]:
    """Clips whose files are equal to the last byte.

    A problem where training and test may share them: in two folds, two lists or, where folds are yet to be made, two
    groups; and where their labels differ.
    """
    same = defaultdict(list)
    for clip in data.clips:
        if sha256.get(clip.id):
            same[sha256[clip.id], clip.start_s, clip.end_s].append(clip)
    return [_said(data, clips) for clips in same.values() if len(clips) > 1]


def _said(data: DataSet, clips: list[Clip]) -> Finding:
    ids = tuple(clip.id for clip in clips)
    if where := apart(data, clips):
        return Finding("duplicate", f"{_list(ids)} are the same recording, in {where}", ids)
    if len(found := sorted({clip.label for clip in clips})) > 1 and not data.multilabel:
        return Finding("label", f"{_list(ids)} are the same recording, labelled {_list(found)}", ids)
    return Finding("duplicate", f"{_list(ids)} are the same recording", ids, problem=False)


def apart(data: DataSet, clips: list[Clip]) -> str:
    """What separates clips, so that one may be learned from and another tested on; "" if nothing does."""
    if len(folds := {clip.fold for clip in clips} - {""}) > 1:
        return f"the folds {', '.join(sorted(folds, key=natural))}"
    if len(splits := {clip.split for clip in clips} - {""}) > 1:
        return f"the lists {', '.join(sorted(splits))}"
    return "several groups" if data.rule == "none" and len({clip.unit for clip in clips}) > 1 else ""


def refuse_duplicates(data: DataSet, sha256: dict[str, str] | None = None, jobs: int = 1) -> dict[str, str]:
    """The hashes of all files, by id. Raises DataError where one recording may be learned from and tested on."""
    sha256 = hashes(data, jobs) if sha256 is None else sha256
    found = [finding for finding in duplicates(data, sha256) if finding.kind == "duplicate" and finding.problem]
    if found:
        raise DataError(f"{data.name}: {found[0].text} (one of {len(found)} such): remove all but one of them, or give "
                        "them one group or fold")  # fmt: skip
    return sha256


# --- near-duplicates


def vectors(data: DataSet, known: dict[str, Fact], model=None) -> tuple[list[Clip], np.ndarray]:
    """(clips, (n, 2 D) float32) of what can be heard and embedded: mean and standard deviation over windows."""
    import warnings

    import l3embed
    from l3embed.pooling import pool

    from .datasets.sound import read_sound

    clips = [clip for clip in data.clips if known[clip.id].seconds and not known[clip.id].problem]
    if len(clips) < 2 or len(clips) > MOST:
        return clips, np.zeros((0, 0), np.float32)
    model = model or l3embed.load()
    rate_hz = model.spec.front_end.rate_hz
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)
        sounds_ = (read_sound(clip, rate_hz) if clip.start_s or clip.end_s else clip.path for clip in clips)
        rows = [pool(vectors_, "mean+std") for vectors_, _ in model.each(sounds_, sample_rate=rate_hz)]
    return clips, np.stack(rows)


def near_duplicates(data: DataSet, clips: list[Clip], rows: np.ndarray, alike: float = ALIKE) -> list[Finding]:
    """Pairs of clips that sound alike and are not kept together: perhaps one recording, coded or cut twice.

    The TOLD most alike; a last finding says how many there are if there are more.
    """
    if len(clips) > MOST:
        text = f"near-duplicates are searched among {MOST} clips at most, and these are {len(clips)}: not searched"
        return [Finding("near-duplicate", text, problem=False)]
    if len(clips) < 2:
        return []
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12
    total, pairs, codes = 0, [], _codes(data, clips)
    for at in range(0, len(clips), _BLOCK):
        cosines = rows[at : at + _BLOCK] @ rows.T
        found = np.triu(cosines >= alike, at + 1) & _are_apart(codes, slice(at, at + _BLOCK))
        one, other = np.nonzero(found)
        total += len(one)
        best = np.argsort(-cosines[one, other], kind="stable")[:TOLD]
        pairs += [(-float(cosines[i, k]), at + int(i), int(k)) for i, k in zip(one[best], other[best], strict=True)]
        pairs = sorted(pairs)[:TOLD]
    out = [_alike(data, clips[i], clips[k], -cosine) for cosine, i, k in pairs]
    if total > TOLD:
        out.append(Finding("near-duplicate", f"{total} pairs of clips sound alike: the {TOLD} most alike are named",
                           problem=False))  # fmt: skip
    return out


def _alike(data: DataSet, one: Clip, other: Clip, cosine: float) -> Finding:
    text = (
        f"{one.id!r} and {other.id!r} sound alike (cosine {cosine:.3f}), in {apart(data, [one, other])}: listen to them"
    )
    return Finding("near-duplicate", text, (one.id, other.id), problem=False)


def _codes(data: DataSet, clips: list[Clip]) -> list[np.ndarray]:
    """Of fold, list and, where folds are yet to be made, group: a number a clip, -1 for none."""
    names = [[clip.fold for clip in clips], [clip.split for clip in clips]]
    names += [[clip.unit for clip in clips]] if data.rule == "none" else []
    out = []
    for column in names:
        codes = np.unique(column, return_inverse=True)[1]
        out.append(np.where(np.array(column) == "", -1, codes))
    return out


def _are_apart(codes: list[np.ndarray], rows: slice) -> np.ndarray:
    """(rows, n) bool: `apart` of all pairs."""
    return np.logical_or.reduce([(c[rows, None] != c) & (c[rows, None] >= 0) & (c >= 0) for c in codes])


# --- sound


def audio(data: DataSet, known: dict[str, Fact]) -> Iterator[Finding]:
    """What cannot be read, is silent, or differs in a way that could tell the label."""
    for clip in data.clips:
        fact = known[clip.id]
        if fact.problem and clip.path.exists():
            yield Finding("unreadable", f"{clip.id}: {fact.problem}", (clip.id,))
        elif fact.peak == 0:
            yield Finding("silent", f"{clip.id}: is silent", (clip.id,), problem=False)
    for key, name in (("rate_hz", "Hz"), ("channels", "channels")):
        values = {clip.id: getattr(known[clip.id], key) for clip in data.clips if known[clip.id].seconds}
        yield from _odd(data, values, name)


def _odd(data: DataSet, values: dict[str, float], name: str) -> Iterator[Finding]:
    tally = Counter(values.values())
    if len(tally) < 2:
        return
    told = ", ".join(f"{n} of {value:g} {name}" for value, n in tally.most_common())
    rare = tuple(key for key, value in values.items() if value != tally.most_common(1)[0][0])
    yield Finding("format", f"clips differ: {told}", rare, problem=False)
    of_label = defaultdict(set)
    for clip in data.clips:
        if clip.id in values:
            of_label[clip.label].add(values[clip.id])
    for label, own in sorted(of_label.items()):
        others = set().union(*(found for other, found in of_label.items() if other != label))
        if others and not own & others:
            text = f"label {label!r} can be told by its {name} alone ({_list(f'{value:g}' for value in sorted(own))})"
            yield Finding("format", text, problem=False)


def _list(names) -> str:
    names = [repr(name) if " " in str(name) or "," in str(name) else str(name) for name in names]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
