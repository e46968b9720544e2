"""One batch on several devices: Keras' distribution API, which in Keras 3.13 exists for its JAX backend alone."""

from __future__ import annotations

import contextlib
import sys

from ..errors import TrainingError
from .config import TrainConfig


def spread(config: TrainConfig) -> contextlib.AbstractContextManager:
    """A context in which networks that are built share each batch among `fit.devices` devices of this machine.

    Every device computes a part of the batch with the same weights; statistics of batch normalisation and the
    negatives of the contrastive objective are those of the whole batch, so the numbers are those of one device, up to
    rounding. Raises TrainingError where there are not as many devices, or the batch cannot be parted evenly.
    """
    import keras

    wanted, batch = config.fit.devices, config.fit.batch
    if keras.backend.backend() != "jax":
        if wanted > 1:
            raise TrainingError("fit.devices above 1 needs Keras' JAX backend: set backend = 'jax'")
        return contextlib.nullcontext()
    found = keras.distribution.list_devices()
    if wanted > len(found):
        raise TrainingError(f"fit.devices is {wanted}, and Keras sees {len(found)} ({', '.join(found)})")
    if wanted and batch % wanted:
        raise TrainingError(f"fit.batch = {batch} cannot be shared evenly by fit.devices = {wanted}: change either")
    n_devices = wanted or max(n for n in range(1, len(found) + 1) if batch % n == 0)
    if n_devices < len(found) and not wanted:
        print(f"{n_devices} of {len(found)} devices are used: they share fit.batch = {batch} evenly", file=sys.stderr)
    if n_devices == 1:
        return contextlib.nullcontext()
    return keras.distribution.DataParallel(devices=found[:n_devices]).scope()
