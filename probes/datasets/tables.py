"""Any data set by a table, and what readers of tables share."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from .clips import N_FOLDS, SPLITS, Clip, DataError, DataSet, checked, folded, named

# What others call the lists (ComParE: devel; scikit-learn and Keras: validation).
ALIASES = {"training": "train", "devel": "valid", "dev": "valid", "val": "valid", "validation": "valid",
           "held_out": "valid", "eval": "test", "evaluation": "test"}  # fmt: skip


def rows(table: Path, needed: Sequence[str] = (), fields: Sequence[str] | None = None) -> list[tuple[int, dict]]:
    """(number of the line, {column: stripped cell}) of a table whose first line names its columns.

    Separated by commas, semicolons (Excel, in much of Europe) or tabs, whichever the first line has most of. `fields`:
    the columns of one whose first line does not name them; tabs. Raises DataError where it cannot be read, lacks a
    needed column, or has a line with more cells than columns.
    """
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            delimiter = "\t" if fields else max(",;\t", key=file.readline().count)
            file.seek(0)
            reader = csv.DictReader(file, fieldnames=fields, delimiter=delimiter, restval="")
            found = [(reader.line_num, row) for row in reader]
            columns = [name.strip() for name in reader.fieldnames or []]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if missing := set(needed) - set(columns):
        raise DataError(f"{table}: has no column {' and no column '.join(sorted(missing))}: its first line names them")
    for line, row in found:
        if row.pop(None, None) and not fields:
            raise DataError(f"{table}: line {line} has more cells than the first line names columns: put a cell with a "
                            "separator in it into quotes")  # fmt: skip
    return [(line, {key.strip(): cell.strip() for key, cell in row.items()}) for line, row in found]


def read_table(table: str | Path) -> DataSet:
    """Any data set by a table with the columns path (relative to the table) and label.

    Further columns, if wanted: group; fold or split (train, valid, test); start and end, in seconds, of the stretch of
    the file that is the clip; labels, separated by ";", instead of label. The folder of the table is the set's root.
    Raises DataError, with the line, for what is missing, twice there, or contradictory. A row whose label is "?" or
    empty, in a table whose test list has no labels, is left out and said so.
    """
    table = Path(table)
    table = table / "index.csv" if table.is_dir() else table
    found = rows(table, ["path"])
    if found and not {"label", "labels"} & set(found[0][1]):
        raise DataError(f"{table}: has no column label: its first line names them")
    left_out = {row["path"]: "it has no label" for _, row in found if _withheld(row)}
    clips = [_clip(table, line, row) for line, row in found if not _withheld(row)]
    return DataSet(
        name=table.parent.resolve().name if table.name == "index.csv" else table.stem,
        root=table.parent,
        clips=named(checked(clips, table, "a data set"), table.parent),
        rule=_rule(table, clips),
        source=str(table),
        left_out=left_out,
    )


def _withheld(row: dict) -> bool:
    """A clip of a test list whose label is kept by the organisers of a challenge."""
    label = row.get("labels") or row.get("label", "")
    return bool(row.get("path")) and (label == "?" or (not label and _split(row) == "test"))


def _split(row: dict) -> str:
    split = row.get("split", "").lower()
    return ALIASES.get(split, split)


def _clip(table: Path, line: int, row: dict) -> Clip:
    labels = tuple(filter(None, (label.strip() for label in row.get("labels", "").split(";"))))
    label = row.get("label") or (labels[0] if labels else "")
    if not row["path"] or not label:
        what = "label: label it, or write ? to leave it out" if row["path"] else "path"
        raise DataError(f"{table}: line {line} has no {what}")
    if (split := _split(row)) and split not in SPLITS:
        raise DataError(f"{table}: line {line}: split must be one of {', '.join(SPLITS)}. Received: {row['split']!r}")
    start_s, end_s = (_seconds(table, line, row, key) for key in ("start", "end"))
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise DataError(f"{table}: line {line}: the clip ends at {end_s:g} s, before it begins at {start_s:g} s")
    return Clip(table.parent / row["path"], label, row.get("fold", ""), row.get("group", ""), split, "", labels,
                0.0 if start_s is None and end_s is not None else start_s, end_s)  # fmt: skip


def _seconds(table: Path, line: int, row: dict, key: str) -> float | None:
    text = row.get(key, "") or row.get(f"{key}_s", "")
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value < float("inf"):
        raise DataError(f"{table}: line {line}: {key} must be a time in seconds. Received: {text!r}")
    return value


def _rule(where: Path, clips: Sequence[Clip]) -> str:
    """What the clips prescribe. Raises DataError where only some of them do."""
    for key, rule in (("fold", "folds"), ("split", "lists")):
        n = sum(bool(getattr(clip, key)) for clip in clips)
        if n == 0:
            continue
        if n < len(clips):
            raise DataError(
                f"{where}: {len(clips) - n} of {len(clips)} clips have no {key}: fill the column or drop it"
            )
        return rule
    return "none"


def from_csv(table: str | Path, n_folds: int = N_FOLDS, seed: int = 0) -> list[Clip]:
    """The clips of a table (`read_table`) in folds: its own or, where it has none, made by `fold`."""
    return folded(read_table(table), n_folds, seed)


def indexed(folder: str | Path, n_folds: int = N_FOLDS, seed: int = 0) -> list[Clip]:
    """A folder with an `index.csv`, see `from_csv`."""
    return from_csv(Path(folder) / "index.csv", n_folds, seed)
