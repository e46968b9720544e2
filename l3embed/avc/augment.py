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
    x = image.astype(np.float32)
    if rng.random() < 0.5:
        x = _brighten(_saturate(x, factor), shift)
    else:
        x = _saturate(_brighten(x, shift), factor)
    return np.rint(x).astype(np.uint8)


def _saturate(x: np.ndarray, factor: float) -> np.ndarray:
    """The S of HSV times a factor, at most 1; hue and value stay. x: 0 to 255.

    S = 1 - low / high, so that to scale S is to scale each channel's distance from the highest one.
    """
    high = np.maximum(np.maximum(x[..., 0], x[..., 1]), x[..., 2])
    spread = high - np.minimum(np.minimum(x[..., 0], x[..., 1]), x[..., 2])
    if factor > 1:
        factor = np.minimum(np.float32(factor), high / np.maximum(spread, 1e-6))[..., None]
    return high[..., None] - np.asarray(factor, np.float32) * (high[..., None] - x)


def _brighten(x: np.ndarray, shift: float) -> np.ndarray:
    return np.clip(x + np.float32(shift), 0, 255)
