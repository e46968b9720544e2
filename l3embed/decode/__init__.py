"""A file, bytes or an array -> blocks of mono float32 at the model's rate, or pictures: the only place with codecs.

libsndfile decides by content what it can read; whatever it does not recognise goes to ffmpeg through a pipe. Blocks
are checked, mixed down and resampled one at a time, so a long recording needs no more memory than a short one.

Pictures come one at a time too, from Pillow or, of a video, from ffmpeg (`open_pictures`).

Every failure is an AudioError (ImageError for pictures) whose text is one sentence without the name of the recording,
which only the caller knows: ``f"{path}: {error}"``. What should be known about a valid result is a short phrase
in `notes`.
"""

from __future__ import annotations

import io
import math
import numbers
import os
from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import AudioError, ImageError, UsageError
from .bounds import Bounds
from .ffmpeg import Ffmpeg, ffmpeg_binary, ffmpeg_command, header_s, track_s
from .kinds import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from .libsndfile import UNKNOWN_FRAMES, Libsndfile, mp3_chained, ogg_chained, ogg_cut, sound_chunk
from .pictures import Still, open_still
from .source import CHANGED, Source, interrupts_wait
from .video import Video, sound_start

__all__ = ["AUDIO_SUFFIXES", "IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Bounds", "Recording", "Still", "Video",
           "ffmpeg_binary", "ffmpeg_command", "from_array", "header_s", "open_array", "open_pictures", "open_recording",
           "sound_start", "track_s"]  # fmt: skip

BLOCK_S = 1.0  # long enough that Python's cost per block vanishes, short enough that a block is small
MIN_S = 0.001  # below this a recording holds no spectrum worth the name; a broken export rather than a sound
_BLOCK_VALUES = 1 << 22  # bound of a block whatever rate and channel count a damaged header claims
_RATIO = 10_000  # between two rates: 5 Hz to 480 MHz at 48 kHz; far beyond it soxr hangs or takes all memory (measured)


def open_recording(
    source: str | os.PathLike | bytes | io.IOBase, rate_hz: int, bounds: Bounds | None = None
) -> Recording:
    """Open a recording for reading at `rate_hz`.

    `source` is a path, the bytes of a file, or a binary file object, which is read from its beginning and left open.
    Any container, codec, sample rate, channel count and bit depth that libsndfile or ffmpeg knows. Raises AudioError
    for what is no recording (iterating may raise it later), UsageError for a source or a rate of the wrong kind.

    With `bounds`, for what strangers send: raises LimitError for what is beyond them, and ffmpeg is on a short leash.
    """
    rate_hz = _rate(rate_hz)
    file = Source(source)
    try:
        return Recording(_reader(file, guarded=bounds is not None), rate_hz, file, bounds)
    except BaseException:
        file.close()
        raise


def open_array(audio, sample_rate: float, rate_hz: int, bounds: Bounds | None = None) -> Recording:
    """Open sound in memory, (n,) or (n, channels), for reading at `rate_hz`, by the same rules as for files.

    Integers are scaled to [-1, 1] by the range of their type (unsigned ones are centred first); 64-bit integers are
    refused, because their range says nothing about the sound's full scale. Floats stay as they are, unclipped. Raises
    AudioError for arrays that are not sound, UsageError for a sample rate that is not a finite number > 0.
    """
    return Recording(_Array(_samples(audio), _rate(sample_rate, "sample_rate")), _rate(rate_hz), bounds=bounds)


def from_array(audio, sample_rate: float, rate_hz: int) -> np.ndarray:
    """All of an array at once: (n',) float32 mono at `rate_hz`. Raises what `open_array` and reading it raise."""
    with open_array(audio, sample_rate, rate_hz) as recording:
        return np.concatenate(list(recording))


def open_pictures(
    source: str | os.PathLike | bytes | io.IOBase, shorter: int, crop: int, *, upright: bool = True,
    as_openl3: bool = False,
) -> Still | Video:  # fmt: skip
    """Open a picture or a video (told apart by their first bytes), to be iterated once for ``(time_s, picture)``.

    A still is one whole picture at 0.0 s; those of a video are scaled and cut already, as `Video` tells. Close it when
    done. Raises ImageError for what is neither (iterating may raise it later), UsageError as `open_recording` does.
    """
    try:
        file = Source(source)
    except AudioError as error:
        raise ImageError(str(error)) from None
    try:
        if still := open_still(file, upright):
            return still
        if _leads_elsewhere(file):
            raise ImageError("is neither a picture nor a video but a playlist, a web page or a drawing in XML")
        return Video(file, shorter, crop, as_openl3)
    except AudioError as error:
        file.close()
        raise ImageError(str(error)) from None
    except BaseException:
        file.close()
        raise


class Recording:
    """Sound on its way in: a context manager, to be iterated once for blocks (n,) float32, mono, at `rate_hz`.

    So far: `n_samples` handed out at `rate_hz`, `seconds` read, `peak` the largest absolute sample of the mix before
    resampling (0.0 after the last block: silence), `notes` about a result that is nevertheless valid.
    `expected_s` is the duration that the header promises, None where it does not: good for a progress bar only.
    `mix` may be set before iterating: "mean" of the channels, or the "first" one.
    """

    mix = "mean"

    def __init__(
        self, reader: Libsndfile | Ffmpeg | _Array, rate_hz: float, source: Source | None = None,
        bounds: Bounds | None = None,
    ):  # fmt: skip
        self.rate_hz, self.n_samples, self.peak, self.notes = rate_hz, 0, 0.0, []
        self._reader, self._source = reader, source
        self._n_read, self._started, self._bounds = 0, False, bounds or Bounds()
        try:
            self._bounds.check(reader)
        except BaseException:
            reader.close()
            raise

    @property
    def seconds(self) -> float:
        return self._n_read / self._reader.rate_hz

    @property
    def expected_s(self) -> float | None:
        return self._reader.expected_s

    @property
    def source_rate_hz(self) -> float:
        """The recording's own rate."""
        return self._reader.rate_hz

    @property
    def channels(self) -> int:
        return self._reader.channels

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._started:
            raise UsageError("a recording can be iterated once: open it again")
        self._started = True
        return self._blocks()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and processes; harmless when repeated."""
        self._started = True
        self._reader.close()
        if self._source:
            self._source.close()

    def _blocks(self) -> Iterator[np.ndarray]:
        try:
            for block in _resampled(self._mono(), self._reader.rate_hz, self.rate_hz):
                self.n_samples += len(block)
                yield block
        except AudioError:
            self._check_unchanged()  # the better reason, when a file under way breaks a decoder
            raise
        finally:
            self.close()

    def _mono(self) -> Iterator[np.ndarray]:
        """Blocks (n,) float32 at the recording's own rate, checked."""
        reader = self._reader
        n = max(1, min(round(reader.rate_hz * BLOCK_S), _BLOCK_VALUES // reader.channels))
        while len(block := reader.read(n)):
            self._check_block(block)
            # the mean over channels is OpenL3's mix; float64, because the sum of two floats may not fit a float
            one = reader.channels == 1 or self.mix == "first"
            mono = block[:, 0] if one else block.mean(axis=1, dtype=np.float64)
            mono = np.ascontiguousarray(mono, dtype=np.float32)
            self._n_read += len(mono)
            self._bounds.check_seconds(self.seconds)
            self.peak = max(self.peak, float(np.abs(mono).max()))
            yield mono
        self.notes += reader.finish(self.seconds)
        if not self._n_read:
            raise AudioError("holds no samples: its header is valid, but no sound follows")
        self._check_unchanged()

    def _check_block(self, block: np.ndarray) -> None:
        rate_hz = self._reader.rate_hz
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            at_s = (self._n_read + int(np.argmin(finite))) / rate_hz
            raise AudioError(f"holds NaN or infinite samples, the first at {at_s:.3f} s: repair or cut that part")
        if not self._n_read and len(block) < MIN_S * rate_hz:
            raise AudioError(
                f"is too short: {len(block)} samples at {rate_hz:g} Hz ({1000 * len(block) / rate_hz:.2g} ms), "
                f"at least {1000 * MIN_S:g} ms are needed"
            )

    def _check_unchanged(self) -> None:
        if self._source and self._source.changed():
            raise AudioError(CHANGED) from None


def _resampled(blocks: Iterable[np.ndarray], from_hz: float, to_hz: float) -> Iterator[np.ndarray]:
    """The same sound at another rate. soxr carries its state over, so where blocks end makes no difference."""
    if from_hz == to_hz:
        yield from blocks
        return
    if not 1 / _RATIO <= to_hz / from_hz <= _RATIO:
        raise AudioError(f"has a rate of {from_hz:g} Hz, too far from {to_hz:g} Hz to be resampled: correct its rate")
    import soxr

    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
    for block in blocks:
        if len(out := stream.resample_chunk(block)):
            yield out
    if len(out := stream.resample_chunk(np.zeros(0, np.float32), last=True)):
        yield out


def _rate(value, name: str = "rate_hz"):
    number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not number or not math.isfinite(value) or value <= 0:
        raise UsageError(f"{name} must be a finite number of Hz > 0. Received: {value!r}")
    return value


def _reader(source: Source, guarded: bool) -> Libsndfile | Ffmpeg:
    import soundfile

    if _leads_elsewhere(source):
        raise AudioError("is not audio but a playlist or a web page: give the recording itself")
    if ogg_chained(source) or mp3_chained(source):
        return Ffmpeg(source, guarded)
    chunk, is_cut_ogg = sound_chunk(source), ogg_cut(source)
    source.seek(0)
    try:
        with interrupts_wait():
            sound = soundfile.SoundFile(source)
    except soundfile.LibsndfileError:
        sound = None
    source.check()
    if sound and sound.frames < UNKNOWN_FRAMES and not (chunk and chunk.unfinished):
        return Libsndfile(sound, source, chunk, is_cut_ogg)
    if sound:
        sound.close()
    return Ffmpeg(source, guarded)


def _leads_elsewhere(source: Source) -> bool:
    """ffmpeg would follow a playlist to other files; a page saved in place of a recording is no sound either."""
    head = source.read_at(0, 64).lstrip(b"\xef\xbb\xbf \t\r\n")
    source.check()
    return head.startswith((b"#EXTM3U", b"ffconcat", b"<"))


class _Array:
    """Hands out an array in blocks, as the other readers do."""

    is_estimate = False

    def __init__(self, samples: np.ndarray, rate_hz: float):
        self._samples, self._at = samples, 0
        self.rate_hz, self.channels, self.expected_s = rate_hz, samples.shape[1], len(samples) / rate_hz

    def read(self, n: int) -> np.ndarray:
        block = self._samples[self._at : self._at + n]
        self._at += len(block)
        if block.dtype.kind == "f":
            with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
                return block.astype(np.float32)
        scale = 2.0 ** (8 * block.dtype.itemsize - 1)
        offset = scale if block.dtype.kind == "u" else 0.0
        return ((block.astype(np.float64) - offset) / scale).astype(np.float32)

    def finish(self, seconds: float) -> list[str]:
        return []

    def close(self) -> None:
        pass


def _samples(audio) -> np.ndarray:
    """(n, channels) of a type that can be read as sound. Raises AudioError."""
    try:
        audio = np.asarray(audio)
    except (TypeError, ValueError):
        raise AudioError("is not an array of samples: expected (n,) or (n, channels)") from None
    if audio.dtype.kind not in "iuf":
        raise AudioError(f"holds {audio.dtype.name} values: expected float or integer samples")
    if audio.dtype.kind in "iu" and audio.dtype.itemsize > 4:
        raise AudioError(f"holds {audio.dtype.name} samples, whose full scale is unknown: convert to int16 or float32")
    if audio.ndim not in (1, 2):
        raise AudioError(f"has {audio.ndim} dimensions: expected (n,) or (n, channels)")
    if not audio.size:
        raise AudioError("is empty: it holds no samples")
    if audio.ndim == 2 and audio.shape[0] < audio.shape[1]:
        raise AudioError(f"has shape {audio.shape}, more channels than samples: transpose it to (n, channels)")
    return audio.reshape(len(audio), -1)
