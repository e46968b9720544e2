"""A file, bytes or an array -> blocks of mono float32 at the model's rate: the only place that knows codecs.

libsndfile decides by content what it can read; whatever it does not recognise goes to ffmpeg through a pipe. Blocks
are checked, mixed down and resampled one at a time, so a long recording needs no more memory than a short one.

Every failure is an AudioError whose text is one sentence without the name of the recording, which only the caller
knows: ``f"{path}: {error}"``. What should be known about a valid result is a short phrase in `Recording.notes`.
"""

from __future__ import annotations

import io
import math
import numbers
import os
import re
import shutil
import stat
import struct
import tempfile
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .errors import AudioError, UsageError, reason

BLOCK_S = 1.0  # long enough that Python's cost per block vanishes, short enough that a block is small
MIN_S = 0.001  # below this a recording holds no spectrum worth the name; a broken export rather than a sound
_BLOCK_VALUES = 1 << 22  # bound of a block whatever rate and channel count a damaged header claims
_RATIO = 10_000  # between two rates: 5 Hz to 480 MHz at 48 kHz; far beyond it soxr hangs or takes all memory (measured)
_UNKNOWN_FRAMES = 1 << 62  # libsndfile says 2^63 - 1 frames when a FLAC header leaves the length open
_OGG_PAGE = 65_307  # bytes of the largest page (RFC 3533, section 6)

_NO_FFMPEG = "needs ffmpeg to be decoded and none was found: install ffmpeg, or pip install imageio-ffmpeg"
_NOT_AUDIO = "is not audio: neither libsndfile nor ffmpeg recognises it"
_CHANGED = "changed while it was being read: run again when the recording is complete"


def open_recording(source: str | os.PathLike | bytes | io.IOBase, rate_hz: int) -> Recording:
    """Open a recording for reading at `rate_hz`.

    `source` is a path, the bytes of a file, or a binary file object, which is read from its beginning and left open.
    Any container, codec, sample rate, channel count and bit depth that libsndfile or ffmpeg knows. Raises AudioError
    for what is no recording (iterating may raise it later), UsageError for a source or a rate of the wrong kind.
    """
    rate_hz = _rate(rate_hz)
    file = _Source(source)
    try:
        return Recording(_reader(file), rate_hz, file)
    except BaseException:
        file.close()
        raise


def from_array(audio, sample_rate: float, rate_hz: int) -> np.ndarray:
    """Sound in memory, (n,) or (n, channels) -> (n',) float32 mono at `rate_hz`, by the same rules as for files.

    Integers are scaled to [-1, 1] by the range of their type (unsigned ones are centred first); 64-bit integers are
    refused, because their range says nothing about the sound's full scale. Floats stay as they are, unclipped. Raises
    AudioError for arrays that are not sound, UsageError for a sample rate that is not a finite number > 0.
    """
    reader = _Array(_samples(audio), _rate(sample_rate, "sample_rate"))
    with Recording(reader, _rate(rate_hz)) as recording:
        return np.concatenate(list(recording))


class Recording:
    """Sound on its way in: a context manager, to be iterated once for blocks (n,) float32, mono, at `rate_hz`.

    So far: `n_samples` handed out at `rate_hz`, `seconds` read, `peak` the largest absolute sample of the mix before
    resampling (0.0 after the last block: silence), `notes` about a result that is nevertheless valid.
    `expected_s` is the duration that the header promises, None where it does not: good for a progress bar only.
    """

    def __init__(self, reader: _Libsndfile | _Ffmpeg | _Array, rate_hz: float, source: _Source | None = None):
        self.rate_hz, self.n_samples, self.peak, self.notes = rate_hz, 0, 0.0, []
        self._reader, self._source = reader, source
        self._n_read, self._started = 0, False

    @property
    def seconds(self) -> float:
        return self._n_read / self._reader.rate_hz

    @property
    def expected_s(self) -> float | None:
        return self._reader.expected_s

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
            mono = block[:, 0] if reader.channels == 1 else block.mean(axis=1, dtype=np.float64)
            mono = np.ascontiguousarray(mono, dtype=np.float32)
            self._n_read += len(mono)
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
            raise AudioError(_CHANGED) from None


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


# --- Where the bytes come from


class _Source:
    """The bytes of a recording as libsndfile reads them: seekable, and the first read error kept.

    libsndfile calls back into Python, where an exception would be printed and forgotten, leaving a short recording.
    """

    def __init__(self, source):
        self._path = self._identity = self._spooled = self._error = None
        self._owned = True
        if isinstance(source, (bytes, bytearray, memoryview)):
            self._file = io.BytesIO(source)
        elif isinstance(source, (str, os.PathLike)):
            self._path = os.fsdecode(source)
            self._file = _open_regular(self._path)
            self._identity = _identity(os.fstat(self._file.fileno()))
        else:
            self._file, self._owned = _seekable(source)
        self.size = self.seek(0, os.SEEK_END)
        self.check()
        if not self.size:
            self.close()
            raise AudioError("is empty (0 bytes)")

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            self._file.seek(offset, whence)
        except Exception as error:  # a caller's file object may raise anything
            self._error = self._error or error
        return self.tell()

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:
            self._error = self._error or error
            return 0
        buffer[: len(data)] = data
        return len(data)

    def read_at(self, offset: int, n: int) -> bytes:
        self.seek(offset)
        data = bytearray(n)
        return bytes(data[: self.readinto(data)])

    def check(self) -> None:
        """Raise what a read ran into, if anything."""
        if self._error is not None:
            raise AudioError(f"cannot be read: {reason(self._error)}") from None

    def changed(self) -> bool:
        """Whether the file is no longer the one that was opened."""
        try:
            return self._identity is not None and _identity(os.stat(self._path)) != self._identity
        except OSError:
            return True

    def path(self) -> str:
        """A path that another program can open; what is not a file yet becomes a temporary one."""
        if self._path is None and self._spooled is None:
            self._file.seek(0)
            handle, self._spooled = tempfile.mkstemp(prefix="l3embed-")
            with open(handle, "wb") as spool:
                _copy(self._file, spool)
        return self._path or self._spooled

    def close(self) -> None:
        if self._owned:
            self._file.close()
        if self._spooled:
            os.unlink(self._spooled)
            self._spooled = None


def _open_regular(path: str):
    """Open a regular file, never waiting for the other end of a pipe. Raises AudioError."""
    # non-blocking, should a pipe take the file's place between the look and the opening
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        _check_regular(os.stat(path))
        file = open(path, "rb", buffering=1 << 16, opener=lambda name, _: os.open(name, flags))
    except (FileNotFoundError, NotADirectoryError):
        raise AudioError("does not exist") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot be read: {reason(error)}") from None
    _check_regular(os.fstat(file.fileno()))
    return file


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise AudioError("is a folder, not a recording")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError("is not a regular file but a pipe or a device: save the sound to a file first")


def _identity(status: os.stat_result) -> tuple:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _seekable(file):
    """(the caller's file object, False), or (a temporary copy, True) where it cannot seek."""
    if not callable(getattr(file, "read", None)):
        kind = type(file).__name__
        raise UsageError(f"a recording is a path, bytes or a binary file object (arrays: from_array). Received: {kind}")
    if isinstance(file, io.TextIOBase):
        raise UsageError("a recording must be opened in binary mode ('rb'), not as text")
    if getattr(file, "seekable", lambda: hasattr(file, "seek"))():
        return file, False
    spool = tempfile.TemporaryFile()
    _copy(file, spool)
    return spool, True


def _copy(file, spool) -> None:
    try:
        shutil.copyfileobj(file, spool)
    except Exception as error:
        raise AudioError(f"cannot be read: {reason(error)}") from None


# --- Readers: rate_hz, channels, expected_s; read(n) -> (<= n, channels), empty at the end; finish(seconds) -> notes


def _reader(source: _Source) -> _Libsndfile | _Ffmpeg:
    import soundfile

    head = source.read_at(0, 64).lstrip(b"\xef\xbb\xbf \t\r\n")
    source.check()
    # ffmpeg would follow a playlist to other files; a page saved in place of a recording is no sound either
    if head.startswith((b"#EXTM3U", b"ffconcat", b"<")):
        raise AudioError("is not audio but a playlist or a web page: give the recording itself")
    chunk, ogg_cut = _sound_chunk(source), _ogg_cut(source)
    source.seek(0)
    try:
        sound = soundfile.SoundFile(source)
    except soundfile.LibsndfileError:
        sound = None
    source.check()
    if sound and sound.frames < _UNKNOWN_FRAMES and not (chunk and chunk.unfinished):
        return _Libsndfile(sound, source, chunk, ogg_cut)
    if sound:
        sound.close()
    return _Ffmpeg(source)


class _Libsndfile:
    """Reads what libsndfile recognises."""

    def __init__(self, sound, source: _Source, chunk: _Chunk | None, ogg_cut: bool):
        self._sound, self._source, self._chunk, self._ogg_cut = sound, source, chunk, ogg_cut
        self.rate_hz, self.channels = sound.samplerate, sound.channels
        self.expected_s = sound.frames / sound.samplerate

    def read(self, n: int) -> np.ndarray:
        import soundfile

        try:
            block = self._sound.read(n, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            self._source.check()
            raise AudioError(f"is truncated or damaged: {self._shortfall(self._sound.tell() / self.rate_hz)}") from None
        self._source.check()
        return block

    def finish(self, seconds: float) -> list[str]:
        # libsndfile estimates the length of an MP3
        short = self._sound.format != "MP3" and self.expected_s - seconds > MIN_S
        if short and self._sound.format == "FLAC":
            raise AudioError(f"is truncated: {self._shortfall(seconds)}")
        if self._chunk and self._chunk.cut:
            promised_s = seconds * self._chunk.promised / max(1, self._chunk.present)
            if promised_s - seconds > MIN_S:
                return [f"truncated: {self._shortfall(seconds, promised_s)}"]
        if self._ogg_cut:
            return [f"truncated: the end-of-stream mark is missing, {seconds:.2f} s could be read"]
        return [f"truncated: {self._shortfall(seconds)}"] if short else []

    def _shortfall(self, seconds: float, promised_s: float | None = None) -> str:
        promised_s = self.expected_s if promised_s is None else promised_s
        return f"the header promises {promised_s:.2f} s, {seconds:.2f} s could be read"

    def close(self) -> None:
        self._sound.close()


class _Chunk(NamedTuple):
    """Sizes in bytes of the chunk that holds a WAV or AIFF file's samples; `outer`: of the chunk around everything."""

    promised: int
    present: int
    outer: int

    @property
    def cut(self) -> bool:
        return not _open_ended(self.promised) and self.present < self.promised

    @property
    def unfinished(self) -> bool:
        """A recorder that stopped before it wrote the sizes: libsndfile sees no samples there, ffmpeg reads them."""
        return self.promised == 0 and self.present > 0 and _open_ended(self.outer)


def _open_ended(size: int) -> bool:
    """Whether a size stands for "unknown": 0, or as near to 2^31 or 2^32 as programs that write to a pipe put it."""
    return size == 0 or min(abs(size - 2**31), abs(size - 2**32)) <= 1 << 16


def _sound_chunk(source: _Source) -> _Chunk | None:
    """Find the chunk of samples in a RIFF, RIFX, RF64 or AIFF file; None in any other."""
    head, at, wide = source.read_at(0, 12), 12, None
    order = {b"RIFF": "little", b"RF64": "little", b"RIFX": "big", b"FORM": "big"}.get(head[:4])
    if order is None or head[8:] not in (b"WAVE", b"AIFF", b"AIFC"):
        return None
    for _ in range(1000):  # a bound on damaged files
        header = source.read_at(at, 8)
        if len(header) < 8:
            break
        name, size, at = header[:4], int.from_bytes(header[4:], order), at + 8
        if name == b"ds64":  # EBU Tech 3306: the 64-bit sizes of the file and of its samples
            wide = int.from_bytes(source.read_at(at, 16)[8:], order)
        if name in (b"data", b"SSND"):
            size = wide if wide and size == 2**32 - 1 else size
            return _Chunk(size, source.size - at, int.from_bytes(head[4:8], order))
        at += size + size % 2
    return None


def _ogg_cut(source: _Source) -> bool:
    """Whether this is an Ogg file whose last page is incomplete or lacks the end-of-stream flag (RFC 3533)."""
    if source.read_at(0, 4) != b"OggS":
        return False
    tail = source.read_at(max(0, source.size - _OGG_PAGE), _OGG_PAGE)
    page = tail[max(0, tail.rfind(b"OggS\0")) :]
    if not page.startswith(b"OggS"):
        return False  # something else follows the sound
    length = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else 27
    return len(page) < length or not page[5] & 4


class _Ffmpeg:
    """Reads through ffmpeg what libsndfile does not recognise: the first sound track, as AU (rate in its header)."""

    # the level that ffmpeg puts in front of its lines, after the part of ffmpeg that speaks
    _ERROR = re.compile(r"(\[[^]]* @ [^]]*\] )*\[(error|fatal|panic)\]")
    _DURATION = re.compile(r"\[info\] +Duration: (\d+):(\d+):([\d.]+)")

    def __init__(self, source: _Source):
        self.expected_s, self._errors, self._recognised, self._estimated = None, [], False, False
        self._process = _start_ffmpeg(source.path())
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            header = self._process.stdout.read(24)
            if len(header) < 24 or header[:4] != b".snd":
                raise AudioError(self._failure(0))
            offset, _, _, self.rate_hz, self.channels = struct.unpack(">5I", header[4:])
            self._process.stdout.read(offset - 24)  # a title
        except BaseException:
            self.close()
            raise

    def read(self, n: int) -> np.ndarray:
        data = self._process.stdout.read(n * self.channels * 4)
        whole = len(data) - len(data) % (self.channels * 4)
        return np.frombuffer(data[:whole], ">f4").reshape(-1, self.channels).astype(np.float32)

    def finish(self, seconds: float) -> list[str]:
        if self._process.wait():
            raise AudioError(self._failure(seconds))
        self._listener.join()
        notes = ["damaged: ffmpeg decoded on, some sound may be missing or wrong"] if self._errors else []
        # a video may outlast its sound by a little
        if self.expected_s and not self._estimated and seconds < 0.9 * self.expected_s - 1:
            notes.append(f"the header promises {self.expected_s:.2f} s, the sound ends at {seconds:.2f} s")
        return notes

    def _listen(self) -> None:
        """Empty ffmpeg's log as it fills, lest ffmpeg waits for us; keep what matters of it."""
        for line in self._process.stderr:
            text = line.decode("utf-8", "replace")
            self._recognised |= text.startswith("[info] Input #0")
            self._estimated |= "Estimating duration" in text
            if self.expected_s is None and (found := self._DURATION.match(text)):
                hours, minutes, seconds = map(float, found.groups())
                self.expected_s = 3600 * hours + 60 * minutes + seconds
            if self._ERROR.match(text) and len(self._errors) < 20:
                self._errors.append(text)

    def _failure(self, seconds: float) -> str:
        status = self._process.wait()
        self._listener.join()
        said = " ".join(self._errors)
        if "matches no streams" in said:
            return "has no sound track"
        if "moov atom not found" in said:
            return "is truncated: its index (the moov atom) is missing, as in a recording that was cut off"
        if seconds:
            return f"is damaged: ffmpeg could not decode it past {seconds:.2f} s"
        if not self._recognised and "Invalid data" in said:
            return _NOT_AUDIO
        return f"cannot be decoded: neither libsndfile nor ffmpeg (status {status}) understands its sound"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        self._process.stdout.close()
        self._process.stderr.close()


def _start_ffmpeg(path: str):
    """ffmpeg writing AU to a pipe. `file:` and the whitelist: the name is a name, and nothing leads to the network."""
    import subprocess

    import ffmpeg

    graph = ffmpeg.input("PATH", protocol_whitelist="file")
    graph = graph.output("pipe:1", map="0:a:0", format="au", acodec="pcm_f32be")
    graph = graph.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info")
    command = graph.compile(cmd=_ffmpeg_binary())
    command[command.index("PATH")] = f"file:{path}"  # ffmpeg-python fails on names that are not UTF-8
    try:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise AudioError(f"needs ffmpeg to be decoded, which does not start: {reason(error)}") from None


def _ffmpeg_binary() -> str:
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise AudioError(_NO_FFMPEG) from None


class _Array:
    """Hands out an array in blocks, as the other readers do."""

    expected_s = None

    def __init__(self, samples: np.ndarray, rate_hz: float):
        self._samples, self._at = samples, 0
        self.rate_hz, self.channels = rate_hz, samples.shape[1]

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
