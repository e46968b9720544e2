"""Vectors as bytes, as they come: `head`, `rows` again and again, then `tail` or `failed`."""

from __future__ import annotations

import io
import json

import numpy as np

from ..errors import MissingExtraError
from ..store import manifest
from .asked import Asked
from .problems import Problem
from .work import Work


def vector(row: np.ndarray) -> str:
    """(D,) as JSON: nine digits tell every float32 from its neighbours (IEEE 754)."""
    numbers = map("%.9g".__mod__, row.tolist())
    if not np.isfinite(row).all():  # JSON knows no such numbers
        numbers = ("null" if number.endswith(("nan", "inf")) else number for number in numbers)
    return f"[{','.join(numbers)}]"


def ending(work: Work) -> dict:
    """What is known at the end of a recording."""
    return {"n_windows": len(work.rows), "seconds": round(work.seconds, 6), "notes": work.notes}


class Lines:
    """NDJSON: a line of what is known before, one for each vector, and one at the end, without which it is cut off."""

    def __init__(self, asked: Asked):
        self._asked = asked

    def head(self, work: Work) -> bytes:
        return _line({**self._asked.about(), "expected_s": work.expected_s})

    def rows(self, vectors, times: np.ndarray) -> bytes:
        lines = (f'{{"time_s": {t!r}, "embedding": {vector(v)}}}\n'
                 for t, v in zip(times.tolist(), vectors, strict=True))  # fmt: skip
        return "".join(lines).encode()

    def tail(self, work: Work) -> bytes:
        return _line(ending(work))

    def failed(self, error: Problem) -> bytes:
        return _line({"error": error.as_dict("")})


def _line(table: dict) -> bytes:
    return json.dumps(table).encode() + b"\n"


class Arrow:
    """An Arrow IPC stream of time_s and embedding; the schema's metadata `l3embed` is JSON, as of the .npz."""

    def __init__(self, asked: Asked):
        self._pa, self._sink, self._asked = need_pyarrow(), _Sink(), asked
        pa = self._pa
        n = asked.model.dim * (1 if asked.pool is None else len(asked.pool.split("+")))
        schema = pa.schema([("time_s", pa.float64()), ("embedding", pa.list_(pa.float32(), n))])
        self._schema = schema.with_metadata({"l3embed": json.dumps(asked.about())})

    def head(self, work: Work) -> bytes:
        self._writer = self._pa.ipc.new_stream(self._sink, self._schema)
        return self._sink.taken()

    def rows(self, vectors, times: np.ndarray) -> bytes:
        pa = self._pa
        vectors = np.ascontiguousarray(vectors[:])
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=self._schema.field(1).type)
        self._writer.write_batch(pa.record_batch([pa.array(times), column], schema=self._schema))
        return self._sink.taken()

    def tail(self, work: Work) -> bytes:
        self._writer.close()
        return self._sink.taken()

    def failed(self, error: Problem) -> bytes:
        raise error


class _Sink(io.RawIOBase):
    """What pyarrow writes into, emptied again and again."""

    def __init__(self):
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def need_pyarrow():
    """pyarrow. Raises Problem where it is missing: Arrow is then a type that is not to be had."""
    try:
        return manifest.need_pyarrow()
    except MissingExtraError:
        raise Problem(
            406, "not_acceptable", "answers in Arrow need pyarrow where the service runs: pip install 'l3embed[serve]'"
        ) from None
