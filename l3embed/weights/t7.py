"""Torch7's files (``.t7``) without Torch7: the arrays of a network, named as PyTorch would name them.

A file is one object after the other as torch.save walks them (torch/File.lua, 64-bit and binary, little-endian): each
begins with its kind, and those that may be met again with a number. Lua's functions are refused, and nothing is run.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import numpy as np

SIGNATURE = struct.pack("<iii", 4, 1, 3) + b"V 1"  # an object, the first one, of this version of its class
_NIL, _NUMBER, _STRING, _TABLE, _OBJECT, _BOOLEAN = range(6)
_TYPES = {"Float": "<f4", "Cuda": "<f4", "Double": "<f8", "CudaDouble": "<f8", "CudaHalf": "<f2", "Half": "<f2",
          "Long": "<i8", "CudaLong": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1"}  # fmt: skip
KEPT = ("weight", "bias", "running_mean", "running_var")  # of a module; beside them are gradients and its last outputs


def read(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a network by the path of its modules, counted from 1: ``1.weight``, ``25.2.bias``.

    Raises ValueError or struct.error for damaged files, and ValueError for functions.
    """
    found = dict(_arrays(_Reader(data).item(), ""))
    if not found:
        raise ValueError("it holds no modules with weights")
    return found


def _arrays(module, path: str) -> Iterator[tuple[str, np.ndarray]]:
    if not isinstance(module, dict):
        return
    yield from ((path + name, module[name]) for name in KEPT if isinstance(module.get(name), np.ndarray))
    parts = module.get("modules")
    if isinstance(parts, dict):
        for key, part in parts.items():
            number = f"{key:g}" if isinstance(key, float) else str(key)
            yield from _arrays(part, f"{path}{number}.")


class _Reader:
    """Walks the file. Tables and objects are dictionaries, tensors and storages arrays."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0
        self.known: dict[int, object] = {}

    def _take(self, kind: str):
        (value,) = struct.unpack_from(f"<{kind}", self.data, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return value

    def _array(self, dtype: str, n: int) -> np.ndarray:
        if n < 0:
            raise ValueError("it is damaged: a size is negative")
        array = np.frombuffer(self.data, dtype, n, self.at)
        self.at += array.nbytes
        return array

    def _text(self) -> str:
        return self._array("u1", self._take("i")).tobytes().decode("latin1")

    def item(self):
        """The next object."""
        kind = self._take("i")
        if kind == _NIL:
            return None
        if kind == _NUMBER:
            return self._take("d")
        if kind == _STRING:
            return self._text()
        if kind == _BOOLEAN:
            return bool(self._take("i"))
        if kind not in (_TABLE, _OBJECT):
            raise ValueError("it holds a function, which is not read" if kind in (6, 7, 8) else "it is damaged")
        number = self._take("i")
        if number not in self.known:
            self.known[number] = {}  # a table may hold itself
            self.known[number] = self._table(self.known[number]) if kind == _TABLE else self._object(number)
        return self.known[number]

    def _table(self, table: dict) -> dict:
        for _ in range(self._take("i")):
            key = self.item()
            table[key if isinstance(key, str | float | bool) else id(key)] = self.item()
        return table

    def _object(self, number: int):
        version = self._text()
        name = self._text() if version.startswith("V ") else version
        package, _, kind = name.partition(".")
        for suffix, make in (("Tensor", self._tensor), ("Storage", self._storage)):
            if package == "torch" and kind.removesuffix(suffix) in _TYPES and kind.endswith(suffix):
                return make(_TYPES[kind.removesuffix(suffix)])
        content = self.item()
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {name}, which is not read")
        return content

    def _storage(self, dtype: str) -> np.ndarray:
        return self._array(dtype, self._take("q"))

    def _tensor(self, dtype: str) -> np.ndarray:
        n = self._take("i")
        shape, stride = (self._array("<i8", n).tolist() for _ in range(2))
        offset = self._take("q") - 1
        storage = self.item()
        if storage is None or not math.prod(shape) or not n:
            return np.empty(shape if n else 0, dtype)
        reach = offset + 1 + sum((m - 1) * step for m, step in zip(shape, stride, strict=True))
        if not isinstance(storage, np.ndarray) or min(offset, *shape, *stride) < 0 or reach > len(storage):
            raise ValueError("an array reaches beyond its storage: it is truncated or damaged")
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, [s * storage.itemsize for s in stride]).copy()
