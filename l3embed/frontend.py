"""Sound to spectrogram, in NumPy: the realisation used for extraction and for data pipelines.

Conventions: sound is float in [-1, 1]; a spectrogram is (frequency, time, 1) in units of ``10 log10`` of a magnitude,
unless its front end says otherwise.
The kapre realisation of the same records for the training graph is `l3embed.networks.front_end`; a test holds the two
together. Which published program computes which front end is told in docs/front-ends.md.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from . import fft32
from .spec import FrontEnd, Waveform

FRAMES = 128  # transformed at a time: their spectra stay in the processor's cache
BLOCK_BANDS = 8


def spectrograms(signal: np.ndarray, starts: np.ndarray, front_end: FrontEnd | Waveform) -> np.ndarray:
    """What a network takes of windows of a signal: their spectrograms, or the windows themselves.

    The Fourier transform is computed in float64 unless the front end says otherwise: OpenL3's 80 units below a window's
    maximum span 160 dB of amplitude, more than float32 resolves, and NumPy's float64 transform is also the faster one
    (docs/front-ends.md).

    Parameters
    ----------
    signal : (n,) float array, mono, at `front_end.rate_hz`
    starts : (N,) int array; window i is ``signal[starts[i] : starts[i] + front_end.window_samples]``

    Returns
    -------
    (N, *front_end.shape) float32; of spectrograms (N, F, T, 1) or, where `layout` says so, (N, T, F, 1)
    """
    fe = front_end
    starts = np.asarray(starts, np.int64)
    out = np.empty((len(starts), *fe.shape), np.float32)
    if isinstance(fe, Waveform):
        for i, start in enumerate(starts):
            out[i, :, 0, 0] = fe.scale * signal[start : start + fe.window_samples]
        return out
    of_columns = out[..., 0] if fe.layout == "time-frequency" else out[..., 0].transpose(0, 2, 1)  # (N, T, F)
    if _shares_columns(fe, starts):
        first = int(starts[0])
        columns = _level(_magnitudes(signal[first : int(starts[-1]) + fe.window_samples], fe), fe)
        for i, column in enumerate((starts - first) // fe.hop_samples):
            of_columns[i] = columns[column : column + fe.n_frames]
        return out
    for i, start in enumerate(starts):
        window = np.pad(signal[start : start + fe.window_samples], fe.pad_samples, mode=fe.pad_mode)
        of_columns[i] = _level(_magnitudes(window, fe), fe)
    return out


def _shares_columns(fe: FrontEnd, starts: np.ndarray) -> bool:
    """Whether overlapping windows see the same columns: nothing in the front end depends on the window itself."""
    if fe.range_db is not None or any(fe.pad_samples) or len(starts) < 2:
        return False
    steps = np.diff(starts)
    return bool(np.all(steps > 0) and np.all(steps <= fe.window_samples) and not np.any(steps % fe.hop_samples))


def _magnitudes(signal: np.ndarray, fe: FrontEnd) -> np.ndarray:
    """(n,) -> (T, F) magnitudes, linear or mel, float64; energies where `mel_of` says so."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, fe.frame_samples or fe.n_fft)[:: fe.hop_samples]
    out = np.empty((len(frames), fe.n_bins))
    for at in range(0, len(frames), FRAMES):
        values = _power(frames[at : at + FRAMES], fe)
        if fe.mel_of == "magnitude":
            np.sqrt(values, out=values)
        part = out[at : at + FRAMES]
        if not fe.n_mels:
            part[:] = values
        for bands, bins, weights in _mel_blocks(fe):
            np.matmul(values[:, bins], weights, out=part[:, bands])
    return np.sqrt(out, out=out) if fe.mel_of == "power" else out


def _power(frames: np.ndarray, fe: FrontEnd) -> np.ndarray:
    """(T, samples of a frame) -> (T, bins) power spectra, float64."""
    if fe.transform == "float32":
        real, imag = fft32.rfft(frames.astype(np.float32) * fft32.hann(fe.n_fft))
        return np.square(real.T, dtype=float) + np.square(imag.T, dtype=float)
    spectrum = np.fft.rfft(frames * _hann(frames.shape[1]), fe.n_fft, axis=1)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    return power


def _level(magnitudes: np.ndarray, fe: FrontEnd) -> np.ndarray:
    """kapre 0.1.4's scale, 10 log10 of a magnitude, relative to the maximum of them all where `range_db` is set; or ln.

    Overwrites its argument.
    """
    if fe.log == "ln":
        magnitudes += fe.amin
        return np.log(magnitudes, out=magnitudes)
    db = np.maximum(magnitudes, fe.amin, out=magnitudes)
    np.log10(db, out=db)
    db *= 10
    if fe.range_db is not None:
        top = db.max()
        if fe.relative:
            db -= top
            top = 0
        np.maximum(db, top - fe.range_db, out=db)
    return db


@lru_cache
def _hann(n: int) -> np.ndarray:
    """Periodic Hann window (n,) float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


@lru_cache
def _mel_blocks(fe: FrontEnd) -> list[tuple[slice, slice, np.ndarray]]:
    """The filterbank in blocks of neighbouring bands: (bands, the bins they cover, (bins, bands) weights).

    Nearly all of the whole matrix is zero: without those products mel takes 0.1 ms of a mel256 window in place of 2.2
    (scripts/bench_extract.py).
    """
    if not fe.n_mels:
        return []
    bank, blocks = mel_filterbank(fe), []
    for at in range(0, fe.n_mels, BLOCK_BANDS):
        bands = slice(at, at + BLOCK_BANDS)
        covered = np.flatnonzero(bank[bands].any(axis=0))
        bins = slice(int(covered[0]), int(covered[-1]) + 1) if len(covered) else slice(0, 1)
        blocks.append((bands, bins, np.ascontiguousarray(bank[bands, bins].T)))
    return blocks


@lru_cache
def mel_filterbank(fe: FrontEnd) -> np.ndarray:
    """Triangles between points equally spaced in mel from `f_min_hz` to `f_max_hz`: (n_mels, n_fft // 2 + 1).

    They are linear in Hz or, as TensorFlow's ``linear_to_mel_weight_matrix``, in mel. The HTK scale is
    ``2595 log10(1 + f / 700)``; Slaney's is linear to 1 kHz, then logarithmic (27 steps per 6.4-fold).
    Norm "slaney" scales each triangle to unit area, ``2 / (f[i+2] - f[i])``; "sum" scales the values that the bins
    see of it to a sum of 1 (librosa's ``norm=1`` since 0.8).
    """
    to_mel, to_hz = (_hz_to_htk, _htk_to_hz) if fe.mel_scale == "htk" else (_hz_to_slaney, _slaney_to_hz)
    top_hz = fe.rate_hz / 2 if fe.f_max_hz is None else fe.f_max_hz
    edges = np.linspace(to_mel(np.array(fe.f_min_hz)), to_mel(np.array(top_hz)), fe.n_mels + 2)[:, None]  # mel
    bins = np.linspace(0, fe.rate_hz / 2, fe.n_fft // 2 + 1)[None]  # Hz
    if fe.triangles == "mel":
        bins = to_mel(bins)
    else:
        edges = to_hz(edges)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0, np.minimum(rising, falling))
    if fe.mel_norm == "slaney":
        return bank * 2 / (edges[2:] - edges[:-2])
    if fe.mel_norm == "sum":
        total = bank.sum(axis=1, keepdims=True)
        return bank / np.where(total > 0, total, 1)  # a filter that falls between two bins stays empty
    return bank


def _hz_to_htk(hz):
    return 2595 * np.log10(1 + hz / 700)


def _htk_to_hz(mel):
    return 700 * (10 ** (mel / 2595) - 1)


def _hz_to_slaney(hz):  # Slaney's Auditory Toolbox: 200/3 Hz a mel to 1 kHz (mel 15), then ln(6.4)/27 a mel
    return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1000) / 1000) * 27 / np.log(6.4))


def _slaney_to_hz(mel):
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27))
