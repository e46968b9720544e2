"""The process: models, application, uvicorn; and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..embed import EmbeddingModel
from ..errors import UsageError
from .app import make_app
from .settings import Settings

HEAD_S = 20.0  # from the first byte of a request, or the beginning of a connection, to the end of the request's head
CLOSING_S = 5.0  # for which the rest of a body is read whose request was answered already


class Connection(H11Protocol):
    """uvicorn's, which waits for ever for the head of a request, and for the end of a body that nobody wants."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._end_in(HEAD_S)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE and not (self.cycle and self.cycle.response_complete):
            self._end_in(None)
        elif self._deadline is None:
            self._end_in(HEAD_S)

    def on_response_complete(self) -> None:
        self._end_in(None)
        if self.conn.their_state is h11.SEND_BODY:
            self._end_in(CLOSING_S)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_in(None)
        super().connection_lost(exc)

    def _end_in(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


class Server(uvicorn.Server):
    """Ends when all accepted requests are answered; until then it goes on listening, to say that it is stopping."""

    def __init__(self, config: uvicorn.Config, desk, on_ready: Callable[[str], None] = lambda url: None):
        super().__init__(config)
        self.desk, self._on_ready = desk, on_ready

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame) -> None:
        """SIGTERM and Ctrl-C: stop in order; the second time at once."""
        if self.desk.admission.stopping:
            self.should_exit = self.force_exit = True
        self.desk.stop()

    async def on_tick(self, counter: int) -> bool:
        admission = self.desk.admission
        if admission.stopping and not admission.n_open:
            self.should_exit = True
        return await super().on_tick(counter)


def make_server(
    models: list[EmbeddingModel], settings: Settings, host: str, port: int, on_ready=lambda url: None
) -> Server:
    """A server that is not running yet. `on_ready` is told its address once it takes requests."""
    app = make_app(models, settings)
    config = uvicorn.Config(
        app, host=host, port=port, http=Connection, ws="none", access_log=False, log_config=None, lifespan="on",
        server_header=False, h11_max_incomplete_event_size=1 << 16, timeout_keep_alive=30,
    )  # fmt: skip
    return Server(config, app.state.desk, on_ready)


def serve(models: list[EmbeddingModel], settings: Settings, host: str, port: int) -> int:
    """Serve until a signal ends it; prints the address when ready."""
    _log_to_stderr()
    names = ", ".join(model.name for model in models)

    def ready(url: str) -> None:
        print(f"l3embed: serving {names} on {url}", flush=True)

    server = make_server(models, settings, host, port, ready)
    server.desk.warm()
    try:
        server.run()
    except SystemExit:
        raise UsageError(f"cannot listen on {host}, port {port}: see above") from None
    if server.force_exit:  # threads are at work still: nobody waits for them
        os._exit(1)
    return 0


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("l3embed", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
