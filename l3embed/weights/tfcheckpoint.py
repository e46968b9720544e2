"""TensorFlow checkpoints without TensorFlow: the single file of version 1, and the index and data files of version 2.

Both are sorted tables in LevelDB's format (tensorflow/core/lib/io/format.cc): blocks of key and value, prefix
compressed, an index block, a footer. Values are protocol buffers. In version 1 (saved_tensor_slice.proto) they hold the
numbers themselves, in version 2 (tensor_bundle.proto) they say where in the data file those lie.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import crc32c

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_FOOTER = 48
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 19: "<f2"}
# Where a TensorProto keeps numbers that are not in `tensor_content`: field -> type of its values, None for varints.
_VALUES = {1: (5, "<f4"), 2: (6, "<f8"), 3: (7, None), 9: (10, None)}


def is_checkpoint(path: Path) -> bool:
    """Whether the path is that of a checkpoint: its file, its index, or (version 2) their common prefix."""
    path = index_of(path)
    if not path.is_file() or path.stat().st_size < _FOOTER:
        return False
    with open(path, "rb") as file:
        file.seek(-len(MAGIC), os.SEEK_END)
        return file.read() == MAGIC


def index_of(path: Path) -> Path:
    """The table's file: what was named, or the index that a prefix or a data file stands for."""
    path = Path(path)
    prefix = re.sub(r"\.data-\d+-of-\d+$", "", path.name)
    index = path.with_name(f"{prefix}.index")
    return index if (prefix != path.name or not path.exists()) and index.exists() else path


def files(path: Path) -> list[Path]:
    """All files of a checkpoint."""
    index = index_of(path)
    if index.suffix != ".index":
        return [index]
    return [index, *sorted(index.parent.glob(f"{_escaped(index.stem)}.data-[0-9]*-of-[0-9]*"))]


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def read(path: Path) -> dict[str, np.ndarray]:
    """Names and arrays of a checkpoint, those of numbers. Raises ValueError, IndexError, struct.error if damaged."""
    index = index_of(path)
    with open(index, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as table:
        if index.suffix == ".index":
            return _from_bundle(dict(_entries(memoryview(table).tobytes())), files(path)[1:])
        return _from_slices(memoryview(table).tobytes())


# --- the table


def _entries(table: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(key, value) of all entries, in order."""
    if len(table) < _FOOTER or not table.endswith(MAGIC):
        raise ValueError("it is truncated: a TensorFlow checkpoint ends otherwise")
    at = len(table) - _FOOTER
    _, at = _handle(table, at)  # of the block of filters, which there is none of
    handle, _ = _handle(table, at)
    for _, value in _block(table, handle):
        yield from _block(table, _handle(value, 0)[0])


def _handle(data, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(table: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, memoryview]]:
    offset, size = handle
    if offset + size + 5 > len(table):
        raise ValueError("it is truncated: a block lies beyond its end")
    if table[offset + size]:
        raise ValueError("its blocks are compressed, which TensorFlow's own savers do not do")
    masked = struct.unpack_from("<I", table, offset + size + 1)[0]
    data = memoryview(table)[offset : offset + size]
    if crc32c.masked(memoryview(table)[offset : offset + size + 1]) != masked:
        raise ValueError("it is damaged: a block is not what its checksum says")
    end = size - 4 * (1 + struct.unpack_from("<I", data, size - 4)[0])
    at, key = 0, b""
    while at < end:
        shared, at = _varint(data, at)
        fresh, at = _varint(data, at)
        length, at = _varint(data, at)
        if at + fresh + length > end:
            raise ValueError("it is damaged: an entry reaches beyond its block")
        key = key[:shared] + bytes(data[at : at + fresh])
        at += fresh
        yield key, data[at : at + length]
        at += length


# --- protocol buffers


def _varint(data, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("it is damaged: a number has no end")


def _fields(data) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message: whole numbers, or the bytes of anything else."""
    data, at = memoryview(data), 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("it is damaged: a field of an unknown kind")
        if at + length > len(data):
            raise ValueError("it is damaged: a field reaches beyond its message")
        yield tag >> 3, data[at : at + length]
        at += length


def _message(data) -> dict[int, list]:
    found: dict[int, list] = {}
    for number, value in _fields(data):
        found.setdefault(number, []).append(value)
    return found


def _shape(message) -> tuple[int, ...]:
    """Of a TensorShapeProto."""
    return tuple(_message(dim).get(1, [0])[0] for number, dim in _fields(message) if number == 2)


# --- version 1


def _from_slices(table: bytes) -> dict[str, np.ndarray]:
    """Each entry but the first, the list of all tensors, holds a slice of one; only whole ones are read."""
    entries = _entries(table)
    key, value = next(entries)
    if key:
        raise ValueError("it is a table, but not a TensorFlow checkpoint")
    wanted = {}
    for number, tensor in _fields(_message(value)[1][0]):
        if number == 1:
            about = _message(tensor)
            wanted[bytes(about[1][0]).decode()] = _shape(about.get(2, [b""])[0]), about.get(3, [0])[0]
    found = {}
    for _, value in entries:
        piece = _message(_message(value)[2][0])
        name = bytes(piece[1][0]).decode()
        if name not in wanted or name in found:
            raise ValueError(f"{name} is saved in slices, which are not read: save the checkpoint anew, whole")
        shape, kind = wanted[name]
        if kind in _DTYPES:
            numbers = _numbers(piece[3][0], kind)
            if numbers.size != math.prod(shape):
                raise ValueError(f"{name} has {numbers.size} numbers, its shape {shape} needs others")
            found[name] = numbers.reshape(shape)
    if missing := [name for name, (_, kind) in wanted.items() if kind in _DTYPES and name not in found]:
        raise ValueError(f"it lists {missing[0]}, and does not hold it")
    return found


def _numbers(tensor, kind: int) -> np.ndarray:
    """The values of a TensorProto, flat; version 1 leaves their kind to the list of tensors."""
    message = _message(tensor)
    if 4 in message:
        return np.frombuffer(message[4][0], _DTYPES[kind])
    field, dtype = _VALUES.get(kind, (0, None))
    parts = message.get(field, [])
    if dtype:
        return np.concatenate([np.frombuffer(part, dtype) for part in parts] or [np.empty(0, dtype)])
    return np.array([n for part in parts for n in _varints(part)], _DTYPES[kind])


def _varints(part) -> Iterator[int]:
    if isinstance(part, int):
        yield part
        return
    at = 0
    while at < len(part):
        value, at = _varint(part, at)
        yield value - (value >> 63 << 64)


# --- version 2


def _from_bundle(entries: dict[bytes, memoryview], data_files: list[Path]) -> dict[str, np.ndarray]:
    if b"" not in entries:
        raise ValueError("it is a table, but not a TensorFlow checkpoint")
    header = _message(entries.pop(b""))
    n_files = header.get(1, [0])[0]
    if header.get(2, [0])[0]:
        raise ValueError("it was written on a big-endian machine")
    if len(data_files) != n_files:
        raise ValueError(f"it has {n_files} data files, of which {len(data_files)} lie beside it")
    found = {}
    for key, value in entries.items():
        about, name = _message(value), key.decode()
        dtype = _DTYPES.get(about.get(1, [0])[0])
        if 7 in about:
            raise ValueError(f"{name} is saved in slices, which are not read: save the checkpoint anew, whole")
        if dtype is None:
            continue
        shape, size = _shape(about.get(2, [b""])[0]), about.get(5, [0])[0]
        if size != math.prod(shape) * np.dtype(dtype).itemsize:
            raise ValueError(f"{name} has {size} bytes, its shape {shape} needs others")
        path = data_files[about.get(3, [0])[0]]
        with open(path, "rb") as file:
            file.seek(about.get(4, [0])[0])
            raw = file.read(size)
        if len(raw) < size:
            raise ValueError(f"{path.name} is truncated")
        if crc32c.masked(raw) != struct.unpack("<I", about[6][0])[0]:
            raise ValueError(f"{name} is damaged: it is not what its checksum says")
        found[name] = np.frombuffer(raw, dtype).reshape(shape)
    return found
