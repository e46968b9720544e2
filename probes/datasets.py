"""Labelled data sets as they lie on disk: clips with a label, the fold they are tested in, and their group.

A group is what a recording shares with others and a probe must not profit from: its source, its speaker, its video. No
group is in two folds, whoever made them.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from l3embed.errors import DataError

__all__ = ["READERS", "Clip", "DataError", "checked", "digits", "esc10", "fold", "from_csv", "indexed"]
N_FOLDS = 5


@dataclass(frozen=True)
class Clip:
    path: Path
    label: str
    fold: str  # clips of one fold are never on both sides of a split
    group: str = ""  # clips of one group are never in two folds; "": the clip is a group of its own

    @property
    def unit(self) -> str:
        """What may be drawn or flipped by itself in a test: the group, or the clip."""
        return self.group or str(self.path)


def esc10(folder: str | Path) -> list[Clip]:
    """ESC-10 (Piczak 2015), 400 clips, 5 folds, in either layout; the group is the source on freesound.

    The original one: folders ``001 - Dog bark`` ..., files ``{fold}-{id}-{take}.ogg``. The present one: ESC-50 with
    ``meta/esc50.csv``, of which the rows with esc10 = True are taken.
    """
    folder = Path(folder)
    table = folder / "meta" / "esc50.csv"
    if table.exists():
        with open(table, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["esc10"] == "True"]
        clips = [Clip(folder / "audio" / r["filename"], r["category"], r["fold"], r["src_file"]) for r in rows]
    else:
        clips = [
            Clip(path, path.parent.name.split(" - ")[1], *path.name.split("-")[:2])
            for path in sorted(folder.glob("[0-9][0-9][0-9] - */*"))
            if re.fullmatch(r"[1-5]-\d+-[A-Z]\.(ogg|wav|flac)", path.name)
        ]
    return checked(clips, folder, "ESC-10", 400)


def digits(folder: str | Path) -> list[Clip]:
    """Free Spoken Digit Dataset (Jackson et al.): files ``{digit}_{speaker}_{take}.*``; the fold is the speaker."""
    folder = Path(folder)
    names = [(p, p.stem.split("_")) for p in sorted((folder / "recordings").glob("*_*_*.*"))]
    speakers = set(json.loads((folder / "metadata.json").read_text())) if (folder / "metadata.json").exists() else None
    clips = [
        Clip(p, digit, speaker, speaker) for p, (digit, speaker, _) in names if speakers is None or speaker in speakers
    ]
    return checked(clips, folder, "Free Spoken Digit Dataset")


def indexed(folder: str | Path, n_folds: int = N_FOLDS, seed: int = 0) -> list[Clip]:
    """A folder with an `index.csv`, see `from_csv`."""
    return from_csv(Path(folder) / "index.csv", n_folds, seed)


READERS = {"esc10": esc10, "language": indexed, "accent": indexed, "primate": indexed, "digits": digits}


def from_csv(table: str | Path, n_folds: int = N_FOLDS, seed: int = 0) -> list[Clip]:
    """Any data set by a table with the columns path (relative to the table), label and, if wanted, group and fold.

    Where the table has no folds they are made by `fold`. Raises DataError, with the line, for what is missing, twice
    there, or contradictory.
    """
    table = Path(table)
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if missing := {"path", "label"} - set(columns):
        raise DataError(f"{table}: has no column {' and no column '.join(sorted(missing))}: its first line names them")
    clips = [_clip(table, line, row) for line, row in rows]
    if any(row.get("split") for _, row in rows):
        raise DataError(
            f"{table}: has a fixed split, and probes need folds: name them in a column fold, or empty split"
        )
    with_fold = sum(bool(clip.fold) for clip in clips)
    if with_fold and with_fold < len(clips):
        raise DataError(
            f"{table}: {len(clips) - with_fold} of {len(clips)} clips have no fold: fill the column or drop it"
        )
    clips.sort(key=lambda clip: clip.path)  # folds do not depend on the order of lines
    if clips and not with_fold:
        clips = fold(clips, n_folds, seed)
    for label in {clip.label for clip in clips}:
        if len({clip.fold for clip in clips if clip.label == label}) < 2:
            raise DataError(f"{table}: label {label!r} is in one fold only: it cannot be both learned and tested")
    return checked(clips, table, "a data set")


def _clip(table: Path, line: int, row: dict) -> Clip:
    path, label = ((row[key] or "").strip() for key in ("path", "label"))
    if not path or not label:
        raise DataError(f"{table}: line {line} has no {'label' if path else 'path'}")
    return Clip(table.parent / path, label, *((row.get(key) or "").strip() for key in ("fold", "group")))


def fold(clips: list[Clip], n_folds: int = N_FOLDS, seed: int = 0) -> list[Clip]:
    """The clips with folds "1" to "n": groups stay whole, labels are as even as they allow; decided by the seed.

    scikit-learn's StratifiedGroupKFold: large, uneven groups are dealt out first, each to the fold that stays evenest.
    """
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    units, labels = [clip.unit for clip in clips], [clip.label for clip in clips]
    if len(set(units)) < n_folds:
        raise DataError(f"{len(set(units))} groups cannot be dealt out to {n_folds} folds: ask for fewer folds")
    splits = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    out = list(clips)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels with fewer groups than folds: as even as they allow
        for i, (_, test) in enumerate(splits.split(clips, labels, units), 1):
            for k in test:
                out[k] = replace(clips[k], fold=str(i))
    return out


def checked(clips: list[Clip], where: Path, name: str, n: int | None = None) -> list[Clip]:
    """The clips themselves. Raises DataError where a probe of them would mislead, or cannot be."""
    if not clips:
        raise DataError(f"{where}: holds no clips of {name}: give the folder that the data set unpacks to")
    if n is not None and len(clips) != n:
        raise DataError(f"{where}: holds {len(clips)} clips of {name}, expected {n}: is the copy complete?")
    if len({clip.path for clip in clips}) < len(clips):
        twice = next(c.path for i, c in enumerate(clips) if c.path in {d.path for d in clips[:i]})
        raise DataError(f"{where}: names {twice} twice: a clip would be trained and tested on")
    folds_of = defaultdict(set)
    for clip in clips:
        folds_of[clip.unit].add(clip.fold)
    for group, folds in folds_of.items():
        if len(folds) > 1:
            raise DataError(
                f"{where}: group {group!r} is in the folds {', '.join(sorted(folds))}: it may be in one only"
            )
    return clips
