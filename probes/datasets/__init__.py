"""Labelled data sets, read as they lie on disk: nothing is moved or rewritten. `read` recognises the layout."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from l3embed.errors import UsageError

from . import audioset, dcase2013, esc, primates, tut2017, urbansound8k, ut_podcast, voxforge
from .clips import N_FOLDS, Clip, DataError, DataSet, checked, fold, folded, leaks, whole_number, without_rare
from .digits import digits, is_digits
from .esc import esc10, esc50
from .folders import read_folder
from .tables import from_csv, indexed, read_table

__all__ = ["N_FOLDS", "READERS", "Clip", "DataError", "DataSet", "checked", "digits", "esc10", "esc50", "fold",
           "folded", "from_csv", "indexed", "leaks", "read", "read_folder", "read_table"]  # fmt: skip

READERS: dict[str, Callable[..., DataSet]] = {
    "esc10": esc10,
    "esc50": esc50,
    "urbansound8k": urbansound8k.urbansound8k,
    "dcase2013": dcase2013.dcase2013,
    "tut2017": tut2017.tut2017,
    "voxforge": voxforge.voxforge,
    "ut-podcast": ut_podcast.ut_podcast,
    "primates": primates.primates,
    "audioset": audioset.audioset,
    "digits": digits,
    "table": read_table,
    "folder": read_folder,
}
# What a folder is, the most special first.
_LAYOUTS = (
    ("esc10", esc.is_esc10),
    ("esc50", esc.is_esc),
    ("urbansound8k", urbansound8k.is_urbansound8k),
    ("tut2017", tut2017.is_tut2017),
    ("dcase2013", dcase2013.is_dcase2013),
    ("ut-podcast", ut_podcast.is_ut_podcast),
    ("primates", primates.is_primates),
    ("audioset", audioset.is_audioset),
    ("digits", is_digits),
    ("table", lambda folder: (folder / "index.csv").exists()),
    ("voxforge", voxforge.is_voxforge),
)
# Sets whose counts are part of what a result means: a copy that lacks clips is refused.
FIXED = ("esc10", "esc50", "urbansound8k", "dcase2013", "tut2017", "primates")


def read(spec: str | Path, strict: bool = True, **options) -> DataSet:
    """A data set, by ``path``, ``name=path``, or ``path?key=value&key=value`` with options of its reader.

    `path` is a folder, whose layout is recognised, or a table (.csv; `read_table`). `name` is a reader's (READERS), or
    what the set shall be called. Unless `strict` is off (option strict=no), a set is refused whose groups are in two
    folds or lists, or that has not as many clips as published where results depend on it. Option least=N: labels of
    fewer than N groups are left out, and said so. Raises DataError, UsageError.
    """
    name, path, found = _parsed(spec)
    options = {**found, **options}
    strict = strict and str(options.pop("strict", "yes")).lower() not in ("no", "false", "0")
    reader, path = (name, path) if name in READERS else _layout(path)
    least = whole_number(options.pop("least", 0), "least")
    own = list(inspect.signature(READERS[reader]).parameters)[1:]
    if unknown := sorted(set(options) - set(own)):
        raise UsageError(
            f"{spec}: reader {reader!r} has no option {unknown[0]!r}. It has: {', '.join(['strict', 'least', *own])}"
        )
    data = READERS[reader](path, **options)
    n = data.published.get("clips")
    if strict and reader in FIXED and n and len(data) != n:
        raise DataError(
            f"{path}: holds {len(data)} clips of {data.name}, expected {n}: is the copy complete? (l3embed data check "
            "names what differs; ?strict=no after the path takes it as it is)"
        )
    if strict and (found := leaks(data.clips)):
        raise DataError(f"{path}: {found[0]}")
    data = without_rare(data, least) if least else data
    return replace(data, name=name) if name else data


def _parsed(spec: str | Path) -> tuple[str, Path, dict[str, str]]:
    """(name or "", path, options). What is there under the whole name is meant by it, whatever signs it has."""
    text, name, options = str(spec), "", {}
    if not Path(text).exists() and (found := re.match(r"([\w.+-]+)=(?=.)", text)):
        name, text = found[1], text[found.end() :]
    if not Path(text).exists() and (found := re.fullmatch(r"(.+?)\?(\w+=.*)", text, re.DOTALL)):
        text = found[1]
        options = dict(part.split("=", 1) for part in re.split(r"&(?=\w+=)", found[2]))
    return name, Path(text), options


def _layout(path: Path) -> tuple[str, Path]:
    """(reader, folder): the folder itself or, where it holds nothing else and is no known layout, the one in it."""
    if path.is_file() and path.suffix.lower() == ".csv":
        return "table", path
    if not path.is_dir():
        what = "is neither a folder nor a table (.csv)" if path.exists() else "is not there"
        raise DataError(f"{path}: {what}: give a data set as FOLDER, NAME=FOLDER or TABLE.csv")
    for place in (path, *_alone(path)):
        if name := next((name for name, looks in _LAYOUTS if looks(place)), None):
            return name, place
    return "folder", path


def _alone(path: Path) -> list[Path]:
    """The only folder in a folder: what an archive unpacks to."""
    inside = [place for place in path.iterdir() if not place.name.startswith((".", "__MACOSX"))]
    return inside if len(inside) == 1 and inside[0].is_dir() else []
