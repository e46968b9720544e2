"""Spectrograms to vectors. All engines share one way of batching; each knows only how to run one full batch.

Every batch of windows has the same shape: the last one is filled up with zeros. So a window's vector does not depend on
which windows share its batch, and a run that was interrupted ends with the same bytes as one that was not.
"""

from __future__ import annotations

import abc
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from . import bfloat16
from .errors import UsageError, WeightsError
from .weights import Card

BATCH = 16
PRECISIONS = ("auto", "f32", "bf16")


class Engine(abc.ABC):
    """Runs batches of rows, (rows, F, T, 1) of sound or (rows, height, width, 3), -> (rows, k, D), all float32.

    A row is a window (k = 1), or the spectrogram of k windows that share their computation, `step_samples` of the model
    apart. `batch` is counted in windows; `n_ahead` batches may be under way at once. May be used from several threads.
    """

    name = "engine"
    n_ahead = 1
    can_share = False

    def __init__(self, card: Card, *, precision: str = "auto", batch: int = BATCH):
        if not isinstance(batch, int) or batch < 1:
            raise UsageError(f"batch must be at least 1, a whole number. Received: {batch!r}")
        if precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}. Received: {precision!r}")
        self.card, self.batch = card, batch
        self.precision = self.resolve(precision)

    def resolve(self, precision: str) -> str:
        """What "auto" means for this engine on this machine."""
        return "f32" if precision == "auto" else precision

    def windows(self, row: tuple[int, int, int]) -> int:
        """How many windows a row of this shape (F, T, 1) holds."""
        model = self.card.model
        longer = row[1] - model.front_end.shape[1]
        return 1 + longer * model.front_end.hop_samples // model.step_samples if longer else 1

    def shape(self, row: tuple[int, int, int]) -> tuple[int, int, int, int]:
        """Of a batch of such rows."""
        return (max(1, self.batch // self.windows(row)), *row)

    @abc.abstractmethod
    def start(self, spectrograms: np.ndarray):
        """Begin a batch; returns what `finish` needs."""

    @abc.abstractmethod
    def finish(self, under_way) -> np.ndarray:
        """Wait for a batch; (rows, k, D) float32 that the caller may keep."""


class OpenVinoEngine(Engine):
    """The card's converted graph, on the processor, compiled for every shape of batch that comes."""

    name = "openvino"
    n_ahead = 2
    can_share = True

    def __init__(self, card: Card, *, precision: str = "auto", batch: int = BATCH):
        super().__init__(card, precision=precision, batch=batch)
        import openvino

        self._graph, _ = card.file("graph"), card.file("graph_data")
        self._core = openvino.Core()
        try:
            self._core.read_model(self._graph)
        except RuntimeError as error:
            raise self._broken(error) from error
        self._compiled: dict[tuple, object] = {}
        self._idle: dict[tuple, list] = {}
        self._lock = threading.Lock()

    def resolve(self, precision: str) -> str:
        """bf16 only where the processor computes in it; elsewhere it would be emulated or refused."""
        import openvino

        can = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not can:
            raise UsageError("precision bf16: this processor does not compute in bfloat16: use f32 or auto")
        return precision if precision != "auto" else "bf16" if can else "f32"

    def _compile(self, shape: tuple[int, ...]):
        with self._lock:
            if shape not in self._compiled:
                try:
                    model = self._core.read_model(self._graph)
                    model.reshape(list(shape))
                    if self.precision == "bf16":
                        bfloat16.round_convolutions(model)
                    options = {"INFERENCE_PRECISION_HINT": self.precision, "PERFORMANCE_HINT": "THROUGHPUT"}
                    self._compiled[shape] = self._core.compile_model(model, "CPU", options)
                except RuntimeError as error:
                    raise self._broken(error) from error
                self._idle[shape] = []
            return self._compiled[shape], self._idle[shape]

    def _broken(self, error: Exception) -> WeightsError:
        return WeightsError(f"{self._graph}: OpenVINO cannot run this graph: {str(error).splitlines()[-1]}")

    def start(self, spectrograms):
        compiled, idle = self._compile(spectrograms.shape)
        request = idle.pop() if idle else compiled.create_infer_request()
        request.start_async({0: spectrograms}, share_inputs=True)
        return request, spectrograms  # the request reads the array while it runs

    def finish(self, under_way):
        request, spectrograms = under_way
        request.wait()
        vectors = request.get_output_tensor(0).data.reshape(len(spectrograms), -1, self.card.model.dim).copy()
        self._idle[spectrograms.shape].append(request)
        return vectors


class KerasEngine(Engine):
    """The Keras network itself, on whatever device Keras' backend uses. Needs the train extra."""

    name = "keras"
    can_share = True

    def __init__(self, card: Card, *, precision: str = "auto", batch: int = BATCH):
        super().__init__(card, precision=precision, batch=batch)
        if self.precision != "f32":
            raise UsageError("the Keras engine computes in f32 only")
        from .weights import load_network

        self._network = load_network(card, as_strips=card.model.step_samples is not None)

    def start(self, spectrograms):
        return self._network.predict_on_batch(spectrograms)

    def finish(self, under_way):
        return np.asarray(under_way, np.float32).reshape(len(under_way), -1, self.card.model.dim)


class PlaceholderEngine(Engine):
    """A fixed linear map of the mean spectrum: for testing what surrounds an engine, in milliseconds."""

    name = "placeholder"

    def start(self, spectrograms):
        return spectrograms.mean(axis=(2, 3))

    def finish(self, under_way):
        rows = np.arange(under_way.shape[1] * self.card.model.dim).reshape(under_way.shape[1], -1)
        return (under_way @ np.cos(rows)).astype(np.float32)[:, None]


def run(engine: Engine, chunks: Iterable[tuple[object, np.ndarray | None]]) -> Iterator[tuple]:
    """Pass a stream of spectrograms through an engine in full batches, across owners, in order.

    `chunks` yields ``(owner, spectrograms (n, F, T, 1))``, or ``(owner, None)`` when the owner has no more; so does
    the result, with vectors (windows, D) in place of spectrograms. Rows of another shape begin a new batch. Memory:
    `n_ahead` + 1 batches and one chunk.
    """
    under_way: deque = deque()
    batch, used, plan = None, 0, []

    def collect(left: int):
        while len(under_way) > left:
            handle, owners = under_way.popleft()
            vectors = engine.finish(handle) if handle is not None else None
            for owner, rows in owners:
                yield owner, None if rows is None else vectors[rows].reshape(-1, vectors.shape[-1])

    def launch():
        nonlocal batch, used, plan
        under_way.append((engine.start(batch) if used else None, plan))
        batch, used, plan = None, 0, []

    for owner, rows in chunks:
        if rows is None:
            plan.append((owner, None))
            continue
        at = 0
        while at < len(rows):
            if used and batch.shape[1:] != rows.shape[1:]:
                launch()
                yield from collect(engine.n_ahead)
            if batch is None:
                batch = np.zeros(engine.shape(rows.shape[1:]), np.float32)
            n = min(len(batch) - used, len(rows) - at)
            batch[used : used + n] = rows[at : at + n]
            plan.append((owner, slice(used, used + n)))
            used, at = used + n, at + n
            if used == len(batch):
                launch()
                yield from collect(engine.n_ahead)
    launch()
    yield from collect(0)


def default() -> type[Engine]:
    """The kind of engine for extraction: OpenVINO, unless the environment variable L3EMBED_ENGINE says "keras"."""
    kinds = {"openvino": OpenVinoEngine, "keras": KerasEngine}
    name = os.environ.get("L3EMBED_ENGINE", "openvino")
    if name not in kinds:
        raise UsageError(f"L3EMBED_ENGINE must be one of {', '.join(kinds)}. Received: {name!r}")
    return kinds[name]
