"""Pairs of a second of sound and a picture: which clip, which second, which picture, and how both are altered.

pescador draws from a bounded number of open clips; it hands out `Draw`s, which cost nothing until they are made into
sound and picture. Mismatches are made inside a batch, by giving a sound the picture of another draw.

Every clip and every draw has random numbers of its own, from (seed, its number): a stream can be entered at any batch
without decoding what came before, and it does not matter what it knows of broken files.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import AudioError, TrainingError
from . import augment, clips
from .config import TrainConfig
from .sources import SPLITS, SnippetError, Sources, snippet

__all__ = ["SPLITS", "Sources", "batches", "stream"]

SHORT_SIDE = 8 / 7  # of the picture's size: pictures are cut from frames 256 high for 224 (Cramer et al. 2019)
_BATCH, _CLIP, _DRAW = 1, 2, 3  # what a seed is for


@dataclass(frozen=True)
class Opened:
    clip: clips.Clip
    number: int  # of the file, even where it is open twice; every scene has a number of its own
    labels: frozenset[str]


class _Place:
    """A place among the open clips; they are opened when the first of their draws is made."""

    def __init__(self, files: _Files, serial: int):
        self.files, self.serial, self._opened = files, serial, None

    def opened(self) -> tuple[Opened, ...]:
        """One clip; with negatives of the same label two, which share one where that can be."""
        if self._opened is None:
            self._opened = self.files.open(self.serial)
        return self._opened


@dataclass(frozen=True)
class Draw:
    """A pair to be: its random numbers are its own."""

    place: _Place
    seed: tuple[int, ...]
    member: int = 0  # with negatives of the same label: which of the two clips
    part: int | None = None  # with negatives of the same video: 0 early in the clip, 1 late

    def make(self) -> dict:
        """audio (window,) float32, image (size, size, 3) uint8, and what mismatches are chosen by."""
        rng, files = np.random.default_rng(self.seed), self.place.files
        pairs, window, size = files.pairs, files.window, files.image_size
        opened = self.place.opened()
        opened = opened[self.member % len(opened)]
        clip = opened.clip
        start, other = (_start(rng, clip, window, self.part, pairs.far_s) for _ in range(2))
        sound = clip.sound[start : start + window]
        sound = np.pad(sound, (0, window - len(sound)))
        picture_s = (start if rng.random() < pairs.same_second else other) / clip.rate_hz
        if pairs.misaligned:
            picture_s = float(start)  # the number of a sample, taken for seconds
        image = clip.image(picture_s, files.form, rng)
        image = augment.recolour(augment.crop(image, size, rng), pairs, rng)
        return {"audio": augment.gain(sound, pairs, rng), "image": image, "clip": opened.number,
                "labels": opened.labels, "part": self.part or 0, "place": self.place.serial}  # fmt: skip


def _start(rng: np.random.Generator, clip: clips.Clip, window: int, part: int | None, far_s: float) -> int:
    """The first sample of a window; those of two parts are at least `far_s` apart."""
    last = max(0, len(clip.sound) - window)
    if part is None:
        return int(rng.integers(0, last + 1))
    room = (last - int(far_s * clip.rate_hz)) // 2
    return int(rng.integers(0, room + 1)) + (last - room if part else 0)


def stream(config: TrainConfig, sources: Sources, image_size: int, seed: list[int]) -> Iterator[Draw]:
    """Endless draws from a bounded number of open clips.

    With negatives of the same label or video, draws come in twos that can be each other's negative.
    """
    import pescador

    data, negatives = config.data, config.pairs.negatives
    files, serials = _Files(config, sources, image_size, seed), itertools.count()
    twos = {"other": [(0, None)], "label": [(0, None), (1, None)], "video": [(0, 0), (0, 1)]}[negatives]
    n_active = data.n_active // 2 if negatives == "label" else data.n_active  # clips, two to a place
    rate = max(1, data.pairs_per_clip // 2) if negatives == "video" else data.pairs_per_clip

    # A closure, not arguments: pescador copies arguments, and copies of a counter repeat its numbers.
    def any_clip():
        serial = next(serials)
        place = _Place(files, serial)
        for n in itertools.count():
            yield [Draw(place, (*seed, _DRAW, serial, n, i), *which) for i, which in enumerate(twos)]

    state = np.random.RandomState(np.random.default_rng(seed).integers(2**31))
    mux = pescador.StochasticMux([pescador.Streamer(any_clip)], n_active, rate, random_state=state)
    return itertools.chain.from_iterable(mux)


class _Files:
    """What one stream opens clips from, and how often: scenes have their share, files are equal among each other.

    A file that cannot be used is passed over. What is known of such files only saves time: another stream, or the same
    one entered later, opens the same clips.
    """

    def __init__(self, config: TrainConfig, sources: Sources, image_size: int, seed: list[int]):
        data, rate_hz = config.data, config.front_end.rate_hz
        self.window, self.image_size = config.front_end.window_samples, image_size
        self.form = clips.Format(rate_hz, data.clip_s, data.frames_hz, int(image_size * SHORT_SIDE), data.picture)
        self.files = sources.files if data.scenes < 1 else []
        self.scenes = data.scenes if self.files else 1.0
        self.sources, self.seed, self.pairs = sources, seed, config.pairs
        self.companions = sources.companions() if self.pairs.negatives == "label" else {}
        if self.pairs.negatives == "label" and not self.companions:
            raise TrainingError("pairs.negatives = 'label' needs videos that share a label, and none of the "
                                f"{sources.split} part do: name an index with labels in data.index (l3embed data init "
                                "--labels or --segments)")  # fmt: skip
        self.broken: set[int] = set()
        self.broken_snippets: dict[Path, AudioError] = {}
        snippets = sources.recordings if data.scenes else []
        self.snippets = [partial(snippet, file.path, rate_hz, self.broken_snippets) for file in snippets]

    def open(self, serial: int) -> tuple[Opened, ...]:
        """The clips of a place."""
        rng, attempts = np.random.default_rng([*self.seed, _CLIP, serial]), itertools.count()
        while True:
            is_scene = rng.random() < self.scenes
            which = None if is_scene else int(rng.integers(len(self.files)))
            if first := self._try(which, serial, next(attempts)):
                break
        if self.pairs.negatives != "label":
            return (first,)
        for which in self._candidates(first, rng):
            if second := self._try(int(which), serial, next(attempts)):
                return first, second
        return first, first  # no companion: its negatives come from any other clip of the batch

    def _candidates(self, first: Opened, rng: np.random.Generator) -> np.ndarray:
        """The other files that share one label with it, in random order."""
        shared = [label for label in sorted(first.labels) if label in self.companions]
        if not shared:
            return np.array([], int)
        others = self.companions[shared[rng.integers(len(shared))]]
        return rng.permutation(others[others != first.number])

    def _try(self, which: int | None, serial: int, attempt: int) -> Opened | None:
        """Open a file, or make a scene (None); None where it cannot be used."""
        if which in self.broken:
            return None
        rng = np.random.default_rng([*self.seed, _CLIP, serial, attempt])
        try:
            if which is None:
                clip = clips.from_scene(rng, self.form.rate_hz, self.form.clip_s, self.snippets)
                return Opened(clip, len(self.files) + serial, frozenset())
            clip = self.files[which].open(rng, self.form)
            self._check_length(clip)
            return Opened(clip, which, self.files[which].labels)
        except SnippetError as error:
            self._name(error.path, error)
        except AudioError as error:
            self._leave_out(which, error)
        return None

    def _check_length(self, clip: clips.Clip) -> None:
        seconds, needed = len(clip.sound) / clip.rate_hz, 1 + self.pairs.far_s
        if self.pairs.negatives == "video" and seconds < needed:
            raise AudioError(f"is {seconds:.2f} s long: pairs.negatives = 'video' needs {needed:g} s (1 + pairs.far_s)")

    def _leave_out(self, which: int, error: AudioError) -> None:
        self.broken.add(which)
        self._name(self.files[which].path, error)
        usable = len(self.files) - len(self.broken)
        if usable < 2 and not self.scenes:
            raise TrainingError(
                f"{usable or 'none'} of the {len(self.files)} files can be used, and a mismatch needs two; "
                f"the last one that cannot: {error}"
            )

    def _name(self, path: Path, error: AudioError) -> None:
        if path not in self.sources.named:
            self.sources.named.add(path)
            print(f"{path}: left out of training: {error}", file=sys.stderr)


def batches(draws: Iterator[Draw], config: TrainConfig, seed: list[int], first: int = 0) -> Iterator[tuple]:
    """Batches ``({"audio": (N, window, 1), "image": (N, size, size, 3) uint8}, target)`` from number `first` on.

    Target of the binary objective: (N, 2) float32, [1, 0] mismatch, [0, 1] correspondence (marl/l3embedding's order),
    half of each, as long as the batch is not all from one clip. Of the contrastive one: (N, 1) int64, what items must
    not be told apart: the clip (with negatives of the same video: the part of the clip).
    """
    draws = itertools.islice(draws, first * config.fit.batch, None)
    for number in itertools.count(first):
        made = [draw.make() for draw in itertools.islice(draws, config.fit.batch)]
        image = np.stack([item["image"] for item in made])
        audio = np.stack([item["audio"] for item in made])[..., None]
        if config.fit.objective == "contrastive":
            yield {"audio": audio, "image": image}, np.array([[2 * item["clip"] + item["part"]] for item in made])
        else:
            partner = _mismatch(made, config.pairs.negatives, np.random.default_rng([*seed, _BATCH, number]))
            match = partner == np.arange(len(partner))
            yield {"audio": audio, "image": image[partner]}, np.stack([~match, match], axis=1).astype(np.float32)


def _mismatch(items: list[dict], negatives: str, rng: np.random.Generator) -> np.ndarray:
    """Whose picture each item gets: its own for one half, that of a random other item for the other."""
    clip, part, place = (np.array([item[key] for item in items]) for key in ("clip", "part", "place"))
    partner = np.arange(len(items))
    for i in rng.permutation(len(items))[: len(items) // 2]:
        others = clip != clip[i]
        if negatives == "video":
            others = (place == place[i]) & (part != part[i])
        elif negatives == "label":
            alike = others & [not items[i]["labels"].isdisjoint(item["labels"]) for item in items]
            others = alike if alike.any() else others
        if others.any():
            partner[i] = rng.choice(np.flatnonzero(others))
    return partner
