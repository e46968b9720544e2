"""Pairs of a second of sound and a picture: which clip, which second, which picture, and how both are altered.

pescador draws matching pairs from a bounded number of open clips; mismatches are made inside a batch, by giving a sound
the picture of another clip. All randomness comes from one seed: the same seed gives the same pairs, in the same order.
"""

from __future__ import annotations

import itertools
import sys
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import AudioError, TrainingError
from . import clips
from .config import DataConfig, PairConfig, TrainConfig

AUDIO_SUFFIXES = frozenset(".wav .flac .ogg .oga .opus .mp3 .aif .aiff .m4a".split())
SHORT_SIDE = 8 / 7  # of the picture's size: pictures are cut from frames 256 high for 224 (Cramer et al. 2019)
SPLITS = ("train", "held_out")


class Sources:
    """The files of one split, found once: which are held out is decided by each file's name alone."""

    def __init__(self, config: TrainConfig, split: str):
        data = config.data
        keep = partial(_in_split, split=split, held_out=data.held_out)
        find = clips.find
        self.videos = [p for p in find(data.videos, clips.VIDEO_SUFFIXES, "video") if keep(p)]
        self.recordings = [p for p in find(data.recordings, AUDIO_SUFFIXES, "sound file") if keep(p)]
        if not (self.videos or self.recordings or data.scenes):
            raise TrainingError(f"no files left for the {split} part: give more files or change data.held_out")


def _in_split(path: Path, split: str, held_out: float) -> bool:
    part = zlib.crc32(path.name.encode("utf-8", "surrogateescape")) / 2**32
    return (part < held_out) == (split == "held_out")


def stream(config: TrainConfig, sources: Sources, image_size: int, seed: list[int]) -> Iterator[dict]:
    """Endless matching samples: audio (window,) float32, image (size, size, 3) uint8, clip () int64 (its number)."""
    import pescador

    rng = np.random.default_rng(seed)
    front_end, data = config.front_end, config.data
    openers, weights = _openers(data, sources, rng, front_end.rate_hz, int(image_size * SHORT_SIDE))
    numbers, broken = itertools.count(), set()

    # A closure, not arguments: pescador copies arguments, and copies of a generator repeat its numbers.
    def any_clip():
        while True:
            chosen = rng.choice(len(openers), p=weights)
            try:
                clip = openers[chosen]()
            except AudioError as error:
                _report(chosen, openers, broken, error)
                continue
            yield from _samples(clip, next(numbers), rng, config.pairs, front_end.window_samples, image_size)

    mux = pescador.StochasticMux(
        [pescador.Streamer(any_clip)], data.n_active, data.pairs_per_clip,
        random_state=np.random.RandomState(rng.integers(2**31)),
    )  # fmt: skip
    return iter(mux)


def _openers(data: DataConfig, sources: Sources, rng, rate_hz: int, size: int) -> tuple[list, np.ndarray]:
    """What can be opened, and how often: scenes have their share, files are equal among each other."""
    openers = [partial(clips.from_video, p, rng, rate_hz, data.clip_s, data.frames_hz, size) for p in sources.videos]
    if data.scenes < 1:
        openers += [partial(clips.from_recording, p, rng, rate_hz, data.clip_s) for p in sources.recordings]
    weights = [(1 - data.scenes) / len(openers)] * len(openers) if openers else []
    if data.scenes:
        snippets = [partial(clips.snippet, p, rate_hz) for p in sources.recordings]
        openers.append(partial(clips.from_scene, rng, rate_hz, data.clip_s, snippets))
        weights.append(data.scenes)
    return openers, np.array(weights) / sum(weights)


def _report(number: int, openers: list, broken: set, error: AudioError) -> None:
    """Name a file that cannot be used, once. When none can, training cannot go on."""
    if number not in broken:
        broken.add(number)
        print(f"{openers[number].args[0]}: left out of training: {error}", file=sys.stderr)
    if len(broken) == len(openers):
        raise TrainingError(f"none of the {len(openers)} files can be used; the last one: {error}")


def _samples(clip: clips.Clip, number: int, rng, pairs: PairConfig, window: int, image_size: int) -> Iterator[dict]:
    """Matching pairs of one clip, without end."""
    last = len(clip.sound) - window
    while True:
        start, other = rng.integers(0, last + 1, 2) if last > 0 else (0, 0)
        sound = np.pad(clip.sound[start : start + window], (0, max(0, -last)))
        picture_start = start if rng.random() < pairs.same_second else other
        image = clip.image(picture_start / clip.rate_hz, int(image_size * SHORT_SIDE), rng)
        image = _recolour(_crop(image, image_size, rng), pairs, rng)
        yield {"audio": _gain(sound, pairs, rng), "image": image, "clip": np.int64(number)}


def batches(samples: Iterator[dict], config: TrainConfig, seed: list[int]) -> Iterator[tuple[dict, np.ndarray]]:
    """Batches ``({"audio": (N, window, 1), "image": (N, size, size, 3) uint8}, target)``.

    Target of the binary objective: (N, 2) float32, [1, 0] mismatch, [0, 1] correspondence (marl/l3embedding's order),
    half of each. Of the contrastive one: (N, 1) int64, the clip.
    """
    import pescador.maps

    rng = np.random.default_rng([*seed, 1])
    for batch in pescador.maps.buffer_stream(samples, config.fit.batch):
        inputs = {"audio": batch["audio"][..., None], "image": batch["image"]}
        if config.fit.objective == "contrastive":
            yield inputs, batch["clip"].reshape(-1, 1)
        else:
            partner = _mismatch(batch["clip"], rng)
            inputs["image"] = inputs["image"][partner]
            match = partner == np.arange(len(partner))
            yield inputs, np.stack([~match, match], axis=1).astype(np.float32)


def _mismatch(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whose picture each item gets: its own for one half, that of a random other clip's item for the other."""
    partner = np.arange(len(clip))
    for i in rng.permutation(len(clip))[: len(clip) // 2]:
        others = np.flatnonzero(clip != clip[i])
        if len(others):
            partner[i] = rng.choice(others)
    return partner


# --- alterations, after marl/l3embedding's augmentation: gain without clipping, crop, flip, saturation and brightness


def _gain(sound: np.ndarray, pairs: PairConfig, rng: np.random.Generator) -> np.ndarray:
    low, high = pairs.gain
    headroom = 1 / max(float(np.abs(sound).max()), 1e-9)
    return (sound * rng.uniform(low, max(low, min(high, headroom)))).astype(np.float32)


def _recolour(image: np.ndarray, pairs: PairConfig, rng: np.random.Generator) -> np.ndarray:
    if pairs.flip and rng.random() < 0.5:
        image = image[:, ::-1]
    x = image.astype(np.float32)
    saturation, brightness = rng.uniform(*pairs.saturation), 255 * rng.uniform(-pairs.brightness, pairs.brightness)
    grey = x @ np.float32([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
    x = grey[..., None] + np.float32(saturation) * (x - grey[..., None]) + np.float32(brightness)
    return np.clip(x, 0, 255).astype(np.uint8)


def _crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    top, left = (rng.integers(0, n - size + 1) for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])
