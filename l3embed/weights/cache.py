"""The folder for what is fetched and converted once, and taking turns in it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..errors import WeightsError, reason


def cache_folder() -> Path:
    """L3EMBED_CACHE, or `l3embed` in the user's cache folder."""
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("L3EMBED_CACHE") or Path(user) / "l3embed")


def made(folder: Path) -> Path:
    """The folder, made if need be. Raises WeightsError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(0, "permission denied")
    except OSError as error:
        raise WeightsError(
            f"{folder}: cannot be written ({reason(error)}): name another cache folder in the environment variable "
            "L3EMBED_CACHE"
        ) from error
    return folder


@contextlib.contextmanager
def alone(folder: Path):
    """One process at a time makes something in a folder; the others wait, and then find it there.

    This saves work and nothing else: whatever is made gets its name in one step. So systems and file systems without
    such locks do without. The lock goes with the process, however that ends.
    """
    with open(made(folder) / ".lock", "ab") as lock:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
