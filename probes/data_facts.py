"""What the files of a data set hold: hash, length, rate, channels, level, and why one cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from l3embed import decode
from l3embed.errors import AudioError, reason
from l3embed.weights import sha256

from .datasets import Clip, DataSet


@dataclass(frozen=True)
class Fact:
    """Of one clip. What could not be found out is "" or None, and `problem` says why."""

    sha256: str = ""  # of the file
    seconds: float | None = None  # decoded; of a clip that is a stretch of its file, the stretch
    rate_hz: float | None = None  # the file's own
    channels: int | None = None
    peak: float | None = None  # highest sample of the file's mix to mono
    problem: str = ""


def facts(data: DataSet, jobs: int = 1, tick: Callable[[], None] | None = None, depth: str = "all") -> dict[str, Fact]:
    """Of each clip, by id, in the set's order. Every file is read once, however many clips lie in it.

    `depth`: "all", "hash" (nothing is decoded), or "header" (no hash, and the seconds that headers promise). `tick` is
    called after each file.
    """
    paths = list(dict.fromkeys(clip.path for clip in data.clips))
    found = {}
    for path, fact in zip(paths, _each(_OF_FILE[depth], paths, jobs), strict=True):
        found[path] = fact
        if tick:
            tick()
    return {clip.id: _of_clip(clip, found[clip.path]) for clip in data.clips}


def hashes(data: DataSet, jobs: int = 1) -> dict[str, str]:
    """SHA-256 of each clip's file, by id; "" where it cannot be read."""
    return {name: fact.sha256 for name, fact in facts(data, jobs, depth="hash").items()}


def _each(work: Callable, paths: Iterable, jobs: int) -> Iterator:
    from joblib import Parallel, delayed

    return Parallel(jobs, prefer="threads", return_as="generator")(delayed(work)(path) for path in paths)


def _hash(path) -> Fact:
    try:
        return Fact(sha256(path))
    except OSError as error:
        return Fact(problem=reason(error))


def _header(path) -> Fact:
    try:
        with decode.open_recording(path, 8000) as recording:
            return Fact("", recording.expected_s, recording.source_rate_hz, recording.channels)
    except AudioError as error:
        return Fact(problem=reason(error))


def _all(path) -> Fact:
    hashed = _hash(path)
    if hashed.problem:
        return hashed
    try:
        with decode.open_recording(path, 8000) as recording:  # any rate will do: what is decoded is not kept
            for _ in recording:
                pass
            return Fact(hashed.sha256, recording.seconds, recording.source_rate_hz, recording.channels, recording.peak)
    except AudioError as error:
        return Fact(hashed.sha256, problem=reason(error))


_OF_FILE = {"all": _all, "hash": _hash, "header": _header}


def _of_clip(clip: Clip, fact: Fact) -> Fact:
    if fact.seconds is None or (clip.start_s is None and clip.end_s is None):
        return fact
    start_s, end_s = clip.start_s or 0.0, fact.seconds if clip.end_s is None else clip.end_s
    held = max(0.0, min(end_s, fact.seconds) - start_s)
    problem = ""
    if end_s > fact.seconds + 0.1:  # headers and resamplers round
        problem = f"the clip ends at {end_s:g} s, its file at {fact.seconds:.2f} s"
    return Fact(fact.sha256, held, fact.rate_hz, fact.channels, fact.peak, problem)
