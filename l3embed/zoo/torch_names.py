"""PyTorch's state dictionaries to arrays in the order and axes of Keras.

Axes: convolution (out, in, y, x) -> (y, x, in, out), depthwise (channels, 1, y, x) -> (y, x, channels, 1), dense
(out, in) -> (in, out).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from . import take

KEYS = {  # what a layer's arrays are called, in Keras' order
    "conv": ("weight",),
    "depthwise": ("weight",),
    "conv+bias": ("weight", "bias"),
    "dense": ("weight", "bias"),
    "norm": ("weight", "bias", "running_mean", "running_var"),
}
AXES = {2: (1, 0), 4: (2, 3, 1, 0)}
AXES_DEPTHWISE = {4: (2, 3, 0, 1)}


def from_torch(tensors: Mapping, layers: Iterable[tuple[str, str]], unused: str = "(?!)") -> list[np.ndarray]:
    """The arrays of `layers`, (a key of KEYS, name) each in the order of the Keras network.

    `unused` is a pattern of names that may be there and are not taken. Raises ValueError where one is missing, and for
    those that nothing asks for.
    """
    kinds = {f"{name}.{key}": kind for kind, name in layers for key in KEYS[kind]}
    arrays = take(tensors, list(kinds), lambda name: re.fullmatch(unused, name) is not None)
    return [_turned(array, kind) for array, kind in zip(arrays, kinds.values(), strict=True)]


def _turned(array: np.ndarray, kind: str) -> np.ndarray:
    axes = (AXES_DEPTHWISE if kind == "depthwise" else AXES).get(array.ndim)
    return np.ascontiguousarray(array if axes is None else array.transpose(axes))
