"""Files that appear whole or not at all, and who is still writing one."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from functools import lru_cache
from pathlib import Path

from ..errors import StoreError


class naming:
    """Turns an error of the file system into a StoreError that names the output."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, OSError):
            raise StoreError(f"cannot write {self.path}: {(error.strerror or str(error)).lower()}") from error


def part_name(name: str) -> str:
    """Of the file that will be moved to its place when it is whole; tells whose it is."""
    return f".l3embed.{name}.{socket.gethostname()}-{os.getpid()}.part"


def token() -> str:
    """A name that no other process, on whatever host, will choose."""
    return secrets.token_hex(8)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file that survives a power cut once it has its name."""
    part = path.with_name(part_name(token()))
    with naming(path):
        try:
            with open(part, "wb") as file:
                file.write(data)
            move_whole(part, path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink()


def move_whole(part: Path, path: Path) -> None:
    """Give a finished file its name, its bytes on the disk before and the name itself after."""
    _flush(part)
    os.replace(part, path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folders, and needs no flush of names
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@lru_cache
def remove_abandoned(folder: Path) -> None:
    """Parts whose process on this machine is gone: a killed run left them. Once a folder: listing it takes time."""
    for part in abandoned(folder):
        with contextlib.suppress(OSError):
            part.unlink()


def abandoned(folder: Path) -> list[Path]:
    host = socket.gethostname()
    return [p for p in folder.glob(f".l3embed.*.{_escaped(host)}-*.part") if not is_alive(_pid(p.stem))]


def _pid(name: str) -> int:
    """0, which is always alive, where a name does not end in a number."""
    pid = name.rpartition("-")[2]
    return int(pid) if pid.isdecimal() else 0


def is_alive(pid: int) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "[*?" else c for c in name)
