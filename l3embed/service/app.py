"""The application: its routes behind its gate."""

from __future__ import annotations

import contextlib

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from .. import __version__
from ..embed import EmbeddingModel
from . import page, routes, schema, status
from .desk import Desk
from .gate import Gate
from .metrics import Metrics
from .problems import Problem
from .settings import Settings


def make_app(models: list[EmbeddingModel], settings: Settings) -> FastAPI:
    """One application for a process; `app.state.desk` is the Desk behind it. Its children start with it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        yield
        desk.close()

    app = FastAPI(
        title="l3embed", version=__version__, description=schema.DESCRIPTION, lifespan=lifespan, docs_url=None,
        redoc_url=None, openapi_url="/openapi.json", redirect_slashes=False,
    )  # fmt: skip
    metrics = Metrics()
    app.state.desk = desk = Desk(models, settings, metrics)
    routes.add(app, desk)
    status.add(app, desk)
    page.add(app)
    for kind in (Problem, HTTPException, RequestValidationError, ValidationError):
        app.add_exception_handler(kind, _told)
    app.add_middleware(Gate, settings=settings, metrics=metrics, room=desk.room)
    app.openapi = schema.describer(app, settings)
    return app


async def _told(request: Request, error: Exception) -> Response:
    """The problem goes to the gate, which answers."""
    raise _problem(error)


def _problem(error: Exception) -> Problem:
    if isinstance(error, RequestValidationError | ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("query", "body"))
        return Problem(422, "bad_setting", f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}")
    if isinstance(error, HTTPException):
        reason = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "bad_request")
        detail = {"not_found": "there is nothing at this address", "wrong_method": "this address has other methods"}
        return Problem(error.status_code, reason, detail.get(reason, str(error.detail)), dict(error.headers or {}))
    return error
