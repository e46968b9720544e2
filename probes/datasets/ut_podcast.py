"""UT-Podcast: English of three countries from podcasts (Hansen and Liu 2016)."""

from __future__ import annotations

from pathlib import Path

from .clips import Clip, DataSet, checked, named
from .folders import sounds

LABELS = ("AU", "UK", "US")
_SOURCE = (
    "Hansen and Liu 2016, Unsupervised accent classification for deep data fusion; crss.utdallas.edu/corpora/UT-Podcast"
)
# Of a student project's log (Jiacheng98/CSI5180_Accented_English_Speech_Classification); the UK's training files follow
# from its total, the others from the totals of CAB's table. CAB prints 579 files of the UK, which its own confusion
# matrices contradict.
_SPLITS = {"train": {"AU": 432, "UK": 263, "US": 406}, "test": {"AU": 332, "UK": 89, "US": 240}}


def is_ut_podcast(folder: Path) -> bool:
    return any((folder / "audio" / "train" / label).is_dir() for label in LABELS)


def ut_podcast(folder: str | Path) -> DataSet:
    """``audio/{train,test}/{AU,UK,US}/*.wav``; the group is the episode: the name's part before the double underscore.

    8 kHz. Counts are second-hand (see the comment in this file): 1,762 files, 1,101 to train and 661 to test.
    """
    folder = Path(folder)
    clips = [
        Clip(path, path.parent.name, "", path.stem.partition("__")[0], split)
        for split in ("train", "test")
        for label in LABELS
        if (folder / "audio" / split / label).is_dir()
        for path in sounds(folder / "audio" / split / label)
    ]
    published = {
        "clips": 1762,
        "classes": {label: sum(of[label] for of in _SPLITS.values()) for label in LABELS},
        "splits": {split: sum(of.values()) for split, of in _SPLITS.items()},
        "split_classes": _SPLITS,
    }
    notes = ("Published counts are second-hand, and papers differ about them.",)
    clips = named(checked(clips, folder, "UT-Podcast"), folder)
    return DataSet("ut-podcast", folder, clips, "lists", "accuracy", "not found; cite Hansen and Liu 2016", _SOURCE,
                   published, notes)  # fmt: skip
