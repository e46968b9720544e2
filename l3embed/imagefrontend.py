"""Pictures to the network's input. What OpenL3 0.4 does otherwise, and why, is told in docs/video.md.

Conventions: a picture is (height, width, 3), uint8 or uint16 in its full range, or float in [0, 1].
"""

from __future__ import annotations

import numpy as np

from .errors import ImageError
from .spec import ImageFrontEnd


def check(picture: np.ndarray, front_end: ImageFrontEnd) -> list[str]:
    """What is odd about a picture that can be embedded nevertheless. Raises ImageError where it cannot.

    Floats of the front end openl3-0.4 may have any range, as in OpenL3.
    """
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ImageError(f"has shape {picture.shape}: expected (height, width, 3)")
    if not picture.size:
        raise ImageError("is empty: it holds no pixels")
    kind, centred = picture.dtype.kind, front_end.values == "centred"
    if picture.dtype not in (np.uint8, np.uint16) and kind != "f":
        raise ImageError(f"holds {picture.dtype.name} values: expected uint8, uint16, or floats in [0, 1]")
    if kind == "f" and not np.isfinite(picture).all():
        raise ImageError("holds NaN or infinite values")
    if kind == "f" and centred and not (picture.min() >= 0 and picture.max() <= 1):
        raise ImageError(
            f"holds floats from {picture.min():.3g} to {picture.max():.3g}: expected [0, 1] "
            "(or uint8, from 0 to 255; or uint16)"
        )
    notes = [] if picture.any() else ["all pixels are zero"]
    height, width, crop = *picture.shape[:2], front_end.crop
    if min(height, width) < crop:
        if not front_end.enlarges:
            raise ImageError(f"is {width} x {height} pixels: OpenL3 0.4 refuses less than {crop} x {crop}")
        notes.append(f"smaller than {crop} x {crop}: enlarged")
    return notes


def prepare(picture: np.ndarray, front_end: ImageFrontEnd) -> np.ndarray:
    """A checked picture -> (crop, crop, 3) float32.

    In [-1, 1] where `front_end.values` is "centred". As OpenL3 0.4 has it otherwise: uint8 and uint16 in [-1, 1] if the
    picture is exactly crop x crop, in [0, 1] if it had to be scaled, and their own numbers if it was only cut; floats
    as they are. OpenL3 then divides by the largest value of all that share a call, see `top`.
    """
    height, width, crop = *picture.shape[:2], front_end.crop
    shorter = min(height, width)
    if front_end.values == "centred":
        scale = front_end.shorter / shorter if shorter > front_end.shorter else max(1.0, crop / shorter)
        size = max(crop, round(height * scale)), max(crop, round(width * scale))
        return 2 * _unit(_bicubic(picture, size, crop)) - 1
    if (height, width) == (crop, crop):
        return picture.astype(np.float32) if picture.dtype.kind == "f" else 2 * _unit(picture) - 1
    if shorter > front_end.shorter:
        scale = front_end.shorter / shorter
        return _bilinear(picture, (round(height * scale), round(width * scale)), crop)
    y, x = height // 2 - crop // 2, width // 2 - crop // 2
    return picture[y : y + crop, x : x + crop].astype(np.float32)


def top(prepared: np.ndarray, front_end: ImageFrontEnd) -> float:
    """By which OpenL3 0.4 divides pictures prepared for one call: their largest magnitude, if that is above 1."""
    return max(1.0, float(np.abs(prepared).max())) if front_end.values == "openl3-0.4" else 1.0


def _unit(values: np.ndarray) -> np.ndarray:
    """float32 in [0, 1]: integers by the range of their type."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def _bicubic(picture: np.ndarray, size: tuple[int, int], crop: int) -> np.ndarray:
    """The middle (crop, crop, 3) of a picture scaled to `size`; only what the cut needs is computed.

    Cubic (a = -0.5), widened where it shrinks so that nothing aliases. uint8 stays uint8, as frames of a video are.
    """
    from PIL import Image

    cut = [(n // 2 - crop // 2, old / n) for n, old in zip(size, picture.shape, strict=False)]  # (first, pixels in one)
    (y, dy), (x, dx) = cut
    box = (x * dx, y * dy, min((x + crop) * dx, picture.shape[1]), min((y + crop) * dy, picture.shape[0]))

    def scaled(plane: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(plane).resize((crop, crop), Image.Resampling.BICUBIC, box))

    if picture.dtype == np.uint8:
        return scaled(np.ascontiguousarray(picture))
    unit = [scaled(_unit(np.ascontiguousarray(picture[:, :, i]))) for i in range(3)]
    return np.clip(np.stack(unit, axis=2), 0, 1)  # the cubic overshoots at edges


def _bilinear(picture: np.ndarray, size: tuple[int, int], crop: int) -> np.ndarray:
    """The middle of a picture scaled to `size`, each pixel from the four nearest ones (scikit-image, no smoothing)."""
    rows, columns = (_neighbours(old, new, crop) for old, new in zip(picture.shape, size, strict=False))

    def between(values, neighbours, axis):
        low, high, share = neighbours
        share = share.reshape((-1, *[1] * (values.ndim - 1 - axis)))
        return values.take(low, axis) * (1 - share) + values.take(high, axis) * share

    unit = 1.0 if picture.dtype.kind == "f" else 1 / np.iinfo(picture.dtype).max
    return (between(between(picture, rows, 0), columns, 1) * unit).astype(np.float32)


def _neighbours(old: int, new: int, crop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the middle `crop` of `new` pixels: the old pixels below and above each, and the share of the latter."""
    at = (np.arange(crop) + new // 2 - crop // 2 + 0.5) * old / new - 0.5
    low = np.floor(at).astype(int)
    return low, np.minimum(low + 1, old - 1), at - low
