"""A picture drawn from one second of sound, for recordings that have no video.

Red: the spectrogram. Green: the loudness of each moment as a filled curve. Blue: the timbre, i.e. the mean spectrum as
horizontal bars, and the spectral centroid as a line. All relative to the second's own maximum, so that the picture says
nothing of the recording's level. "spectrogram" is the red part alone, "curves" all but it.
"""

from __future__ import annotations

import numpy as np

from ..frontend import spectrograms
from ..spec import small_front_end

RATE_HZ = small_front_end().rate_hz
_RANGE = 35.0  # units below the maximum that are drawn: 70 dB of amplitude


def draw(sound: np.ndarray, size: int, what: str = "full") -> np.ndarray:
    """(RATE_HZ,) float sound -> (size, size, 3) uint8: time to the right, high frequency on top, silence black.

    `what`: "full", "spectrogram" or "curves".
    """
    peak = np.abs(sound).max()
    if not peak:
        return np.zeros((size, size, 3), np.uint8)
    sound = sound / peak  # before the front end, whose floor is absolute
    values = spectrograms(sound, np.zeros(1, int), small_front_end())[0, ::-1, :, 0]  # (bands, frames)
    image = np.clip((values - values.max()) / _RANGE + 1, 0, 1)
    rows, columns = (np.arange(size) * n // size for n in image.shape)
    height = np.arange(size, 0, -1)[:, None] / size  # 1 at the top
    loudness = image.max(axis=0)[columns]
    timbre = image.mean(axis=1)[rows]
    weight = image**2 + 1e-6
    centroid = 1 - (weight * np.arange(len(image))[:, None]).sum(axis=0) / weight.sum(axis=0) / len(image)
    picture = np.zeros((size, size, 3))
    if what != "curves":
        picture[:, :, 0] = image[rows][:, columns]
    if what != "spectrogram":
        picture[:, :, 1] = (height <= loudness) * 0.8
        picture[:, :, 2] = np.arange(size) / size < timbre[:, None]
        picture[:, :, 2] += np.abs(height - centroid[columns]) < 1.5 / size
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)
