"""Who is at work on a key: writers among themselves need no lock, compaction and removal must be alone.

Each process leaves a file of its own, looks at those of the others *after* that, and takes it away at its end. So of
two that exclude each other at least one sees the other, and both going back is the worst that happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

from ..errors import StoreError
from .files import is_alive, naming, token

EXPIRES_S = 3600.0  # without a sign of life; a writer gives one after every partition and every recording


class Lease:
    """`kind` is "writing", which many may do at a time, or "alone". Use as a context manager, or call `release`.

    Raises StoreError naming who is in the way.
    """

    def __init__(self, folder: Path, kind: str):
        self.path = folder / "at-work" / f"{kind}.{token()}.{socket.gethostname()}-{os.getpid()}"
        with naming(folder):
            self.path.parent.mkdir(exist_ok=True)
            self.path.touch()
        others = [other for other in self.path.parent.iterdir() if other != self.path and _is_held(other)]
        for other in others:  # all looked at first: a folder lists its files in any order
            if kind == "alone" or other.name.startswith("alone."):
                self.release()
                what = "written" if other.name.startswith("writing.") else "compacted or cleaned"
                whom = other.name.split(".", 2)[2]
                raise StoreError(
                    f"{folder}: is being {what} by process {whom.rpartition('-')[2]} on {whom.rpartition('-')[0]}: "
                    f"wait for its end (if it is gone, remove {other})"
                )

    def renew(self) -> None:
        """A sign of life."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.release()


def _is_held(path: Path) -> bool:
    """Whether its process may still live; what a dead one left behind is removed."""
    host, _, pid = path.name.split(".", 2)[-1].rpartition("-")
    try:
        is_gone = host == socket.gethostname() and pid.isdecimal() and not is_alive(int(pid))
        if not is_gone and time.time() - path.stat().st_mtime < EXPIRES_S:
            return True
        path.unlink()
    except OSError:  # its owner has removed it meanwhile
        pass
    return False
