"""Cutting sound into overlapping windows, as OpenL3 does it, on a stream.

Conventions: `window` and `hop` are whole samples; window i covers samples [i hop, i hop + window) of the sound, which
is preceded by half a window of zeros when centred and followed by as many zeros as the last window needs. The time of
window i is ``i hop / rate`` seconds: its centre in the recording when centred, otherwise its start. Models whose own
program cuts otherwise say so in `Framing`: incomplete windows dropped, or a recording as one window.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .errors import UsageError

TIMESTAMPS = ("exact", "openl3")  # see `times`
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


def lead(window: int, center: bool) -> int:
    """Zeros before the sound. Raises UsageError for anything but a truth value: "no" would count as true."""
    if not isinstance(center, bool | np.bool_):
        raise UsageError(f"center must be True or False. Received: {center!r}")
    return window // 2 if center else 0


def count(n_samples: int, window: int, hop: int, lead: int = 0) -> int:
    """How many windows a sound of `n_samples` has: enough to cover every sample, at least one (OpenL3 0.4.2)."""
    return 1 + max(0, math.ceil((n_samples + lead - window) / hop))


def times(n: int, hop: int, rate_hz: int, nominal_s: float | None = None, first: int = 0) -> np.ndarray:
    """(n,) float64 seconds, where the windows are, of which the first is number `first`.

    With `nominal_s`, the hop that was asked for, multiples of it, as OpenL3 writes them: these drift away from the
    windows when hop x rate is no integer.
    """
    index = np.arange(first, first + n)
    return index * hop / rate_hz if nominal_s is None else index * nominal_s


def nominal(hop_s: float, timestamps: str) -> float | None:
    """`nominal_s` of `times`. Raises UsageError unless `timestamps` is "exact" or "openl3"."""
    if timestamps not in TIMESTAMPS:
        raise UsageError(f"timestamps must be one of {', '.join(TIMESTAMPS)}. Received: {timestamps!r}")
    return float(hop_s) if timestamps == "openl3" else None


@dataclass(frozen=True)
class Framing:
    """How a recording is cut, in samples: windows `step` apart, of which every `every`-th is asked for.

    `shared`: overlapping windows share computation. They are then cut in groups of up to GROUP, and a group is computed
    as one long window; otherwise `every` is 1. `drop`: a window that the end cuts short is left out, unless it is the
    only one. `whole`: a recording is one window, of `window` samples at most (longer ones are cut into pieces of that),
    of `least` at least, made up with zeros or, where it `repeats`, with itself; with `frames`, a window has many
    vectors, `hop` apart.
    """

    window: int
    hop: int
    lead: int = 0
    every: int = 1
    shared: bool = False
    nominal_s: float | None = None  # see `times`
    drop: bool = False
    whole: bool = False
    least: int = 0
    repeats: bool = False
    frames: bool = False

    @property
    def step(self) -> int:
        return self.hop // self.every

    def times(self, n: int, rate_hz: int, first: int = 0) -> np.ndarray:
        """(n,) float64 seconds: time stamps of n windows from the `first` on."""
        return times(n, self.hop, rate_hz, self.nominal_s, first)

    def count(self, n_samples: int) -> int:
        """How many windows a recording has."""
        return count(n_samples - self.drop * (self.hop - 1), self.window, self.hop, self.lead)

    @property
    def needed(self) -> int:
        """Samples without which the model's own program gives nothing; 0 where it makes up for what is missing."""
        return self.least if self.whole else self.window * self.drop

    def recipe(self) -> dict:
        """What decides the numbers of an output beside window, hop and lead: nothing, for OpenL3's way."""
        how = {"drop": self.drop, "whole": self.whole, "least": self.least, "repeats": self.repeats,
               "frames": self.frames}  # fmt: skip
        return {name: value for name, value in how.items() if value}


GROUP = 64  # windows in a chunk: bounds memory, whatever the length of a recording
ROUND_UP = 8  # shared windows in a last group are a multiple of it: few shapes to compile, little computed in vain


def chunks(
    blocks: Iterable[np.ndarray], framing: Framing, at_most: int = GROUP
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Group a stream of sound into chunks of windows.

    Yields ``(signal (n,), starts (k,), n_windows)``, k <= `at_most`: window j of the chunk is
    ``signal[starts[j] : starts[j] + framing.window]``, windows follow on from chunk to chunk, and the first
    `n_windows` of a chunk belong to the recording (a last group of shared windows may reach beyond it). Memory is
    bounded by `at_most` windows plus one block, whatever the hop. A stream without samples yields nothing. Where a
    recording is one window, a chunk is that window, or a piece of it.
    """
    if framing.whole:
        yield from _pieces(blocks, framing)
        return
    step, window = framing.step, framing.window
    group = max(1, min(at_most, at_most * window // step))  # a chunk holds the sound between its windows, too
    span = (group - 1) * step + window
    buffer, skip, n_samples, n_done = [np.zeros(framing.lead, np.float32)], 0, 0, 0
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
            yield signal[:span], np.arange(group) * step, group
            n_done += group
            # a hop longer than the window leaves samples between windows that may not have arrived yet
            skip = max(0, group * step - len(signal))
            buffer = [signal[group * step :]]
            buffered = len(buffer[0])
    if n_samples:
        wanted = (framing.count(n_samples) - 1) * framing.every + 1
        yield from _last(np.concatenate(buffer), framing, wanted - n_done, group)


def _last(rest: np.ndarray, framing: Framing, n_left: int, group: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """The windows that begin in the rest of a stream, and reach beyond it into zeros."""
    step = framing.step
    while n_left > 0:
        n = min(n_left, group)
        k = min(-(-n // ROUND_UP) * ROUND_UP, group) if framing.shared else n
        size = (k - 1) * step + framing.window
        yield np.pad(rest[:size], (0, max(0, size - len(rest)))), np.arange(k) * step, n
        rest = rest[k * step :]
        n_left -= n


def _pieces(blocks: Iterable[np.ndarray], framing: Framing) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """The whole of a stream as one window, or as consecutive ones of `framing.window` samples and a rest.

    The rest is at least half as long, since a vector stands for it as for any other; of frames it may be anything.
    """
    buffer, buffered, start = [], 0, np.zeros(1, int)
    at_most = framing.window if framing.frames else framing.window * 3 // 2
    for block in blocks:
        buffer.append(block)
        buffered += len(block)
        while buffered > at_most:
            signal = np.concatenate(buffer)
            yield signal[: framing.window], start, 1
            buffer = [signal[framing.window :]]
            buffered = len(buffer[0])
    if not buffered:
        return
    signal = np.concatenate(buffer)
    if missing := max(0, framing.least - buffered):
        signal = np.pad(signal, (0, missing), mode="wrap" if framing.repeats else "constant")
    yield signal, start, 1
