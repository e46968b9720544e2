"""What a model is: frozen records, and the only place where sizes come from.

Conventions: times in seconds (`_s`), rates in Hz (`_hz`), counts in samples or frames (`n_`, `_samples`).
A record holds plain values only, so it can be written as TOML and fingerprinted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields

from .errors import UsageError


@dataclass(frozen=True)
class FrontEnd:
    """How a window of sound becomes a spectrogram. Two front ends with equal fields give equal numbers.

    The value of a cell is ``10 log10(max(S, amin))`` of a *magnitude* S, as in kapre and OpenL3, so one unit is
    2 dB of amplitude. With `range_db` the window's own maximum is subtracted and the result floored at
    ``-range_db``; without it (None) the level stays absolute and windows may share spectrogram columns.
    """

    name: str
    version: int
    rate_hz: int
    window_samples: int
    n_fft: int
    hop_samples: int
    pad_samples: tuple[int, int]  # zeros before and after each window
    n_mels: int  # 0: the linear spectrum
    mel_scale: str  # "htk", "slaney", "" for linear
    mel_norm: str  # "slaney" (unit area), "sum" (each filter's values sum to 1) or "none" (unit peak), "" for linear
    mel_of: str  # "magnitude", or "power" (mel of the power spectrum, then its root)
    amin: float
    range_db: float | None
    transform: str | None = None  # "float32": with TensorFlow's own rounding, see fft32.py; None: in float64

    @property
    def n_frames(self) -> int:
        """Spectrogram columns of one window."""
        return 1 + (self.window_samples + sum(self.pad_samples) - self.n_fft) // self.hop_samples

    @property
    def n_bins(self) -> int:
        """Spectrogram rows: mel bands or FFT bins."""
        return self.n_mels or self.n_fft // 2 + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frequency, time, 1), the network's input without the batch axis."""
        return (self.n_bins, self.n_frames, 1)

    @property
    def window_s(self) -> float:
        return self.window_samples / self.rate_hz


@dataclass(frozen=True)
class ImageFrontEnd:
    """How a picture becomes the network's input. Two front ends with equal fields give equal numbers.

    A shorter side above `shorter` is scaled to it; then the middle `crop` x `crop` pixels are taken.
    """

    name: str
    version: int
    shorter: int  # pixels
    crop: int  # pixels
    resample: str  # "bicubic" (low-pass where it shrinks) or "bilinear" (between four pixels, aliases)
    values: str  # "centred": [-1, 1], whatever the size; "openl3-0.4": depends on the size, see imagefrontend.py
    enlarges: bool  # pictures smaller than the crop; otherwise they are refused
    upright: bool  # whether a camera's orientation tag is obeyed
    video: str  # "frames": each with its time and aspect ratio; "openl3-0.4": squeezed, at a constant, rounded rate

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3), the network's input without the batch axis."""
        return (self.crop, self.crop, 3)


@dataclass(frozen=True)
class Network:
    """Which network, and how its last map becomes a vector."""

    family: str  # a key of networks.FAMILIES: "l3" or "l3-small"
    width: int  # filters of the first block; every block doubles it
    pool: tuple[int, int]  # max-pool of the last map over (frequency, time) or (height, width)


STEP_COLUMNS = 8  # of a spectrogram, in one of the last map: three poolings, each of two


@dataclass(frozen=True)
class Model:
    """An embedding model: sound (or pictures) to vectors of `dim` numbers."""

    name: str
    front_end: FrontEnd | ImageFrontEnd
    network: Network
    dim: int
    weights_sha256: str  # of the file the weights came from; "" for untrained ones

    @property
    def modality(self) -> str:
        """What the model embeds: "audio" or "image"."""
        return "audio" if isinstance(self.front_end, FrontEnd) else "image"

    @property
    def step_samples(self) -> int | None:
        """The hop on whose grid overlapping windows can share computation: three poolings, each of two columns.

        None for models of pictures.
        """
        return STEP_COLUMNS * self.front_end.hop_samples if self.modality == "audio" else None

    @property
    def shares_exactly(self) -> bool:
        """Whether sharing changes only rounding: time is padded nowhere, and no window has a level of its own."""
        return self.network.family == "l3-small" and self.modality == "audio"

    def fingerprint(self) -> str:
        """Hash of every field: equal fingerprints, equal vectors (up to precision)."""
        return digest(asdict(self))


def digest(record: dict) -> str:
    """SHA-256 (first 16 hex digits) of a record of plain values, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


# --- OpenL3: 48 kHz, one second; sizes and the three front ends after reference code (marl/openl3 0.4.2, kapre 0.1.4,
# torchopenl3 1.0.1; docs/front-ends.md). The linear spectrogram is the same in all three.

L3_REPRESENTATIONS = {"linear": 0, "mel128": 128, "mel256": 256}
_L3 = dict(version=1, rate_hz=48_000, window_samples=48_000, hop_samples=242, amin=1e-10, range_db=80.0)
# "same" padding as TensorFlow does it: 1964 zeros, split evenly
_HTK = dict(pad_samples=(982, 982), mel_scale="htk", mel_of="power")
_SLANEY = dict(mel_scale="slaney", mel_norm="slaney", mel_of="magnitude")
_TENSORFLOW = dict(version=2, transform="float32")
_L3_MEL = {
    "training": dict(_HTK, version=2, mel_norm="sum"),
    "kapre-0.1.4": dict(_HTK, mel_norm="slaney"),
    "openl3-0.4-kapre": dict(_SLANEY, pad_samples=(0, 1964), **_TENSORFLOW),
    "openl3-0.4-librosa": dict(_SLANEY, pad_samples=(1024, 1024)),
}
_L3_LINEAR = {"openl3-0.4-kapre": _TENSORFLOW}
L3_FRONT_ENDS = tuple(_L3_MEL)
_L3_IMAGE = {
    "training": dict(resample="bicubic", values="centred", enlarges=True, upright=True, video="frames"),
    "openl3-0.4": dict(
        resample="bilinear", values="openl3-0.4", enlarges=False, upright=False, video="openl3-0.4",
    ),
}  # fmt: skip


def l3_front_end(representation: str = "mel256", name: str = "training") -> FrontEnd:
    """One of OpenL3's front ends.

    `kapre-0.1.4` is the one the published weights were trained with (HTK mel scale, unit area, mel of the power
    spectrum); `training` is that one as torchopenl3 1.0.1 computes it today, whose mel filters sum to one; the other
    two are what OpenL3 0.4 computes. Linear, all four are the same, but that `openl3-0.4-kapre` rounds as TensorFlow
    does. Raises UsageError for an unknown name.
    """
    n_mels = L3_REPRESENTATIONS[_known("representation", representation, L3_REPRESENTATIONS)]
    mel = _L3_MEL[_known("front end", name, _L3_MEL)]
    if not n_mels:
        linear = dict(n_fft=512, n_mels=0, pad_samples=(0, 0), mel_scale="", mel_norm="", mel_of="magnitude")
        return FrontEnd(name, **{**_L3, **linear, **_L3_LINEAR.get(name, {})})
    return FrontEnd(name, n_fft=2048, n_mels=n_mels, **{**_L3, **mel})


def l3_image_front_end(name: str = "training") -> ImageFrontEnd:
    """One of OpenL3's two ways to prepare pictures.

    `training` is how the published weights were trained: frames scaled by ffmpeg to 256 pixels on the shorter side, a
    square of 224 out of them (the middle one, here), values in [-1, 1]. `openl3-0.4` is what OpenL3 0.4.2 computes,
    defects included (docs/video.md). Raises UsageError for an unknown name.
    """
    return ImageFrontEnd(name, 1, 256, 224, **_L3_IMAGE[_known("front end", name, _L3_IMAGE)])


def front_end_of(table: dict) -> FrontEnd | ImageFrontEnd:
    """The record of a card's table. What the table does not hold is None (TOML has no null)."""
    kind = ImageFrontEnd if "crop" in table else FrontEnd
    values = {field.name: table.get(field.name) for field in fields(kind)}
    if kind is FrontEnd:
        values["pad_samples"] = tuple(table["pad_samples"])
    return kind(**values)


def small_front_end() -> FrontEnd:
    """The front end of the small family: log-mel at 32 kHz, absolute level, no padding.

    Its hop is 12.5 ms, so that the three poolings of the network give a grid of 100 ms: windows at the usual hop of
    0.1 s fall on columns that they share. 64 bands reach 16 kHz; 1024 samples resolve 31 Hz.
    """
    return FrontEnd(
        "log-mel", 1, rate_hz=32_000, window_samples=32_000, n_fft=1024, hop_samples=400, pad_samples=(0, 0),
        n_mels=64, mel_scale="htk", mel_norm="none", mel_of="magnitude", amin=1e-3, range_db=None,
    )  # fmt: skip


SMALL_IMAGE_SIZE = 64  # side of the pictures that the small family sees


def l3_network(front_end: FrontEnd, dim: int = 6144) -> Network:
    """The published audio network; 6144 and 512 are its two poolings (OpenL3's embedding sizes)."""
    pools = {6144: {0: (8, 8), 128: (4, 8), 256: (8, 8)}, 512: {0: (32, 24), 128: (16, 24), 256: (32, 24)}}
    if dim not in pools:
        raise UsageError(f"the embedding size of an L3 audio network is 6144 or 512. Received: {dim}")
    return Network("l3", 64, pools[dim][front_end.n_mels])


def l3_image_network(dim: int = 8192) -> Network:
    """The published image network (224 x 224 x 3 in [-1, 1]); 8192 and 512 are its two poolings."""
    pools = {8192: (7, 7), 512: (28, 28)}
    if dim not in pools:
        raise UsageError(f"the embedding size of an L3 image network is 8192 or 512. Received: {dim}")
    return Network("l3", 64, pools[dim])


@dataclass(frozen=True)
class Published:
    """What the name of a published OpenL3 model says."""

    modality: str  # "audio" or "image"
    representation: str  # of the sound; an image network learned beside it
    content: str  # "music" or "env"
    dim: int
    version: str  # of the weight file

    @property
    def file(self) -> str:
        """The name of its weight file, without ``.h5.gz``. The sizes of a network share one."""
        return f"openl3_{self.modality}_{self.representation}_{self.content}-{self.version}"


PUBLISHED_DIMS = {"audio": (6144, 512), "image": (8192, 512)}
PUBLISHED_CONTENTS = ("music", "env")
PUBLISHED_VERSIONS = ("v0_4_0", "v0_2_0")  # the first is meant where a name says none


def published_names() -> list[str]:
    """``openl3-{linear,mel128,mel256}-{music,env}-{6144,512}``, and ``openl3-image-...-{8192,512}``."""
    return [
        f"openl3-{'image-' if modality == 'image' else ''}{representation}-{content}-{dim}"
        for modality, dims in PUBLISHED_DIMS.items()
        for representation in L3_REPRESENTATIONS
        for content in PUBLISHED_CONTENTS
        for dim in dims
    ]


def published(name: str) -> Published:
    """Read the name of a published model; a version may follow it, as in ``openl3-linear-env-512-v0_2_0``.

    Raises UsageError for any other name.
    """
    plain, has_version, version = name.partition("-v")
    version = f"v{version}" if has_version else PUBLISHED_VERSIONS[0]
    if plain not in published_names() or version not in PUBLISHED_VERSIONS:
        raise UsageError(
            f"unknown model {name!r}: published ones are openl3-{{linear,mel128,mel256}}-{{music,env}}-{{6144,512}} "
            "and openl3-image-{linear,mel128,mel256}-{music,env}-{8192,512}, as they are or with -v0_2_0"
        )
    *_, representation, content, dim = plain.split("-")
    modality = "image" if plain.startswith("openl3-image-") else "audio"
    return Published(modality, representation, content, int(dim), version)


def openl3_model(name: str, front_end: str | None = None) -> Model:
    """A published OpenL3 model, see `published` for its name; `front_end` None is "training"."""
    which, front_end = published(name), front_end or "training"
    name = name.removesuffix(f"-{PUBLISHED_VERSIONS[0]}")
    if which.modality == "image":
        return Model(name, l3_image_front_end(front_end), l3_image_network(which.dim), which.dim, "")
    fe = l3_front_end(which.representation, front_end)
    return Model(name, fe, l3_network(fe, which.dim), which.dim, "")


def _known(what: str, name: str, known) -> str:
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}: expected one of {', '.join(known)}")
    return name
