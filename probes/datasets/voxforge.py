"""VoxForge: read speech in many languages, by submissions of volunteers."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from l3embed.errors import UsageError

from .clips import Clip, DataSet, checked, named, whole_number
from .folders import sounds

_SUBMISSION = re.compile(r"(.+)-(\d{8})-([^-]+)")
_SOURCE = "VoxForge, repository.voxforge1.org, 16kHz_16bit"


def _submissions(folder: Path, deepest: int | None = None) -> Iterator[tuple[str, Path]]:
    """(language, folder of a submission: one that holds wav/ or flac/), whatever lies between them."""
    for place, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(place).relative_to(folder).parts
        if below and {"wav", "flac"} & set(folders):
            yield (below[0].lower() if len(below) > 1 else ""), Path(place)
            folders.clear()
        if deepest is not None and len(below) >= deepest:
            folders.clear()


def is_voxforge(folder: Path) -> bool:
    """[LANGUAGE/.../]USER-YYYYMMDD-XXX/wav, with up to Trunk/Audio/Main/16kHz_16bit between."""
    return any(_SUBMISSION.fullmatch(place.name) for _, place in _submissions(folder, deepest=6))


def voxforge(folder: str | Path, group: str = "speaker", users: int | str = 0, seed: int | str = 0) -> DataSet:
    """``LANGUAGE/.../USER-YYYYMMDD-XXX/{wav,flac}/*``: the label is the language's folder, in lower case (EN, en: en).

    group="speaker": the text before the last two dashes, across languages; submissions of ``anonymous...`` are groups
    of their own, because nobody knows who they are. group="submission": as in the LANG report, where one speaker may
    be in training and test. `users`: that many groups of each language, drawn by `seed` (the report: 1,600, half of
    them to test: `splits.group_halves`). The report's counts (its table; EN 18,903, DE 37,126, ES 17,056 utterances)
    are of one such draw and are no measure of a copy, so nothing is published here.
    """
    folder = Path(folder)
    if group not in ("speaker", "submission"):
        raise UsageError(f"group must be 'speaker' or 'submission'. Received: {group!r}")
    of_group, n_anonymous, odd = defaultdict(list), 0, 0
    for language, place in _submissions(folder):
        found = _SUBMISSION.fullmatch(place.name)
        anonymous = bool(found) and found[1].lower().startswith("anonymous")
        n_anonymous, odd = n_anonymous + anonymous, odd + (not found)
        who = place.name if group == "submission" or anonymous or not found else found[1]
        label = language or folder.resolve().name.lower()
        of_group[label, who] += [Clip(path, label, "", who) for path in _sounds(place)]
    clips = [
        clip
        for key in _drawn(of_group, whole_number(users, "users"), whole_number(seed, "seed"))
        for clip in of_group[key]
    ]
    notes = []
    if n_anonymous:
        notes.append(
            f"{n_anonymous} submissions are anonymous: each counts as a speaker of its own, and need not be one."
        )
    if odd:
        notes.append(f"{odd} submissions are not called USER-YYYYMMDD-XXX: each counts as a speaker of its own.")
    if group == "submission":
        notes.append("Groups are submissions, as in the LANG report: one speaker may be in training and test.")
    clips = named(checked(clips, folder, "VoxForge (LANGUAGE/SUBMISSION/wav)"), folder)
    return DataSet("voxforge", folder, clips, "none", "accuracy", "GPL", _SOURCE, {}, tuple(notes))


def _sounds(place: Path) -> list[Path]:
    """Of the submission, once: of wav and flac the first that is there."""
    return next(
        (found for kind in ("wav", "flac") if (place / kind).is_dir() and (found := [*sounds(place / kind)])), []
    )


def _drawn(of_group: dict, users: int, seed: int) -> list[tuple[str, str]]:
    if users <= 0:
        return sorted(of_group)
    of_label = defaultdict(list)
    for label, who in of_group:
        rank = hashlib.sha256(f"{seed}\0{label}\0{who}".encode("utf-8", "surrogateescape")).digest()
        of_label[label].append((rank, who))
    return [(label, who) for label in sorted(of_label) for _, who in sorted(of_label[label])[:users]]
