"""Spectrograms (or pictures) to vectors: one way of batching, and one engine for each kind of device."""

from __future__ import annotations

import os

from ..errors import UsageError
from .base import NUMERICS, PRECISIONS, Batch, Collecting, Engine, Loaded, PlaceholderEngine, run
from .cpu import OpenVinoEngine
from .gpu import KerasEngine, require_gpu

__all__ = [
    "DEVICES", "NUMERICS", "PRECISIONS", "Batch", "Collecting", "Engine", "KerasEngine", "Loaded", "OpenVinoEngine",
    "PlaceholderEngine", "choose", "run",
]  # fmt: skip

DEVICES = ("cpu", "gpu")


def choose(device: str = "cpu") -> type[Engine]:
    """The kind of engine for a device: OpenVINO on the processor, Keras on a GPU.

    The environment variable L3EMBED_ENGINE, "openvino" or "keras", overrides that for the processor.
    """
    kinds = {"openvino": OpenVinoEngine, "keras": KerasEngine}
    if device not in DEVICES:
        raise UsageError(f"device must be one of {', '.join(DEVICES)}. Received: {device!r}")
    if device == "gpu":
        require_gpu()
        return KerasEngine
    name = os.environ.get("L3EMBED_ENGINE", "openvino")
    if name not in kinds:
        raise UsageError(f"L3EMBED_ENGINE must be one of {', '.join(kinds)}. Received: {name!r}")
    return kinds[name]
