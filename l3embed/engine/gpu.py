"""An NVIDIA device (or whatever Keras' backend computes on): the Keras network itself. Needs the train extra."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .. import networks
from ..errors import UsageError, WeightsError
from ..weights import Card, load_network
from .base import Engine


class KerasEngine(Engine):
    """The Keras network, compiled by its backend (TensorFlow or JAX). f32 and bf16; "auto" is bf16 on a GPU.

    Batches run in a thread of their own, so that the device computes while the next spectrograms are made. A batch that
    the device's memory does not hold is halved until it does, once, before the first one. The place of a window in its
    batch may change the last bits of its vector.
    """

    name = "keras"
    n_ahead = 2
    can_share = True

    def __init__(self, card: Card, *, precision: str = "auto", batch: int | None = None):
        if "weights" not in card.table["files"]:
            raise UsageError(f"{card.model.name}: is a graph and no Keras network: it runs on the processor (cpu) only")
        self._on_gpu = bool(gpus())
        self.usual_batch = 256 if self._on_gpu else 16
        super().__init__(card, precision=precision, batch=batch)
        policy = {"f32": "float32", "bf16": "mixed_bfloat16"}[self.precision]
        self._network = load_network(card, as_strips=card.model.step_samples is not None, policy=policy)
        self._thread = ThreadPoolExecutor(1, "keras")
        if self._on_gpu:
            self._fit_batch()

    def resolve(self, precision: str) -> str:
        if precision == "int8":
            raise UsageError("precision int8: the Keras engine computes in f32 or bf16")
        return precision if precision != "auto" else "bf16" if self._on_gpu else "f32"

    def _fit_batch(self) -> None:
        while True:
            try:
                self._predict(np.zeros(self.shape(self.card.model.front_end.shape), np.float32))
                return
            except Exception as error:  # each backend has its own class for it
                if "RESOURCE_EXHAUSTED" not in str(error) and "ResourceExhausted" not in type(error).__name__:
                    raise
                if self.batch == 1:
                    raise WeightsError(
                        f"{self.card.model.name}: the device's memory does not hold one window"
                    ) from error
                self.batch //= 2

    def _predict(self, spectrograms: np.ndarray) -> np.ndarray:
        return np.asarray(self._network.predict_on_batch(spectrograms), np.float32)

    def start(self, spectrograms):
        return self._thread.submit(self._predict, spectrograms)

    def finish(self, under_way):
        vectors = under_way.result()
        return vectors.reshape(len(vectors), -1, self.card.model.dim)


def gpus() -> list[str]:
    """The GPUs that Keras' backend sees."""
    try:
        return list(networks.keras().distribution.list_devices("gpu"))
    except RuntimeError:  # JAX, where there is none
        return []


def require_gpu() -> None:
    """Raises UsageError where there is none."""
    if not gpus():
        raise UsageError(
            f"device gpu: Keras' backend ({networks.keras().backend.backend()}) sees no GPU: install its GPU build "
            '(pip install "tensorflow[and-cuda]" or "jax[cuda12]"), or use the processor (cpu)'
        )
