"""What every request passes: a number for the logs, its key, the limits of its body, and a line when it is over.

An ASGI application around the application, so that it sees bytes as they come and go.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time

from . import keys
from .admission import Room
from .batching import Gone
from .metrics import Metrics
from .problems import MEDIA_TYPE, Problem, of
from .settings import Settings

log = logging.getLogger("l3embed.service")
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what may stand in a log and a header as it came
NEEDS_KEY = ("/v1/", "/metrics")
GONE = 499  # in logs and metrics: the client left before its answer (nginx's number; HTTP has none)


class Call:
    """One request: its body counted and timed, its answer marked. Kept in the scope, as "l3embed"."""

    def __init__(self, scope: dict, receive, send, settings: Settings, metrics: Metrics, room: Room):
        self.metrics = metrics
        self.scope, self._receive, self._send, self._limits = scope, receive, send, settings.limits
        self.headers = dict(scope["headers"])
        asked = self.headers.get(b"x-request-id", b"").decode("latin-1")
        self.id = asked if SANE_ID.fullmatch(asked) else secrets.token_hex(8)
        self.started, self.status, self.reason = time.monotonic(), 0, ""
        self.seconds, self.model = 0.0, ""  # of sound, for the log
        self._n_bytes, self._complete, self._room = 0, False, room

    def note(self, error: Exception) -> None:
        """Remember what went wrong."""
        self.reason = "client_gone" if isinstance(error, Gone) else of(error).reason

    def check_length(self) -> None:
        """Raises Problem where the head promises too long a body."""
        length = self.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.max_bytes:
            raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(413, "too_large", f"the body has more than the {self._limits.max_bytes} bytes that are allowed")

    async def receive(self) -> dict:
        """The next piece of the body; once it is complete, waits until the client goes. Raises Problem."""
        if self._complete:
            return await self._receive()
        limits = self._limits
        try:
            message = await asyncio.wait_for(self._receive(), limits.silent_s)
        except TimeoutError:
            raise self._too_slow() from None
        if message["type"] != "http.request":
            raise Gone
        n = len(message.get("body", b""))
        self._room.take(n)
        self._n_bytes += n
        self._complete = not message.get("more_body", False)
        if self._n_bytes > limits.max_bytes:
            raise self._too_large()
        beyond_s = time.monotonic() - self.started - limits.silent_s
        if not self._complete and self._n_bytes < beyond_s * limits.least_bytes_per_s:
            raise self._too_slow()
        return message

    def _too_slow(self) -> Problem:
        return Problem(408, "too_slow", "the body comes too slowly: send it again", {"Connection": "close"})

    async def send(self, message: dict) -> None:
        """Raises Gone where the client takes nothing any more."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message.get("headers", [])}
            more = [(b"x-request-id", self.id.encode()), (b"x-content-type-options", b"nosniff")]
            message["headers"] = [*message.get("headers", []), *((n, v) for n, v in more if n not in given)]
        try:
            await asyncio.wait_for(self._send(message), self._limits.silent_s)
        except TimeoutError:
            raise Gone from None

    async def tell(self, problem: Problem) -> None:
        """Answer with a problem."""
        self.note(problem)
        body = json.dumps(problem.as_dict(self.id)).encode()
        headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **problem.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": problem.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body if self.scope["method"] != "HEAD" else b""})

    def close(self) -> None:
        """The body is kept no longer."""
        self._room.give(self._n_bytes)

    @property
    def route(self) -> str:
        """As the application names it: the number of names is bounded, whatever clients ask for."""
        return getattr(self.scope.get("route"), "path", "other")


class Gate:
    """Wraps the application."""

    def __init__(self, app, settings: Settings, metrics: Metrics, room: Room):
        self._app, self._settings, self._metrics, self._room = app, settings, metrics, room

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = scope["l3embed"] = Call(scope, receive, send, self._settings, self._metrics, self._room)
        try:
            await self._pass(call)
        except Gone as error:
            call.note(error)
            call.status = call.status or GONE
        except Exception as error:
            problem = of(error)
            call.note(problem)
            if problem.status == 500:
                log.error(json.dumps({"id": call.id, "error": type(error).__name__}), exc_info=error)
            if not call.status:
                await self._try_to_tell(call, problem)
        finally:
            self._over(call)

    async def _pass(self, call: Call) -> None:
        allowed = self._settings.keys
        if allowed is not None and call.scope["path"].startswith(NEEDS_KEY):
            if not keys.known(keys.of_headers(call.headers), allowed):
                raise Problem(
                    401, "no_key", "this needs an API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
                    {"WWW-Authenticate": "Bearer"},
                )  # fmt: skip
        call.check_length()
        await self._app(call.scope, call.receive, call.send)

    async def _try_to_tell(self, call: Call, problem: Problem) -> None:
        try:
            await call.tell(problem)
        except (Gone, OSError, RuntimeError):
            call.status = call.status or GONE

    def _over(self, call: Call) -> None:
        call.close()
        duration_s = time.monotonic() - call.started
        self._metrics.request(call.route, call.status or GONE, duration_s)
        if call.reason:
            self._metrics.failure(call.reason)
        line = {
            "id": call.id, "method": call.scope["method"], "route": call.route, "status": call.status or GONE,
            "seconds": round(call.seconds, 3), "duration_s": round(duration_s, 4), "bytes": call._n_bytes,
        }  # fmt: skip
        log.info(json.dumps({**line, **({"reason": call.reason} if call.reason else {})}))
