"""TUT Acoustic Scenes 2017 (Mesaros, Heittola and Virtanen 2018): development folds, evaluation set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from .clips import Clip, DataError, DataSet, checked, named
from .tables import rows

CLASSES = ("beach", "bus", "cafe/restaurant", "car", "city_center", "forest_path", "grocery_store", "home", "library",
           "metro_station", "office", "park", "residential_area", "train", "tram")  # fmt: skip
_PARTS = {"development": 312, "evaluation": 108}  # clips of a class
_SOURCE = "Mesaros, Heittola and Virtanen, TUT Acoustic Scenes 2017; zenodo.org/record/400515 and 1040168"
_COLUMNS = ("path", "label", "recording")


def _found(folder: Path) -> dict[str, Path]:
    """Part -> its folder: the folder itself, or those that it holds."""
    if (folder / "evaluation_setup" / "fold1_train.txt").exists():
        return {"development": folder}
    if (folder / "evaluation_setup" / "evaluate.txt").exists():
        return {"evaluation": folder}
    names = {part: folder / f"TUT-acoustic-scenes-2017-{part}" for part in _PARTS}
    return {part: place for part, place in names.items() if (place / "evaluation_setup").is_dir()}


def is_tut2017(folder: Path) -> bool:
    return bool(_found(folder))


def tut2017(folder: str | Path) -> DataSet:
    """``TUT-acoustic-scenes-2017-development`` (4 folds), ``-evaluation``, or the folder that holds both.

    Both: the development set trains and the evaluation set tests (lists), as in Pons et al. 2018. The development set
    alone: its four folds; a clip's fold is the one whose ``fold{n}_evaluate.txt`` names it. Group: the recording, of
    which the 10 s clips are stretches (third column of ``meta.txt``, or the name up to its first "_"; of the evaluation
    set, ``evaluation_setup/map.txt`` where that names the originals). 15 classes x 312 and 108 clips (Zenodo records).
    """
    folder = Path(folder)
    places = _found(folder)
    if not places:
        raise DataError(f"{folder}: holds no evaluation_setup of TUT Acoustic Scenes 2017: give the folder that the "
                        "archives unpack to")  # fmt: skip
    read = {"development": _development, "evaluation": _evaluation}
    clips, notes = [], []
    for part, place in places.items():
        some, said = read[part](place)
        clips += some
        notes += said
    both = len(places) == 2
    if not both:
        clips = [replace(clip, split="") for clip in clips]
    each = sum(_PARTS[part] for part in places)
    published = {"clips": 15 * each, "classes": dict.fromkeys(CLASSES, each)}
    if both:
        published["splits"] = {"train": 15 * 312, "test": 15 * 108}
    rule = "lists" if both else "folds" if "development" in places else "none"
    clips = named(checked(clips, folder, "TUT Acoustic Scenes 2017"), folder)
    return DataSet("tut2017", folder, clips, rule, "accuracy", "TUT, non-commercial", _SOURCE,
                   {**published, "hours": 15 * each * 10 / 3600}, tuple(notes))  # fmt: skip


def _table(path: Path) -> list[dict]:
    return [row for _, row in rows(path, fields=_COLUMNS) if row["path"]]


def _development(place: Path) -> tuple[list[Clip], list[str]]:
    setup, fold_of, notes = place / "evaluation_setup", {}, []
    everything = {row["path"] for row in _table(place / "meta.txt")}
    for number in "1234":
        tested = next((p for kind in ("evaluate", "test") if (p := setup / f"fold{number}_{kind}.txt").exists()), None)
        if tested is None:
            raise DataError(f"{setup}: lacks fold{number}_evaluate.txt and fold{number}_test.txt")
        names = {row["path"] for row in _table(tested)}
        fold_of |= dict.fromkeys(names, number)
        trained = {row["path"] for row in _table(setup / f"fold{number}_train.txt")}
        if trained != everything - names:
            notes.append(f"fold {number}'s own training list is not all of the other clips: {len(trained)} of "
                         f"{len(everything - names)}; folds here train on all")  # fmt: skip
    clips = [
        Clip(place / row["path"], row["label"], fold_of.get(row["path"], ""),
             row["recording"] or _recording(row["path"]), "train")
        for row in _table(place / "meta.txt")
    ]  # fmt: skip
    if (place / "error.txt").exists():
        damaged = {row["path"] for row in _table(place / "error.txt")}
        notes.append(
            f"error.txt names {len(damaged)} clips with a microphone that failed; they are kept, as in the papers"
        )
    return clips, notes


def _evaluation(place: Path) -> tuple[list[Clip], list[str]]:
    setup = place / "evaluation_setup"
    table = place / "meta.txt"
    found = _table(table if table.exists() else setup / "evaluate.txt")
    original = _originals(setup / "map.txt")
    clips = [
        Clip(place / row["path"], row["label"], "", row["recording"] or original.get(_stem(row["path"]), ""), "test")
        for row in found
    ]
    notes = [] if all(clip.group for clip in clips) else [
        "The evaluation set's recordings are not named in meta.txt or map.txt: each of its clips counts as a group."
    ]  # fmt: skip
    return clips, notes


def _originals(table: Path) -> dict[str, str]:
    """Number of a clip -> its recording, from a table of two names: the number, and one as in the development set."""
    found = {}
    for row in _table(table) if table.exists() else ():
        names = sorted((_stem(row["path"]), _stem(row["label"])), key=lambda name: not name.isdecimal())
        if names[0].isdecimal() and "_" in names[1]:
            found[names[0]] = _recording(names[1])
    return found


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _recording(name: str) -> str:
    return _stem(name).partition("_")[0]
