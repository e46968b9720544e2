"""API keys: a file with one a line; compared without telling by the time how much of one was right."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from ..errors import UsageError, reason

SHORTEST = 16  # characters: shorter ones can be guessed


def read(path: str) -> tuple[bytes, ...]:
    """SHA-256 of each key of a file; empty lines and those that begin with # are none. Raises UsageError."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: the file of API keys cannot be read ({reason(error)})") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise UsageError(f"{path}: holds no API key: write one a line")
    if any(len(key) < SHORTEST or not key.isascii() for key in keys):
        raise UsageError(f"{path}: API keys are at least {SHORTEST} characters of ASCII, one a line")
    return tuple(hashlib.sha256(key.encode()).digest() for key in keys)


def known(given: str, keys: tuple[bytes, ...]) -> bool:
    """Whether a key is one of them; every one is compared."""
    hashed = hashlib.sha256(given.encode("utf-8", "replace")).digest()
    return any([hmac.compare_digest(hashed, key) for key in keys])


def of_headers(headers: dict[bytes, bytes]) -> str:
    """The key that a request brings, as bearer token or as X-API-Key; "" where it brings none."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()
