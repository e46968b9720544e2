"""A probing run: data sets x models x probes x protocols x poolings x shots -> a folder of results (results.py).

A run that was killed goes on where it was; a job that fails is a row with its reason, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from l3embed.errors import DataError, StoreError, UsageError

from . import about, contents, datasets, extraction, jobs, models, results
from .about import Loaded
from .config import Settings, combinations
from .models import System


@dataclass
class Summary:
    """What became of a run."""

    folder: Path
    jobs: list[dict] = field(default_factory=list)  # as jobs/ID.json has them
    n_done_before: int = 0
    skipped: list[str] = field(default_factory=list)  # combinations that no protocol has
    failed_clips: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)  # (model, data) -> id -> why

    @property
    def failed(self) -> list[dict]:
        return [job for job in self.jobs if job["status"] != "ok"]


class Quiet:
    """What is told of a run while it goes on; `cli_probe` has one that draws bars."""

    def start(self, what: str, n: int) -> Callable[[], None]:
        """n steps of something begin; returns what is called after each."""
        return lambda: None

    def say(self, line: str) -> None:
        """A line for the user."""


def run(settings: Settings, progress: Quiet | None = None) -> Summary:
    """Do what is not done yet. Raises UsageError, DataError and StoreError before anything is probed."""
    progress = progress or Quiet()
    skipped = _check(settings)
    systems = _systems(settings)
    loaded = {each.data.name: each for each in _data(settings, progress)}
    description = about.describe(settings, loaded, systems)
    folder = _open(settings, description)
    before, started = results.read_run(folder), time.time()
    _write_clips(folder, loaded)
    _extract(settings, folder, loaded, systems, progress)
    _write_clips(folder, loaded)  # now it is known which are excluded
    extracted = time.time()
    plan = jobs.plan(settings, loaded, systems)
    results.prune(folder, [job.id for job in plan])
    pending = [job for job in plan if not jobs.is_done(folder, job)]
    _probe(settings, folder, pending, loaded, progress)
    wall_s = {"extract": extracted - started, "probe": time.time() - extracted}
    wall_s = {key: round(before["wall_s"].get(key, 0) + value, 3) for key, value in wall_s.items()}
    times = {"started": before["started"], "finished": _clock(), "wall_s": wall_s}
    results.write_run(folder, {**description, **times})
    done = [results.read_job(folder, job.id) for job in plan]
    return Summary(folder, done, len(plan) - len(pending), skipped, _failed_clips(loaded))


def _write_clips(folder: Path, loaded: dict[str, Loaded]) -> None:
    for name, each in loaded.items():
        results.write_clips(folder, name, about.clip_rows(each))


def _failed_clips(loaded: dict[str, Loaded]) -> dict:
    return {
        (model, name): {each.data.clips[row].id: why for row, why in found.failed.items()}
        for name, each in loaded.items() for model, found in each.features.items() if found.failed
    }  # fmt: skip


def _clock() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


# --- what is asked for


def _check(settings: Settings) -> list[str]:
    """Combinations of protocol, probe and shots that there are not, in words."""
    for key in ("data", "models", "probes", "protocols", "pooling"):
        if not getattr(settings, key):
            raise UsageError(f"{key} is missing: name one at least")
    skipped = combinations(settings)[1]
    if settings.scheduler:
        jobs.cluster(settings.scheduler).close()  # now, not after hours of embedding
    return skipped


def _data(settings: Settings, progress: Quiet) -> Iterator[Loaded]:
    """Each data set, its files hashed and checked for what would make results mean nothing."""
    from . import data_check

    names = set()
    for spec in settings.data:
        data = datasets.read(spec)
        if data.name in names:
            raise UsageError(f"two data sets are called {data.name!r}: name one of them, NAME=PATH")
        names.add(data.name)
        tick = progress.start(f"reading {data.name}", len({clip.path for clip in data.clips}))
        loaded = Loaded(data, contents.contents(data, settings.store_folder, settings.n_jobs, tick))
        known = zip(data.clips, loaded.contents, strict=True)
        data_check.refuse_duplicates(data, {clip.id: found.sha256 for clip, found in known})
        _check_splits(settings, data)
        yield loaded


def _check_splits(settings: Settings, data: datasets.DataSet) -> None:
    """Raises DataError where no protocol can split the set: a label with one clip, too few groups."""
    from . import protocols

    errors = []
    for name in settings.protocols:
        try:
            protocols.PROTOCOLS[name].plan(data, settings.seed)
        except DataError as error:  # of one among several, it is its jobs' own failure
            errors.append(error)
    if len(errors) == len(settings.protocols):
        raise errors[0]


def _systems(settings: Settings) -> dict[str, System]:
    named = models.parse(list(settings.models), hop=settings.hop, precision=settings.precision)
    return {one.name: models.load(one, settings.store_folder, settings.device) for one in named}


def _open(settings: Settings, description: dict) -> Path:
    """The run's folder, new or of the same run. Raises UsageError where another run lies there."""
    folder = settings.folder
    if results.is_run(folder):
        if differ := list(about.differences(results.read_run(folder), description, settings.extend)):
            hint = "" if settings.extend else ", --extend to add to it,"
            raise UsageError(
                f"{folder}: is a run with other settings: {'; '.join(differ)}. Give the same settings to go on{hint} "
                "or another folder (-o); with --store its embeddings serve both"
            )
        return results.create(folder)
    ours = {settings.store_folder.resolve(), *(folder.resolve() / name for name in ("data", "jobs", "costs"))}
    if folder.exists() and (not folder.is_dir() or any(path.resolve() not in ours for path in folder.iterdir())):
        raise UsageError(f"{folder}: holds something else than a probing run: name another folder (-o)")
    results.create(folder)
    results.write_run(folder, {**description, "started": _clock(), "finished": None, "wall_s": {}})
    return folder


# --- the stages


def _extract(settings: Settings, folder: Path, loaded: dict, systems: dict, progress: Quiet) -> None:
    """Fill the store, model by model. A model that cannot run at all fails its own jobs only."""
    for name, system in systems.items():
        for each in loaded.values():
            _extract_one(settings, folder, each, system, progress)
        systems[name] = replace(system, model=None)  # its networks are not held in memory any longer
    if settings.failed == "exclude":
        for each in loaded.values():
            for model, found in each.features.items():
                if model not in each.broken:
                    each.excluded |= {row: f"{model}: {why}" for row, why in found.failed.items()}


def _extract_one(settings: Settings, folder: Path, each: Loaded, system: System, progress: Quiet) -> None:
    where = f"{system.name}: {each.data.name}"
    how = {"jobs": settings.n_jobs, "memory": settings.memory_bytes}
    tick = progress.start(where, len(each.data.clips))
    try:
        found, cost = extraction.features(
            system, each.data, settings.store_folder.resolve(), [c.sha256 for c in each.contents], tick=tick, **how
        )
    except StoreError:  # of the disk, or the folder: no other model would fare better
        raise
    except Exception as error:
        each.broken[system.name] = jobs.in_words(error)
        progress.say(f"{where}: failed: {each.broken[system.name]}")
        return
    if not found.ok.any():
        each.broken[system.name] = f"failed on every clip: {next(iter(found.failed.values()))}"
    each.features[system.name] = found
    results.write_cost(folder, cost)
    for row, why in found.failed.items():
        progress.say(f"{where}: {each.data.clips[row].id}: failed: {why}")


def _probe(settings: Settings, folder: Path, pending: list, loaded: dict[str, Loaded], progress: Quiet) -> None:
    tick, calls = progress.start("probing", len(pending)), []
    for job in pending:
        each = loaded[job.data]
        if job.model in each.broken:
            results.write_job(folder, {**asdict(job), **jobs.failed(each.broken[job.model])})
            tick()
            continue
        found, data = each.features[job.model], each.data
        if each.excluded:
            found, data = found.take(each.kept), replace(data, clips=tuple(data.clips[i] for i in each.kept))
        calls.append((folder.resolve(), job, data, found))
    _pool(calls)
    for why, job in jobs.in_parallel(calls, settings.n_jobs, settings.scheduler):
        tick()
        if why:
            progress.say(f"{job.data}, {job.model}, {job.probe}, {job.protocol}: failed: {why}")


def _pool(calls: list[tuple]) -> None:
    """Every pooled view once, before many jobs ask for it at the same time."""
    seen = set()
    for _, job, _, found in calls:
        view = (job.data, job.model, job.pooling)
        if view not in seen and job.pooling != "windows":
            found.pooled(job.pooling)
        seen.add(view)
