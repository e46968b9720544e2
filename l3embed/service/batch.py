"""The answer about many recordings: a result or a problem for each, none touched by the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from .answers import JSON, NDJSON, Held, json_pieces
from .asked import Asked
from .batching import Gone
from .problems import Problem, of
from .streams import ending
from .uploads import Upload
from .work import Work

TYPES = [JSON, NDJSON]


async def answer(
    kind: str, asked: Asked, files: list[Upload], works: list[Work], attend, held, request: Request
) -> Response:
    """JSON in the order of the files when all are over, NDJSON in the order in which they are."""
    items = _Items(asked, files, works, request.scope["l3embed"])
    if kind == JSON:
        await attend(asyncio.gather(*(items.over(i) for i in range(len(works)))))
    return Held(items.whole() if kind == JSON else items.lines(), held(), asked.headers, kind)


class _Items:
    """The recordings of a batch, each with what became of it."""

    def __init__(self, asked: Asked, files: list[Upload], works: list[Work], call):
        self._asked, self._files, self._works, self._call = asked, files, works, call
        self._problems: dict[int, Problem] = {}

    async def over(self, i: int) -> int:
        """Wait until one is; its number."""
        try:
            await self._works[i].all()
            self._call.seconds += self._works[i].seconds
        except (Problem, Gone) as error:
            self._problems[i] = of(error)
            self._call.metrics.failure(self._problems[i].reason)
        return i

    def _item(self, i: int) -> Iterator[bytes]:
        about = {"index": i, "name": self._files[i].name}
        if i in self._problems:
            yield json.dumps({**about, "error": self._problems[i].as_dict(self._call.id)}).encode()
        else:
            yield from json_pieces({**about, **ending(self._works[i])}, *self._asked.vectors(self._works[i]))

    async def whole(self) -> AsyncIterator[bytes]:
        """One object."""
        head = json.dumps({**self._asked.about(), "n_failed": len(self._problems)})
        yield f'{head[:-1]}, "items": ['.encode()
        for i in range(len(self._works)):
            yield b"," if i else b""
            async for piece in iterate_in_threadpool(self._item(i)):
                yield piece
        yield b"]}"

    async def lines(self) -> AsyncIterator[bytes]:
        """A line for each as soon as it is over, between one of what is known before and one that counts."""
        n = len(self._works)
        yield json.dumps(self._asked.about()).encode() + b"\n"
        for done in asyncio.as_completed([self.over(i) for i in range(n)]):
            async for piece in iterate_in_threadpool(self._item(await done)):
                yield piece
            yield b"\n"
        yield json.dumps({"n_items": n, "n_failed": len(self._problems)}).encode() + b"\n"
