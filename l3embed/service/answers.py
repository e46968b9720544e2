"""Vectors -> answers, in the type that was accepted.

Whole ones begin when a recording is over, streams with its first vectors.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Iterator

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from .. import __version__
from ..store import npz
from ..store.rows import Rows
from .asked import Asked
from .batching import Gone
from .problems import Problem
from .streams import Arrow, Lines, ending, vector
from .uploads import Upload
from .work import Work

JSON, NDJSON, NPY, NPZ = "application/json", "application/x-ndjson", "application/x-npy", "application/x-npz"
ARROW = "application/vnd.apache.arrow.stream"
TYPES = [JSON, NDJSON, NPZ, NPY, ARROW]
BLOCK = 64  # vectors written at a time
IN_MEMORY = 1 << 20  # bytes of a finished answer


async def answer(kind: str, asked: Asked, upload: Upload, work: Work, attend, held, note) -> Response:
    """The answer about one recording.

    `attend` awaits while the client is there; `held()` gives what is to be kept until the answer is sent, an ExitStack;
    `note` is told of what goes wrong once the answer has begun.
    """
    if kind in (NDJSON, ARROW) and asked.pool is None:
        write = Arrow(asked) if kind == ARROW else Lines(asked)
        await attend(work.more(0))
        return Held(_streamed(write, work, note), held(), asked.headers, kind)
    await attend(work.all())
    file = await run_in_threadpool(_file, kind, asked, upload, work)
    size = file.seek(0, 2)
    file.seek(0)
    kept = held()
    kept.callback(file.close)
    return Held(_pieces(file), kept, {**asked.headers, "Content-Length": str(size)}, kind)


class Held(StreamingResponse):
    """An answer that lets go of what it holds when it is sent, or when nobody takes it."""

    def __init__(self, content, held: contextlib.ExitStack, headers: dict[str, str], kind: str):
        super().__init__(content, headers=headers, media_type=kind)
        self._held = held

    async def __call__(self, scope, receive, send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def _pieces(file) -> AsyncIterator[bytes]:
    while piece := file.read(1 << 18):
        yield piece


def _file(kind: str, asked: Asked, upload: Upload, work: Work):
    """A whole answer, in memory or in an unnamed file."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY)
    vectors, times = asked.vectors(work)
    if kind == NPZ:
        with contextlib.closing(Rows()) as pooled:
            if asked.pool is not None:
                pooled.append(vectors)
            npz.write(file, pooled if asked.pool else work.rows, times, metadata(asked, upload, work))
    elif kind == NPY:
        vectors.write_to(file) if asked.pool is None else np.save(file, vectors)
    elif kind == JSON:
        for piece in json_pieces({**asked.about(), **ending(work)}, vectors, times):
            file.write(piece)
    else:
        write = Arrow(asked) if kind == ARROW else Lines(asked)
        for piece in (write.head(work), write.rows(vectors, times), write.tail(work)):
            file.write(piece)
    return file


def metadata(asked: Asked, upload: Upload, work: Work) -> dict:
    """As `extract` writes it; pooled ones say so."""
    recipe = asked.model.recipe(asked.framing)
    pooled = {} if asked.pool is None else {"pool": asked.pool}
    made = {"l3embed": __version__, "source": upload.name, "seconds": round(work.seconds, 6), "notes": work.notes}
    return {**recipe, **upload.identity, **made, **pooled}


def json_pieces(table: dict, vectors, times: np.ndarray) -> Iterator[bytes]:
    """One object: the table, timestamps, and embedding."""
    head = json.dumps({**table, "timestamps": times.tolist()})
    yield f'{head[:-1]}, "embedding": ['.encode()
    for first in range(0, len(vectors), BLOCK):
        text = ",".join(map(vector, vectors[first : first + BLOCK]))
        yield (("," if first else "") + text).encode()
    yield b"]}"


async def _streamed(write: Lines | Arrow, work: Work, note) -> AsyncIterator[bytes]:
    """Vectors as they are computed. What a stream cannot say well ends it in the middle: readers see that."""
    yield write.head(work)
    n = 0
    while True:
        try:
            await work.more(n)
        except (Problem, Gone) as error:
            note(error)
            yield write.failed(error)
            return
        vectors = work.rows[n : n + BLOCK]
        if not len(vectors):
            break
        yield await run_in_threadpool(write.rows, vectors, work.times(n, len(vectors)))
        n += len(vectors)
    yield write.tail(work)
