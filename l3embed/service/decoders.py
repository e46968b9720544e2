"""The child processes that decode (`worker`), as many as are needed, and each replaced when it dies.

A child belongs to one recording at a time. One whose recording was given up, or that died, is not used again.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from collections.abc import Iterator

import numpy as np

from .problems import Problem
from .worker import LENGTHS, Task, main, read_into

SILENT_S = 120.0  # a child that says nothing for so long hangs: waiting takes no processor time, so no limit ends it
MOST_HEAD, MOST_BODY = 1 << 20, 1 << 28  # bytes of a message: a child may have been taken over
DIED = Problem(502, "decoder_died", "the process that decoded this recording died, which touches no other: try again")
COSTLY = Problem(422, "too_costly", "the recording takes more processor time to be decoded than is allowed")


class Child:
    """A process and the socket to it. `read` one recording after the other; `kill` from any thread."""

    def __init__(self, context):
        self._link, theirs = socket.socketpair()
        self._link.settimeout(SILENT_S)
        self._process = context.Process(target=main, args=(theirs,), daemon=True, name="l3embed-decoder")
        self._process.start()
        theirs.close()
        self.is_busy = False

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def pid(self) -> int:
        return self._process.pid

    def read(self, task: Task, file) -> Iterator[tuple[dict, np.ndarray | None]]:
        """The messages about a recording, from an open file. Raises Problem where the child ends before they do."""
        self.is_busy = True
        try:
            data = pickle.dumps(task)
            socket.send_fds(self._link, [LENGTHS.pack(len(data), 0)], [file.fileno()])
            self._link.sendall(data)
            while True:
                head, rows = self._message()
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
        self.kill()
        return COSTLY if self._process.exitcode == -signal.SIGXCPU else DIED

    def kill(self) -> None:
        """End it and what it started; harmless when repeated."""
        self.stop()
        self._process.join()

    def stop(self) -> None:
        """`kill` without waiting for it."""
        with contextlib.suppress(OSError):  # it has no group of its own yet, or is gone
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()

    def close(self) -> None:
        """Let it end by itself: it reads that nobody is there."""
        self._link.close()


class Decoders:
    """Children, made when needed; of those that are idle at most `spare` stay."""

    def __init__(self, spare: int):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # theirs; NumPy's threads would take cores from the network
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([main.__module__])
        self._spare, self._idle, self._lock = spare, [], threading.Lock()
        self.all: set[Child] = set()
        self.n_dropped = 0

    def start(self) -> None:
        """Make the spare ones ahead of need."""
        self._idle = [self._made() for _ in range(self._spare)]

    def _made(self) -> Child:
        child = Child(self._context)
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
        child.close()

    def drop(self, child: Child) -> None:
        """Not to be used again."""
        child.kill()
        child.close()
        self.all.discard(child)
        with self._lock:
            self.n_dropped += 1

    def close(self) -> None:
        with self._lock:
            for child in self.all:
                child.close()
            self.all.clear()
            self._idle.clear()
