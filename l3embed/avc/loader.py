"""Pairs made by other processes while the network learns, in an order that does not depend on their speed."""

from __future__ import annotations

import itertools
import multiprocessing
import queue
import traceback
from collections.abc import Iterator

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
        self._queues = [context.Queue(QUEUED) for _ in range(config.fit.workers)]
        self._processes = [
            context.Process(target=_work, args=(config, image_size, in_graph, first_epoch, i, q), daemon=True)
            for i, q in enumerate(self._queues)
        ]
        self._steps = config.fit.steps
        for process in self._processes:
            process.start()

    def __iter__(self) -> Iterator[tuple]:
        while True:
            for step in range(self._steps):
                yield self._get(step % len(self._queues))

    def _get(self, worker: int) -> tuple:
        while True:
            try:
                batch = self._queues[worker].get(timeout=5)
            except queue.Empty:
                if self._processes[worker].is_alive():
                    continue
                raise TrainingError("the process that makes pairs ended without a word: out of memory?") from None
            if isinstance(batch, str):
                raise TrainingError(batch)
            return batch

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def held_out(config: TrainConfig, image_size: int, in_graph: bool) -> Iterator[tuple]:
    """The batches of the held-out part: the same ones at every call."""
    seed = [config.seed, 1 << 20]
    samples = pairs.stream(config, pairs.Sources(config, "held_out"), image_size, seed)
    return _prepared(pairs.batches(samples, config, seed), config, in_graph)


def _work(config, image_size, in_graph, first_epoch, worker, out) -> None:
    try:
        sources = pairs.Sources(config, "train")
        share = len(range(worker, config.fit.steps, config.fit.workers))
        for epoch in range(first_epoch, config.fit.epochs):
            seed = [config.seed, epoch, worker]
            batches = pairs.batches(pairs.stream(config, sources, image_size, seed), config, seed)
            for batch in itertools.islice(_prepared(batches, config, in_graph), share):
                out.put(batch)
    except L3EmbedError as error:
        out.put(str(error))
    except Exception:
        out.put(f"the process that makes pairs failed:\n{traceback.format_exc()}")


def _prepared(batches, config: TrainConfig, in_graph: bool) -> Iterator[tuple]:
    """Where the front end is not part of the training graph, sound becomes spectrograms here."""
    import numpy as np

    for inputs, target in batches:
        if not in_graph:
            windows, start = inputs["audio"][..., 0], np.zeros(1, int)
            inputs["audio"] = np.concatenate([spectrograms(x, start, config.front_end) for x in windows])
        yield inputs, target
