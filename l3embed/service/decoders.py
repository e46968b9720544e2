"""The child processes that decode (`worker`), as many as are needed, and each replaced when it dies.

A child belongs to one recording at a time. One whose recording was given up, or that died, is not used again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np

from .problems import Problem
from .worker import LENGTHS, NUMBER, Task, nursery, read_into

SILENT_S = 120.0  # a child that says nothing for so long hangs: waiting takes no processor time, so no limit ends it
MOST_HEAD, MOST_BODY = 1 << 20, 1 << 28  # bytes of a message: a child may have been taken over


class Nursery:
    """The process that makes the children (`worker.nursery`); made when it is needed, and again if it dies."""

    def __init__(self):
        self._process, self._control, self._lock = None, None, threading.Lock()

    def child(self) -> tuple[int, socket.socket]:
        """(number, socket) of a new child."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            for _ in range(2):
                try:
                    if self._process is None:
                        self._start()
                    socket.send_fds(self._control, [NUMBER.pack(0)], [theirs.fileno()])
                    return self._answer(), ours
                except (EOFError, OSError):
                    self._end()
        ours.close()
        raise RuntimeError("the process that makes decoders does not start")

    def wait(self, pid: int) -> int | None:
        """The exit code of a child that ends; minus the signal that ended it; None where nobody knows."""
        with self._lock:
            try:
                if self._process is None:
                    return None
                self._control.sendall(NUMBER.pack(pid))
                return self._answer()
            except (EOFError, OSError):
                self._end()
                return None

    def _answer(self) -> int:
        data = bytearray(NUMBER.size)
        read_into(self._control, memoryview(data))
        return NUMBER.unpack(data)[0]

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        code = f"import sys, socket; sys.path[:] = {sys.path!r}; from {nursery.__module__} import nursery; "
        code += f"nursery(socket.socket(fileno={theirs.fileno()}))"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # its threads take cores from the network
            )  # fmt: skip

    def _end(self) -> None:
        if self._process is not None:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it; children end when their sockets do."""
        with self._lock:
            self._end()


class Child:
    """A process and the socket to it. `read` one recording after the other; `stop` from any thread."""

    def __init__(self, nursery: Nursery):
        self._nursery = nursery
        self.pid, self._link = nursery.child()
        self._link.settimeout(SILENT_S)
        self._code: int | None = None
        self._ended, self._lock = False, threading.Lock()
        self.is_busy = False

    @property
    def is_alive(self) -> bool:
        """Whether it waits for a recording: one that has something to say, or has hung up, does not."""
        look = select.poll()
        look.register(self._link, select.POLLIN)
        return not look.poll(0)

    def read(self, task: Task, file) -> Iterator[tuple[dict, np.ndarray | None]]:
        """The messages about a recording, from an open file. Raises Problem where the child ends before they do."""
        self.is_busy = True
        try:
            data = pickle.dumps(task)
            socket.send_fds(self._link, [LENGTHS.pack(len(data), 0)], [file.fileno()])
            self._link.sendall(data)
            while True:
                head, rows = self._message()
                if rows is not None and not _is_like(rows, task.front_end.shape):
                    raise EOFError
                yield head, rows
                if "end" in head:
                    self.is_busy = False
                    return
        except (EOFError, OSError):
            raise self._cause() from None

    def _message(self) -> tuple[dict, np.ndarray | None]:
        lengths = bytearray(LENGTHS.size)
        read_into(self._link, memoryview(lengths))
        n_head, n_body = LENGTHS.unpack(lengths)
        if n_head > MOST_HEAD or n_body > MOST_BODY:
            raise EOFError
        text = bytearray(n_head)
        read_into(self._link, memoryview(text))
        head = json.loads(bytes(text))
        if not n_body:
            return head, None
        rows = np.empty(n_body // 4, np.float32)
        read_into(self._link, memoryview(rows).cast("B"))
        if math.prod(head["shape"]) != len(rows):
            raise EOFError
        return head, rows.reshape(head["shape"])

    def _cause(self) -> Problem:
        if self.end() == -signal.SIGXCPU:
            return Problem(422, "too_costly", "the recording takes more processor time to be decoded than is allowed")
        died = "the process that decoded this recording died, which touches no other: try again"
        return Problem(502, "decoder_died", died)

    def stop(self) -> None:
        """Kill it and what it started, from any thread; to be followed by `end`."""
        with self._lock:
            if not self._ended:  # its number is its own until it was waited for
                for kill in (os.killpg, os.kill):  # it may have no group of its own yet
                    with contextlib.suppress(OSError):
                        kill(self.pid, signal.SIGKILL)

    def end(self) -> int | None:
        """Kill it where it lives, and forget it; its exit code. Harmless when repeated."""
        self.stop()
        with self._lock:
            if not self._ended:
                self._ended = True
                self._link.close()
                self._code = self._nursery.wait(self.pid)
            return self._code


def _is_like(rows: np.ndarray, shape: tuple[int, int, int]) -> bool:
    """Whether these are inputs (n, *shape) of the network, but for their length."""
    return rows.ndim == 4 and sum(a != b for a, b in zip(rows.shape[1:], shape, strict=True)) <= 1


class Decoders:
    """Children, made when needed; of those that are idle at most `spare` stay."""

    def __init__(self, spare: int):
        self._nursery, self._spare = Nursery(), spare
        self._idle, self._lock = [], threading.Lock()
        self.all: set[Child] = set()
        self.n_dropped = 0

    def start(self) -> None:
        """Make the spare ones ahead of need."""
        self._idle = [self._made() for _ in range(self._spare)]

    def _made(self) -> Child:
        child = Child(self._nursery)
        self.all.add(child)
        return child

    def take(self) -> Child:
        """One that lives, idle or new."""
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return self._made()
            if child.is_alive:
                return child
            self.drop(child)

    def give(self, child: Child, again: bool = True) -> None:
        """Back, after all messages about a recording were read; to be used `again`, or to end."""
        with self._lock:
            if again and len(self._idle) < self._spare:
                self._idle.append(child)
                return
        self.all.discard(child)
        child.end()

    def drop(self, child: Child) -> None:
        """Not to be used again."""
        child.end()
        self.all.discard(child)
        with self._lock:
            self.n_dropped += 1

    def close(self) -> None:
        with self._lock:
            for child in self.all:
                child.end()
            self.all.clear()
            self._idle.clear()
            self._nursery.close()
