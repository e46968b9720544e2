"""How a service is set up: plain records, made once at the start."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .. import decode
from ..errors import UsageError


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take.

    Defaults are generous for recordings of people and animals and small for a machine with a few GB; none is measured.
    """

    max_seconds: float = 3600.0  # of sound in a recording
    max_bytes: int = 256 * 2**20  # of a request's body
    max_queue: int = 128  # recordings accepted and not yet computed
    max_disk_bytes: int = 16 * 2**30  # of bodies and vectors under way, all together
    max_channels: int = 64
    least_hz: float = 100.0
    most_hz: float = 1e6  # bats and hydrophones are recorded at up to 1 MHz
    max_windows: int = 200_000  # of one recording
    max_files: int = 64  # of one batch
    max_cells: int = 4_000_000  # of a matrix of similarities
    max_compute_s: float = 1800.0  # from the acceptance of a recording to its last vector
    cpu_s: float = 60.0  # of processor time for decoding, and a tenth of a second for each second allowed
    memory_bytes: int = 3 * 2**30  # of address space of a decoder, and of the ffmpeg it starts
    silent_s: float = 20.0  # without a byte from a sender, or without one taken by a reader
    least_bytes_per_s: float = 8192.0  # of a body, on average, after `silent_s`

    def __post_init__(self):
        for name in ("max_seconds", "max_bytes", "max_queue", "max_windows", "silent_s"):
            if not getattr(self, name) > 0:
                option = {"silent_s": "timeout"}.get(name, name.replace("_", "-"))
                raise UsageError(f"--{option} must be more than 0. Received: {getattr(self, name)!r}")

    @property
    def bounds(self) -> decode.Bounds:
        return decode.Bounds(self.max_seconds, self.max_channels, self.least_hz, self.most_hz)

    @property
    def decoding_s(self) -> float:
        """Of processor time for one recording."""
        return self.cpu_s + 0.1 * self.max_seconds


@dataclass(frozen=True)
class Settings:
    """`jobs`: recordings decoded at a time; `batching`: whether requests share batches; `keys`: of who may ask."""

    limits: Limits = Limits()
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    batching: bool = True
    keys: tuple[bytes, ...] | None = None

    def __post_init__(self):
        if self.jobs < 1:
            raise UsageError(f"--jobs must be at least 1. Received: {self.jobs}")
