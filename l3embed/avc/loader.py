"""Pairs made by other processes while the network learns, in an order that does not depend on their speed."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import queue
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from functools import cache, partial

import numpy as np

from ..errors import L3EmbedError, TrainingError
from ..frontend import spectrograms
from . import pairs
from .config import TrainConfig

QUEUED = 4  # batches a process may be ahead
HELD_OUT = 1 << 20  # stands where the seed of a stream of the training part has the epoch


class Loader:
    """Batches of each epoch, those of the held-out part after those of training; batch b comes from process b modulo
    workers.

    Every epoch starts its streams anew from (seed, epoch, worker), so a resumed run sees the same pairs; those of the
    held-out part are the same in every epoch.

    So far: `n_pairs` handed out, `waited_s` the seconds that whoever asked for them had to wait, `made_s` the seconds
    that the processes worked on them, all processes together. Differences of them tell of a stretch of the run.
    """

    def __init__(self, config: TrainConfig, image_size: int, in_graph: bool, first_epoch: int, first_step: int = 0):
        context = multiprocessing.get_context("spawn")  # a forked child of a process with a running TensorFlow hangs
        self._config, self._first = config, (first_epoch, first_step)
        self.n_pairs, self.waited_s, self.made_s = 0, 0.0, 0.0
        self._processes, self._pipes = [], []
        for worker in range(config.fit.workers):
            ours, theirs = context.Pipe(duplex=False)
            arguments = (config, image_size, in_graph, self._first, worker, theirs)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            # Each end of a pipe lives in one process only: when either dies, even within a batch, the other one knows.
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    @property
    def pairs_per_s(self) -> float:
        """Pairs that the processes make in a second, were they never kept waiting; 0.0 before the first batch."""
        return self.n_pairs * len(self._pipes) / self.made_s if self.made_s else 0.0

    def __iter__(self) -> Iterator[tuple]:
        for _, steps in _epochs(self._config, *self._first):
            for step in itertools.chain(steps, range(self._config.fit.validation_steps)):
                yield self._get(step % len(self._pipes))

    def _get(self, worker: int) -> tuple:
        started = time.monotonic()
        try:
            batch = self._pipes[worker].recv()
        except (EOFError, OSError):
            raise TrainingError("the process that makes pairs ended without a word: out of memory?") from None
        if isinstance(batch, str):
            raise TrainingError(batch)
        inputs, target, made_s = batch
        self.waited_s += time.monotonic() - started
        self.made_s += made_s
        self.n_pairs += len(target)
        return inputs, target

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


class Ahead:
    """The batches of a loader, the next one taken out of its pipe while the network is busy.

    So far: `n_pairs` handed out, `waited_s` the seconds that whoever asked for them had to wait.
    """

    def __init__(self, load: Loader):
        self.load, self.n_pairs, self.waited_s = load, 0, 0.0
        self._next, self._closed = queue.Queue(1), threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def __next__(self) -> tuple:
        started = time.monotonic()
        batch = self._next.get()
        self.waited_s += time.monotonic() - started
        if isinstance(batch, Exception):
            raise batch
        self.n_pairs += len(batch[1])
        return batch

    def _take(self) -> None:
        try:
            for batch in self.load:
                self._put(batch)
        except Exception as error:
            self._put(error)

    def _put(self, item) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                return self._next.put(item, timeout=0.5)

    def close(self) -> None:
        """Close the loader, too, whose end wakes the thread."""
        self._closed.set()
        self.load.close()
        self._thread.join()


def _epochs(config: TrainConfig, first_epoch: int, first_step: int) -> Iterator[tuple[int, range]]:
    """Each epoch to come, and its steps to come."""
    for epoch in range(first_epoch, config.fit.epochs):
        yield epoch, range(first_step if epoch == first_epoch else 0, config.fit.steps)


def held_out(config: TrainConfig, sources: pairs.Sources, image_size: int, in_graph: bool) -> Iterator[tuple]:
    """The batches of one part, made here: the same ones at every call."""
    seed = [config.seed, HELD_OUT, 0]
    return _prepared(pairs.batches(pairs.stream(config, sources, image_size, seed), config, seed), config, in_graph)


def _work(config, image_size, in_graph, first, worker, out) -> None:
    """One thread makes batches, up to QUEUED ahead, while the other hands them over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    ahead = queue.Queue(QUEUED)
    threading.Thread(target=_make, args=(config, image_size, in_graph, first, worker, ahead), daemon=True).start()
    with contextlib.suppress(OSError):  # the parent is gone
        while (batch := ahead.get()) is not None:
            out.send(batch)


def _make(config, image_size, in_graph, first, worker, ahead) -> None:
    sources = cache(partial(pairs.Sources, config))  # what is known of broken files serves all epochs

    def make(split: str, seed: list[int], steps: range) -> None:
        """This process's share of the steps."""
        mine = range(worker, steps.stop, config.fit.workers)
        past = sum(step < steps.start for step in mine)
        if past == len(mine):
            return
        draws = pairs.stream(config, sources(split), image_size, seed)
        batches = _prepared(pairs.batches(draws, config, seed, past), config, in_graph)
        for _ in mine[past:]:
            started = time.monotonic()
            inputs, target = next(batches)
            ahead.put((inputs, target, time.monotonic() - started))

    try:
        for epoch, steps in _epochs(config, *first):
            make("train", [config.seed, epoch, worker], steps)
            make("held_out", [config.seed, HELD_OUT, worker], range(config.fit.validation_steps))
    except L3EmbedError as error:
        ahead.put(str(error))
    except Exception:
        ahead.put(f"the process that makes pairs failed:\n{traceback.format_exc()}")
    finally:
        ahead.put(None)


def _prepared(batches, config: TrainConfig, in_graph: bool) -> Iterator[tuple]:
    """Where the front end is not part of the training graph, sound becomes spectrograms here."""
    for inputs, target in batches:
        if not in_graph:
            windows, start = inputs["audio"][..., 0], np.zeros(1, int)
            inputs["audio"] = np.concatenate([spectrograms(x, start, config.front_end) for x in windows])
        yield inputs, target
