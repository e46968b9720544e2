"""UrbanSound8K (Salamon, Jacoby and Bello 2014)."""

from __future__ import annotations

from pathlib import Path

from .clips import Clip, DataSet, checked, named
from .tables import rows

_CLASSES = {"air_conditioner": 1000, "car_horn": 429, "children_playing": 1000, "dog_bark": 1000, "drilling": 1000,
            "engine_idling": 1000, "gun_shot": 374, "jackhammer": 1000, "siren": 929, "street_music": 1000}  # fmt: skip
_FOLDS = (873, 888, 925, 990, 936, 823, 838, 806, 816, 837)
_SOURCE = "Salamon, Jacoby and Bello 2014, A Dataset and Taxonomy for Urban Sound Research; zenodo.org/record/1203745"
_NOTES = (
    "Slices of one recording on freesound are many and alike: the ten folds are the authors', and results of others "
    "are not comparable.",
)


def is_urbansound8k(folder: Path) -> bool:
    return (folder / "metadata" / "UrbanSound8K.csv").exists()


def urbansound8k(folder: str | Path) -> DataSet:
    """``audio/fold{1..10}/{fsID}-{classID}-{occurrence}-{slice}.wav`` with ``metadata/UrbanSound8K.csv``.

    8,732 clips of at most 4 s in 10 classes and 10 folds; sizes as the data set's readme and table have them. The
    group is the recording on freesound (fsID).
    """
    folder = Path(folder)
    clips = [
        Clip(folder / "audio" / f"fold{row['fold']}" / row["slice_file_name"], row["class"], row["fold"], row["fsID"])
        for _, row in rows(folder / "metadata" / "UrbanSound8K.csv", ("slice_file_name", "fsID", "fold", "class"))
    ]
    published = {
        "clips": 8732,
        "classes": _CLASSES,
        "folds": {str(i): n for i, n in enumerate(_FOLDS, 1)},
    }
    clips = named(checked(clips, folder, "UrbanSound8K"), folder)
    return DataSet("urbansound8k", folder, clips, "folds", "accuracy", "CC BY-NC 3.0", _SOURCE, published, _NOTES)
