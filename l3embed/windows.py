"""Cutting sound into overlapping windows, as OpenL3 does it, on a stream.

Conventions: `window` and `hop` are whole samples; window i covers samples [i hop, i hop + window) of the sound, which
is preceded by half a window of zeros when centred and followed by as many zeros as the last window needs. The time of
window i is ``i hop / rate`` seconds: its centre in the recording when centred, otherwise its start.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator

import numpy as np

from .errors import UsageError

# A product such as 0.29 s x 48000 Hz falls 2e-12 below the integer it means.
_ROUNDING = 1e-6
_LONGEST = 2**53  # samples: as far as float64 counts; thousands of years


def hop_samples(hop_s: float, rate_hz: int) -> int:
    """Whole samples in a hop, rounded down as in OpenL3. Raises UsageError unless that is at least one sample."""
    if not isinstance(hop_s, numbers.Real) or isinstance(hop_s, bool) or not math.isfinite(hop_s):
        raise UsageError(f"hop must be a number of seconds. Received: {hop_s!r}")
    samples = math.floor(hop_s * rate_hz + _ROUNDING)
    if samples < 1:
        raise UsageError(f"hop must be > 0 s and at least one sample ({1 / rate_hz:.2g} s). Received: {hop_s}")
    if samples > _LONGEST:
        raise UsageError(f"hop must be less than {_LONGEST / rate_hz:.2g} s. Received: {hop_s}")
    return samples


def count(n_samples: int, window: int, hop: int, center: bool = True) -> int:
    """How many windows a sound of `n_samples` has: enough to cover every sample, at least one (OpenL3 0.4.2)."""
    length = n_samples + (window // 2 if center else 0)
    return 1 + max(0, math.ceil((length - window) / hop))


def times(n: int, hop: int, rate_hz: int) -> np.ndarray:
    """(n,) float64 seconds. OpenL3 multiplies by the nominal hop instead and drifts when hop x rate is no integer."""
    return np.arange(n) * hop / rate_hz


def chunks(
    blocks: Iterable[np.ndarray], *, window: int, hop: int, center: bool = True, at_most: int = 64
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Group a stream of sound into chunks of windows.

    Yields ``(signal (n,), starts (k,))``, 1 <= k <= `at_most`: window j of the chunk is
    ``signal[starts[j] : starts[j] + window]``, and the windows follow on from chunk to chunk. Memory is bounded by
    `at_most` windows plus one block, whatever the hop. A stream without samples yields nothing.
    """
    at_most = max(1, min(at_most, at_most * window // hop))  # a chunk holds the sound between its windows, too
    span = (at_most - 1) * hop + window
    buffer, skip, n_samples, n_done = [np.zeros(window // 2 if center else 0, np.float32)], 0, 0, 0
    buffered = len(buffer[0])
    for block in blocks:
        n_samples += len(block)
        block, skip = block[skip:], max(0, skip - len(block))
        if not len(block):  # nor keep it: an empty view would hold the block it was cut from
            continue
        buffer.append(block)
        buffered += len(block)
        while buffered >= span:
            signal = np.concatenate(buffer)
            yield signal[:span], np.arange(at_most) * hop
            n_done += at_most
            # a hop longer than the window leaves samples between windows that may not have arrived yet
            skip = max(0, at_most * hop - len(signal))
            buffer = [signal[at_most * hop :]]
            buffered = len(buffer[0])
    left = count(n_samples, window, hop, center) - n_done if n_samples else 0
    if left > 0:
        end = (left - 1) * hop + window
        signal = np.concatenate([*buffer, np.zeros(max(0, end - buffered), np.float32)])
        yield signal[:end], np.arange(left) * hop
