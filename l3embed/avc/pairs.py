"""Pairs of a second of sound and a picture: which clip, which second, which picture, and how both are altered.

pescador draws matching pairs from a bounded number of open clips; mismatches are made inside a batch, by giving a sound
the picture of another clip. All randomness comes from one seed: the same seed gives the same pairs, in the same order.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from .. import decode
from ..errors import AudioError, TrainingError
from . import clips
from .config import DataConfig, PairConfig, TrainConfig

SHORT_SIDE = 8 / 7  # of the picture's size: pictures are cut from frames 256 high for 224 (Cramer et al. 2019)
SPLITS = ("train", "held_out")


class Sources:
    """The files of one split, found once: which are held out is decided by each file's name alone."""

    def __init__(self, config: TrainConfig, split: str):
        data = config.data
        keep = partial(_in_split, split=split, held_out=data.held_out)
        find = clips.find
        self.videos = [p for p in find(data.videos, decode.VIDEO_SUFFIXES, "video") if keep(p)]
        self.recordings = [p for p in find(data.recordings, decode.AUDIO_SUFFIXES, "sound file") if keep(p)]
        self.named: set[Path] = set()  # files that cannot be used and were named on stderr
        n_files = len(self.videos) + len(self.recordings)
        if not data.scenes and n_files < 2:
            raise TrainingError(
                f"{n_files or 'no'} files left for the {split} part, and a mismatch needs two: "
                "give more files or change data.held_out"
            )


def _in_split(path: Path, split: str, held_out: float) -> bool:
    part = zlib.crc32(path.name.encode("utf-8", "surrogateescape")) / 2**32
    return (part < held_out) == (split == "held_out")


def stream(config: TrainConfig, sources: Sources, image_size: int, seed: list[int]) -> Iterator[dict]:
    """Endless matching samples: audio (window,) float32, image (size, size, 3) uint8, clip () int64.

    Equal `clip` numbers mean the same file, even where it is open twice; every scene has a number of its own.
    """
    import pescador

    rng = np.random.default_rng(seed)
    front_end, data = config.front_end, config.data
    choice = _Choice(data, sources, rng, front_end.rate_hz, int(image_size * SHORT_SIDE))

    # A closure, not arguments: pescador copies arguments, and copies of a generator repeat its numbers.
    def any_clip():
        clip, number = choice.draw()
        yield from _samples(clip, number, rng, config.pairs, front_end.window_samples, image_size)

    mux = pescador.StochasticMux(
        [pescador.Streamer(any_clip)], data.n_active, data.pairs_per_clip,
        random_state=np.random.RandomState(rng.integers(2**31)),
    )  # fmt: skip
    return iter(mux)


class _Choice:
    """What one stream opens clips from, and how often: scenes have their share, files are equal among each other.

    A file that cannot be used is left out for the rest of the stream. Another stream tries it again, so that its pairs
    do not depend on what this one found out, and an interrupted run sees the same ones.
    """

    def __init__(self, data: DataConfig, sources: Sources, rng, rate_hz: int, size: int):
        video = [partial(clips.from_video, p, rng, rate_hz, data.clip_s, data.frames_hz, size) for p in sources.videos]
        sound = [partial(clips.from_recording, p, rng, rate_hz, data.clip_s) for p in sources.recordings]
        self.files = video + sound if data.scenes < 1 else []
        self.snippets = [partial(_snippet, p, rate_hz) for p in sources.recordings] if data.scenes else []
        self.scene = partial(clips.from_scene, rng, rate_hz, data.clip_s, self.snippets)
        weights = [(1 - data.scenes) / len(self.files) for _ in self.files] + [data.scenes] * (data.scenes > 0)
        self.weights = np.array(weights) / sum(weights)
        self.rng, self.sources = rng, sources
        self.broken, self.n_scenes = set(), 0

    def draw(self) -> tuple[clips.Clip, int]:
        """The next clip that can be opened, and the number of the file or scene that it is from."""
        while True:
            chosen = int(self.rng.choice(len(self.weights), p=self.weights))
            if chosen in self.broken:
                continue
            try:
                if chosen < len(self.files):
                    return self.files[chosen](), chosen
                self.n_scenes += 1
                return self.scene(), len(self.files) + self.n_scenes
            except _SnippetError as error:
                self._name(error.path, error)
                self.snippets[:] = [s for s in self.snippets if s.args[0] != error.path]
            except AudioError as error:
                self._leave_out(chosen, error)

    def _leave_out(self, chosen: int, error: AudioError) -> None:
        self.broken.add(chosen)
        self._name(self.files[chosen].args[0], error)
        usable = len(self.files) - len(self.broken)
        if usable < 2 and len(self.weights) == len(self.files):
            raise TrainingError(
                f"{usable or 'none'} of the {len(self.files)} files can be used, and a mismatch needs two; "
                f"the last one that cannot: {error}"
            )

    def _name(self, path: Path, error: AudioError) -> None:
        if path not in self.sources.named:
            self.sources.named.add(path)
            print(f"{path}: left out of training: {error}", file=sys.stderr)


class _SnippetError(AudioError):
    def __init__(self, path: Path, error: AudioError):
        super().__init__(str(error))
        self.path = path


def _snippet(path: Path, rate_hz: int) -> np.ndarray:
    try:
        return clips.snippet(path, rate_hz)
    except AudioError as error:
        raise _SnippetError(path, error) from error


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
    half of each, as long as the batch is not all from one clip. Of the contrastive one: (N, 1) int64, the clip.
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
    return (sound * rng.uniform(min(low, headroom), min(high, headroom))).astype(np.float32)


def _recolour(image: np.ndarray, pairs: PairConfig, rng: np.random.Generator) -> np.ndarray:
    if pairs.flip and rng.random() < 0.5:
        image = image[:, ::-1]
    x = image.astype(np.float32)
    saturation, brightness = rng.uniform(*pairs.saturation), 255 * rng.uniform(-pairs.brightness, pairs.brightness)
    grey = x @ np.float32([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
    x = grey[..., None] + np.float32(saturation) * (x - grey[..., None]) + np.float32(brightness)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    top, left = (rng.integers(0, n - size + 1) for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])
