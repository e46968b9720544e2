"""Any folder: its subfolders are the labels, a pattern finds the groups."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from l3embed.decode import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from l3embed.errors import UsageError

from .clips import SPLITS, Clip, DataError, DataSet, checked, named, relative
from .tables import ALIASES


def sounds(folder: Path, suffixes: frozenset[str] = AUDIO_SUFFIXES | VIDEO_SUFFIXES) -> Iterator[Path]:
    """Recordings below a folder by their suffix, in order; what is hidden or of macOS is passed by."""
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder")
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield Path(place) / name


def read_folder(folder: str | Path, group: str = "") -> DataSet:
    """LABEL/... below the folder; or train/LABEL/..., test/LABEL/..., where its subfolders are such lists.

    `group`: a regular expression that is searched in the path below the folder; its first parenthesis (or all that it
    matches) is the clip's group. Without one, every recording is a group of its own. Raises DataError for a recording
    in which it finds nothing: groups that are missing would leak unseen.
    """
    folder = Path(folder)
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise UsageError(f"group must be a regular expression: {error}. Received: {group!r}") from error
    names = [name for name in sorted(os.listdir(folder)) if (folder / name).is_dir()] if folder.is_dir() else []
    lists = {name: ALIASES.get(name.lower(), name.lower()) for name in names if not name.startswith(".")}
    lists = lists if len(lists) > 1 and set(lists.values()) <= set(SPLITS) else {}
    clips, left_out = [], {}
    for path in sounds(folder):
        parts = path.relative_to(folder).parts
        depth = 1 if lists else 0
        if len(parts) < depth + 2:
            left_out[relative(path, folder)] = "it lies in no label's folder"
            continue
        label = unicodedata.normalize("NFC", parts[depth])
        clips.append(Clip(path, label, "", _group(pattern, path, folder), lists[parts[0]] if lists else ""))
    clips = named(checked(clips, folder, "a data set (LABEL/recording)"), folder)
    return DataSet(folder.resolve().name, folder, clips, "lists" if lists else "none", source=str(folder),
                   left_out=left_out)  # fmt: skip


def _group(pattern: re.Pattern, path: Path, folder: Path) -> str:
    if not pattern.pattern:
        return ""
    name = relative(path, folder)
    found = pattern.search(name)
    if not found or not (group := found[1] if pattern.groups else found[0]):
        raise DataError(f"{path}: the pattern of groups, {pattern.pattern!r}, finds none in {name!r}")
    return group
