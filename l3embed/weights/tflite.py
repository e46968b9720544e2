"""The constants of a TensorFlow Lite file, by name, without TensorFlow; and the labels packed behind it.

A file is a FlatBuffer of schema.fbs (tensorflow/lite/schema, version 3): tables are reached by offsets, and what reads
an offset checks it, so that a damaged file raises. Quantised constants are returned as the numbers they stand for.
"""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np

IDENTIFIER = b"TFL3"  # at byte 4
_DTYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 4: "<i8", 7: "<i2", 9: "i1"}
# Numbers of the fields used here, in the order of the schema.
_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_GRAPH_TENSORS = 0
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION = range(5)
_SCALE, _ZERO_POINT, _AXIS = 2, 3, 6


def read(data: bytes) -> dict[str, np.ndarray]:
    """Constants of the first graph: name -> array, in its own type where it is not quantised, else float32.

    Of a quantised map that the graph computes: ``NAME:step`` -> by how much its number grows with its integer.

    Raises ValueError, struct.error or IndexError for damaged files.
    """
    file = _Flat(data)
    model = file.table_at(0)
    buffers = file.tables(model, _MODEL_BUFFERS)
    graph = file.tables(model, _MODEL_SUBGRAPHS)[0]
    found = {}
    for tensor in file.tables(graph, _GRAPH_TENSORS):
        raw = file.vector(buffers[file.number(tensor, _BUFFER, "I")], 0, "u1")
        dtype = _DTYPES.get(file.number(tensor, _TYPE, "b"))
        if len(raw) and dtype:
            values = np.frombuffer(raw.tobytes(), dtype).reshape(file.vector(tensor, _SHAPE, "<i4"))
            found[file.text(tensor, _NAME)] = _dequantised(file, tensor, values)
        elif len(scale := _scale(file, tensor)) == 1:
            found[f"{file.text(tensor, _NAME)}:step"] = scale.reshape(())
    return found


def labels(data: bytes) -> list[str]:
    """The lines of the first text file in the archive that may follow a model (its metadata); [] where none does."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            name = next((name for name in archive.namelist() if name.endswith(".txt")), None)
            return archive.read(name).decode("utf-8").splitlines() if name else []
    except zipfile.BadZipFile:
        return []


def _scale(file: _Flat, tensor: int) -> np.ndarray:
    table = file.child(tensor, _QUANTIZATION)
    return file.vector(table, _SCALE, "<f4") if table else np.empty(0)


def _dequantised(file: _Flat, tensor: int, values: np.ndarray) -> np.ndarray:
    scale = _scale(file, tensor)
    if not len(scale) or values.dtype.kind == "f":
        return values
    table = file.child(tensor, _QUANTIZATION)
    zero = file.vector(table, _ZERO_POINT, "<i8")
    shape = [1] * values.ndim
    if len(scale) > 1:
        shape[file.number(table, _AXIS, "i")] = len(scale)
    zero = zero.reshape(shape) if len(zero) == len(scale) else 0
    return ((values.astype(np.float64) - zero) * scale.reshape(shape)).astype(np.float32)


class _Flat:
    """Walks a FlatBuffer. A table is known by where it begins, 0 for none."""

    def __init__(self, data: bytes):
        self.data = data

    def _at(self, kind: str, at: int):
        if at < 0:
            raise ValueError("an offset points outside the file")
        return struct.unpack_from("<" + kind, self.data, at)[0]

    def table_at(self, at: int) -> int:
        return at + self._at("I", at)

    def _field(self, table: int, number: int) -> int:
        """Where a field lies, 0 where it is left out."""
        layout = table - self._at("i", table)
        offset = self._at("H", layout + 4 + 2 * number) if 4 + 2 * number < self._at("H", layout) else 0
        return table + offset if offset else 0

    def number(self, table: int, field: int, kind: str) -> int:
        at = self._field(table, field)
        return self._at(kind, at) if at else 0

    def child(self, table: int, field: int) -> int:
        at = self._field(table, field)
        return self.table_at(at) if at else 0

    def vector(self, table: int, field: int, dtype: str) -> np.ndarray:
        at = self.child(table, field)
        return np.frombuffer(self.data, dtype, self._at("I", at), at + 4) if at else np.empty(0, dtype)

    def tables(self, table: int, field: int) -> list[int]:
        at = self.child(table, field)
        return [self.table_at(at + 4 + 4 * i) for i in range(self._at("I", at))] if at else []

    def text(self, table: int, field: int) -> str:
        return self.vector(table, field, "u1").tobytes().decode("utf-8")
