"""What an embedding has to beat: statistics of MFCC and of log-mel bands, and vectors that know nothing.

    features("mfcc", data) -> ArrayFeatures, one vector a clip

Recordings are streamed: what is held in memory are a block of sound and, for differences over time, a clip's MFCC.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from l3embed import decode
from l3embed.errors import L3EmbedError, reason
from l3embed.frontend import spectrograms
from l3embed.spec import FrontEnd, small_front_end

from .datasets import Clip, DataSet

VERSION = 1  # raised when numbers change
BLOCK_FRAMES = 2048  # columns made at a time
KEPT_FRAMES = 2**14  # columns of a recording that are held, 8 MB
TOP_DB = 80.0  # librosa's power_to_db: a cell is never further below the clip's loudest one
DELTA_FRAMES = 9  # librosa's delta: width of the fitted polynomial
ZCR_SAMPLES = 512  # of a frame, Piczak's
FEW_SAMPLES = 1024  # shorter clips are filled up with zeros (Pons' code)


def mel_of_librosa(rate_hz: int) -> FrontEnd:
    """librosa's default mel spectrogram in dB: 2048-point Hann frames every 512 samples, centred, 128 Slaney bands of
    power. A window is a frame; clips are cut by `_columns`."""
    return FrontEnd(
        name="librosa-mel", version=1, rate_hz=rate_hz, window_samples=2048, n_fft=2048, hop_samples=512,
        pad_samples=(0, 0), n_mels=128, mel_scale="slaney", mel_norm="slaney", mel_of="energy", amin=1e-10,
        range_db=None,
    )  # fmt: skip


def mfcc_statistics(source) -> np.ndarray:
    """(26,): mean and standard deviation over frames of MFCC 1 to 12 and of the zero-crossing rate.

    Piczak 2015 (ESC): librosa's defaults at 44.1 kHz, the 0th coefficient left out; the rate is that of frames of 512
    samples.
    """
    cepstra = _mfcc(source, 44_100, 13)[1:]
    rates = np.concatenate(list(_zero_crossings(source, 44_100)))
    rows = np.vstack([cepstra.mean(axis=1), cepstra.std(axis=1)]).T  # (12, 2)
    return np.concatenate([rows[:, 0], [rates.mean()], rows[:, 1], [rates.std()]]).astype(np.float32)


def mfcc_delta_statistics(source) -> np.ndarray:
    """(120,): mean and standard deviation over frames of 20 MFCC at 12 kHz and of their first and second differences.

    Pons et al. 2018 (jordipons/neural-classifiers-with-few-audio), for a nearest neighbour by cosine. Differences are
    librosa's: the slope, or curvature, of a polynomial through 9 frames.
    """
    from scipy.signal import savgol_filter

    cepstra = _mfcc(source, 12_000, 20, FEW_SAMPLES)
    mode = "interp" if cepstra.shape[1] >= DELTA_FRAMES else "nearest"
    every = [cepstra, *(savgol_filter(cepstra, DELTA_FRAMES, k, deriv=k, axis=1, mode=mode) for k in (1, 2))]
    return np.concatenate([f(x, axis=1) for x in every for f in (np.mean, np.std)]).astype(np.float32)


def log_mel_statistics(source) -> np.ndarray:
    """(256,): mean, deviation, minimum and maximum over time of 64 log-mel bands of the small family.

    Whole windows of a second count; a recording shorter than one is filled up with zeros (`features.log_mel_statistics`
    gives the same).
    """
    front_end = small_front_end()
    n, total, squares, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    for second in _pieces(_blocks(source, front_end.rate_hz), front_end.window_samples):
        if len(second) < front_end.window_samples:
            if n:
                break
            second = np.pad(second, (0, front_end.window_samples - len(second)))
        columns = spectrograms(second, np.array([0]), front_end)[0, :, :, 0].astype(np.float64)
        n += columns.shape[1]
        total, squares = total + columns.sum(axis=1), squares + (columns**2).sum(axis=1)
        low, high = np.minimum(low, columns.min(axis=1)), np.maximum(high, columns.max(axis=1))
    mean = total / n
    return np.concatenate([mean, np.sqrt(np.maximum(squares / n - mean**2, 0)), low, high]).astype(np.float32)


@dataclass(frozen=True)
class Baseline:
    name: str
    summary: str
    source: str
    of: Callable | None  # (path or bytes of a recording) -> vector; None: nothing is heard


BASELINES: dict[str, Baseline] = {
    one.name: one
    for one in (
        Baseline("mfcc", "mean and standard deviation of 12 MFCC and the zero-crossing rate, 26 numbers",
                 "Piczak 2015, ESC", mfcc_statistics),
        Baseline("mfcc-delta", "mean and standard deviation of 20 MFCC and their differences, 120 numbers",
                 "Pons et al. 2018", mfcc_delta_statistics),
        Baseline("log-mel", "mean, deviation, minimum and maximum of 64 log-mel bands, 256 numbers", "this package",
                 log_mel_statistics),
        Baseline("noise", "16 random numbers a clip: what probes make of nothing", "this package", None),
    )
}  # fmt: skip


def features(name: str, data: DataSet, jobs: int = 1):
    """`ArrayFeatures` of a baseline, one vector a clip. A clip that cannot be read is a failed row with its reason."""
    from joblib import Parallel, delayed

    from .features import ArrayFeatures

    clips = list(data.clips)
    if BASELINES[name].of is None:
        seeds = [zlib.crc32((clip.id or str(clip.path)).encode("utf-8", "surrogateescape")) for clip in clips]
        return ArrayFeatures(name, np.array([np.random.default_rng(s).standard_normal(16) for s in seeds], np.float32))
    found = Parallel(jobs, prefer="threads")(delayed(_attempt)(BASELINES[name].of, clip) for clip in clips)
    failed = {i: why for i, (_, why) in enumerate(found) if why}
    width = next((len(vector) for vector, why in found if not why), 1)
    nothing = np.full(width, np.nan, np.float32)
    return ArrayFeatures(name, np.stack([nothing if why else vector for vector, why in found]), failed)


def _attempt(of: Callable, clip: Clip) -> tuple[np.ndarray | None, str]:
    try:
        vector = of(_source(clip))
    except (L3EmbedError, OSError) as error:
        return None, reason(error)
    return vector, "" if np.isfinite(vector).all() else "its statistics are not finite"


def _source(clip: Clip) -> os.PathLike | bytes:
    if clip.start_s is None and clip.end_s is None:
        return clip.path
    from .segments import cut

    return cut(str(clip.path), clip.start_s or 0.0, clip.end_s, 48_000)


# --- sound to columns, a block at a time


def _blocks(source, rate_hz: int) -> Iterator[np.ndarray]:
    with decode.open_recording(source, rate_hz) as recording:
        yield from recording


def _pieces(blocks: Iterator[np.ndarray], n: int) -> Iterator[np.ndarray]:
    """The same sound in pieces of n samples, the last one shorter."""
    left = np.empty(0, np.float32)
    for block in blocks:
        left = np.concatenate([left, block])
        for at in range(0, len(left) - n + 1, n):
            yield left[at : at + n]
        left = left[len(left) // n * n :]
    if len(left):
        yield left


def _columns(source, front_end: FrontEnd, at_least: int = 0) -> Iterator[np.ndarray]:
    """(frames, bands) in dB of a whole recording, frames centred on multiples of the hop, zeros around the sound."""
    n_fft, hop = front_end.n_fft, front_end.hop_samples
    left, n = np.zeros(n_fft // 2, np.float32), 0  # samples not yet passed by, samples seen
    for block in _padded(_blocks(source, front_end.rate_hz), at_least, n_fft // 2):
        left = np.concatenate([left, block])
        frames = (len(left) - n_fft) // hop + 1
        for at in range(0, frames, BLOCK_FRAMES):
            n = min(BLOCK_FRAMES, frames - at)
            part = left[at * hop : (at + n - 1) * hop + n_fft]
            whole = replace(front_end, window_samples=len(part))
            yield spectrograms(part, np.array([0]), whole)[0, :, :, 0].T
        left = left[max(0, frames) * hop :]


def _padded(blocks: Iterator[np.ndarray], at_least: int, after: int) -> Iterator[np.ndarray]:
    n = 0
    for block in blocks:
        n += len(block)
        yield block
    yield np.zeros(max(0, at_least - n) + after, np.float32)


def _mfcc(source, rate_hz: int, n: int, at_least: int = 0) -> np.ndarray:
    """(n, frames): orthonormal cosine transform (type 2) of the dB of 128 bands, floored TOP_DB below the loudest cell.

    The floor needs the whole recording: one of more than KEPT_FRAMES is read twice.
    """
    from scipy.fft import dct

    top, kept, seen = -np.inf, [], 0
    for block in _columns(source, mel_of_librosa(rate_hz), at_least):
        top, seen = max(top, float(block.max())), seen + len(block)
        kept = [*kept, block] if seen <= KEPT_FRAMES else []
    blocks = kept if seen <= KEPT_FRAMES else _columns(source, mel_of_librosa(rate_hz), at_least)
    parts = [dct(np.maximum(block, top - TOP_DB).astype(np.float64), axis=1, norm="ortho")[:, :n] for block in blocks]
    return np.concatenate(parts).T


def _zero_crossings(source, rate_hz: int) -> Iterator[np.ndarray]:
    """(frames,) share of neighbours within a frame whose signs differ; a zero between them counts half."""
    for piece in _pieces(_blocks(source, rate_hz), ZCR_SAMPLES * 256):
        whole = len(piece) // ZCR_SAMPLES * ZCR_SAMPLES
        for frames in (piece[:whole].reshape(-1, ZCR_SAMPLES), piece[None, whole:]):
            if frames.shape[1] > 1:
                yield 0.5 * np.abs(np.diff(np.sign(frames), axis=1)).mean(axis=1)
