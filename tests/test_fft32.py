"""The float32 transform: right, and with the very roundings of the library that OpenL3 0.4 uses."""

import numpy as np
import pytest

from l3embed import fft32


def _frames(n: int) -> np.ndarray:
    """Noise, a pure tone, an impulse, silence, a constant."""
    rng, t = np.random.default_rng(n), np.arange(n)
    rows = [rng.standard_normal(n), np.cos(2 * np.pi * 0.37 * t), t == n // 2, 0 * t, 1 + 0 * t]
    return np.float32(rows)


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32, 512, 1024, 2048])
def test_it_is_the_fourier_transform(n):
    frames = _frames(n)
    real, imag = fft32.rfft(frames)
    assert real.shape == imag.shape == (n // 2 + 1, len(frames)) and real.dtype == imag.dtype == np.float32
    exact = np.fft.rfft(frames.astype(float), axis=1).T
    scale = np.finfo(np.float32).eps * np.linalg.norm(frames, axis=1) * 2 * np.log2(n)
    assert np.all(np.abs(real + 1j * imag - exact) <= scale)


@pytest.mark.parametrize("n", [2, 4, 8, 512, 2048])
def test_it_rounds_as_pocketfft(n):
    scipy_fft = pytest.importorskip("scipy.fft")
    real, imag = fft32.rfft(_frames(n))
    expected = scipy_fft.rfft(_frames(n), axis=1).T
    assert expected.dtype == np.complex64
    np.testing.assert_array_equal(real, expected.real)
    np.testing.assert_array_equal(imag, expected.imag)


@pytest.mark.parametrize("n", [512, 2048])
def test_window_and_transform_are_tensorflows(n):
    tf = pytest.importorskip("tensorflow")
    np.testing.assert_array_equal(fft32.hann(n), tf.signal.hann_window(n, periodic=True).numpy())
    np.testing.assert_allclose(fft32.hann(n), 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n), atol=3e-7)
    real, imag = fft32.rfft(_frames(n))
    expected = tf.signal.rfft(_frames(n)).numpy().T
    np.testing.assert_array_equal(real, expected.real)
    np.testing.assert_array_equal(imag, expected.imag)
