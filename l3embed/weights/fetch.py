"""Fetching published weight files: once, whole, and the right ones. Of any family: `zoo.File` says what a file is."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

from ..errors import MissingExtraError, UsageError, WeightsError, reason
from ..zoo import File
from .cache import alone, cache_folder
from .files import blob, md5, sha256

TIMEOUT_S = 30  # without a byte
HASHES = {"git": ("git blob SHA-1", blob), "sha256": ("SHA-256", sha256), "md5": ("MD5", md5)}


def fetch(file: File) -> Path:
    """A published file from the cache folder or, the first time, from the network.

    A file gets its name only when its hash is right; until then it is a temporary one, removed on failure. Several
    processes may ask at once: one fetches, the others wait. Raises WeightsError where the file cannot be had, and where
    nobody has published its address or hash: it is then put into its place by hand.
    """
    if (path := at_hand(file)) is not None:
        return path
    path = place(file)
    if not (file.url and file.hash) and file.instead:
        return fetch(file.instead)
    if not (file.url and file.hash):
        what = f"no hash of {file.url} is" if file.url else f"no stable address of {file.name} is"
        raise WeightsError(f"{file.name}: is not at hand, and {what} known, so it is not fetched: {_by_hand(path)}")
    with alone(path.parent):
        return at_hand(file) or _download(file, path)


def place(file: File) -> Path:
    """Where the fetched file lies in the cache folder, and where it can be put by hand."""
    return cache_folder() / file.folder / file.name


def url(file: File) -> str:
    """Where the file is fetched from: the mirror in L3EMBED_MIRROR (an http or https address), or its own address.

    Raises UsageError for a mirror that is no such address.
    """
    mirror = os.environ.get("L3EMBED_MIRROR")
    if not mirror:
        return file.url
    if not re.match(r"https?://[^/]", mirror):
        raise UsageError(f"L3EMBED_MIRROR must begin with http:// or https://. Received: {mirror!r}")
    return f"{mirror.rstrip('/')}/{file.name}"


def at_hand(file: File) -> Path | None:
    """The file in the cache folder. Raises WeightsError for one that is not what its name says."""
    path = place(file)
    if not path.exists():
        return None
    if wrong := differs(path, file):
        raise WeightsError(f"{path}: is damaged or another file ({wrong}): delete it, and it will be fetched")
    return path


def differs(path: Path, file: File) -> str | None:
    """How the hash of a file differs from the published one; None where it does not, or where none is known."""
    if not file.hash:
        return None
    kind, _, expected = file.hash.partition(":")
    name, of = HASHES[kind]
    found = of(path)
    return None if found == expected else f"{name} {found[:12]}..., expected {expected[:12]}..."


def _download(file: File, path: Path) -> Path:
    source = url(file)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        try:
            _get(source, part)
        except OSError as error:  # that of requests is one, and so is a full disk
            raise WeightsError(f"{source}: cannot be fetched ({_cause(error)}): {_by_hand(path)}") from error
        if wrong := differs(part, file):
            raise WeightsError(
                f"{source}: sent another file ({part.stat().st_size} bytes, {wrong}), which was not kept: try again, "
                f"or {_by_hand(path)}"
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
