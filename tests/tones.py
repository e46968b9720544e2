"""Recordings known in closed form, and how tests of decoding read and refuse them."""

import io
import os

import numpy as np
import pytest
import soundfile

from l3embed.decode import Recording, open_recording
from l3embed.errors import AudioError

RATE = 48_000
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs pipes, permissions and scripts as on POSIX")


def tones(seconds: float, rate_hz: float) -> np.ndarray:
    """(n,) float64: four sines below 3 kHz, so that any rate from 8 kHz on holds them; peak below 0.1."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    parts = [(0.04, 220, 0.3), (0.03, 733, 1.1), (0.02, 1511, 2.0), (0.008, 2903, 0.7)]
    return sum(a * np.sin(2 * np.pi * f * t + phase) for a, f, phase in parts)


def encoded(samples, rate_hz: int, format: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format, subtype=subtype)
    return file.getvalue()


def read(source, rate_hz: int = RATE) -> tuple[np.ndarray, Recording]:
    with open_recording(source, rate_hz) as recording:
        blocks = list(recording)
    assert all(block.dtype == np.float32 and block.ndim == 1 and len(block) for block in blocks)
    sound = np.concatenate(blocks)
    assert recording.n_samples == len(sound) and recording.rate_hz == rate_hz
    return sound, recording


def refusal(source, rate_hz: int = RATE) -> str:
    """The sentence with which a recording is refused, checked to be one."""
    with pytest.raises(AudioError) as caught:
        read(source, rate_hz)
    text = str(caught.value)
    assert "\n" not in text and "Traceback" not in text and "Error" not in text and ".py" not in text
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
    return text


def assert_tones(sound: np.ndarray, seconds: float, gain: float = 1.0, atol: float = 2e-4, rate_hz: int = RATE):
    """Equal to the tones in closed form, apart from the filter's ringing at the two ends."""
    expected = gain * tones(seconds, rate_hz)
    assert abs(len(sound) - len(expected)) <= 1
    inside = slice(rate_hz // 50, len(expected) - rate_hz // 50)
    np.testing.assert_allclose(sound[inside], expected[inside], atol=atol)


def best_correlation(sound: np.ndarray, seconds: float, delay: int = 3000) -> float:
    """Of the sound with the tones, at the best delay of up to `delay` samples either way."""
    n = round(seconds * RATE) - 2 * delay
    expected = tones(seconds, RATE)[delay : delay + n]
    size = 2 * (n + 2 * delay)
    spectrum = np.fft.rfft(sound[: n + 2 * delay], size) * np.conj(np.fft.rfft(expected, size))
    at = int(np.argmax(np.fft.irfft(spectrum, size)[: len(sound[: n + 2 * delay]) - n]))
    return float(np.corrcoef(sound[at : at + n], expected)[0, 1])


class Failing(io.BytesIO):
    """A disk that gives up after some bytes."""

    good = 0

    def read(self, n=-1):
        if self.tell() + min(max(n, 0), len(self.getbuffer()) - self.tell()) > self.good:
            raise OSError(5, "Input/output error")
        return super().read(n)


class Unseekable(io.RawIOBase):
    """Bytes that come once, as from a network."""

    def __init__(self, data: bytes):
        self._file = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._file.readinto(buffer)
