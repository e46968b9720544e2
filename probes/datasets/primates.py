"""Primates of the ComParE challenge of 2021 (Schuller et al. 2021; Zwerts et al. 2021)."""

from __future__ import annotations

from pathlib import Path

from .clips import Clip, DataError, DataSet, checked, named
from .tables import ALIASES, rows

# The challenge's spellings, and what they are called.
NAMES = {"chimpanze": "chimpanzee", "geunon": "guenon", "mandrille": "mandrill", "redcap": "red-capped mangabey",
         "red-capped_mangabey": "red-capped mangabey", "mangabey": "red-capped mangabey"}  # fmt: skip
_TRAIN = {"background": 3458, "chimpanzee": 2217, "guenon": 158, "mandrill": 874, "red-capped mangabey": 208}
_SOURCE = "Schuller et al. 2021, INTERSPEECH 2021 Computational Paralinguistics Challenge; Zwerts et al. 2021"
_NOTES = (
    "Recordings and animals of the clips are not published: there are no groups, and neighbours may be in two lists.",
    "The test list's labels are withheld: results are of the devel list, which also chooses in many papers.",
)


def _root(folder: Path) -> Path:
    return folder / "dist" if (folder / "dist" / "lab").is_dir() else folder


def is_primates(folder: Path) -> bool:
    root = _root(folder)
    return (root / "lab" / "train.csv").exists() and (root / "wav").is_dir()


def primates(folder: str | Path) -> DataSet:
    """``[dist/]wav/{train,devel,test}_NNNNN.wav`` with ``[dist/]lab/{train,devel,test}.csv`` (file name, label).

    Labels in any of the spellings in use; "?" is a label that is withheld, and such clips are left out. 6,915 clips
    train and 6,918 devel (the challenge's baseline paper; training counts by class: topel/ComParE2021_PRS). devel is
    the valid list, and what is tested where the test list has no labels.
    """
    folder = Path(folder)
    root, clips, left_out = _root(folder), [], {}
    for part in ("train", "devel", "test"):
        table = root / "lab" / f"{part}.csv"
        if not table.exists():
            continue
        for line, row in rows(table):
            cells = list(row.values())
            if len(cells) < 2 or not cells[0] or not cells[1]:
                raise DataError(f"{table}: line {line} needs a file name and a label")
            path = root / "wav" / cells[0]
            if cells[1] == "?":
                left_out[path.relative_to(folder).as_posix()] = "its label is withheld"
                continue
            label = cells[1].lower()
            clips.append(Clip(path, NAMES.get(label, label), split=ALIASES.get(part, part)))
    published = {"splits": {"train": 6915, "valid": 6918}, "split_classes": {"train": _TRAIN}}
    if not any(clip.split == "test" for clip in clips):
        published["clips"] = 6915 + 6918
    clips = named(checked(clips, folder, "the ComParE 2021 primates"), folder)
    return DataSet("primates", folder, clips, "lists", "uar", "by agreement with the organisers", _SOURCE, published,
                   _NOTES, left_out)  # fmt: skip
