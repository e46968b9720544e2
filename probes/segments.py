"""Stretches of recordings as recordings of their own: what the store and the corridor take in place of a file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from l3embed import decode
from l3embed.errors import AudioError
from l3embed.plan import Item


@dataclass(frozen=True, slots=True)
class Segment(Item):
    """From start_s to end_s (None: the end) of the file at `path`. Its bytes are those of a WAV file cut from it.

    `source` and `output` are what the store calls it, and hold the hash of the file: a changed file is another segment.
    """

    path: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    rate_hz: int = 48_000  # of the model: what ffmpeg decodes is cut at this rate

    @property
    def recording(self) -> bytes:
        return cut(self.path, self.start_s, self.end_s, self.rate_hz)


@lru_cache(8)  # the store hashes a segment, then the corridor decodes it
def cut(path: str, start_s: float, end_s: float | None, rate_hz: int) -> bytes:
    """The bytes of a WAV file (float32) with a stretch of a recording.

    What libsndfile can enter at any place is cut at its own rate, all channels; anything else is decoded from its
    beginning, at `rate_hz`, mono. A segment is in memory as a whole. Raises AudioError where nothing is there.
    """
    import soundfile

    if end_s is not None and end_s <= start_s:
        raise AudioError(f"has a segment that ends before it begins: {start_s:g} to {end_s:g} s")
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz, first = file.samplerate, round(start_s * file.samplerate)
            last = file.frames if end_s is None else min(round(end_s * rate_hz), file.frames)
            if first < last:
                file.seek(first)
            sound = file.read(max(0, last - first), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError):
        sound = _decoded(path, start_s, end_s, rate_hz)
    if not len(sound):
        raise AudioError(f"ends before its segment begins, at {start_s:g} s")
    out = io.BytesIO()
    soundfile.write(out, sound, rate_hz, "FLOAT", format="WAV")
    return out.getvalue()


def _decoded(path: str, start_s: float, end_s: float | None, rate_hz: int) -> np.ndarray:
    first, last = round(start_s * rate_hz), None if end_s is None else round(end_s * rate_hz)
    kept, at = [np.empty(0, np.float32)], 0
    with decode.open_recording(path, rate_hz) as recording:
        for block in recording:
            kept.append(block[max(0, first - at) : None if last is None else max(0, last - at)])
            at += len(block)
            if last is not None and at >= last:
                break
    return np.concatenate(kept)[:, None]
