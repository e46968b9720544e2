"""What went wrong, as RFC 9457 has it: problem+json, with a `reason` for programs and a sentence for people.

A problem says what the client did or has to know; never a path, a traceback, or what other clients do.
"""

from __future__ import annotations

from http import HTTPStatus

from ..errors import AudioError, L3EmbedError, UsageError, reason

MEDIA_TYPE = "application/problem+json"
REASONS = {
    "bad_request": "the request is no HTTP, or no form, as it should be",
    "bad_setting": "a parameter is missing, unknown or out of range",
    "bad_audio": "the recording cannot be decoded, or its samples are no sound",
    "beyond_limits": "the recording has more channels, or another rate, than is allowed",
    "no_file": "the form lacks a file",
    "empty": "the body has no bytes",
    "unknown_model": "no such model is served here",
    "unknown_type": "the body is of a type that is no recording",
    "not_acceptable": "the answer comes in none of the types that Accept names",
    "not_found": "no such address",
    "wrong_method": "the address is there, but not for this method",
    "no_key": "the key is missing or wrong",
    "too_large": "the body has more bytes than is allowed",
    "too_long": "the recording is longer than is allowed",
    "too_many_windows": "the recording has more windows, at this hop, than is allowed",
    "too_many_files": "the batch has more recordings than is allowed",
    "too_costly": "the recording takes more memory or processor time to be decoded than is allowed",
    "too_slow": "the body comes too slowly",
    "queue_full": "too many recordings are waiting: try again later",
    "decoder_died": "the process that decoded the recording died: try again",
    "out_of_time": "the recording was not done in the time that is allowed",
    "no_space": "there is no room for the vectors",
    "stopping": "the service is stopping",
    "internal": "something went wrong in the service",
}
STATUSES = {"too_long": 413, "beyond_limits": 422, "bad_audio": 422, "bad_setting": 422, "too_costly": 422}


class Problem(Exception):
    """An answer that is not what was asked for. `reason` is for programs, one of REASONS; `detail` is one sentence."""

    def __init__(self, status: int, reason: str, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.reason, self.detail, self.headers = status, reason, detail, headers or {}

    def as_dict(self, request_id: str) -> dict:
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


def of_ending(why: str, detail: str) -> Problem:
    """What a decoder says of a recording; a decoder that was taken over may say anything."""
    if why not in STATUSES:
        return Problem(500, "internal", "the recording could not be decoded, for no reason that is known")
    subject = "" if why == "bad_setting" else "the recording "
    return Problem(STATUSES[why], why, f"{subject}{str(detail)[:300]}")
