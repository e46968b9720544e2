"""The configuration of a training run: one TOML file, frozen records, the paper's settings as defaults.

Defaults are those of Cramer et al. 2019 (section 3.1) and of the jobs that trained the published weights
(marl/l3embedding, jobs/retrain_feb2019): mel256, Adam 1e-5, batch 64, 4096 batches an epoch, 300 epochs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path

from ..errors import TrainingError, hint
from ..spec import (
    L3_REPRESENTATIONS,
    SMALL_IMAGE_SIZE,
    FrontEnd,
    Network,
    l3_front_end,
    l3_image_front_end,
    l3_image_network,
    l3_network,
    small_front_end,
)
from ..weights import read_toml

OBJECTIVES = ("binary", "contrastive")  # of networks/heads.py, which waits for Keras
PICTURES = ("full", "spectrogram", "curves")


@dataclass(frozen=True)
class ModelConfig:
    name: str = "l3"
    family: str = "l3"  # "l3" (the published networks) or "l3-small"
    representation: str = "mel256"  # "linear", "mel128", "mel256"; the small family has one, "log-mel"
    l3_width: int = 64  # filters of its first blocks; fewer make a network for trials, not the published one
    width: int = 24  # small family: filters of the first audio block
    image_width: int = 16  # small family: the same for pictures
    bands: int = 2  # small family: bands of frequency that the embedding keeps
    n_mels: int = 64  # small family: of its log-mel front end
    # First weights, instead of random ones: a run, one of its model folders or checkpoints, a shipped or published
    # model, or a weight file of OpenL3's layout. What is from l3embed's own runs brings both networks and the head.
    init: str = ""
    init_image: str = ""  # the same for the image network alone; "none": random, whatever `init` brings


@dataclass(frozen=True)
class DataConfig:
    videos: tuple[str, ...] = ()  # folders, searched recursively
    index: str = ""  # of `l3embed data init`: its videos, in the parts that it holds
    # Folder of clips that `l3embed train CONFIG --prepare` makes of all these; training then reads it in their place.
    prepared: str = ""
    frames: str = "jpeg"  # of prepared clips; "array": plain RGB, some ten times the size, nothing to decode
    clips_per_file: int = 0  # of prepared clips: at most, drawn at random; 0: all that the file holds
    recordings: tuple[str, ...] = ()  # folders of sound; their pictures are drawn from the sound
    scenes: float = 0.0  # share of clips that are synthesised or mixed (scenes.py); their pictures are drawn too
    picture: str = "full"  # what is drawn of sound without video (picture.py): or "spectrogram" or "curves" alone
    held_out: float = 0.1  # share of files in `videos` and `recordings` kept for validation (the paper: 10 %)
    clip_s: float = 10.0  # seconds of a clip held in memory at a time (AudioSet clips last 10 s)
    frames_hz: float = 10.0  # frames kept per second of video
    n_active: int = 20  # clips in memory at a time (jobs/retrain_feb2019: 20 streamers)
    pairs_per_clip: int = 20  # mean number of pairs drawn from a clip before it is replaced (likewise)


@dataclass(frozen=True)
class PairConfig:
    negatives: str = "other"  # mismatches are of another clip; "label": of another one that bears the same label;
    # "video": of the same clip, `far_s` seconds away or more
    far_s: float = 3.0
    misaligned: bool = False  # True: the bug of the published weights, whose pictures are the last frame of the clip
    same_second: float = 1.0  # share of pairs whose picture is of the sound's own second; the rest: another second
    gain: tuple[float, float] = (0.9, 1.1)  # sound times a factor drawn from here, never into clipping
    flip: bool = True
    saturation: tuple[float, float] = (0.5, 1.5)
    brightness: float = 32 / 255  # +- of full range


@dataclass(frozen=True)
class FitConfig:
    objective: str = "binary"  # the paper's; "contrastive": every other item of the batch is a negative
    batch: int = 64
    steps: int = 4096  # batches an epoch
    validation_steps: int = 1024
    epochs: int = 300
    learning_rate: float = 1e-5  # Adam's
    l2: float = 1e-5  # on all kernels
    decay: str = "none"  # or "cosine": to zero over the whole run
    precision: str = "float32"  # or "mixed_bfloat16"
    workers: int = 1  # processes that make pairs
    train: str = "both"  # networks; "audio": the image network stays as it is
    devices: int = 0  # that share each batch (JAX only); 0: all there are
    keep_at: tuple[int, ...] = ()  # numbers of pairs seen after which the networks are kept as a model of their own
    checkpoint_minutes: float = 10.0  # also within an epoch; 0: after every batch
    tensorboard: bool = False


@dataclass(frozen=True)
class AboutConfig:
    """Texts for the card of the finished model."""

    description: str = ""
    licence: str = ""
    data: str = ""  # what it was trained on, with the attribution that its licences ask for


@dataclass(frozen=True)
class TrainConfig:
    run: str = "runs/l3"  # folder of checkpoints, history and the finished model
    seed: int = 20180216  # of the published training jobs
    backend: str = ""  # "tensorflow" or "jax"; "" leaves the choice to KERAS_BACKEND or Keras' own setting
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    pairs: PairConfig = field(default_factory=PairConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    about: AboutConfig = field(default_factory=AboutConfig)

    @property
    def front_end(self) -> FrontEnd:
        if self.model.family == "l3":  # as the published weights were trained
            return l3_front_end(self.model.representation, "kapre-0.1.4")
        return replace(small_front_end(), n_mels=self.model.n_mels)

    @property
    def audio(self) -> Network:
        if self.model.family == "l3":
            return replace(l3_network(self.front_end, 6144), width=self.model.l3_width)
        return Network(self.model.family, self.model.width, (self.model.bands, 1))

    @property
    def image(self) -> Network:
        if self.model.family == "l3":
            return replace(l3_image_network(512), width=self.model.l3_width)
        return Network(self.model.family, self.model.image_width, (1, 1))

    @property
    def image_size(self) -> int:
        """Side of the pictures that the image network sees."""
        return l3_image_front_end().crop if self.model.family == "l3" else SMALL_IMAGE_SIZE


def read(path: str | Path) -> TrainConfig:
    """Read a TOML file. Paths in it are relative to its folder. Raises TrainingError with the key that is wrong."""
    path = Path(path)
    config = parse(TrainConfig, read_toml(path, TrainingError), str(path))
    _check(config, path)
    return _beside(path.parent, config)


def _beside(folder: Path, config: TrainConfig) -> TrainConfig:
    data = {key: tuple(str(folder / p) for p in getattr(config.data, key)) for key in ("videos", "recordings")}
    data |= {key: str(folder / p) for key in ("index", "prepared") if (p := getattr(config.data, key))}
    first = {key: v for key in ("init", "init_image") if (v := getattr(config.model, key)) and (folder / v).exists()}
    first = {key: str(folder / value) for key, value in first.items()}  # the others are names
    return replace(
        config, run=str(folder / config.run), data=replace(config.data, **data), model=replace(config.model, **first)
    )


def begin_with(config: TrainConfig, init: str | None, init_image: str | None) -> TrainConfig:
    """The configuration with other first weights, where they are given."""
    named = {"init": init, "init_image": init_image}
    return replace(config, model=replace(config.model, **{k: v for k, v in named.items() if v is not None}))


def parse(kind, table: dict, where: str):
    """A table of plain values into the frozen record `kind`; nested tables into nested records."""
    known = {f.name: f for f in fields(kind)}
    values = {}
    for key, value in table.items():
        if key not in known:
            raise TrainingError(f"{where}: unknown key {key!r}: {hint(key, known)}")
        default = getattr(kind(), key)
        values[key] = _value(default, value, f"{where}: {key}", 0 if known[key].type == "tuple[int, ...]" else "")
    return kind(**values)


def _value(default, value, where: str, item_like=""):
    """`item_like`: what the items of a list are like whose default is empty."""
    if is_dataclass(default):
        if not isinstance(value, dict):
            raise TrainingError(f"{where} must be a table. Received: {value!r}")
        return parse(type(default), value, where)
    if isinstance(default, tuple):
        if not isinstance(value, list) or (default and len(value) != len(default)):
            raise TrainingError(
                f"{where} must be a list{f' of {len(default)}' if default else ''}. Received: {value!r}"
            )
        for item in value:
            _value(default[0] if default else item_like, item, f"{where}: each item")
        return tuple(value)
    allowed = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, allowed) or (isinstance(value, bool) and not isinstance(default, bool)):
        raise TrainingError(f"{where} must be {type(default).__name__}. Received: {value!r}")
    return value


def _check(config: TrainConfig, path: Path) -> None:
    choices = {
        "model.family": ("l3", "l3-small"),
        "model.representation": tuple(L3_REPRESENTATIONS),
        "model.n_mels": (32, 64, 128),
        "model.bands": (1, 2, 4, 8),
        "data.picture": PICTURES,
        "data.frames": ("jpeg", "array"),
        "pairs.negatives": ("other", "label", "video"),
        "fit.objective": OBJECTIVES,
        "fit.decay": ("none", "cosine"),
        "fit.train": ("both", "audio"),
        "fit.precision": ("float32", "mixed_bfloat16"),
        "backend": ("", "tensorflow", "jax"),
    }
    for key, allowed in choices.items():
        if (value := _get(config, key)) not in allowed:
            raise TrainingError(f"{path}: {key} must be one of {', '.join(map(repr, allowed))}. Received: {value!r}")
    for key, (low, high) in _RANGES.items():
        value = _get(config, key)
        if not (low <= value <= high and math.isfinite(value)):
            limit = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
            raise TrainingError(f"{path}: {key} must be {limit}. Received: {value!r}")
    for key in ("pairs.gain", "pairs.saturation"):
        low, high = _get(config, key)
        if not 0 <= low <= high < math.inf:
            raise TrainingError(f"{path}: {key} must be two numbers, 0 <= low <= high. Received: {[low, high]}")
    _check_keep_at(config.fit, path)
    if config.model.bands > config.model.n_mels // 8:
        raise TrainingError(f"{path}: model.bands must be at most model.n_mels / 8, the rows of the last map. "
                            f"Received: {config.model.bands}")  # fmt: skip
    if not re.fullmatch(r"\w[\w.-]*", config.model.name):
        raise TrainingError(f"{path}: model.name names files: letters, digits, '-', '_' and '.' only. "
                            f"Received: {config.model.name!r}")  # fmt: skip
    _check_negatives(config, path)
    data = config.data
    if not (data.videos or data.index or data.prepared or data.recordings or data.scenes):
        raise TrainingError(f"{path}: nothing to learn from: set data.videos, data.index, data.prepared, "
                            "data.recordings or data.scenes")  # fmt: skip


def _check_negatives(config: TrainConfig, path: Path) -> None:
    pairs, clip_s = config.pairs, config.data.clip_s
    if pairs.negatives == "other":
        return
    if config.fit.batch % 2:
        raise TrainingError(f"{path}: pairs.negatives = {pairs.negatives!r} draws in twos: fit.batch must be even")
    if pairs.negatives == "video" and clip_s < 1 + pairs.far_s:
        raise TrainingError(f"{path}: pairs.negatives = 'video' needs data.clip_s of 1 + pairs.far_s = "
                            f"{1 + pairs.far_s:g} at least. Received: {clip_s:g}")  # fmt: skip
    if pairs.negatives == "video" and pairs.misaligned:
        raise TrainingError(f"{path}: pairs.misaligned shows the last frame of a clip whatever its sound: no place in "
                            "the clip is a negative then, pairs.negatives = 'video' cannot be")  # fmt: skip


def _check_keep_at(fit: FitConfig, path: Path) -> None:
    total = fit.epochs * fit.steps * fit.batch
    if wrong := [n for n in fit.keep_at if not 1 <= n <= total]:
        raise TrainingError(f"{path}: fit.keep_at must lie between 1 and {total}, the pairs of the whole run "
                            f"(epochs x steps x batch). Received: {wrong[0]}")  # fmt: skip


def _get(config: TrainConfig, key: str):
    for part in key.split("."):
        config = getattr(config, part)
    return config


_TINY = 1e-12  # stands for "more than zero" in the ranges below
_RANGES = {
    "seed": (0, 2**32 - 1),  # NumPy's legacy seeds, which Keras sets, are 32 bits wide
    "model.l3_width": (1, math.inf),
    "model.width": (1, math.inf),
    "model.image_width": (1, math.inf),
    "data.scenes": (0, 1),
    "data.held_out": (0, 1),
    "data.clip_s": (1, math.inf),  # a window is one second
    "data.frames_hz": (_TINY, math.inf),
    "data.clips_per_file": (0, math.inf),
    "data.n_active": (2, math.inf),  # a mismatch needs two clips
    "data.pairs_per_clip": (1, math.inf),
    "pairs.far_s": (1, math.inf),  # what is nearer overlaps
    "pairs.same_second": (0, 1),
    "pairs.brightness": (0, 1),
    "fit.batch": (2, math.inf),
    "fit.steps": (1, math.inf),
    "fit.validation_steps": (1, math.inf),
    "fit.epochs": (1, math.inf),
    "fit.learning_rate": (_TINY, math.inf),
    "fit.l2": (0, math.inf),
    "fit.workers": (1, math.inf),
    "fit.devices": (0, math.inf),
    "fit.checkpoint_minutes": (0, math.inf),
}
