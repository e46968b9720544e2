"""What went wrong, as RFC 9457 has it: problem+json, with a `reason` for programs and a sentence for people.

A problem says what the client did or has to know; never a path, a traceback, or what other clients do.
"""

from __future__ import annotations

from http import HTTPStatus

from ..errors import AudioError, L3EmbedError, UsageError, reason

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that is not what was asked for. `reason` is for programs: one of REASONS; `detail` is one sentence."""

    def __init__(self, status: int, reason: str, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.reason, self.detail, self.headers = status, reason, detail, headers or {}

    def as_dict(self, request_id: str = "") -> dict:
        title = HTTPStatus(self.status).phrase
        table = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        return {**table, "reason": self.reason, "request_id": request_id}


def of(error: BaseException) -> Problem:
    """The problem that an exception amounts to. What nobody foresaw is the server's fault, and says no more."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, UsageError):
        return Problem(422, "bad_setting", reason(error))
    if isinstance(error, AudioError):
        return Problem(422, "bad_audio", f"the recording {reason(error)}")
    if isinstance(error, L3EmbedError):
        return Problem(500, "internal", "the model could not be run")
    return Problem(500, "internal", "something went wrong here, not with the request; the log has more")
