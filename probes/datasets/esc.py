"""ESC-50 and ESC-10 (Piczak 2015), as they are distributed now and as they were in 2015."""

from __future__ import annotations

import re
from pathlib import Path

from .clips import Clip, DataSet, checked, named
from .tables import rows

# In the order of targets 0 to 49 (meta/esc50.csv).
ESC50 = (
    "dog rooster pig cow frog cat hen insects sheep crow rain sea_waves crackling_fire crickets chirping_birds "
    "water_drops wind pouring_water toilet_flush thunderstorm crying_baby sneezing clapping breathing coughing "
    "footsteps laughing brushing_teeth snoring drinking_sipping door_wood_knock mouse_click keyboard_typing "
    "door_wood_creaks can_opening washing_machine vacuum_cleaner clock_alarm clock_tick glass_breaking helicopter "
    "chainsaw siren car_horn engine train church_bells airplane fireworks hand_saw"
).split()
ESC10 = ("Dog bark", "Rain", "Sea waves", "Baby cry", "Clock tick", "Person sneeze", "Helicopter", "Chainsaw",
         "Rooster", "Fire crackling")  # fmt: skip
_SOURCE = "Piczak 2015, ESC: Dataset for Environmental Sound Classification; github.com/karolpiczak/ESC-50"
_TABLE = ("filename", "fold", "category", "esc10", "src_file")
_FILE = re.compile(r"([1-5])-(\d+)-[A-Z](?:-\d+)?\.(?:ogg|wav|flac)")


def is_esc(folder: Path) -> bool:
    return (folder / "meta" / "esc50.csv").exists() or bool(_old_folders(folder))


def is_esc10(folder: Path) -> bool:
    return any(name[0] == "0" for name in _old_folders(folder))


def _old_folders(folder: Path) -> list[str]:
    """Class folders of 2015: "001 - Dog bark" (ESC-10), "101 - Dog" (ESC-50)."""
    found = [path.name for path in folder.glob("[0-5][0-9][0-9] - *") if path.is_dir()]
    return [name for name in found if re.match(r"(00[1-9]|010|[1-5](0[1-9]|10)) - ", name)]


def esc50(folder: str | Path) -> DataSet:
    """ESC-50: 2,000 clips of 5 s, 50 classes of 40, 5 folds of 400 (Piczak 2015); the group is the source on freesound.

    The present layout: ``audio/{fold}-{id}-{take}-{target}.wav`` and ``meta/esc50.csv``. That of 2015: folders
    ``101 - Dog`` ..., files ``{fold}-{id}-{take}.ogg``; labels are those of the present layout in both.
    """
    folder = Path(folder)
    if (folder / "meta" / "esc50.csv").exists():
        clips = [clip for clip, _ in _listed(folder)]
    else:
        clips = [
            Clip(path, ESC50[(int(number[0]) - 1) * 10 + int(number[1:]) - 1], found[1], found[2])
            for path, number, found in _old_files(folder)
            if number[0] != "0"
        ]
    published = {"clips": 2000, "classes": dict.fromkeys(ESC50, 40), "folds": dict.fromkeys("12345", 400)}
    clips = named(checked(clips, folder, "ESC-50"), folder)
    return DataSet("esc50", folder, clips, "folds", "accuracy", "CC BY-NC 3.0", _SOURCE,
                   {**published, "hours": 2000 * 5 / 3600}, _NOTES)  # fmt: skip


def esc10(folder: str | Path) -> DataSet:
    """ESC-10: 400 clips of 5 s, 10 classes of 40, 5 folds of 80 (Piczak 2015); the group is the source on freesound.

    The present layout: the rows of ESC-50's table with esc10 = True. That of 2015: folders ``001 - Dog bark`` ...,
    files ``{fold}-{id}-{take}.ogg``. Labels are those of the layout.
    """
    folder = Path(folder)
    if (folder / "meta" / "esc50.csv").exists():
        clips = [clip for clip, ten in _listed(folder) if ten == "True"]
        classes = [ESC50[target] for target in (0, 1, 10, 11, 12, 20, 21, 38, 40, 41)]
    else:
        clips = [
            Clip(path, path.parent.name.split(" - ", 1)[1], found[1], found[2])
            for path, number, found in _old_files(folder)
            if number[0] == "0"
        ]
        classes = ESC10
    published = {"clips": 400, "classes": dict.fromkeys(classes, 40), "folds": dict.fromkeys("12345", 80)}
    clips = named(checked(clips, folder, "ESC-10"), folder)
    return DataSet("esc10", folder, clips, "folds", "accuracy", "CC BY 3.0", _SOURCE,
                   {**published, "hours": 400 * 5 / 3600}, _NOTES)  # fmt: skip


_NOTES = (
    "Clips are from freesound: a network that learned from freesound (FSD50K among others) may have heard them.",
    "Clips of one source share traits such as the band limit of a codec; the folds keep sources whole.",
)


def _listed(folder: Path) -> list[tuple[Clip, str]]:
    table = folder / "meta" / "esc50.csv"
    return [
        (Clip(folder / "audio" / row["filename"], row["category"], row["fold"], row["src_file"]), row["esc10"])
        for _, row in rows(table, _TABLE)
    ]


def _old_files(folder: Path):
    """(path, number of the class folder, match of the file's name) of the layout of 2015."""
    for name in sorted(_old_folders(folder)):
        for path in sorted((folder / name).iterdir()):
            if found := _FILE.fullmatch(path.name):
                yield path, name[:3], found
