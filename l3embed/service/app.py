"""The application: routes onto the corridor."""

from __future__ import annotations

import json
from typing import Annotated

import anyio.to_thread
import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from .. import __version__, pooling
from ..embed import EmbeddingModel
from ..store.layout import key_of
from ..store.npz import identity
from . import answers, page, problems
from .problems import Problem


class Options(BaseModel):
    model_config = {"extra": "forbid"}
    model: str | None = None
    hop: float | None = Field(None, gt=0)
    center: bool | None = None
    pool: str | None = None
    windows: str = "exact"
    timestamps: str = "exact"


def make_app(models: list[EmbeddingModel]) -> FastAPI:
    app = FastAPI(title="l3embed", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    named = {model.name: model for model in models}
    app.exception_handler(Exception)(_answer)
    app.exception_handler(Problem)(_answer)
    app.exception_handler(RequestValidationError)(_invalid)

    def chosen(name: str | None) -> EmbeddingModel:
        if name is None:
            return models[0]
        if name not in named:
            raise Problem(404, "unknown_model", f"there is no model {name!r} here: one of {', '.join(named)}")
        return named[name]

    @app.get("/healthz")
    def healthz() -> dict:
        return {"status": "ok"}

    @app.get("/v1/models")
    def list_models() -> dict:
        return {"models": [_describe(model) for model in models], "default": models[0].name,
                "limits": {"max_seconds": 3600, "max_bytes": 200 * 2**20}}  # fmt: skip

    @app.get("/v1/models/{name}")
    def show_model(name: str) -> dict:
        return _describe(chosen(name))

    @app.post("/v1/embed")
    async def embed(request: Request, options: Annotated[Options, Query()]) -> Response:
        kind = answers.accepted(request.headers.get("accept", ""), [answers.JSON, answers.NPZ, "application/x-ndjson"])
        if kind is None:
            raise Problem(406, "not_acceptable", "answers are application/json, application/x-npz, ...")
        sent = request.headers.get("content-type", "").partition(";")[0]
        sound, rate = await _sound(request, sent)
        try:
            model, fields = chosen(options.model), options
            body = await anyio.to_thread.run_sync(_embed, model, sound, rate, fields, kind)
        except Exception as error:
            raise problems.of(error) from error
        return Response(body, media_type=kind, headers={"X-L3embed-Fingerprint": model.spec.fingerprint()})

    page.add(app)
    return app


async def _sound(request: Request, sent: str):
    if sent == "multipart/form-data":
        form = await request.form()
        if not hasattr(form.get("file"), "read"):
            raise Problem(422, "no_file", "the form has no file: send the recording as the field 'file'")
        return await form["file"].read(), None
    if sent == "application/json":
        table = await request.json()
        return np.array(table["samples"]), table["sample_rate"]
    return await request.body(), None


def _embed(model, sound, rate, options, kind) -> bytes:
    import io

    from ..decode import open_array, open_recording
    from ..embed import Job, oddities, through

    framing = model.framing(options.hop, options.center, options.windows, options.timestamps)

    class One(Job):
        vectors, notes, error = [], [], None

        def blocks(self, rate_hz, mix):
            made = open_recording(io.BytesIO(sound), rate_hz) if rate is None else open_array(sound, rate, rate_hz)
            with made as self.recording:
                self.recording.mix = mix
                yield from self.recording
                self.notes = oddities(self.recording, framing)

        def add(self, rows):
            self.vectors = [*self.vectors, rows]

        def fail(self, error):
            raise error

        def finish(self, front_end):
            pass

    job = One()
    for _ in through(model, [job], framing):
        pass
    embedding = np.concatenate(job.vectors)
    times = framing.times(len(embedding), model.spec.front_end.rate_hz)
    if options.pool:
        embedding, times = pooling.pool(embedding, options.pool)[None], times[:1]
    recipe = model.recipe(framing)
    about = {**recipe, "recipe_hash": key_of(recipe), "l3embed": __version__, "notes": job.notes,
             "seconds": round(job.recording.seconds, 6)}  # fmt: skip
    if kind == answers.NPZ:
        return answers.as_npz(embedding, times, {**about, **(identity(sound) if rate is None else {})})
    if kind == answers.JSON:
        return answers.as_json(embedding, times, {**about, "dim": model.dim})
    lines = [json.dumps({**about, "dim": model.dim, "window_s": model.spec.front_end.window_s, "expected_s": None})]
    lines += [
        f'{{"time_s": {t}, "embedding": {answers.row(e)}}}' for t, e in zip(times.tolist(), embedding, strict=True)
    ]
    lines += [json.dumps({"n_windows": len(embedding), "seconds": job.recording.seconds, "notes": job.notes})]
    return ("\n".join(lines) + "\n").encode()


def _describe(model: EmbeddingModel) -> dict:
    front_end = model.spec.front_end
    card = {name: model.card.table.get(name) for name in ("description", "licence", "data")}
    return {
        "name": model.name, "dim": model.dim, "fingerprint": model.spec.fingerprint(), "rate_hz": front_end.rate_hz,
        "window_s": front_end.window_s, "hop_s": model.spec.cutting.hop_s, "center": model.spec.cutting.center,
        "precision": model.precision, "engine": model.engine.name, **card,
    }  # fmt: skip


async def _answer(request: Request, error: Exception) -> Response:
    problem = problems.of(error)
    return Response(json.dumps(problem.as_dict()), problem.status, problem.headers, problems.MEDIA_TYPE)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return await _answer(request, Problem(422, "bad_setting", f"{where}: {first['msg']}"))
