"""What can be said of a file whatever it holds: its hashes, and its bytes out of gzip."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

from ..errors import WeightsError


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    """What Zenodo publishes: it tells files apart, but not those made to be alike."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def blob(path: Path) -> str:
    """What git calls the file: SHA-1 of ``blob SIZE\\0`` and its bytes."""
    with open(path, "rb") as file:
        digest = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def check(path: Path, expected: str, remedy: str = "install the model again") -> None:
    """Raises WeightsError unless the file is there and has this SHA-256."""
    try:
        found = sha256(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}): {remedy}") from error
    if found != expected:
        raise WeightsError(
            f"{path}: is damaged or of another version (SHA-256 {found[:12]}..., the card says {expected[:12]}...): "
            f"{remedy}"
        )


def unpacked(path: Path) -> bytes:
    """The bytes of a file, out of gzip if they are in it."""
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
