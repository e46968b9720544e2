"""`l3embed train CONFIG --prepare`: the files of a configuration -> shards of clips (prepared.py).

A shard appears whole or not at all, so that a run that was stopped goes on with the ones that are missing. What a shard
holds depends on the configuration and the files alone, not on how many are made at a time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from .. import decode
from ..errors import AudioError, TrainingError, UsageError
from . import clips, prepared
from .config import TrainConfig
from .pairs import SHORT_SIDE
from .sources import PARTS, SoundFile, VideoFile, files_of

FILES = 32  # a shard: 10 s each with 100 frames of 256 x 341 make some 60 MB
QUALITY = 90  # of JPEG: 8 x 8 blocks are not to be seen


def prepare(
    config: TrainConfig, jobs: int = 1, tick: Callable[[str], None] = lambda name: None
) -> tuple[int, dict[str, str]]:
    """Write what is missing of `config.data.prepared`; returns (number of files in it, {file: why it is not}).

    `tick` is told the name of each file that is done. Raises TrainingError for a folder with other settings or files.
    """
    if not config.data.prepared:
        raise TrainingError("name the folder that prepared clips are to be written to: set data.prepared")
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1. Received: {jobs}")
    from joblib import Parallel, delayed

    folder = Path(config.data.prepared)
    parts = {part: _dealt(files_of(config, part), config.seed) for part in PARTS}
    about = _about(config, int(config.image_size * SHORT_SIDE), parts)
    if not any(parts.values()):
        raise TrainingError("nothing to prepare: scenes are made as they are needed, and there are no other files")
    _claim(folder, about)
    work = [
        delayed(_shard)(folder, part, i, files[i * FILES : (i + 1) * FILES], config.data.clips_per_file, about, tick)
        for part, files in parts.items() for i in range(about["parts"][part]["shards"])
    ]  # fmt: skip
    tables = Parallel(n_jobs=jobs, prefer="threads")(work)  # ffmpeg and Pillow work, threads wait
    entries = [entry for table in tables for entry in table["files"]]
    return sum(bool(e["clips"]) for e in entries), {e["name"]: e["failed"] for e in entries if e["failed"]}


def _dealt(files: list, seed: int) -> list:
    """In an order drawn from the seed: shards are alike."""
    return [files[i] for i in np.random.default_rng([seed, len(files)]).permutation(len(files))]


def _about(config: TrainConfig, size: int, parts: dict[str, list]) -> dict:
    data = config.data
    told = replace(data, videos=(), recordings=(), prepared="", index=Path(data.index).name)
    return {
        "format": prepared.FORMAT, "rate_hz": config.front_end.rate_hz, "size": size, "clip_s": data.clip_s,
        "frames_hz": data.frames_hz, "frames": data.frames, "clips_per_file": data.clips_per_file, "seed": config.seed,
        "parts": {part: {"files": len(files), "shards": -(-len(files) // FILES), "names": _names_hash(files)}
                  for part, files in parts.items()},
        "data": asdict(told),
    }  # fmt: skip


def _names_hash(files: list) -> str:
    return hashlib.sha256("\0".join(file.path.name for file in files).encode("utf-8", "surrogateescape")).hexdigest()


def _claim(folder: Path, about: dict) -> None:
    """Write the manifest, or refuse a folder that holds clips of other files or settings."""
    if (folder / prepared.MANIFEST).exists():
        found = prepared.manifest(folder)
        if changed := [key for key in about if key != "data" and found.get(key) != about[key]]:
            raise TrainingError(f"{folder}: holds clips of other files or settings ({', '.join(changed)}): name "
                                "another folder in data.prepared")  # fmt: skip
    elif folder.exists() and any(folder.iterdir()):
        raise TrainingError(f"{folder}: is not empty and holds no prepared clips: name another folder in data.prepared")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(".*.part"):
        old.unlink(missing_ok=True)
    _write(folder / prepared.MANIFEST, json.dumps(about, indent=1).encode())


def _shard(folder: Path, part: str, i: int, files: list, limit: int, about: dict, tick) -> dict:
    """Make a shard, unless it is there; returns its table."""
    done = prepared.shard_path(folder, part, i, ".json")
    if done.exists():
        for file in files:
            tick(file.path.name)
        return json.loads(done.read_text(encoding="utf-8"))
    data = {suffix: prepared.shard_path(folder, part, i, suffix) for suffix in (prepared.SOUND, prepared.FRAMES)}
    parts = {suffix: path.with_name(f".{path.name}.part") for suffix, path in data.items()}
    try:
        with open(parts[prepared.SOUND], "wb") as sound, open(parts[prepared.FRAMES], "wb") as frames:
            writer = _Writer(sound, frames, about["frames"])
            entries = [_entry(file, writer, limit, about, tick) for file in files]
        for suffix, path in data.items():
            os.replace(parts[suffix], path)
        offsets = io.BytesIO()
        np.save(offsets, np.array(writer.offsets, np.int64))
        _write(prepared.shard_path(folder, part, i, prepared.OFFSETS), offsets.getvalue())
        table = {"files": entries}
        _write(done, json.dumps(table).encode())
        return table
    finally:
        for path in parts.values():
            path.unlink(missing_ok=True)


def _entry(file, writer: _Writer, limit: int, about: dict, tick) -> dict:
    """The clips of one file, and why it has none or fewer than it should."""
    form = clips.Format(about["rate_hz"], about["clip_s"], about["frames_hz"], about["size"])
    rng = np.random.default_rng([about["seed"], zlib.crc32(file.path.name.encode("utf-8", "surrogateescape"))])
    cut = _cut_video if isinstance(file, VideoFile) else _cut_recording
    found, failed = [], ""
    for clip in cut(file, form, limit, rng):
        if isinstance(clip, AudioError):
            failed = str(clip)
        else:
            found.append(writer.add(clip))
    tick(file.path.name)
    return {"name": file.path.name, "labels": sorted(file.labels), "clips": found, "failed": "" if found else failed}


def _cut_video(file: VideoFile, form: clips.Format, limit: int, rng) -> Iterator[clips.Clip | AudioError]:
    """One stretch after the other, or `limit` of them drawn at random; an AudioError for each that cannot be used."""
    starts = _starts(clips.length_s(os.path.abspath(file.path)), form.clip_s)
    n_found = 0
    for start in rng.permutation(starts) if limit else starts:
        try:
            yield clips.video_stretch(file.path, float(start), form.rate_hz, form.clip_s, form.frames_hz, form.size)
            n_found += 1
        except AudioError as error:
            yield error
        if limit and n_found == limit:
            return


def _starts(length: float, clip_s: float) -> np.ndarray:
    """Of stretches that cover everything; the last one reaches back into the one before, so that all are whole."""
    last = max(0.0, length - clip_s)
    return np.append(np.arange(0, last - 1e-6, clip_s), last)


def _cut_recording(file: SoundFile, form: clips.Format, limit: int, rng) -> Iterator[clips.Clip | AudioError]:
    """The same of a recording, whose pictures are drawn when it is trained on. What is short is repeated, as there."""
    chosen: list[np.ndarray] = []
    try:
        for number, piece in enumerate(_pieces(file.path, int(form.clip_s * form.rate_hz), form.rate_hz)):
            if not limit:
                yield clips.Clip(clips.at_least(piece, 2 * form.rate_hz), form.rate_hz)
            elif number < limit:
                chosen.append(piece)
            elif (place := rng.integers(number + 1)) < limit:  # each is chosen with the same chance (Vitter's R)
                chosen[place] = piece
    except AudioError as error:
        yield error
    for piece in chosen:
        yield clips.Clip(clips.at_least(piece, 2 * form.rate_hz), form.rate_hz)


def _pieces(path: Path, n: int, rate_hz: int) -> Iterator[np.ndarray]:
    """Stretches of n samples, as `_starts` has them, in the memory of two."""
    held = np.zeros(0, np.float32)
    with decode.open_recording(path, rate_hz) as recording:
        for block in recording:
            held = np.concatenate([held, block])
            while len(held) >= 2 * n:
                yield held[:n].copy()
                held = held[n:]
    yield held[:n]
    if len(held) > n:
        yield held[-n:]


class _Writer:
    """Appends clips to the two files of a shard."""

    def __init__(self, sound, frames, how: str):
        self._sound, self._frames, self._how = sound, frames, how
        self._n_samples, self.offsets = 0, [0]

    def add(self, clip: clips.Clip) -> dict:
        """The clip's entry. What is louder than full scale is scaled down, and the entry says how much."""
        scale = max(1.0, float(np.abs(clip.sound).max()))
        self._sound.write(np.rint(clip.sound * (32767 / scale)).astype("<i2").tobytes())
        begin, first = self._n_samples, len(self.offsets) - 1
        self._n_samples += len(clip.sound)
        for frame in clip.frames if clip.frames is not None else ():
            data = frame.tobytes() if self._how == "array" else jpeg(frame)
            self._frames.write(data)
            self.offsets.append(self.offsets[-1] + len(data))
        shape = list(clip.frames[0].shape) if clip.frames is not None else None
        return {"sound": [begin, self._n_samples], "scale": scale, "frames": [first, len(self.offsets) - 1],
                "shape": shape}  # fmt: skip


def jpeg(frame: np.ndarray) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", quality=QUALITY)
    return data.getvalue()


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
