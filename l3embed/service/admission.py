"""Who may come in: a bounded number of recordings of a bounded size, and nobody while the service stops."""

from __future__ import annotations

import contextlib
import math
import threading
import time

from .problems import Problem

SENDING = 4  # times as many answers may be on their way out as recordings may be computed: slow readers wait there
SHARE = 0.1  # of the newest recording in the mean of the time that one takes
LONGEST_S = 60  # to come back after


class Admission:
    """Counts recordings: `n` accepted and not yet computed, `n_open` not yet answered. For the event loop alone."""

    def __init__(self, most: int):
        self.most, self.n, self.n_open, self.stopping = most, 0, 0, False
        self._each_s, self._since = 0.1, 0.0

    @contextlib.contextmanager
    def answering(self, n: int = 1):
        """Accept n recordings, to be counted until they are answered. Raises Problem: 429, or 503 while stopping."""
        self.check(n)
        if self.n == 0:
            self._since = time.monotonic()
        self.n += n
        self.n_open += n
        left = _Left(self, n)
        try:
            yield left
        finally:
            left.computed(left.n)
            self.n_open -= n

    def check(self, n: int = 1) -> None:
        """Raises what `answering` would raise now."""
        if self.stopping:
            raise Problem(
                503, "stopping", "the service is stopping: ask again when it is back", {"Retry-After": "5"}
            )  # fmt: skip
        if self.n + n > self.most or self.n_open + n > SENDING * self.most:
            after_s = self.retry_after_s()
            raise Problem(
                429, "queue_full", f"{self.n} recordings are waiting, which is all that is allowed: try again in "
                f"{after_s} s", {"Retry-After": str(after_s)},
            )  # fmt: skip

    def retry_after_s(self) -> int:
        """Until half of the queue is done, at the measured rate."""
        return max(1, min(LONGEST_S, math.ceil(self.n / 2 * self._each_s)))

    def _computed(self, n: int) -> None:
        now = time.monotonic()
        self._each_s += SHARE * ((now - self._since) / max(1, n) - self._each_s)
        self._since = now
        self.n -= n


class _Left:
    """Of what was accepted together, the recordings that are not computed yet."""

    def __init__(self, admission: Admission, n: int):
        self._admission, self.n = admission, n

    def computed(self, n: int = 1) -> None:
        n = min(n, self.n)
        if n:
            self.n -= n
            self._admission._computed(n)


class Room:
    """Bytes that all requests together may keep, in memory or on disk. For any thread."""

    def __init__(self, most: int):
        self.most, self.used, self._lock = most, 0, threading.Lock()

    def take(self, n: int) -> None:
        """Raises Problem where there is no room for n bytes more."""
        with self._lock:
            if self.used + n > self.most:
                raise Problem(
                    507, "no_space", "there is no room here for so much at a time: try again later",
                    {"Retry-After": "5"},
                )  # fmt: skip
            self.used += n

    def give(self, n: int) -> None:
        """Back."""
        with self._lock:
            self.used -= n
