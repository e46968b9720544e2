"""Free Spoken Digit Dataset (Jackson et al.)."""

from __future__ import annotations

import json
from pathlib import Path

from .clips import Clip, DataError, DataSet, checked, named

_SOURCE = "Jackson et al. 2018, Jakobovski/free-spoken-digit-dataset v1.0.8; github.com"


def is_digits(folder: Path) -> bool:
    return next((folder / "recordings").glob("[0-9]_*_*.wav"), None) is not None


def digits(folder: str | Path) -> DataSet:
    """Files ``recordings/{digit}_{speaker}_{take}.*``, 8 kHz; fold and group are the speaker.

    The authors' own split tests takes 0 to 4 of speakers that are trained on, too; folds by speaker are ours. Version
    1.0.8 and later: 6 speakers x 10 digits x 50 takes = 3,000 recordings (the repository's README).
    """
    folder = Path(folder)
    found = [(path, path.stem.split("_")) for path in sorted((folder / "recordings").glob("*_*_*.*"))]
    speakers = _speakers(folder / "metadata.json")
    clips = [
        Clip(path, parts[0], parts[1], parts[1])
        for path, parts in found
        if len(parts) == 3 and (speakers is None or parts[1] in speakers)
    ]
    published = {"clips": 3000, "classes": dict.fromkeys("0123456789", 300)}
    clips = named(checked(clips, folder, "Free Spoken Digit Dataset"), folder)
    return DataSet("digits", folder, clips, "folds", "accuracy", "CC BY-SA 4.0", _SOURCE, published, _NOTES)


_NOTES = ("Folds are speakers, which is not the authors' split: theirs tests takes 0 to 4 of speakers it trained on.",)


def _speakers(table: Path) -> set[str] | None:
    if not table.exists():
        return None
    try:
        return set(json.loads(table.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{table}: cannot be read ({error})") from error
