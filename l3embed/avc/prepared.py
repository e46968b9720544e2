"""Clips that were decoded beforehand, in shards: for training where decoding video would keep the network waiting.

A folder holds `manifest.json` (the settings that made it) and, for each shard, four files:

    train-00000.json         what is in it; written last: a shard without it is not whole
    train-00000.sound.s16    the clips' sound one after the other, int16, mono
    train-00000.frames.bin   their frames one after the other, JPEG or plain RGB
    train-00000.frames.npy   where each frame begins in it, int64, and where the last one ends

Files are dealt to shards in an order drawn from the seed, so a few shards are a fair sample of all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import AudioError, TrainingError
from . import clips

FORMAT = "l3embed-prepared-1"
MANIFEST = "manifest.json"
SOUND, FRAMES, OFFSETS = ".sound.s16", ".frames.bin", ".frames.npy"
_OPEN = 64  # shards whose files are kept mapped


@dataclass(frozen=True)
class PreparedFile:
    """One video or recording: its clips in one shard. Opens like any other file."""

    path: Path  # the shard's, with the file's name below it: for messages
    shard: Path  # without a suffix
    clips: tuple[dict, ...]
    labels: frozenset[str]
    about: dict  # the manifest

    def open(self, rng: np.random.Generator, form: clips.Format) -> clips.Clip:
        """One of its clips; a long one as much more often as it is longer."""
        about = self.about
        if (about["rate_hz"], about["size"]) != (form.rate_hz, form.size):
            raise TrainingError(
                f"{self.shard.parent}: was prepared for {about['rate_hz']} Hz and frames of {about['size']} pixels; "
                f"this network takes {form.rate_hz} Hz and {form.size}: prepare it again in another folder"
            )
        ends = np.cumsum([clip["sound"][1] - clip["sound"][0] for clip in self.clips])
        clip = self.clips[int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))]
        sound, frames, offsets = _mapped(str(self.shard))
        begin, end = clip["sound"]
        if end > len(sound) or clip["frames"][1] >= len(offsets):
            raise AudioError(f"{self.shard}{SOUND} is shorter than it was: copy it again")
        samples = sound[begin:end].astype(np.float32) * np.float32(clip["scale"] / 32767)
        shape = clip["shape"]
        pictures = _Frames(frames, offsets, clip["frames"], shape, about["frames"]) if shape else None
        return clips.Clip(samples, about["rate_hz"], pictures, about["frames_hz"])


class _Frames(Sequence):
    """Frames of a clip, decoded one at a time when they are looked at."""

    def __init__(self, data: np.ndarray, offsets: np.ndarray, span: list[int], shape: list[int], how: str):
        self._data, self._offsets, self._shape, self._how = data, offsets, shape, how
        self._first, self._stop = span

    def __len__(self) -> int:
        return self._stop - self._first

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < len(self):
            raise IndexError(i)
        begin, end = self._offsets[self._first + i : self._first + i + 2]
        data = self._data[begin:end]
        return np.asarray(data).reshape(self._shape) if self._how == "array" else jpeg_decoded(data.tobytes())


def jpeg_decoded(data: bytes) -> np.ndarray:
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except OSError as error:
        raise TrainingError(f"a prepared frame cannot be read ({error}): copy the shards again") from None


@lru_cache(_OPEN)
def _mapped(shard: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sound, frames and offsets of a shard, in the memory of the page cache."""
    try:
        frames = Path(shard + FRAMES)
        return (
            np.memmap(shard + SOUND, "<i2", "r"),
            np.memmap(frames, np.uint8, "r") if frames.stat().st_size else np.zeros(0, np.uint8),
            np.load(shard + OFFSETS),
        )
    except (OSError, ValueError) as error:
        raise AudioError(f"its shard cannot be read ({error})") from None


def manifest(folder: str | Path) -> dict:
    path = Path(folder) / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}, not {FORMAT!r}")
    except OSError as error:
        why = f"cannot be read ({error.strerror}): l3embed train CONFIG --prepare makes it"
        raise TrainingError(f"{path}: {why}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: is damaged ({error}): prepare the clips again in another folder") from None
    return found


def files(folder: str | Path, part: str) -> list[PreparedFile]:
    """The files of one part. Raises TrainingError for a folder whose shards are not all there."""
    about, found = manifest(folder), []
    n_shards = about["parts"].get(part, {"shards": 0})["shards"]
    missing = [path.name for i in range(n_shards) if not (path := shard_path(folder, part, i, ".json")).exists()]
    if missing:
        some = f"{len(missing)} of the {n_shards} shards of the {part} part are not there, such as {missing[0]}"
        raise TrainingError(f"{folder}: {some}: run l3embed train CONFIG --prepare again, or copy them too")
    for i in range(n_shards):
        found += _files_of_shard(shard_path(folder, part, i, ""), about)
    return found


def _files_of_shard(shard: Path, about: dict) -> Iterator[PreparedFile]:
    path = shard.with_name(shard.name + ".json")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        for entry in table["files"]:
            if entry["clips"]:
                name = shard / entry["name"]
                yield PreparedFile(name, shard, tuple(entry["clips"]), frozenset(entry["labels"]), about)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: is damaged ({error!r}): remove it and run --prepare again") from None


def shard_path(folder: str | Path, part: str, i: int, suffix: str) -> Path:
    return Path(folder) / f"{part}-{i:05d}{suffix}"
