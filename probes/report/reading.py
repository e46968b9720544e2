"""Run folders -> everything that a report is made of. Several runs become one, and have to agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from l3embed.errors import DataError, UsageError

from .. import results


@dataclass(frozen=True)
class Set:
    """A data set as a run saw it."""

    name: str
    about: dict  # as run.json has it
    clips: list[dict]  # as data/NAME.parquet has them
    row: dict[str, int]  # clip -> its row

    @property
    def units(self) -> np.ndarray:
        """(clips,) what may be drawn or reversed by itself: the group, or the recording."""
        return np.array([f"g:{clip['group']}" if clip["group"] else f"r:{clip['path']}" for clip in self.clips])

    @property
    def metric(self) -> str:
        return self.about.get("metric") or "accuracy"

    def several(self, row: int) -> list[str]:
        """The labels of a clip."""
        return list(self.clips[row].get("labels") or ()) or [self.clips[row]["label"]]

    @property
    def multi_label(self) -> bool:
        return any(len(self.several(row)) > 1 for row in range(len(self.clips)))


@dataclass(frozen=True)
class Job:
    """A job that is done. `model` and `probe` are the names it goes by in the report."""

    run: Path
    about: dict  # as jobs/ID.json has it
    model: str
    probe: str

    def __getattr__(self, name: str):
        try:
            return self.about[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True)
class Tested:
    """The predictions of a job, one for each test of a clip (m tests), in the order of (draw, row)."""

    rows: np.ndarray  # (m,) of the set's clips
    draw: np.ndarray  # (m,) int
    fold: np.ndarray  # (m,) str
    label: np.ndarray  # (m,) int, of `classes`
    predicted: np.ndarray  # (m,) int; -1: the model failed
    targets: np.ndarray  # (m, classes) bool
    scores: np.ndarray  # (m, classes) float32
    classes: list[str]

    @property
    def right(self) -> np.ndarray:
        """(m,) bool: the predicted label is the clip's, or one of them."""
        return (self.predicted >= 0) & self.targets[np.arange(len(self.rows)), self.predicted]

    @property
    def parts(self) -> np.ndarray:
        """(m,) str: accuracy is the mean over these, the folds of each draw."""
        return np.char.add(np.char.add(self.draw.astype(str), "/"), self.fold.astype(str))

    def take(self, keep: np.ndarray) -> Tested:
        return Tested(*(getattr(self, k)[keep] for k in self.__annotations__ if k != "classes"), self.classes)


@dataclass
class Found:
    """What lies in the runs."""

    runs: list[Path]
    about: list[dict]  # each run's run.json
    sets: dict[str, Set] = field(default_factory=dict)
    models: dict[str, dict] = field(default_factory=dict)
    probes: dict[str, dict] = field(default_factory=dict)
    protocols: dict[str, dict] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    failed: list[dict] = field(default_factory=list)  # jobs that failed, with `run`
    costs: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # of the joining


def read(folders: Iterable[str | Path]) -> Found:
    """Read runs. A job that several runs have is taken from the first and named in `notes`; a model of which runs have
    different versions goes by NAME@RUN. Raises UsageError for what is no run, DataError for sets that differ."""
    folders = list(dict.fromkeys(Path(f) for f in folders))
    found = Found(folders, [results.read_run(folder) for folder in folders])
    for folder, about in zip(found.runs, found.about, strict=True):
        found.probes = {**about["probes"], **found.probes}
        found.protocols = {**about["protocols"], **found.protocols}
        _add_sets(found, folder, about)
        if not about.get("finished"):
            found.notes.append(f"{folder} is not finished: what is missing may change everything below")
    names = _model_names(found)
    poolings = _poolings(found)
    for k, folder in enumerate(found.runs):
        _add_jobs(found, k, folder, names, poolings)
    if not found.jobs and not found.failed:
        raise UsageError(f"{folders[0]}: has no finished jobs: run 'l3embed probe' to the end first")
    sets, protocols, probes, models = (list(x) for x in (found.sets, found.protocols, found.probes, found.models))
    found.jobs.sort(key=lambda j: (sets.index(j.data), protocols.index(j.protocol), probes.index(j.about["probe"]),
                                   j.probe, j.shots or 0, models.index(j.model)))  # fmt: skip
    return found


def tested(found: Found, job: Job) -> Tested:
    """The predictions of a job, beside the set's clips. Raises DataError where they do not belong together."""
    data, said = found.sets[job.data], results.read_predictions(job.run, job.about)
    if unknown := [clip for clip in said.clip if clip not in data.row]:
        raise DataError(f"{job.run}: job {job.id} tested {unknown[0]!r}, which {job.data} does not have: probe again")
    place = {name: i for i, name in enumerate(said.classes)}
    rows = np.array([data.row[clip] for clip in said.clip])
    targets = np.zeros((len(rows), len(place)), bool)
    for i, row in enumerate(rows):
        targets[i, [place[name] for name in data.several(row) if name in place]] = True
    order = np.lexsort((np.array(said.fold, str), rows, said.draw))
    table = Tested(
        rows, np.asarray(said.draw), np.array(said.fold, str), np.array([place.get(x, -1) for x in said.label]),
        np.array([place.get(x, -1) for x in said.predicted]), targets, said.scores, list(said.classes),
    )  # fmt: skip
    return table.take(order)


def _add_sets(found: Found, folder: Path, about: dict) -> None:
    for name, table in about["data"].items():
        if name in found.sets:
            if found.sets[name].about["sha256"] != table["sha256"]:
                raise DataError(
                    f"{folder}: its data set {name!r} is another one than in {found.runs[0]}: probe them under two "
                    "names (NAME=PATH), or report them apart"
                )
            continue
        clips = results.read_clips(folder, name).to_pylist()
        found.sets[name] = Set(name, table, clips, {clip["clip"]: i for i, clip in enumerate(clips)})


def _model_names(found: Found) -> dict[tuple[int, str], str]:
    """(run, name there) -> name in the report."""
    versions: dict[str, set] = {}
    for about in found.about:
        for name, table in about["models"].items():
            versions.setdefault(name, set()).add(str((table.get("fingerprint"), table.get("recipe"))))
    names = {}
    for k, about in enumerate(found.about):
        for name, table in about["models"].items():
            shown = name if len(versions[name]) == 1 else f"{name}@{found.runs[k].name}"
            if shown != name:
                found.notes.append(f"model {name!r} of {found.runs[k]} is called {shown}: the runs have several of it")
            names[k, name] = shown
            found.models.setdefault(shown, table)
    return names


def _poolings(found: Found) -> dict[str, set[str]]:
    """Probe -> poolings with which the runs have it."""
    out: dict[str, set[str]] = {}
    for folder in found.runs:
        for job in results.read_jobs(folder):
            out.setdefault(job["probe"], set()).add(job["pooling"])
    return out


def _add_jobs(found: Found, k: int, folder: Path, names: dict, poolings: dict) -> None:
    where = {job.id: job.run for job in found.jobs}
    asked = {_question(job.about, job.model) for job in found.jobs}
    twice, again = [], []
    for about in sorted(results.read_jobs(folder), key=lambda job: -(job.get("draws") or 1)):
        model = names.get((k, about["model"]), about["model"])
        if about["data"] not in found.sets:
            raise DataError(f"{folder}: job {about['id']} is of {about['data']!r}, which run.json does not have")
        for table, name in (
            (found.models, model),
            (found.probes, about["probe"]),
            (found.protocols, about["protocol"]),
        ):
            table.setdefault(name, {})
        if about["status"] != "ok":
            found.failed.append({**about, "run": folder, "model": model})
        elif about["id"] in where:
            twice.append(about)
        elif _question(about, model) in asked:
            again.append(about)
        else:
            asked.add(_question(about, model))
            probe = about["probe"] if len(poolings[about["probe"]]) == 1 else f"{about['probe']}, {about['pooling']}"
            found.jobs.append(Job(folder, about, model, probe))
    for jobs, says in (
        (twice, "are in another run too"),
        (again, "ask the same as others with another seed or version"),
    ):
        if jobs:
            named = ", ".join(f"{j['data']} {j['model']} {j['probe']}" for j in jobs[:3])
            more = f" and {len(jobs) - 3} more" if len(jobs) > 3 else ""
            found.notes.append(f"{len(jobs)} jobs of {folder} {says}: counted once ({named}{more})")
    done = {(cost["model"], cost["data"]) for cost in found.costs}
    for cost in results.read_costs(folder):
        cost = {**cost, "model": names.get((k, cost["model"]), cost["model"])}
        if (cost["model"], cost["data"]) not in done:
            found.costs.append(cost)


def _question(about: dict, model: str) -> tuple:
    """What a family may have once."""
    return (model, *(about[key] for key in ("data", "probe", "protocol", "pooling", "shots")))
