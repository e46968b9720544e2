"""What the files of a data set hold: hash, length, rate, channels, level, and why one cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

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

    `depth`: "all", "hash" (nothing is decoded), "header" (no hash, and the seconds that headers promise), or
    "hash+header". `tick` is called after each file.
    """
    found = of_files(dict.fromkeys(clip.path for clip in data.clips), jobs, tick, depth)
    return {clip.id: of_clip(clip, found[clip.path]) for clip in data.clips}


def of_files(paths: Iterable, jobs: int, tick: Callable[[], None] | None, depth: str) -> dict[object, Fact]:
    """As `facts`, of whole files, by path."""
    from joblib import Parallel, delayed

    paths, found = list(paths), {}
    pool = Parallel(jobs, prefer="threads", return_as="generator")
    for path, fact in zip(paths, pool(delayed(_OF_FILE[depth])(path) for path in paths), strict=True):
        found[path] = fact
        if tick:
            tick()
    return found


def hashes(data: DataSet, jobs: int = 1) -> dict[str, str]:
    """SHA-256 of each clip's file, by id; "" where it cannot be read."""
    return {name: fact.sha256 for name, fact in facts(data, jobs, depth="hash").items()}


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


def _hash_and_header(path) -> Fact:
    hashed = _hash(path)
    return hashed if hashed.problem else replace(_header(path), sha256=hashed.sha256)


_OF_FILE = {"all": _all, "hash": _hash, "header": _header, "hash+header": _hash_and_header}


def of_clip(clip: Clip, fact: Fact) -> Fact:
    """A file's fact, of the stretch of it that a clip is."""
    start_s, end_s = clip.start_s or 0.0, fact.seconds if clip.end_s is None else clip.end_s
    if (clip.start_s is None and clip.end_s is None) or end_s is None:
        return fact
    if fact.seconds is None:  # what its header does not tell
        return replace(fact, seconds=end_s - start_s)
    held = max(0.0, min(end_s, fact.seconds) - start_s)
    problem = ""
    if end_s > fact.seconds + 0.1:  # headers and resamplers round
        problem = f"the clip ends at {end_s:g} s, its file at {fact.seconds:.2f} s"
    return replace(fact, seconds=held, problem=problem)
