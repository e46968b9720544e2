"""Pairs made by other processes while the network learns, in an order that does not depend on their speed."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import queue
import signal
import threading
import traceback
from collections.abc import Iterator

import numpy as np

from ..errors import L3EmbedError, TrainingError
from ..frontend import spectrograms
from . import pairs
from .config import TrainConfig

QUEUED = 4  # batches a process may be ahead


class Loader:
    """Batches of the training part, from the beginning of an epoch on; batch b comes from process b modulo workers.

    Every epoch starts its streams anew from (seed, epoch, worker), so a resumed run sees the same pairs.
    """

    def __init__(self, config: TrainConfig, image_size: int, in_graph: bool, first_epoch: int):
        context = multiprocessing.get_context("spawn")  # a forked child of a process with a running TensorFlow hangs
        self._epochs, self._steps = range(first_epoch, config.fit.epochs), config.fit.steps
        self._processes, self._pipes = [], []
        for worker in range(config.fit.workers):
            ours, theirs = context.Pipe(duplex=False)
            arguments = (config, image_size, in_graph, self._epochs, worker, theirs)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            # Each end of a pipe lives in one process only: when either dies, even within a batch, the other one knows.
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def __iter__(self) -> Iterator[tuple]:
        for _ in self._epochs:
            for step in range(self._steps):
                yield self._get(step % len(self._pipes))

    def _get(self, worker: int) -> tuple:
        try:
            batch = self._pipes[worker].recv()
        except (EOFError, OSError):
            raise TrainingError("the process that makes pairs ended without a word: out of memory?") from None
        if isinstance(batch, str):
            raise TrainingError(batch)
        return batch

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def held_out(config: TrainConfig, sources: pairs.Sources, image_size: int, in_graph: bool) -> Iterator[tuple]:
    """The batches of the held-out part: the same ones at every call."""
    seed = [config.seed, 1 << 20]
    return _prepared(pairs.batches(pairs.stream(config, sources, image_size, seed), config, seed), config, in_graph)


@contextlib.contextmanager
def own_errors(batches):
    """The same batches for Keras, whose TensorFlow backend wraps an error in them beyond recognition: unwrap it."""
    raised = []

    def watched():
        try:
            yield from batches
        except L3EmbedError as error:
            raised.append(error)
            raise

    try:
        yield watched()
    except Exception:
        if raised:
            raise raised[0] from None
        raise


def _work(config, image_size, in_graph, epochs, worker, out) -> None:
    """One thread makes batches, up to QUEUED ahead, while the other hands them over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    ahead = queue.Queue(QUEUED)
    threading.Thread(target=_make, args=(config, image_size, in_graph, epochs, worker, ahead), daemon=True).start()
    with contextlib.suppress(OSError):  # the parent is gone
        while (batch := ahead.get()) is not None:
            out.send(batch)


def _make(config, image_size, in_graph, epochs, worker, ahead) -> None:
    try:
        sources = pairs.Sources(config, "train")
        share = len(range(worker, config.fit.steps, config.fit.workers))
        for epoch in epochs:
            seed = [config.seed, epoch, worker]
            batches = pairs.batches(pairs.stream(config, sources, image_size, seed), config, seed)
            for batch in itertools.islice(_prepared(batches, config, in_graph), share):
                ahead.put(batch)
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
