"""The processor: a card's converted graph, run by OpenVINO."""

from __future__ import annotations

import threading

import numpy as np

from ..errors import UsageError, WeightsError
from ..weights import Card
from .base import Engine


class OpenVinoEngine(Engine):
    """The card's converted graph, on the processor, compiled for every shape of batch that comes."""

    name = "openvino"
    n_ahead = 2
    can_share = True

    def __init__(self, card: Card, *, precision: str = "auto", batch: int | None = None):
        import openvino

        self._core = openvino.Core()
        super().__init__(card, precision=precision, batch=batch)
        kind = "int8_graph" if self.precision == "int8" else "graph"
        self._path, _ = card.file(kind), card.file(f"{kind}_data")
        try:
            self._model = self._core.read_model(self._path)
        except RuntimeError as error:
            raise self._broken(error) from error
        if self.precision == "bf16":
            round_weights(self._model)
        self._compiled: dict[tuple, object] = {}
        self._idle: dict[tuple, list] = {}
        self._lock = threading.Lock()
        openvino.Type.f32.to_dtype()  # two threads whose first requests coincide block each other in it (seen, 2026.4)

    def resolve(self, precision: str) -> str:
        """bf16 only where the processor computes in it; elsewhere it would be emulated or refused."""
        can = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not can:
            raise UsageError("precision bf16: this processor does not compute in bfloat16: use f32 or auto")
        return precision if precision != "auto" else "bf16" if can else "f32"

    def _compile(self, shape: tuple[int, ...]):
        """The graph for batches of a shape; for whole recordings one that takes them all."""
        if self.is_alone(shape[1:]):
            own = self.card.model.front_end.shape
            shape = (1, *(-1 if a != b else a for a, b in zip(shape[1:], own, strict=True)))
        with self._lock:
            if shape not in self._compiled:
                precision = "bf16" if self.precision == "bf16" else "f32"  # int8: of what stays in floating point
                options = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "THROUGHPUT"}
                try:
                    model = self._model.clone()
                    model.reshape(list(shape))
                    self._compiled[shape] = self._core.compile_model(model, "CPU", options)
                except RuntimeError as error:
                    raise self._broken(error) from error
                self._idle[shape] = []
            return self._compiled[shape], self._idle[shape]

    def _broken(self, error: Exception) -> WeightsError:
        return WeightsError(f"{self._path}: OpenVINO cannot run this graph: {str(error).splitlines()[-1]}")

    def start(self, spectrograms):
        compiled, idle = self._compile(spectrograms.shape)
        request = idle.pop() if idle else compiled.create_infer_request()
        request.start_async({0: spectrograms}, share_inputs=True)
        return request, spectrograms, idle  # the request reads the array while it runs

    def finish(self, under_way):
        request, spectrograms, idle = under_way
        request.wait()
        vectors = request.get_output_tensor(0).data.reshape(len(spectrograms), -1, self.card.model.dim).copy()
        idle.append(request)
        return vectors


def round_weights(model) -> None:
    """Round the convolutions of an OpenVINO graph to bfloat16, each weight's error carried over to the next one.

    OpenVINO would round each by itself. A filter's errors then add up over inputs that are all positive after ReLU, and
    batch normalisation, which takes away most of that sum, leaves the error: carried over, the sum is kept instead
    (error diffusion; Floyd & Steinberg 1976, in one dimension). docs/speed.md measures what it gains.
    """
    from openvino import opset13

    for node in model.get_ordered_ops():
        weights = node.input_value(1).get_node() if node.get_type_name() == "Convolution" else None
        if weights is not None and weights.get_type_name() == "Constant":
            node.input(1).replace_source_output(opset13.constant(_diffused(weights.get_data())).output(0))


def _diffused(weights: np.ndarray) -> np.ndarray:
    """(filters, ...) float32 -> the same with values of bfloat16, along all axes but the first."""
    exact = np.ascontiguousarray(weights.reshape(len(weights), -1).T, np.float32)  # one row at a time is walked through
    rounded, error = np.empty_like(exact), np.zeros(len(weights), np.float32)
    for i, row in enumerate(exact):
        wanted = row + error
        rounded[i] = _bfloat16(wanted)
        error = wanted - rounded[i]
    return np.ascontiguousarray(rounded.T).reshape(weights.shape)


def _bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest number with 8 significant bits, ties to even."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
