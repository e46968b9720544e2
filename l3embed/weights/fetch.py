"""Fetching published weight files: once, whole, and the right ones."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from ..errors import MissingExtraError, WeightsError, reason
from ..spec import Published
from .cache import alone
from .files import blob
from .published import BLOBS, at_hand, place, url

TIMEOUT_S = 30  # without a byte


def fetch(which: Published) -> Path:
    """The weight file of a published model, from the cache folder or, the first time, from the network.

    A file gets its name only when its hash is right; until then it is a temporary one, removed on failure. Several
    processes may ask at once: one fetches, the others wait. Raises WeightsError where the file cannot be had.
    """
    if (path := at_hand(which)) is not None:
        return path
    path = place(which)
    with alone(path.parent):
        return at_hand(which) or _download(which, path)


def _download(which: Published, path: Path) -> Path:
    source = url(which)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        try:
            _get(source, part)
        except OSError as error:  # that of requests is one, and so is a full disk
            raise WeightsError(f"{source}: cannot be fetched ({_cause(error)}): {_by_hand(path)}") from error
        found, expected = blob(part), BLOBS[which.file]
        if found != expected:
            raise WeightsError(
                f"{source}: sent another file ({part.stat().st_size} bytes, git blob SHA-1 {found[:12]}..., expected "
                f"{expected[:12]}...), which was not kept: try again, or {_by_hand(path)}"
            )
        os.replace(part, path)
    return path


def _get(source: str, part: Path) -> None:
    try:
        from pooch import HTTPDownloader
    except ImportError as error:
        raise MissingExtraError("fetching published weights", "train") from error
    # No encoding on the way: the file is compressed already, and a helpful client would unpack it.
    HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=2**16, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"}
    )(source, str(part), None)


def _by_hand(path: Path) -> str:
    return f"put the file at {path}, or name one of your own with --weights (weights=)"


def _cause(error: BaseException) -> str:
    """What lies under the layers of an HTTP client's errors: "connection refused", "404 Not Found"."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    while error.__context__ is not None:
        error = error.__context__
    return reason(error)
