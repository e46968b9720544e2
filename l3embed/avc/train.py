"""Training: configuration -> networks -> fit -> a model that `l3embed extract --model RUN/model` can use.

Each epoch draws its pairs from its own seed, and a checkpoint holds all that decides on the next batch: a run that was
killed goes on from it, in the middle of an epoch too, with the losses of one that was not (checkpoints.py).
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from pathlib import Path

import numpy as np

from ..errors import TrainingError
from . import devices, initial, loader, model, pairs
from .checkpoints import Run, State
from .config import TrainConfig
from .log import Log, Mark, said, speed


def train(config: TrainConfig, progress: bool = True) -> Path:
    """Train, or go on training, and return the folder of the finished model. Raises TrainingError."""
    keras = model.start_keras(config.backend)
    for split in pairs.SPLITS:
        pairs.Sources(config, split)  # a wrong path ends the run here
    with contextlib.closing(Run(config)) as run, devices.spread(config):
        keras.utils.set_random_seed(config.seed)
        networks = model.build(config, model.front_end_in_graph())
        state = run.restore(networks)
        if state.batches(config) == 0:
            state.init = initial.start(networks, config)
        if state.epoch < config.fit.epochs:
            _Fit(config, networks, run, state).go(progress)
        folder = run.keep(networks, state, "model")
        run.add_graphs()
    return folder


class _Fit:
    """The way from a state to the end of a run."""

    def __init__(self, config: TrainConfig, networks: model.Networks, run: Run, state: State):
        self.config, self.networks, self.run, self.state = config, networks, run, state
        self.saved_at = self.counted_at = time.monotonic()

    def go(self, progress: bool) -> None:
        config, state = self.config, self.state
        load = loader.Loader(config, self.networks.image_size, model.front_end_in_graph(), state.epoch, state.step)
        with (
            contextlib.closing(loader.Ahead(load)) as batches,
            contextlib.closing(Log(self.run.folder, config, state, progress)) as log,
        ):
            begun = None
            while state.epoch < config.fit.epochs:
                since = Mark.of(batches)
                while state.step < config.fit.steps:
                    loss, accuracy = self._learn(*next(batches))
                    log.batch(loss, accuracy, batches)
                    if begun is None:  # compiling, and the start of the processes, are not what speed is about
                        begun = since = Mark.of(batches)
                    self._keep()
                speeds = speed(since, Mark.of(batches), config.fit.workers)
                self._end_epoch(self._validate(batches), speeds)
                log.epoch()
                self._save()
            if progress:
                total = said(speed(begun or since, Mark.of(batches), config.fit.workers))
                log.say(f"{state.pairs(config):,} pairs seen; validation included, since the start: {total}")

    def _learn(self, inputs: dict, target) -> tuple[float, float]:
        """Loss and accuracy of one batch."""
        self.networks.model.reset_metrics()
        result = _compute(self.networks.model.train_on_batch, inputs, target)
        loss, accuracy, state = float(result["loss"]), float(result["accuracy"]), self.state
        _check_loss(loss, f"at batch {state.step + 1} of epoch {state.epoch + 1}")
        state.step, state.loss, state.accuracy = state.step + 1, state.loss + loss, state.accuracy + accuracy
        self._count_time()
        return loss, accuracy

    def _keep(self) -> None:
        """What is due after a batch: a model folder, a checkpoint."""
        fit, pairs_seen = self.config.fit, self.state.pairs(self.config)
        if any(pairs_seen - fit.batch < at <= pairs_seen for at in fit.keep_at):
            self.run.keep(self.networks, self.state, f"at-{pairs_seen}")
        if time.monotonic() - self.saved_at >= 60 * fit.checkpoint_minutes:
            self._save()

    def _save(self) -> None:
        self.run.save(self.networks, self.state)
        self.saved_at = time.monotonic()

    def _validate(self, batches) -> dict[str, float]:
        """Mean loss and accuracy over the held-out batches, which come after those of the epoch."""
        sums, n = {"val_loss": 0.0, "val_accuracy": 0.0}, self.config.fit.validation_steps
        for _ in range(n):
            self.networks.model.reset_metrics()
            result = _compute(self.networks.model.test_on_batch, *next(batches))
            for key in sums:
                sums[key] += float(result[key.removeprefix("val_")]) / n
        _check_loss(sums["val_loss"], "after the last batch")  # before a checkpoint of it is written
        self._count_time()
        return sums

    def _end_epoch(self, validation: dict, speeds: dict) -> None:
        state, n = self.state, self.config.fit.steps
        row = {"epoch": state.epoch + 1, "pairs": state.pairs(self.config), "loss": state.loss / n,
               "accuracy": state.accuracy / n, **validation, **speeds, "seconds": state.seconds}  # fmt: skip
        state.rows.append(row)
        state.epoch, state.step, state.loss, state.accuracy, state.seconds = state.epoch + 1, 0, 0.0, 0.0, 0.0
        if row["val_accuracy"] > state.best:
            state.best = row["val_accuracy"]
            self.run.keep(self.networks, state, "best")

    def _count_time(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self.counted_at
        self.counted_at = now


def _compute(function, inputs: dict, target) -> dict:
    # All weights are one; where there are none, Keras 3.13 cannot share a batch among devices.
    weights = np.ones(len(target), np.float32)
    try:
        return function(inputs, target, weights, return_dict=True)
    except Exception as error:
        if re.search("RESOURCE_EXHAUSTED|OOM when|[Oo]ut of memory", str(error)):
            raise TrainingError(
                f"a batch of {len(target)} pairs does not fit into the device's memory: lower fit.batch"
            ) from error
        raise


def _check_loss(loss: float, when: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss} {when}: lower fit.learning_rate")
