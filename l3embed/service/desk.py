"""What is behind the routes: models with their batchers, decoders, and the way of a recording through them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..embed import EmbeddingModel
from ..windows import Framing
from . import problems
from .admission import Admission, Room
from .batching import Batcher
from .decoders import Decoders
from .metrics import Metrics
from .problems import Problem
from .settings import Settings
from .uploads import Upload
from .work import Work
from .worker import Task


class Desk:
    """One for a process. Each model has one engine; decoders are shared."""

    def __init__(self, models: list[EmbeddingModel], settings: Settings, metrics: Metrics):
        self.models = {model.name: model for model in models}
        self.settings, self.metrics = settings, metrics
        self.admission = Admission(settings.limits.max_queue)
        self.room = Room(settings.limits.max_disk_bytes)
        self.decoders = Decoders(settings.jobs)
        self.batchers = {
            name: Batcher(model.engine, settings.batching, lambda batch, name=name: metrics.batch(name, batch))
            for name, model in self.models.items()
        }
        self._threads = ThreadPoolExecutor(settings.limits.max_queue, "decoding")
        self._turns = asyncio.Semaphore(settings.jobs)  # recordings that begin to be decoded; first come, first served
        self._running: set[asyncio.Task] = set()
        metrics.watch(self)

    def model(self, name: str | None) -> EmbeddingModel:
        """The one that was asked for; None: the first. Raises Problem."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Problem(404, "unknown_model", f"there is no such model here, only {', '.join(self.models)}")
        return self.models[name]

    @contextlib.contextmanager
    def work(self, upload: Upload, model: EmbeddingModel, framing: Framing, left) -> Iterator[Work]:
        """A recording on its way, which is given up where this is left before its end. `left`: of the admission."""
        limits = self.settings.limits
        work = Work(model, framing, limits.max_windows, self.room)
        task = Task(
            upload.kind, model.front_end, framing, limits.bounds, upload.sample_rate, limits.decoding_s,
            limits.memory_bytes,
        )  # fmt: skip
        out_of_time = Problem(503, "out_of_time", f"the recording was not done after {limits.max_compute_s:g} s")
        late = asyncio.get_running_loop().call_later(limits.max_compute_s, work.fail, out_of_time)
        running = asyncio.create_task(self._run(work, task, upload, left))
        self._running.add(running)  # asyncio itself keeps no hold of it
        running.add_done_callback(self._running.discard)
        try:
            yield work
        finally:
            late.cancel()
            work.cancel()
            self.batchers[model.name].cancel(work)
            work.close()

    async def _run(self, work: Work, task: Task, upload: Upload, left) -> None:
        """From its turn to its last vector. The turn ends as soon as the decoder is ahead of the engine."""
        await self._turns.acquire()
        loop, turn = asyncio.get_running_loop(), contextlib.ExitStack()
        turn.callback(self._turns.release)
        try:
            if not work.over:
                await loop.run_in_executor(
                    self._threads, self._decode, work, task, upload, lambda: loop.call_soon_threadsafe(turn.close)
                )
            turn.close()
            with contextlib.suppress(Exception):  # those who wait for the recording are told
                await work.all()
        finally:
            turn.close()
            left.computed()
            self.metrics.recording(work)

    def _decode(self, work: Work, task: Task, upload: Upload, leave) -> None:
        """In a thread: from the child's messages to the engine's queue."""
        batcher, child, is_turn = self.batchers[work.model.name], None, True
        batcher.open(work)
        try:
            child = self.decoders.take()
            work.attach(child)
            for head, rows in child.read(task, upload.file):
                work.expected_s = head.get("expected_s", work.expected_s)
                if rows is not None:
                    work.want(head["n_windows"])
                    if is_turn and batcher.is_ahead(work):
                        is_turn = False
                        leave()
                    batcher.put(work, rows)
            work.detach()
            self.decoders.give(child, again=not head["used_up"])
            child = None
            if head["end"] != "done":
                raise problems.of_ending(head["end"], head["detail"])
            work.seconds, work.notes = head["seconds"], head["notes"]
            batcher.end(work)
        except Exception as error:
            if child:
                self.decoders.drop(child)
            batcher.cancel(work)
            work.fail(error)

    def warm(self) -> None:
        """Compile what the first requests would wait for, and make the decoders."""
        self.decoders.start()
        for model in self.models.values():
            rate_hz = model.spec.front_end.rate_hz
            model.embed(np.random.default_rng(0).uniform(-0.1, 0.1, 3 * rate_hz), rate_hz)

    def stop(self) -> None:
        """Refuse what comes from now on; what was accepted is finished."""
        self.admission.stopping = True

    def close(self) -> None:
        """End threads and children, once nothing is under way."""
        self._threads.shutdown(wait=True)
        for batcher in self.batchers.values():
            batcher.close()
        self.decoders.close()
