"""How a pair is altered: gain, crop, flip, saturation and brightness.

Ranges, order and the meaning of each alteration are those of marl/l3embedding (data/avc/sample.py), which made the
pairs of Cramer et al. 2019; `PairConfig` holds the figures.
"""

from __future__ import annotations

import numpy as np

from .config import PairConfig


def gain(sound: np.ndarray, pairs: PairConfig, rng: np.random.Generator) -> np.ndarray:
    """(n,) float times a random factor, never one that would clip."""
    low, high = pairs.gain
    headroom = 1 / max(float(np.abs(sound).max()), 1e-9)
    return (sound * rng.uniform(min(low, headroom), min(high, headroom))).astype(np.float32)


def crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square of the picture, from anywhere in it."""
    top, left = (rng.integers(0, n - size + 1) for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def recolour(image: np.ndarray, pairs: PairConfig, rng: np.random.Generator) -> np.ndarray:
    """(h, w, 3) uint8, mirrored half of the time; then saturation and brightness, which comes first by chance."""
    if pairs.flip and rng.random() < 0.5:
        image = image[:, ::-1]
    factor, shift = rng.uniform(*pairs.saturation), 255 * rng.uniform(-pairs.brightness, pairs.brightness)
    x = np.ascontiguousarray(np.moveaxis(image, -1, 0)).astype(np.float32)  # in planes and in place: half the time
    if rng.random() < 0.5:
        _saturate(x, factor)
        _brighten(x, shift)
    else:
        _brighten(x, shift)
        _saturate(x, factor)
    return np.ascontiguousarray(np.moveaxis(np.rint(x, out=x).astype(np.uint8), 0, -1))


def _saturate(x: np.ndarray, factor: float) -> None:
    """The S of HSV times a factor, at most 1; hue and value stay. x: (3, h, w), 0 to 255.

    S = 1 - low / high, so that to scale S is to scale each channel's distance from the highest one.
    """
    high = np.maximum(np.maximum(x[0], x[1]), x[2])
    scale = np.float32(factor)
    if factor > 1:
        spread = high - np.minimum(np.minimum(x[0], x[1]), x[2])
        scale = np.minimum(scale, high / np.maximum(spread, np.float32(1e-6)))
    np.subtract(high, x, out=x)
    x *= scale
    np.subtract(high, x, out=x)


def _brighten(x: np.ndarray, shift: float) -> None:
    x += np.float32(shift)
    np.clip(x, 0, 255, out=x)
