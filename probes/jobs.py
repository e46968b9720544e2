"""The jobs of a run: which there are, and how each is done, here, in processes or on a cluster.

A job is a function of its arguments, has a name that is the hash of all that decides its numbers, and writes its own
files.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from l3embed.errors import DataError, L3EmbedError, MissingExtraError, StoreError, UsageError, reason
from l3embed.spec import digest

from . import results
from .about import CODE, Loaded, plain
from .config import Settings, combinations
from .datasets import DataSet
from .models import System

CONNECT_S = 5  # a scheduler that has not answered by then is not there


@dataclass(frozen=True)
class Job:
    """One probe of one model on one data set under one protocol. `id` is the hash of all that decides its numbers."""

    id: str
    data: str
    model: str
    probe: str
    protocol: str
    pooling: str  # "windows" for probes that learn from windows
    shots: int | None  # None: all clips
    draws: int
    seed: int


def plan(settings: Settings, loaded: dict[str, Loaded], systems: dict[str, System]) -> list[Job]:
    """All jobs of a run, those of one model on one data set together."""
    from . import estimators

    found = []
    for each, system, (protocol, probe, shots) in itertools.product(
        loaded.values(), systems.values(), combinations(settings)[0]
    ):
        poolings = ("windows",) if estimators.PROBES[probe].input == "windows" else settings.pooling
        found += [_job(settings, each, system, probe, protocol, pooling, shots) for pooling in poolings]
    return found


def _job(settings: Settings, each: Loaded, system: System, probe: str, protocol: str, pooling: str, shots) -> Job:
    from . import estimators, protocols

    draws, family = settings.draws if shots else 1, estimators.PROBES[probe]
    key = {
        "code": CODE, "names": [each.data.name, system.name], "data": each.sha256, "excluded": sorted(each.excluded),
        "model": system.recipe, "probe": probe, "grid": family.grid, "few_shot": family.few_shot,
        "protocol": protocol, "fixed": protocols.PROTOCOLS[protocol].fixed.get(probe), "pooling": pooling,
        "shots": shots, "draws": draws, "seed": settings.seed,
    }  # fmt: skip
    return Job(
        digest(plain(key)), each.data.name, system.name, probe, protocol, pooling, shots, draws, settings.seed
    )  # fmt: skip


def is_done(folder: Path, job: Job) -> bool:
    there = results.read_job(folder, job.id)
    return there is not None and there["status"] == "ok"


def in_parallel(calls: list[tuple], n_jobs: int, scheduler: str = "") -> Iterator[tuple[str | None, Job]]:
    """(None or why it failed, job) of each call of `work`, in the order in which they are done."""
    from joblib import Parallel, delayed

    if scheduler:
        yield from _on_cluster(calls, scheduler)
        return
    if n_jobs == 1 or len(calls) < 2:
        yield from (work(*call, n_jobs) for call in calls)
        return
    left = {call[1].id: call for call in calls}
    try:
        for why, job in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(delayed(work)(*c) for c in calls):
            left.pop(job.id)
            yield why, job
    except BrokenProcessPool:  # a process died, of memory most likely: each job that is left gets one of its own
        for call in left.values():
            try:
                yield from [(None, call[1])] if is_done(*call[:2]) else Parallel(n_jobs=2)([delayed(work)(*call)])
            except BrokenProcessPool:
                yield _lost(*call[:2], "its process died: not enough memory? try fewer --jobs")


def _on_cluster(calls: list[tuple], scheduler: str) -> Iterator[tuple[str | None, Job]]:
    from joblib import Parallel, delayed, parallel_config

    left = {call[1].id: call for call in calls}
    with cluster(scheduler) as client, parallel_config("dask", client=client):
        try:
            for why, job in Parallel(n_jobs=-1, return_as="generator_unordered")(delayed(work)(*c) for c in calls):
                left.pop(job.id)
                yield why, job
        except (L3EmbedError, KeyboardInterrupt):
            raise
        except Exception as error:  # Dask gives up a job whose workers die again and again, and joblib all the rest
            for call in left.values():
                yield (None, call[1]) if is_done(*call[:2]) else _lost(*call[:2], f"the cluster: {in_words(error)}")


def _lost(folder: Path, job: Job, why: str) -> tuple[str, Job]:
    results.write_job(folder, {**asdict(job), **failed(why)})
    return why, job


def cluster(address: str):
    """A client of a Dask scheduler. Raises UsageError where there is none, MissingExtraError without Dask."""
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtraError("a Dask scheduler", "dask") from error
    try:
        return Client(address, timeout=f"{CONNECT_S}s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(f"scheduler {address}: cannot be reached ({reason(error)})") from error


def work(folder: Path, job: Job, data: DataSet, found, jobs: int = 1) -> tuple[str | None, Job]:
    """One job, start to end: evaluate, write; why it failed, or None. Every way to run in parallel calls this."""
    import sklearn.linear_model  # noqa: F401  loads the libraries whose threads are limited below
    from threadpoolctl import threadpool_limits

    from . import protocols

    started = time.monotonic()
    pooling = {} if job.pooling == "windows" else {"pooling": job.pooling}
    try:
        # as many processes run as there are cores; and numbers do not depend on how many
        with threadpool_limits(1), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            outcome = protocols.evaluate(
                job.protocol, job.probe, found, data, seed=job.seed, jobs=jobs, shots=job.shots, draws=job.draws,
                **pooling,
            )  # fmt: skip
        table = {"status": "ok", "error": None, "classes": list(outcome.classes), "chosen": outcome.chosen,
                 "n_train": outcome.n_train, "notes": [*outcome.notes, *_said(warned)]}  # fmt: skip
        predictions = _predictions(outcome, data)
        table["seconds"] = round(time.monotonic() - started, 3)
        results.write_job(folder, {**asdict(job), **table}, predictions)
        return None, job
    except StoreError:
        raise
    except Exception as error:
        why = in_words(error)
        results.write_job(folder, {**asdict(job), **failed(why), "seconds": round(time.monotonic() - started, 3)})
        return why, job


def _said(warned: list) -> list[str]:
    """What libraries warned of, each once, for the record; their hints to themselves and to programmers left out."""
    ours = [w for w in warned if not issubclass(w.category, DeprecationWarning | FutureWarning | ResourceWarning)]
    counts = Counter(f"{w.category.__name__}: {str(w.message).strip().splitlines()[0]}" for w in ours)
    return [f"{text} ({n} times)" if n > 1 else text for text, n in counts.items()]


def _predictions(outcome, data: DataSet) -> results.Predictions:
    rows, m = np.asarray(outcome.row), len(outcome.row)
    if len(outcome.scores) != m or len(outcome.predicted) != m or not m:
        raise DataError(f"the protocol gave {len(outcome.predicted)} predictions for {m} clips")
    names = [outcome.classes[p] if p >= 0 else "" for p in outcome.predicted]
    return results.Predictions(
        [data.clips[r].id for r in rows], list(map(str, outcome.fold)), np.asarray(outcome.draw),
        [data.clips[r].label for r in rows], names, outcome.scores, list(outcome.classes),
    )  # fmt: skip


def failed(why: str) -> dict:
    return {"status": "failed", "error": why, "classes": [], "chosen": {}, "n_train": {}, "notes": [], "seconds": 0.0}


def in_words(error: Exception) -> str:
    foreseen = isinstance(error, L3EmbedError | OSError)
    return reason(error) if foreseen else f"{type(error).__name__}: {reason(error)}"
