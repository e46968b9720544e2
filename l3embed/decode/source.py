"""Where a recording's bytes come from: a path, bytes or a file object, made seekable and watched for change."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import stat
import tempfile
import threading

from ..errors import AudioError, UsageError, reason


@contextlib.contextmanager
def interrupts_wait():
    """Ctrl-C waits until libsndfile returns: in its callbacks it would be printed, forgotten, and taken for an end."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    caught = []
    signal.signal(signal.SIGINT, lambda *arguments: caught.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught:
            before(*caught[0])


CHANGED = "changed while it was being read: run again when the recording is complete"


class Source:
    """The bytes of a recording as libsndfile reads them: seekable, and the first read error kept.

    libsndfile calls back into Python, where an exception would be printed and forgotten, leaving a short recording.
    """

    def __init__(self, source):
        self._path = self._identity = self._spooled = self._copy = self._error = None
        self._owned = True
        if isinstance(source, (bytes, bytearray, memoryview)):
            self._file = io.BytesIO(source)
        elif isinstance(source, (str, os.PathLike)):
            self._path = os.fsdecode(source)
            self._file = _open_regular(self._path)
            self._identity = _identity(os.fstat(self._file.fileno()))
        else:
            self._file, self._owned = _seekable(source)
        self.size = self.seek(0, os.SEEK_END)
        self.check()
        if not self.size:
            self.close()
            raise AudioError("is empty (0 bytes)")

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            self._file.seek(offset, whence)
        except Exception as error:  # a caller's file object may raise anything
            self._error = self._error or error
        return self.tell()

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:
            self._error = self._error or error
            return 0
        buffer[: len(data)] = data
        return len(data)

    def read_at(self, offset: int, n: int) -> bytes:
        self.seek(offset)
        data = bytearray(n)
        return bytes(data[: self.readinto(data)])

    def check(self) -> None:
        """Raise what a read ran into, if anything."""
        if self._error is not None:
            raise AudioError(f"cannot be read: {reason(self._error)}") from None

    def changed(self) -> bool:
        """Whether the file is no longer the one that was opened."""
        try:
            return self._identity is not None and _identity(os.stat(self._path)) != self._identity
        except OSError:
            return True

    def path(self) -> str:
        """A path that another program can open; what is not a file yet becomes a temporary one."""
        if self._path is None and self._spooled is None:
            self._file.seek(0)
            handle, self._spooled = tempfile.mkstemp(prefix="l3embed-")
            with open(handle, "wb") as spool:
                _copy(self._file, spool)
        return self._path or self._spooled

    def descriptor(self) -> int:
        """An open file at its beginning, for another program that is to know no name."""
        try:
            number = self._file.fileno()
        except (AttributeError, OSError):
            return self._copied().fileno()
        os.lseek(number, 0, os.SEEK_SET)
        return number

    def _copied(self):
        if self._copy is None:
            self._copy = tempfile.TemporaryFile()
            self._file.seek(0)
            _copy(self._file, self._copy)
            self._copy.seek(0)
        return self._copy

    def close(self) -> None:
        if self._copy:
            self._copy.close()
        if self._owned:
            self._file.close()
        if self._spooled:
            os.unlink(self._spooled)
            self._spooled = None


def _open_regular(path: str):
    """Open a regular file, never waiting for the other end of a pipe. Raises AudioError."""
    # non-blocking, should a pipe take the file's place between the look and the opening
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        _check_regular(os.stat(path))
        file = open(path, "rb", buffering=1 << 16, opener=lambda name, _: os.open(name, flags))
    except (FileNotFoundError, NotADirectoryError):
        raise AudioError("does not exist") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot be read: {reason(error)}") from None
    try:
        _check_regular(os.fstat(file.fileno()))
    except AudioError:
        file.close()
        raise
    return file


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise AudioError("is a folder, not a recording")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError("is not a regular file but a pipe or a device: save it to a file first")


def _identity(status: os.stat_result) -> tuple:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _seekable(file):
    """(the caller's file object, False), or (a temporary copy, True) where it cannot seek."""
    if not callable(getattr(file, "read", None)):
        kind = type(file).__name__
        raise UsageError(f"a recording is a path, bytes or a binary file object (arrays: from_array). Received: {kind}")
    if isinstance(file, io.TextIOBase):
        raise UsageError("a recording must be opened in binary mode ('rb'), not as text")
    if getattr(file, "seekable", lambda: hasattr(file, "seek"))():
        return file, False
    spool = tempfile.TemporaryFile()
    _copy(file, spool)
    return spool, True


def _copy(file, spool) -> None:
    try:
        shutil.copyfileobj(file, spool)
    except Exception as error:
        raise AudioError(f"cannot be read: {reason(error)}") from None
