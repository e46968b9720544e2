"""The reader for what libsndfile recognises, and how to tell that such a file was cut off.

Readers have `rate_hz`, `channels`, `expected_s`; ``read(n)`` gives (<= n, channels), empty at the end;
``finish(seconds)`` gives notes or raises AudioError.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import AudioError
from .source import Source, interrupts_wait

UNKNOWN_FRAMES = 1 << 62  # libsndfile says 2^63 - 1 frames when a FLAC header leaves the length open
SHORTFALL_S = 0.001  # less than this is rounding of lengths, not a cut
_OGG_PAGE = 65_307  # bytes of the largest page (RFC 3533, section 6)


class Libsndfile:
    """Reads what libsndfile recognises."""

    def __init__(self, sound, source: Source, chunk: Chunk | None, is_cut_ogg: bool):
        self._sound, self._source, self._chunk, self._is_cut_ogg = sound, source, chunk, is_cut_ogg
        self.rate_hz, self.channels = sound.samplerate, sound.channels
        self.expected_s = sound.frames / sound.samplerate

    @property
    def is_estimate(self) -> bool:
        """Whether `expected_s` is no more than a guess: libsndfile makes one of the length of an MP3."""
        return self._sound.format == "MP3"

    def read(self, n: int) -> np.ndarray:
        import soundfile

        try:
            with interrupts_wait():
                block = self._sound.read(n, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            self._source.check()
            raise AudioError(f"is truncated or damaged: {self._shortfall(self._sound.tell() / self.rate_hz)}") from None
        self._source.check()
        return block

    def finish(self, seconds: float) -> list[str]:
        if self._chunk and self._chunk.overflown:
            return [f"more than 4 GiB: its header counts {seconds:.2f} s only, the sound after that was not read"]
        short = not self.is_estimate and self.expected_s - seconds > SHORTFALL_S
        if short and self._sound.format == "FLAC":
            raise AudioError(f"is truncated: {self._shortfall(seconds)}")
        if self._chunk and self._chunk.cut:
            promised_s = seconds * self._chunk.promised / max(1, self._chunk.present)
            if promised_s - seconds > SHORTFALL_S:
                return [f"truncated: {self._shortfall(seconds, promised_s)}"]
        if self._is_cut_ogg:
            return [f"truncated: the end-of-stream mark is missing, {seconds:.2f} s could be read"]
        return [f"truncated: {self._shortfall(seconds)}"] if short else []

    def _shortfall(self, seconds: float, promised_s: float | None = None) -> str:
        promised_s = self.expected_s if promised_s is None else promised_s
        return f"the header promises {promised_s:.2f} s, {seconds:.2f} s could be read"

    def close(self) -> None:
        self._sound.close()


class Chunk(NamedTuple):
    """Sizes in bytes of the chunk that holds a WAV or AIFF file's samples; `outer`: of the chunk around everything."""

    promised: int
    present: int
    outer: int

    @property
    def cut(self) -> bool:
        return not _open_ended(self.promised) and self.present < self.promised

    @property
    def overflown(self) -> bool:
        """Whether a size of 32 bits has come round to 0 at 4 GiB and counts from there."""
        return self.present >= self.promised + 2**32

    @property
    def unfinished(self) -> bool:
        """A recorder that stopped before it wrote the sizes: libsndfile sees no samples there, ffmpeg reads them."""
        return self.promised == 0 and self.present > 0 and _open_ended(self.outer)


def _open_ended(size: int) -> bool:
    """Whether a size stands for "unknown": 0, or as near to 2^31 or 2^32 as programs that write to a pipe put it."""
    return size == 0 or min(abs(size - 2**31), abs(size - 2**32)) <= 1 << 16


def sound_chunk(source: Source) -> Chunk | None:
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
            return Chunk(size, source.size - at, int.from_bytes(head[4:8], order))
        at += size + size % 2
    return None


def ogg_cut(source: Source) -> bool:
    """Whether this is an Ogg file whose last page is incomplete or lacks the end-of-stream flag (RFC 3533)."""
    if source.read_at(0, 4) != b"OggS":
        return False
    tail = source.read_at(max(0, source.size - _OGG_PAGE), _OGG_PAGE)
    page = tail[max(0, tail.rfind(b"OggS\0")) :]
    if not page.startswith(b"OggS"):
        return False  # something else follows the sound
    length = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else 27
    return len(page) < length or not page[5] & 4


def ogg_chained(source: Source) -> bool:
    """Whether an Ogg file holds one recording after another, as radio does: libsndfile reads the first one only.

    The streams that begin together stand at the head of the file (RFC 3533, section 4); a later one has another number.
    """
    at, serials = 0, set()
    while _whole_head(page := source.read_at(at, 27 + 255)) and page[5] & 2 and len(serials) < 100:
        serials.add(page[14:18])
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
    tail = source.read_at(max(0, source.size - _OGG_PAGE), _OGG_PAGE)
    last = tail[max(0, tail.rfind(b"OggS\0")) :][:27]
    return bool(serials) and _whole_head(last) and last[14:18] not in serials


def _whole_head(page: bytes) -> bool:
    """Whether an Ogg page begins here, and does not end within its head."""
    return page[:4] == b"OggS" and len(page) >= 27


def mp3_chained(source: Source) -> bool:
    """Whether another MP3 file follows the first one, as where files were put together: libsndfile stops before it.

    The first frame then says how many bytes belong to it (a Xing or Info header, LAME's specification of it); behind
    those there is a tag, if anything, and no further frame.
    """
    head, at = source.read_at(0, 10), 0
    if head[:3] == b"ID3" and len(head) == 10:  # id3.org, ID3v2.3, 3.1: seven bits of each byte count
        at = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    frame = source.read_at(at, 200)
    if frame[:1] != b"\xff":
        return False
    said = max(frame.find(b"Xing"), frame.find(b"Info"))
    if said < 0 or len(frame) < said + 16 or not frame[said + 7] & 2:  # no number of bytes
        return False
    field = said + 8 + 4 * (frame[said + 7] & 1)  # behind the number of frames, if there is one
    behind = source.read_at(at + int.from_bytes(frame[field : field + 4], "big"), 3)
    return behind == b"ID3" or (len(behind) > 1 and behind[0] == 0xFF and behind[1] & 0xE0 == 0xE0)
