"""The routes of /v1: a request -> recordings and settings -> the desk -> an answer. Nothing is computed here."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from .. import pooling
from . import answers, batch, cards, negotiation, schema, similarity, streams, uploads
from .asked import Asked
from .batching import Gone
from .desk import Desk
from .gate import Call
from .problems import Problem
from .schema import Options
from .work import Work


def add(app: FastAPI, desk: Desk) -> None:
    @app.post("/v1/embed", **schema.EMBED)
    async def embed(request: Request, options: Annotated[Options, Query()]) -> Response:
        return await _embed(desk, request, options)

    @app.post("/v1/embed/batch", **schema.BATCH)
    async def embed_batch(request: Request, options: Annotated[Options, Query()]) -> Response:
        return await _embed_batch(desk, request, options)

    @app.post("/v1/similarity", **schema.SIMILARITY)
    async def similar(request: Request, options: Annotated[schema.SimilarityOptions, Query()]) -> Response:
        return await _similar(desk, request, options)

    @app.get("/v1/models", **schema.MODELS)
    async def list_models() -> schema.Models:
        return cards.all_of(desk)

    @app.get("/v1/models/{name}", **schema.MODEL)
    async def show_model(name: str) -> schema.ModelCard:
        return cards.card_of(desk.model(name))


async def _embed(desk: Desk, request: Request, options: Options) -> Response:
    kind = negotiation.chosen(request.headers.get("accept"), answers.TYPES)
    if kind == answers.ARROW:
        streams.need_pyarrow()
    desk.admission.check()  # before the body comes
    with contextlib.ExitStack() as held:
        upload, fields = await uploads.recording(request)
        held.enter_context(upload)
        options = options.with_fields(fields)
        upload.sample_rate = options.sample_rate
        if upload.kind == "npy" and upload.sample_rate is None:
            raise Problem(422, "bad_setting", "sample_rate is missing: a .npy does not say how fast it was sampled")
        asked = wanted(desk, options)
        (work,) = _accepted(desk, held, asked, [upload])
        call: Call = request.scope["l3embed"]
        held.callback(lambda: setattr(call, "seconds", work.seconds))
        return await answers.answer(kind, asked, upload, work, attending(request), held.pop_all, call.note)


async def _embed_batch(desk: Desk, request: Request, options: Options) -> Response:
    kind = negotiation.chosen(request.headers.get("accept"), batch.TYPES)
    desk.admission.check()
    limits = desk.settings.limits
    with contextlib.ExitStack() as held:
        files, fields = await uploads.many_of_form(request, min(limits.max_files, limits.max_queue))
        for upload in files:
            held.enter_context(upload)
        asked = wanted(desk, options.with_fields(fields))
        works = _accepted(desk, held, asked, files)
        return await batch.answer(kind, asked, files, works, attending(request), held.pop_all, request)


async def _similar(desk: Desk, request: Request, options: schema.SimilarityOptions) -> Response:
    negotiation.chosen(request.headers.get("accept"), [answers.JSON])
    desk.admission.check(2)
    with contextlib.ExitStack() as held:
        files, fields = await uploads.of_form(request, ("a", "b"))
        for upload in files:
            held.enter_context(upload)
        options = options.with_fields(fields)
        asked = wanted(desk, options)
        works = _accepted(desk, held, asked, files)
        await attending(request)(asyncio.gather(*(work.all() for work in works)))
        return await similarity.answer(asked, works, options.matrix, desk.settings.limits.max_cells)


def _accepted(desk: Desk, held: contextlib.ExitStack, asked: Asked, files: list[uploads.Upload]) -> list[Work]:
    """Recordings on their way, until `held` is closed. Raises Problem where there is no room for them."""
    left = held.enter_context(desk.admission.answering(len(files)))
    return [held.enter_context(desk.work(file, asked.model, asked.framing, left)) for file in files]


def wanted(desk: Desk, options: Options) -> Asked:
    """What a request asks for. Raises Problem and UsageError."""
    model = desk.model(options.model)
    framing = model.framing(options.hop, options.center, options.windows, options.timestamps)
    return Asked(model, framing, None if options.pool is None else pooling.check(options.pool))


def attending(request: Request):
    """Awaits something while the client is there. The awaiting raises Gone where it goes."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    async def attend(awaited):
        waiting = [asyncio.ensure_future(awaited), asyncio.ensure_future(gone())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not waiting[0].done():
                raise Gone
            return waiting[0].result()
        finally:
            for task in waiting:
                task.cancel()

    return attend
