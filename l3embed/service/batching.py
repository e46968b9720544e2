"""One engine for all: rows of many recordings in shared batches, in turn: a long recording starves no short one.

A batch is begun when it is full, or when there is nothing to wait for: no other recording is about to bring rows. If
one is, it waits as long as a batch takes, the less the fuller it is. While earlier batches compute, rows gather by
themselves. So a lone client never waits, and under load, where batches are full, nobody does.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque

import numpy as np

from ..embed import Job
from ..engine import Batch, Engine

WAIT = 1.0  # of the time that a batch takes: what a batch that is empty but for one row may wait for others
CHUNKS_AHEAD = 2  # of a recording, waiting for the engine; then its decoder waits
BYTES_AHEAD = 64 * 2**20  # of all recordings


class Gone(Exception):
    """The recording was given up: nobody waits for its vectors."""


class _Waiting:
    """The rows of one recording that the engine has not begun with."""

    def __init__(self, job: Job):
        self.job, self.chunks, self.ended, self.since = job, deque(), False, 0.0

    @property
    def shape(self) -> tuple | None:
        return self.chunks[0].shape[1:] if self.chunks else None

    def next(self) -> np.ndarray:
        """(1, F, T, 1)"""
        rows = self.chunks.popleft()
        if len(rows) > 1:
            self.chunks.appendleft(rows[1:])
        return rows[:1]


class Batcher:
    """Feeds an engine. `open` a job, `put` its rows, `end` it; `take`, `fail` and `finish` of the job are called."""

    def __init__(self, engine: Engine, shared: bool = True, observe=lambda batch: None):
        self.engine, self._shared, self._observe = engine, shared, observe
        self._turns: deque[_Waiting] = deque()  # in the order in which they come next
        self._condition = threading.Condition()
        self._ahead = threading.Semaphore(engine.n_ahead)
        self._under_way: queue.SimpleQueue = queue.SimpleQueue()
        self._bytes, self._batch_s, self._closing = 0, 0.0, False
        self._threads = [threading.Thread(target=t, daemon=True, name="engine") for t in (self._launch, self._collect)]
        for thread in self._threads:
            thread.start()

    # --- for those who bring rows

    def open(self, job: Job) -> None:
        with self._condition:
            self._turns.append(_Waiting(job))

    def put(self, job: Job, rows: np.ndarray) -> None:
        """Rows (n, F, T, 1) of a job, once there is room for them. Raises Gone."""
        with self._condition:
            while (len(self._of(job).chunks) >= CHUNKS_AHEAD) or self._bytes > BYTES_AHEAD:
                self._condition.wait()
            waiting = self._of(job)
            if not waiting.chunks:
                waiting.since = time.monotonic()
            waiting.chunks.append(rows)
            self._bytes += rows.nbytes
            self._condition.notify_all()

    def is_ahead(self, job: Job) -> bool:
        """Whether the next `put` of a job would wait."""
        with self._condition:
            return len(self._of(job).chunks) >= CHUNKS_AHEAD or self._bytes > BYTES_AHEAD

    def end(self, job: Job) -> None:
        """All rows of a job were put."""
        with self._condition:
            self._of(job).ended = True
            self._condition.notify_all()

    def cancel(self, job: Job) -> None:
        """Forget what waits of a job; harmless where there is nothing."""
        with self._condition:
            for waiting in [w for w in self._turns if w.job is job]:
                self._turns.remove(waiting)
                self._bytes -= sum(rows.nbytes for rows in waiting.chunks)
            self._condition.notify_all()

    def close(self) -> None:
        """End once there is nothing more to do."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def n_waiting(self) -> int:
        """Rows that the engine has not begun with."""
        with self._condition:
            return sum(len(rows) for waiting in self._turns for rows in waiting.chunks)

    def _of(self, job: Job) -> _Waiting:
        for waiting in self._turns:
            if waiting.job is job:
                return waiting
        raise Gone

    # --- the runner

    def _launch(self) -> None:
        while True:
            self._ahead.acquire()
            batch = self._next()
            if batch is None:
                self._under_way.put(None)
                return
            started = time.monotonic()
            try:
                batch.start()
                error = None
            except Exception as failure:  # the engine's; its owners are told
                error = failure
            self._under_way.put((batch, started, error))

    def _next(self) -> Batch | None:
        """The next batch, as soon as there is one; None at the end of everything."""
        with self._condition:
            while True:
                ready = [w for w in self._turns if w.chunks or w.ended]
                if not ready and self._closing:
                    return None
                n = Counter()
                for waiting in ready:
                    n[waiting.shape] += len(waiting.chunks[0]) if waiting.chunks else 0
                others = len(ready) < len(self._turns)
                waits_s = [self._wait_s(waiting, n[waiting.shape], others) for waiting in ready]
                for waiting, wait_s in zip(ready, waits_s, strict=True):
                    if wait_s <= 0:
                        return self._filled(waiting)
                self._condition.wait(min(waits_s, default=None))

    def _wait_s(self, leader: _Waiting, n: int, others: bool) -> float:
        """How long a recording's rows may still wait for more than the `n` that could share their batch now."""
        expected = others or not leader.ended
        if not (leader.chunks and expected and self._shared) or self._closing:
            return 0.0
        size = self.engine.shape(leader.shape)[0]
        if n >= size:
            return 0.0
        return leader.since + WAIT * self._batch_s * (1 - n / size) - time.monotonic()

    def _filled(self, leader: _Waiting) -> Batch:
        """A batch of rows like the leader's, one of each recording in turn."""
        batch, shape = Batch(self.engine), leader.shape
        partners = [leader] if not self._shared else [leader, *(w for w in self._turns if w is not leader)]
        partners = [w for w in partners if w.chunks and w.shape == shape] if shape else [leader]
        going = deque(partners)
        while going and not batch.is_full:
            waiting = going.popleft()
            if waiting.shape == shape and waiting.chunks:
                row = waiting.next()
                self._bytes -= row.nbytes
                batch.add(waiting.job, row)
                going.append(waiting)
        for waiting in partners:
            self._turns.remove(waiting)
            waiting.since = time.monotonic()
            if waiting.ended and not waiting.chunks:
                batch.end(waiting.job)
            else:
                self._turns.append(waiting)
        self._condition.notify_all()
        return batch

    def _collect(self) -> None:
        while (found := self._under_way.get()) is not None:
            batch, started, error = found
            try:
                if error:
                    raise error
                results = list(batch.finish())
            except Exception as failure:
                results = [(job, failure) for job in {id(job): job for job, _ in batch.plan}.values()]
            for job, vectors in results:
                self._hand_over(job, vectors)
            if batch.used:
                self._batch_s += 0.2 * (time.monotonic() - started - self._batch_s)
                self._observe(batch)
            self._ahead.release()

    def _hand_over(self, job: Job, vectors: np.ndarray | Exception | None) -> None:
        try:
            if isinstance(vectors, Exception):
                raise vectors
            job.finish(None) if vectors is None else job.take(vectors, job.framing)
        except Exception as failure:
            self.cancel(job)
            job.fail(failure)
