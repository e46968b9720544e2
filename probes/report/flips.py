"""Which clips two runs decide differently: job by job, both ways."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from l3embed.errors import DataError, UsageError

from .. import statistics
from . import reading
from .content import verdict
from .reading import Found, Job, Tested
from .tables import Column, Table, p_text

SHOWN = 10  # flipped clips of a job on a terminal
SAME = ("data", "model", "probe", "protocol", "pooling", "shots")  # what makes two jobs the same question


@dataclass
class Compared:
    """One job of each run, on the tests that both have."""

    about: dict  # SAME
    n: int  # tests, a clip once for each draw
    lost: int  # right in A, wrong in B
    gained: int
    test: statistics.Test  # `by_group`, of shares of tests that are right
    smallest_p: float  # that it could reach, if all groups differed
    only_one: int  # tests that one run alone has


@dataclass
class Diff:
    a: Path
    b: Path
    jobs: list[Compared]
    clips: Table  # a row for each flipped clip of the jobs that learned from all clips
    missing: dict[str, list[str]] = field(default_factory=dict)  # run -> jobs that the other has not

    def lines(self) -> list[str]:
        """For a terminal: a line a job, below it its first flipped clips."""
        return _lines(self)

    def as_dict(self) -> dict:
        """Plain values, every flipped clip."""
        return {"a": str(self.a), "b": str(self.b), "jobs": summary(self.jobs).rows, "flipped": self.clips.rows,
                "only_in_one": self.missing}  # fmt: skip


CLIPS = [
    *(Column(key, {"data": "data set"}.get(key, key)) for key in ("data", "model", "probe", "protocol", "pooling")),
    Column("shots", "clips a class", "count"), Column("draw", "draw", "count"), Column("change", "change"),
    Column("clip", "clip"), Column("label", "label"), Column("a", "said by A"), Column("b", "said by B"),
    Column("group", "group"), Column("path", "path"),
]  # fmt: skip


def diff(a: Path, b: Path) -> Diff:
    """Compare two runs. Where each has one model, those are compared, whatever they are called.

    Raises UsageError where the runs have no job in common, DataError where a data set is not the same.
    """
    runs = [reading.read([a]), reading.read([b])]
    for name in runs[0].sets.keys() & runs[1].sets.keys():
        if runs[0].sets[name].about["sha256"] != runs[1].sets[name].about["sha256"]:
            raise DataError(f"{b}: its data set {name!r} is another one than in {a}: the clips cannot be compared")
    one_each = all(len({job.model for job in found.jobs}) == 1 for found in runs)
    jobs = [{_key(job, one_each): job for job in found.jobs} for found in runs]
    common = [key for key in jobs[0] if key in jobs[1]]
    if not common:
        have = ["; ".join(sorted({f"{j.data} {j.model} {j.probe} ({j.protocol})" for j in f.jobs})[:4]) for f in runs]
        raise UsageError(f"{a} and {b} have no job in common: the first has {have[0]}, the second {have[1]}")
    compared, rows = [], []
    for key in common:
        one, flipped = _compare(runs, jobs[0][key], jobs[1][key])
        compared.append(one)
        rows += flipped if one.about["shots"] is None else []  # of few-shot jobs the numbers say enough
    names = (f"A, {a}", f"B, {b}")
    missing = {
        name: [" ".join(map(str, filter(None, key))) for key in jobs[k] if key not in jobs[1 - k]]
        for k, name in enumerate(names)
    }
    return Diff(a, b, compared, Table("flipped-clips", "Clips that flipped", CLIPS, rows), missing)


def _key(job: Job, one_each: bool) -> tuple:
    return tuple(None if one_each and name == "model" else job.about[name] for name in SAME)


def _compare(runs: list[Found], a: Job, b: Job) -> tuple[Compared, list[dict]]:
    data, tables = runs[0].sets[a.data], [reading.tested(found, job) for found, job in zip(runs, (a, b), strict=True)]
    keys = [list(zip(t.draw.tolist(), t.rows.tolist(), strict=True)) for t in tables]
    common = set(keys[0]) & set(keys[1])
    tables = [t.take(np.array([key in common for key in k], bool)) for t, k in zip(tables, keys, strict=True)]
    right = [t.right for t in tables]
    model = a.model if a.model == b.model else f"{a.model} → {b.model}"
    about = {name: a.about[name] for name in SAME} | {"model": model}
    flipped = np.flatnonzero(right[0] != right[1])
    order = sorted(flipped, key=lambda k: (not right[0][k], tables[0].draw[k], tables[0].rows[k]))
    units = data.units[tables[0].rows] if len(common) else np.zeros(1)
    test = statistics.by_group(*right, units) if len(common) else statistics.Test(1.0, 0, 1.0)
    lost = int((right[0] & ~right[1]).sum())
    smallest_p = statistics.smallest_p(len(np.unique(units)))
    found = Compared(about, len(common), lost, len(flipped) - lost, test, smallest_p, len(set(keys[0]) ^ set(keys[1])))
    return found, [_row(about, data, tables, k, bool(right[0][k])) for k in order]


def _row(about: dict, data: reading.Set, tables: list[Tested], k: int, lost: bool) -> dict:
    clip = data.clips[tables[0].rows[k]]
    a, b = (t.classes[t.predicted[k]] if t.predicted[k] >= 0 else "failed" for t in tables)
    return {**about, "draw": int(tables[0].draw[k]), "change": "lost" if lost else "gained", "clip": clip["clip"],
            "label": ", ".join(data.several(tables[0].rows[k])), "a": a, "b": b, "group": clip["group"],
            "path": clip["path"], "start_s": clip.get("start_s"), "end_s": clip.get("end_s"),
            "rate_hz": clip.get("rate_hz")}  # fmt: skip


def summary(jobs: list[Compared]) -> Table:
    """A row a job; the jobs are one family."""
    adjusted = statistics.holm([job.test.p for job in jobs])
    rows = [
        {**j.about, "n": j.n, "lost": j.lost, "gained": j.gained, "same": j.n - j.lost - j.gained, "p": j.test.p,
         "adjusted": float(p), "verdict": verdict(p, min(1.0, len(jobs) * j.smallest_p)), "only_one": j.only_one}
        for j, p in zip(jobs, adjusted, strict=True)
    ]  # fmt: skip
    columns = [
        *CLIPS[:4], Column("lost", "lost", "count"), Column("gained", "gained", "count"),
        Column("verdict", "verdict"), Column("adjusted", "p, Holm", "p", f"over {len(jobs)} jobs"),
        Column("p", "p", "p", "groups reversed"), Column("n", "tests", "count"), Column("same", "as before", "count"),
        *CLIPS[4:6],
        Column("only_one", "in one run only", "count"),
    ]  # fmt: skip
    return Table("flips", "What changed", columns, rows)


def _lines(found: Diff) -> list[str]:
    out = [f"A: {found.a}", f"B: {found.b}"]
    rows = iter(found.clips.rows)
    for job, row in zip(found.jobs, summary(found.jobs).rows, strict=True):
        n = job.lost + job.gained
        out.append(f"{_named(job.about)}: of {job.n} tests {job.lost} lost, {job.gained} gained "
                   f"(p {p_text(row['adjusted'])}, Holm over {len(found.jobs)}: {row['verdict']})")  # fmt: skip
        flipped = list(itertools.islice(rows, n if job.about["shots"] is None else 0))
        out += [f"  {r['change']:6}  {r['clip']}: {r['label']}; A {r['a']}, B {r['b']}" for r in flipped[:SHOWN]]
        if len(flipped) > SHOWN:
            out.append(f"  ... and {n - SHOWN} more: -o DIR or --json has all")
    for run, names in found.missing.items():
        if names:
            out.append(f"only in {run}: {len(names)} jobs ({'; '.join(names[:3])}{' ...' if len(names) > 3 else ''})")
    return out


def _named(about: dict) -> str:
    shots = f", {about['shots']} clips a class" if about["shots"] else ""
    return f"{about['data']}, {about['model']}, {about['probe']} ({about['protocol']}, {about['pooling']}{shots})"


def write(found: Diff, out: Path) -> Path:
    """OUT/index.html and tables/*.csv; the page plays the clips."""
    from . import page, tables
    from .build import whole_folder
    from .sound import Sounds

    table, sounds = summary(found.jobs), Sounds(out.absolute())
    with whole_folder(out) as folder:
        (folder / "tables").mkdir()
        for each in (table, found.clips):
            (folder / "tables" / f"{each.name}.csv").write_text(tables.csv_text(each), encoding="utf-8")
        rows = [row | {"job": _named(row), "sound": sounds.of(row)} for row in found.clips.rows]
        (folder / page.NAME).write_text(page.render("diff.html.j2", found=found, table=table, rows=rows), "utf-8")
    return out / page.NAME
