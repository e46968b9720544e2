"""For those who watch over the service: whether it lives, whether it takes requests, what it has counted."""

from __future__ import annotations

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from . import schema
from .desk import Desk
from .problems import Problem


def add(app: FastAPI, desk: Desk) -> None:
    @app.get("/healthz", summary="Whether the process lives", tags=["status"])
    async def healthz() -> schema.Health:
        return schema.Health(status="ok")

    @app.get("/readyz", summary="Whether it takes requests", tags=["status"], responses=schema.problems(503))
    async def readyz() -> schema.Health:
        if desk.admission.stopping:
            raise Problem(503, "stopping", "the service is stopping")
        return schema.Health(status="ok")

    @app.get("/metrics", summary="Counters for Prometheus", tags=["status"], responses=schema.METRICS,
             response_class=Response)  # fmt: skip
    def metrics() -> Response:
        return Response(desk.metrics.text(), media_type=CONTENT_TYPE_LATEST)
