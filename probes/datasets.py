"""Labelled data sets as they lie on disk: clips with a label and the fold (or group) they must not leave."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

from l3embed.errors import L3EmbedError


class DataError(L3EmbedError):
    """A data set that is not there, or not laid out as expected."""


@dataclass(frozen=True)
class Clip:
    path: Path
    label: str
    fold: str  # clips of one fold are never on both sides of a split


def esc10(folder: str | Path) -> list[Clip]:
    """ESC-10 (Piczak 2015), 400 clips, 5 folds, in either layout.

    The original one: folders ``001 - Dog bark`` ..., files ``{fold}-{id}-{take}.ogg``. The present one: ESC-50 with
    ``meta/esc50.csv``, of which the rows with esc10 = True are taken.
    """
    folder = Path(folder)
    table = folder / "meta" / "esc50.csv"
    if table.exists():
        with open(table, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["esc10"] == "True"]
        clips = [Clip(folder / "audio" / row["filename"], row["category"], row["fold"]) for row in rows]
    else:
        clips = [
            Clip(path, path.parent.name.split(" - ")[1], path.name.split("-")[0])
            for path in sorted(folder.glob("[0-9][0-9][0-9] - */*"))
            if re.fullmatch(r"[1-5]-\d+-[A-Z]\.(ogg|wav|flac)", path.name)
        ]
    return _complete(clips, folder, "ESC-10", 400)


def digits(folder: str | Path) -> list[Clip]:
    """Free Spoken Digit Dataset (Jackson et al.): files ``{digit}_{speaker}_{take}.*``; the fold is the speaker."""
    folder = Path(folder)
    names = [(p, p.stem.split("_")) for p in sorted((folder / "recordings").glob("*_*_*.*"))]
    speakers = set(json.loads((folder / "metadata.json").read_text())) if (folder / "metadata.json").exists() else None
    clips = [Clip(p, digit, speaker) for p, (digit, speaker, _) in names if speakers is None or speaker in speakers]
    return _complete(clips, folder, "Free Spoken Digit Dataset", None)


def _complete(clips: list[Clip], folder: Path, name: str, n: int | None) -> list[Clip]:
    if not clips:
        raise DataError(f"{folder}: holds no clips of {name}: give the folder that the data set unpacks to")
    if n is not None and len(clips) != n:
        raise DataError(f"{folder}: holds {len(clips)} clips of {name}, expected {n}: is the copy complete?")
    return clips
