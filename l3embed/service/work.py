"""One recording on its way: decoder, engine, vectors. Made and awaited in the event loop, moved on by threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import numpy as np

from ..embed import EmbeddingModel, Job
from ..store.rows import Rows
from ..windows import Framing
from . import problems
from .admission import Room
from .batching import Gone
from .problems import Problem

IN_MEMORY = 1 << 20  # bytes of one recording's vectors; a hundred may be under way


class Work(Job):
    """A recording that was accepted. `rows` grows; `over` says that it grows no more; then `error` may be set.

    `expected_s`: what its header promises; `seconds` of sound and `notes` about it: known at its end.
    """

    def __init__(self, model: EmbeddingModel, framing: Framing, max_windows: int, room: Room):
        self.model, self.framing, self._max_windows = model, framing, max_windows
        self.rows, self._room, self._taken = Rows(in_memory=IN_MEMORY), room, 0
        self.expected_s: float | None = None
        self.seconds, self.notes = 0.0, []
        self.over, self.error = False, None
        self._child, self._lock = None, threading.Lock()
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()

    # --- in the event loop

    async def more(self, n: int) -> None:
        """Wait until there are more than n rows, or there will be none. Raises what the recording failed with."""
        while len(self.rows) <= n and not self.over:
            self._changed.clear()
            if len(self.rows) <= n and not self.over:
                await self._changed.wait()
        if self.over and self.error:
            raise self.error

    async def all(self) -> None:
        """Wait for the end. Raises what the recording failed with."""
        while not self.over:
            self._changed.clear()
            if not self.over:
                await self._changed.wait()
        if self.error:
            raise self.error

    def cancel(self) -> None:
        """Give up: what waits is forgotten, what decodes is killed."""
        self.fail(Gone())

    def close(self) -> None:
        """Give up, and let go of the vectors."""
        self.cancel()
        self.rows.close()
        self._room.give(self._taken)
        self._taken = 0

    def times(self, first: int, n: int) -> np.ndarray:
        """(n,) s, of rows from the `first` on."""
        return self.framing.times(n, self.model.spec.front_end.rate_hz, first)

    # --- in other threads

    def attach(self, child) -> None:
        """What to kill when the recording is given up. Raises Gone where it was already."""
        with self._lock:
            if self.over:
                raise Gone
            self._child = child

    def detach(self) -> None:
        """The child is others' from now on. Raises Gone where it was killed."""
        with self._lock:
            self._child = None
            if self.over:
                raise Gone

    def want(self, n_windows: int) -> None:
        """Count windows that will come. Raises Problem where they are too many."""
        self.n_wanted += n_windows
        if self.n_wanted > self._max_windows * self.framing.every:
            raise Problem(
                413, "too_many_windows", f"the recording has more than the {self._max_windows} windows that are "
                "allowed: ask for a longer hop",
            )  # fmt: skip

    def add(self, vectors: np.ndarray) -> None:
        try:
            with self._lock:
                if self.over:
                    return
                self._room.take(vectors.nbytes)
                self._taken += vectors.nbytes
                self.rows.append(vectors)
        except Problem as problem:
            self.fail(problem)
            return
        except OSError:
            self.fail(Problem(507, "no_space", "there is no room here for the vectors of this recording: try later"))
            return
        self._tell()

    def finish(self, front_end) -> None:
        with self._lock:
            self.over = True
        self._tell()

    def fail(self, error: Exception) -> None:
        with self._lock:
            if self.over:
                return
            self.over, self.error = True, error if isinstance(error, Gone) else problems.of(error)
            if self._child:
                self._child.stop()
        self._tell()

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._changed.set)
