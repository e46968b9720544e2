"""Scenes of the DCASE challenge of 2013 (IEEE AASP; Giannoulis et al. 2013, Stowell et al. 2015)."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

from .clips import Clip, DataError, DataSet, checked, named
from .folders import sounds

CLASSES = ("bus", "busystreet", "office", "openairmarket", "park", "quietstreet", "restaurant", "supermarket", "tube",
           "tubestation")  # fmt: skip
_KEY = "dcase2013_task1_filenamekey.csv"
_NAME = re.compile(rf"(?:test_)?({'|'.join(CLASSES)})(\d\d)")
_PRIVATE = re.compile(r"testset|evaluation|private|fold2", re.IGNORECASE)
_SOURCE = (
    "Giannoulis et al. 2013, IEEE AASP Challenge; archive.org/details/dcase2013_scene_classification and "
    "dcase2013_scene_classification_testset"
)


def is_dcase2013(folder: Path) -> bool:
    return any(
        _NAME.fullmatch(path.stem)
        for pattern in ("*.wav", "scenes_stereo*/*.wav", "DCASE2013*/*/*.wav", "fold[12]/*.wav")
        for path in folder.glob(pattern)
    )


def dcase2013(folder: str | Path) -> DataSet:
    """The folder that holds ``scenes_stereo/`` (public: to train) and ``scenes_stereo_testset/`` (private: to test).

    Names are class and number (``bus01.wav``); the label is the name without its last two characters, as in dcase_util
    and marl/l3embedding. The private set's names are the public one's, so clips are known by their paths; where they
    are numbers, the file-name key (``dcase2013_task1_filenamekey.csv``, beside or below) says what they are. The
    folders of dcase_util (DCASE2013-acoustic-scenes-...) and l3embedding (fold1, fold2) are read, too. 10 classes x 10
    clips of 30 s in each set; public trains and private tests in Cramer et al. 2019. One of the two alone has no rule.
    """
    folder = Path(folder)
    key, clips, left_out = _key(folder), [], {}
    for path in sounds(folder):
        name = path.relative_to(folder).as_posix()
        found = _NAME.fullmatch(path.stem)
        label = found[1] if found else key.get(path.stem)
        private = path.stem.startswith("test_") or _PRIVATE.search(f"{folder.resolve().name}/{name}") or not found
        if label:
            clips.append(Clip(path, label, split="test" if private else "train"))
        else:
            left_out[name] = "is not called after a class, and no file-name key knows it"
    both = len({clip.split for clip in clips}) == 2
    clips = clips if both else [replace(clip, split="") for clip in clips]
    published = {"clips": 200 if both else 100, "classes": dict.fromkeys(CLASSES, 20 if both else 10)}
    if both:
        published["splits"] = {"train": 100, "test": 100}
    notes = ("Of several clips of one place nothing is known: there are no groups.",)
    clips = named(checked(clips, folder, "the DCASE 2013 scenes"), folder)
    return DataSet("dcase2013", folder, clips, "lists" if both else "none", "accuracy", "not stated",
                   _SOURCE, published, notes, left_out)  # fmt: skip


def _key(folder: Path) -> dict[str, str]:
    """File name without suffix -> class. In each row one cell names the class (alone, or as in bus01.wav)."""
    places = [path for pattern in (_KEY, f"*/{_KEY}", f"../{_KEY}") for path in folder.glob(pattern)]
    if not places:
        return {}
    try:
        with open(places[0], newline="", encoding="utf-8-sig") as file:
            table = [[Path(cell.strip().replace("\\", "/")).stem for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{places[0]}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    key = {}
    for row in table:
        label = next((found[1] for cell in row if (found := _NAME.fullmatch(cell))), None)
        label = label or next((cell for cell in row if cell in CLASSES), None)
        key |= {cell: label for cell in row if label and cell and cell != label and not _NAME.fullmatch(cell)}
    return key
