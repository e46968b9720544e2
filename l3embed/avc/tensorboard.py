"""Scalars for TensorBoard, without TensorFlow.

An event file is a sequence of records (length, masked CRC-32C of the length, data, masked CRC-32C of the data), each a
protocol buffer of type Event: wall time (field 1, double), step (2, int64), and a file version (3), a summary (5) or a
session log (7). Source: tensorflow/core/util/event.proto, framework/summary.proto, lib/io/record_writer.h.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from pathlib import Path

_START = 1  # SessionLog.START: whatever older files hold from this step on is void


class Scalars:
    """An event file of its own for each process; a run that goes on voids the steps that it computes again."""

    def __init__(self, folder: Path, first_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        path = next(p for n in itertools.count() if not (p := folder / f"{stem}.{n}").exists())
        self._file = open(path, "wb")
        self._event(0, _field(3, b"brain.Event:2"))
        self._event(first_step, _field(7, _varint(1, _START)))
        self._file.flush()

    def write(self, step: int, values: dict[str, float]) -> None:
        scalars = (_field(1, tag.encode()) + struct.pack("<Bf", 2 << 3 | 5, value) for tag, value in values.items())
        self._event(step, _field(5, b"".join(_field(1, scalar) for scalar in scalars)))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _event(self, step: int, what: bytes) -> None:
        data = struct.pack("<Bd", 1 << 3 | 1, time.time()) + _varint(2, step) + what
        length = struct.pack("<Q", len(data))
        self._file.write(length + _masked(length) + data + _masked(data))


def _varint(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def _field(field: int, data: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(data)) + data


def _number(value: int) -> bytes:
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def _table() -> list[int]:
    """CRC-32C (Castagnoli) of each byte, bits reflected."""
    table = list(range(256))
    for _ in range(8):
        table = [x >> 1 ^ (0x82F63B78 if x & 1 else 0) for x in table]
    return table


_CRC = _table()


def _masked(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
