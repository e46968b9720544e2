"""The real Fourier transform in float32, rounding for rounding as TensorFlow computes it.

OpenL3's 80 units below a window's maximum span 160 dB of amplitude. A float32 transform does not reach that far down:
what OpenL3 0.4 sees there is its own rounding errors, and vectors of the same sound by an exact transform are up to
1e-3 away (docs/front-ends.md). So they are part of its numbers, and are made again here: the same mixed-radix algorithm
(Swarztrauber's FFTPACK, as in Reinecke's pocketfft, which TensorFlow and SciPy use), the same order of additions.
NumPy's own transform of float32 rounds differently.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_HALF_SQRT2 = np.float32(0.5**0.5)


def rfft(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, n) float32, n a power of two -> real and imaginary parts, each (n // 2 + 1, N) float32."""
    n = frames.shape[1]
    x, l1 = np.ascontiguousarray(frames.T), n
    for radix, turns in zip(*_plan(n), strict=True):
        ido, l1 = n // l1, l1 // radix
        step = _by_four if radix == 4 else _by_two
        x = step(x.reshape(radix, l1, ido, -1), turns).reshape(n, -1)
    zero = np.zeros_like(x[:1])
    return np.concatenate([x[:1], x[1::2]]), np.concatenate([zero, x[2::2], zero])


@lru_cache
def _plan(n: int) -> tuple[list[int], list]:
    """Radices in the order of use, all fours but for one two at the end; and the turning factors of each pass."""
    fours = (n.bit_length() - 1) // 2
    radices = [4] * fours + [2] * (n.bit_length() - 1 - 2 * fours)
    turns, ido, l1 = [], 1, n
    for radix in radices:
        ido, l1 = n // l1, l1 // radix
        angle = 2 * np.pi * np.outer(np.arange(1, radix), np.arange(1, (ido + 1) // 2)) * l1 / n
        turns.append([(np.float32(np.cos(a))[None, :, None], np.float32(np.sin(a))[None, :, None]) for a in angle])
    return radices, turns


def _turned(x: np.ndarray, turn, re: slice, im: slice) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = turn
    return cos * x[:, re] + sin * x[:, im], cos * x[:, im] - sin * x[:, re]


def _by_two(x: np.ndarray, turns: list) -> np.ndarray:
    """(2, l1, ido, N) -> (l1, 2, ido, N)."""
    _, l1, ido, n = x.shape
    out = np.empty((l1, 2, ido, n), np.float32)
    a, b = x
    out[:, 0, 0], out[:, 1, -1] = a[:, 0] + b[:, 0], a[:, 0] - b[:, 0]
    if ido % 2 == 0:
        out[:, 1, 0], out[:, 0, -1] = -b[:, -1], a[:, -1]
    if ido > 2:
        re, im = slice(1, ido - 1, 2), slice(2, ido, 2)
        br, bi = _turned(b, turns[0], re, im)
        out[:, 0, re], out[:, 1, re] = a[:, re] + br, (a[:, re] - br)[:, ::-1]
        out[:, 0, im], out[:, 1, im] = bi + a[:, im], (bi - a[:, im])[:, ::-1]
    return out


def _by_four(x: np.ndarray, turns: list) -> np.ndarray:
    """(4, l1, ido, N) -> (l1, 4, ido, N)."""
    _, l1, ido, n = x.shape
    out = np.empty((l1, 4, ido, n), np.float32)
    a, b, c, d = x
    odd, even = d[:, 0] + b[:, 0], a[:, 0] + c[:, 0]
    out[:, 2, 0], out[:, 1, -1] = d[:, 0] - b[:, 0], a[:, 0] - c[:, 0]
    out[:, 0, 0], out[:, 3, -1] = even + odd, even - odd
    if ido % 2 == 0:
        i, r = -_HALF_SQRT2 * (b[:, -1] + d[:, -1]), _HALF_SQRT2 * (b[:, -1] - d[:, -1])
        out[:, 0, -1], out[:, 2, -1] = a[:, -1] + r, a[:, -1] - r
        out[:, 3, 0], out[:, 1, 0] = i + c[:, -1], i - c[:, -1]
    if ido > 2:
        re, im = slice(1, ido - 1, 2), slice(2, ido, 2)
        (br, bi), (cr, ci), (dr, di) = (_turned(y, t, re, im) for y, t in zip((b, c, d), turns, strict=True))
        r1, r4, i1, i4 = dr + br, dr - br, bi + di, bi - di
        r2, r3, i2, i3 = a[:, re] + cr, a[:, re] - cr, a[:, im] + ci, a[:, im] - ci
        out[:, 0, re], out[:, 3, re] = r2 + r1, (r2 - r1)[:, ::-1]
        out[:, 0, im], out[:, 3, im] = i1 + i2, (i1 - i2)[:, ::-1]
        out[:, 2, re], out[:, 1, re] = r3 + i4, (r3 - i4)[:, ::-1]
        out[:, 2, im], out[:, 1, im] = r4 + i3, (r4 - i3)[:, ::-1]
    return out


@lru_cache
def hann(n: int) -> np.ndarray:
    """Periodic Hann window (n,), every step rounded to float32: bit for bit ``tf.signal.hann_window``."""
    half, turn = np.float32(0.5), np.float32(2 * np.pi)
    return half - half * _cos(turn * np.arange(n, dtype=np.float32) / np.float32(n))


# Eigen's cosine of float32 without fused multiplication and addition (psincos_float of GenericPacketMathFunctions.h):
# the distance to the nearest multiple of pi / 2, which is taken away in four parts, and two polynomials of its square.
_TWO_OVER_PI = 0.636619746685028076171875
_HALF_PI = (1.5703125, 0.000483989715576171875, -1.62865035235881805419921875e-07, -5.5644315544167710640977e-11)
_COS = (2.4372266125283204e-05, -0.00138865201734006404876708984375, 0.041666619479656219482421875, -0.5, 1.0)
_SIN = (-0.00019592341140837029, 0.0083326873655616852, -0.1666666203982298)


def _cos(x: np.ndarray) -> np.ndarray:
    """Cosine of not too large float32 numbers."""
    quarter = np.round(x * np.float32(_TWO_OVER_PI))
    for part in _HALF_PI:
        x = x - quarter * np.float32(part)
    square = x * x
    sin = _polynomial(_SIN, square) * square * x + x
    return np.choose(quarter.astype(int) % 4, [_polynomial(_COS, square), -sin, -_polynomial(_COS, square), sin])


def _polynomial(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    value = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        value = value * x + np.float32(c)
    return value
