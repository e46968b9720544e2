"""Labelled data sets, read as they lie on disk: nothing is moved or rewritten. `read` recognises the layout."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from l3embed.errors import UsageError

from . import esc
from .clips import N_FOLDS, Clip, DataError, DataSet, checked, fold, folded
from .digits import digits, is_digits
from .esc import esc10, esc50
from .folders import read_folder
from .tables import from_csv, indexed, read_table

__all__ = ["N_FOLDS", "READERS", "Clip", "DataError", "DataSet", "checked", "digits", "esc10", "esc50", "fold",
           "folded", "from_csv", "indexed", "read", "read_folder", "read_table"]  # fmt: skip

READERS: dict[str, Callable[..., DataSet]] = {
    "esc10": esc10,
    "esc50": esc50,
    "digits": digits,
    "table": read_table,
    "folder": read_folder,
}
# What a folder is, the most special first.
_LAYOUTS = (("esc10", esc.is_esc10), ("esc50", esc.is_esc), ("digits", is_digits),
            ("table", lambda folder: (folder / "index.csv").exists()))  # fmt: skip
FIXED = ("esc10", "esc50")  # their counts are part of their results: a copy that lacks clips is refused


def read(spec: str | Path, complete: bool = True, **options) -> DataSet:
    """A data set, by ``path``, ``name=path``, or ``path?key=value&key=value`` with options of its reader.

    `path` is a folder, whose layout is recognised, or a table (.csv; `read_table`). `name` is a reader's (READERS), or
    what the set shall be called. With `complete` (option complete=no), a copy whose clips are not as many as published
    is refused where the counts are part of what results mean. Raises DataError and UsageError.
    """
    name, path, found = _parsed(spec)
    options = {**found, **options}
    complete = complete and str(options.pop("complete", "yes")).lower() not in ("no", "false", "0")
    reader = name if name in READERS else _layout(path)
    try:
        data = READERS[reader](path, **options)
    except TypeError as error:
        raise UsageError(f"{spec}: the reader {reader!r} has no such option ({error})") from error
    n = data.published.get("clips")
    if complete and reader in FIXED and len(data) != n:
        raise DataError(
            f"{path}: holds {len(data)} clips of {data.name}, expected {n}: is the copy complete? (l3embed data check "
            "names what differs; ?complete=no after the path takes it as it is)"
        )
    return replace(data, name=name) if name else data


def _parsed(spec: str | Path) -> tuple[str, Path, dict[str, str]]:
    text, options = str(spec), {}
    if not Path(text).exists() and (asked := re.fullmatch(r"(.+?)\?(\w+=.*)", text, re.DOTALL)):
        text = asked[1]
        options = dict(part.split("=", 1) for part in re.split(r"&(?=\w+=)", asked[2]))
    name = re.match(r"([\w.+-]+)=(?=.)", text)
    if name and not Path(text).exists():
        return name[1], Path(text[name.end() :]), options
    return "", Path(text), options


def _layout(path: Path) -> str:
    if path.is_file() and path.suffix.lower() == ".csv":
        return "table"
    if not path.is_dir():
        what = "is neither a folder nor a table (.csv)" if path.exists() else "is not there"
        raise DataError(f"{path}: {what}: give a data set as FOLDER, NAME=FOLDER or TABLE.csv")
    return next((name for name, looks in _LAYOUTS if looks(path)), "folder")
