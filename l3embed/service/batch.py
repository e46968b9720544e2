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
    call = request.scope["l3embed"]
    problems: dict[int, Problem] = {}

    async def over(i: int) -> int:
        try:
            await works[i].all()
            call.seconds += works[i].seconds
        except (Problem, Gone) as error:
            problems[i] = of(error)
            call.metrics.failure(problems[i].reason)
        return i

    def item(i: int) -> Iterator[bytes]:
        about = {"index": i, "name": files[i].name}
        if i in problems:
            yield json.dumps({**about, "error": problems[i].as_dict(call.id)}).encode()
        else:
            yield from json_pieces({**about, **ending(works[i])}, *asked.vectors(works[i]))

    async def whole() -> AsyncIterator[bytes]:
        yield f'{json.dumps({**asked.about(), "n_failed": len(problems)})[:-1]}, "items": ['.encode()
        for i in range(len(works)):
            yield b"," if i else b""
            async for piece in iterate_in_threadpool(item(i)):
                yield piece
        yield b"]}"

    async def lines() -> AsyncIterator[bytes]:
        yield json.dumps(asked.about()).encode() + b"\n"
        for done in asyncio.as_completed([over(i) for i in range(len(works))]):
            async for piece in iterate_in_threadpool(item(await done)):
                yield piece
            yield b"\n"
        yield json.dumps({"n_items": len(works), "n_failed": len(problems)}).encode() + b"\n"

    if kind == JSON:
        await attend(asyncio.gather(*(over(i) for i in range(len(works)))))
    return Held(whole() if kind == JSON else lines(), held(), asked.headers, kind)
