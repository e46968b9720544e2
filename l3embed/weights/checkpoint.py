"""PyTorch checkpoints without PyTorch, and without running what a pickle may ask for.

A checkpoint is a pickle of dictionaries whose leaves are views of numbered storages: since PyTorch 1.6 a zip archive
(`NAME/data.pkl`, `NAME/data/KEY`), before that a stream of pickles with the storages behind. A pickle calls whatever it
names; here it can name only what stands in `_Unpickler.find_class`, none of which does anything but keep its arguments.
Formats: torch/serialization.py of PyTorch 2.x, `_save`, `_legacy_save`.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import WeightsError, reason
from .files import unpacked

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SIGNATURES = (b"PK\x03\x04", b"\x80")  # a zip archive; a pickle
_DTYPES = {
    "Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": "<u2", "Long": "<i8", "Int": "<i4", "Short": "<i2",
    "Char": "i1", "Byte": "u1", "Bool": "?",
}  # fmt: skip
# What NumPy's own objects are made with, among them the bytes of a number as text.
_NUMPYS = {
    ("numpy", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy", "scalar"),
    ("_codecs", "encode"),
}


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Names and arrays of a checkpoint, gzipped or not; bfloat16 as float32, all else in its own type.

    The dictionary may lie inside another one, under `state_dict` or `model`, and its names may begin with `module.`.
    Raises WeightsError for files that are damaged, hold something else, or name code to be run.
    """
    try:
        return state_dict(unpacked(Path(path)))
    except (OSError, EOFError, WeightsError) as error:
        raise WeightsError(f"{path}: is not a PyTorch checkpoint that l3embed can read ({reason(error)})") from error


def state_dict(data: bytes) -> dict[str, np.ndarray]:
    """`read_state_dict` of the bytes of a file. Raises WeightsError."""
    try:
        found = _from_zip(data) if data.startswith(SIGNATURES[0]) else _from_stream(data)
        for key in ("state_dict", "model"):
            if isinstance(found, dict) and isinstance(found.get(key), dict):
                found = found[key]
        if not isinstance(found, dict):
            raise ValueError("it holds no dictionary of arrays")
        tensors = {str(k).removeprefix("module."): v for k, v in found.items() if isinstance(v, _Tensor)}
        if not tensors:
            raise ValueError("it holds no arrays")
        return {name: _array(tensor) for name, tensor in tensors.items()}
    except Exception as error:  # a damaged pickle can fail in any way
        foreseen = isinstance(error, ValueError | WeightsError | zipfile.BadZipFile)
        raise WeightsError(reason(error) if foreseen else f"it is damaged: {reason(error)}") from error


class _Storage(NamedTuple):
    """A run of numbers that arrays are views of."""

    kind: str  # a key of _DTYPES
    key: str
    size: int
    data: dict  # key -> bytes; of all storages


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple
    stride: tuple


class _Maker:
    """What a pickle may call. An instance without a dictionary: a pickle cannot change it for the next one."""

    __slots__ = ("kind",)

    def __init__(self, kind: str):
        self.kind = kind

    def __call__(self, *arguments):
        if self.kind == "tensor":
            return _Tensor(*arguments[:4])
        return arguments[0] if self.kind == "parameter" else _Maker("nothing")

    def __setstate__(self, state):
        pass


class _Unpickler(pickle.Unpickler):
    """Knows dictionaries, numbers and arrays. NumPy's own objects, which some programs store beside, become nothing."""

    def __init__(self, file, data: dict):
        super().__init__(file, encoding="utf-8")
        self.data = data
        self.itemsizes: dict[str, int] = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _Maker("tensor")
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _Maker("parameter")
        if module == "torch" and name.removesuffix("Storage") in _DTYPES:
            return _Maker(name.removesuffix("Storage"))
        if (module.partition(".")[0], name) in _NUMPYS:
            return _Maker("nothing")
        raise WeightsError(f"it is pickled with code, {module}.{name}, which is not run")

    def persistent_load(self, pid):
        what, kind, key, _, size, *view = pid
        if what != "storage" or not isinstance(kind, _Maker) or kind.kind not in _DTYPES or any(view):
            raise ValueError("it holds a storage of an unknown kind")
        self.itemsizes[key] = np.dtype(_DTYPES[kind.kind]).itemsize
        return _Storage(kind.kind, key, size, self.data)


def _from_zip(data: bytes):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        index = next((name for name in names if name.rpartition("/")[2] == "data.pkl"), None)
        if index is None:
            raise ValueError("it is a zip archive, not PyTorch's")
        root = index.removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        storages = {n.removeprefix(f"{root}data/"): archive.read(n) for n in names if n.startswith(f"{root}data/")}
        return _Unpickler(io.BytesIO(archive.read(index)), storages).load()


def _from_stream(data: bytes):
    file, storages = io.BytesIO(data), {}

    def load():
        return _Unpickler(file, storages).load()

    if load() != _MAGIC or load() != _PROTOCOL:
        raise ValueError("it is a pickle, but not a PyTorch checkpoint")
    if not load()["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    unpickler = _Unpickler(file, storages)
    found = unpickler.load()
    for key in load():
        n = int.from_bytes(file.read(8), "little")
        storages[key] = file.read(n * unpickler.itemsizes[key])
    return found


def _array(tensor: _Tensor) -> np.ndarray:
    """A copy of the view. Raises ValueError where it reaches beyond its storage."""
    storage, offset, shape, stride = tensor
    numbers = np.frombuffer(storage.data[storage.key], _DTYPES[storage.kind])
    numbers = numbers[: storage.size][offset:] if offset >= 0 else numbers[:0]
    reach = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 in shape:
        return np.empty(shape, numbers.dtype)
    if min((*shape, *stride), default=1) < 0 or max(reach, math.prod(shape)) > len(numbers):
        raise ValueError("an array reaches beyond its storage: it is truncated or damaged")
    array = np.lib.stride_tricks.as_strided(numbers, shape, [step * numbers.itemsize for step in stride]).copy()
    return (array.astype("<u4") << 16).view("<f4") if storage.kind == "BFloat16" else array
