"""AudioSet's tables: segments of videos with their labels, the ontology of labels, subsets by label.

Layouts: Google's `{eval,balanced_train,unbalanced_train}_segments.csv` and `ontology.json`; filter tables as in
marl/l3embedding, with or without the column `include_children`. A table that cannot be used raises DataError.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .subsets import SUBSETS


@dataclass(frozen=True)
class Segment:
    """A stretch of a YouTube video."""

    video: str
    start_s: float
    end_s: float
    labels: tuple[str, ...]  # ids of the ontology: "/m/09x0r"


def read_segments(path: str | Path) -> list[Segment]:
    """The rows of a segment file: `YTID, start_seconds, end_seconds, "label,label"` below lines that begin with #."""
    found = []
    for line, row in _rows(path, comment="#", skipinitialspace=True):
        try:
            video, start, end, labels = row
            segment = Segment(video.strip(), float(start), float(end), tuple(filter(None, labels.strip().split(","))))
        except ValueError:
            raise DataError(f'{path}: line {line} is not a segment (YTID, start, end, "labels"): {row!r}') from None
        if not segment.video or not 0 <= segment.start_s < segment.end_s:
            raise DataError(f"{path}: line {line}: a segment needs an id and an end after its start: {row!r}")
        found.append(segment)
    if not found:
        raise DataError(f"{path}: holds no segments")
    return found


class Ontology:
    """Labels and what is below them. `names`: id -> name."""

    def __init__(self, nodes: list[dict]):
        self.names = {node["id"]: node["name"] for node in nodes}
        self._below = {node["id"]: [c for c in node.get("child_ids", ()) if c in self.names] for node in nodes}
        self._ids: dict[str, set[str]] = {}
        for key, name in self.names.items():
            self._ids.setdefault(_plain(name), set()).add(key)

    @classmethod
    def read(cls, path: str | Path) -> Ontology:
        try:
            if (found := cls(json.loads(Path(path).read_text(encoding="utf-8")))).names:
                return found
            raise ValueError("no labels")
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}): give AudioSet's ontology.json") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: is not AudioSet's ontology.json ({error!r})") from error

    def find(self, label: str) -> set[str]:
        """The ids of a label, given by name (whatever its case) or id; empty where there is none."""
        return {label} if label in self.names else self._ids.get(_plain(label), set())

    def near(self, label: str) -> str | None:
        """The name most like it."""
        near = difflib.get_close_matches(_plain(label), self._ids, 1)
        return self.names[min(self._ids[near[0]])] if near else None

    def below(self, ids: Iterable[str]) -> set[str]:
        """These labels and all below them, however deep; abstract ones are passed through like any other.

        A label may lie below several, and below itself: each is visited once.
        """
        seen, waiting = set(), list(ids)
        while waiting:
            if (key := waiting.pop()) not in seen:
                seen.add(key)
                waiting += self._below.get(key, ())
        return seen


class Subset:
    """Which segments are wanted: accepting rules are OR-ed, a rejecting one is final, without any all are wanted."""

    def __init__(self):
        self._labels = {True: set(), False: set()}  # whether they accept -> ids of labels
        self._videos = {True: set(), False: set()}
        self.accepts = False
        self.unknown: list[str] = []  # labels of a shipped list that this ontology does not know

    def holds(self, segment: Segment) -> bool:
        def matches(accept: bool) -> bool:
            return segment.video in self._videos[accept] or not self._labels[accept].isdisjoint(segment.labels)

        return not matches(False) and (not self.accepts or matches(True))

    def add_video(self, video: str, accept: bool) -> None:
        self.accepts |= accept
        self._videos[accept].add(video)

    def add_label(self, label: str, accept: bool, children: bool, ontology: Ontology | None) -> bool:
        """Without an ontology labels are ids, and nothing is known to be below them. False: no such label."""
        self.accepts |= accept
        ids = ontology.find(label) if ontology else {label} if re.match(r"/\w/", label) else set()
        self._labels[accept] |= ontology.below(ids) if children and ontology else ids
        return bool(ids)


def subset(wanted: Iterable[str], ontology: Ontology | None) -> Subset:
    """Each of `wanted`: a shipped subset (subsets.SUBSETS), the path of a filter table (.csv), a label with its kin."""
    found = Subset()
    for name in wanted:
        if name in SUBSETS:
            _add_shipped(found, name, ontology)
        elif name.lower().endswith(".csv"):
            for rule in read_rules(name):
                _add_rule(found, rule, ontology, name)
        else:
            _add_rule(found, Rule("label", True, True, name), ontology, "--subset")
    return found


def _add_shipped(found: Subset, name: str, ontology: Ontology | None) -> None:
    if ontology is None:
        raise DataError(f"the subset {name!r} is a list of names: give AudioSet's ontology.json too (--ontology)")
    labels, children = SUBSETS[name]
    unknown = [label for label in labels if not found.add_label(label, True, children, ontology)]
    if len(unknown) == len(labels):
        raise DataError(f"the ontology knows none of the {len(labels)} labels of the subset {name!r}")
    found.unknown += unknown


@dataclass(frozen=True)
class Rule:
    kind: str  # "label" or "ytid"
    accept: bool
    children: bool
    string: str


def read_rules(path: str | Path) -> list[Rule]:
    """A filter table: filter_type, accept_reject, string, and include_children where it has that column."""
    rows = list(_rows(path, skipinitialspace=True))
    names = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    if not {"filter_type", "accept_reject", "string"} <= set(names):
        raise DataError(f"{path}: is no filter table: its first line must name filter_type, accept_reject and string")
    rules = []
    for line, row in rows[1:]:
        cells = dict(zip(names, (cell.strip() for cell in row), strict=False))
        kind, verdict = cells.get("filter_type", ""), cells.get("accept_reject", "").lower()
        if kind not in ("label", "ytid") or verdict not in ("accept", "reject") or not cells.get("string"):
            raise DataError(f"{path}: line {line}: expected label or ytid, accept or reject, and a string: {row!r}")
        children = cells.get("include_children", "").lower() == "true"
        rules.append(Rule(kind, verdict == "accept", children, cells["string"]))
    return rules


def _add_rule(found: Subset, rule: Rule, ontology: Ontology | None, where: str) -> None:
    if rule.kind == "ytid":
        found.add_video(rule.string, rule.accept)
    elif not found.add_label(rule.string, rule.accept, rule.children, ontology):
        if ontology is None:
            raise DataError(f"{where}: {rule.string!r} is the name of a label: give AudioSet's ontology.json too "
                            "(--ontology), or the label's id (/m/...)")  # fmt: skip
        near = ontology.near(rule.string)
        hint = f": did you mean {near!r}?" if near else ""
        raise DataError(f"{where}: the ontology knows no label {rule.string!r}{hint}")


def names_of_file(stem: str) -> Iterator[tuple[str, float | None]]:
    """(video id, start in seconds or milliseconds) that a file name may stand for, the most special first.

    ID_START_END and ID_START (l3embedding in ms, downloaders in s), ID, YID (PANNs), title [ID] (yt-dlp).
    """
    for pattern in (r"(.+)_(\d+(?:\.\d+)?)_\d+(?:\.\d+)?", r"(.+)_(\d+(?:\.\d+)?)"):
        if found := re.fullmatch(pattern, stem):
            yield found[1], float(found[2])
            if found[1].startswith("Y"):
                yield found[1][1:], float(found[2])
    yield stem, None
    if stem.startswith("Y"):
        yield stem[1:], None
    if found := re.fullmatch(r".*\[([\w-]+)\]", stem):
        yield found[1], None


def _rows(path: str | Path, comment: str = "", **how) -> Iterator[tuple[int, list[str]]]:
    """(number of the line, cells) of a CSV file, without empty lines and comments."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, **how)
            for row in reader:
                if row and not (comment and row[0].startswith(comment)):
                    yield reader.line_num, row
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not a CSV text ({error})") from error


def _plain(name: str) -> str:
    return " ".join(name.lower().split())
