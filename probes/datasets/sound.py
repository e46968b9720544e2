"""The sound of a clip, which may be a stretch of a file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from l3embed import decode
from l3embed.errors import AudioError

from .clips import Clip


def blocks(clip: Clip, rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks (n,) float32, mono, of the clip at `rate_hz`; nothing behind its end is decoded. Raises AudioError."""
    first = round((clip.start_s or 0.0) * rate_hz)
    last = None if clip.end_s is None else round(clip.end_s * rate_hz)
    at = 0
    with decode.open_recording(clip.path, rate_hz) as recording:
        for block in recording:
            if len(part := block[max(first - at, 0) : None if last is None else max(last - at, 0)]):
                yield part
            at += len(block)
            if last is not None and at >= last:
                return
    if at <= first:
        raise AudioError(f"ends at {at / rate_hz:.3f} s, before the clip begins at {clip.start_s:g} s")


def read_sound(clip: Clip, rate_hz: int) -> np.ndarray:
    """(n,) float32, mono: the whole clip."""
    return np.concatenate(list(blocks(clip, rate_hz)))
