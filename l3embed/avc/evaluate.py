"""How well trained networks tell pairs that correspond, on any data: within their domain and across."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

from ..errors import TrainingError
from . import loader, model, pairs
from .checkpoints import assign, read
from .config import TrainConfig, parse
from .initial import checkpoint_of


def restore(source: str | os.PathLike) -> tuple[model.Networks, TrainConfig]:
    """The networks of a run (its newest checkpoint), of one of its model folders, or of a checkpoint file.

    The configuration is theirs; in model folders it tells the names of files, not where they lay. Raises TrainingError.
    """
    path = checkpoint_of(source)
    if path is None:
        raise TrainingError(f"{source}: is no run, model folder of a run, or checkpoint")
    model.start_keras()
    saved = read(path)
    config = parse(TrainConfig, saved.about["config"], str(path))
    networks = model.build(config, model.front_end_in_graph())
    for name, part in networks.parts().items():
        assign(part.variables, saved.arrays[name], path)
    return networks, config


def evaluate(source: str | os.PathLike, config: TrainConfig, split: str = "held_out", n_batches: int | None = None):
    """{"pairs", "loss", "accuracy"} of trained networks (see `restore`) on one part of a configuration's data.

    Of `config`, its data, the way pairs are drawn from it, its seed and the size of a batch count; networks, objective
    and front end are those that were trained. n_batches: `fit.validation_steps` where it is not given. Equal arguments
    give equal pairs, whatever the networks. Accuracy of the binary objective is the paper's, of the contrastive one
    the share of comparisons that the match wins (networks/heads.py).
    """
    networks, trained = restore(source)
    n_batches = config.fit.validation_steps if n_batches is None else n_batches
    told = replace(
        trained,
        seed=config.seed,
        data=config.data,
        pairs=config.pairs,
        fit=replace(trained.fit, batch=config.fit.batch),
    )
    sources = pairs.Sources(told, split)
    batches = loader.held_out(told, sources, networks.image_size, model.front_end_in_graph())
    sums = {"loss": 0.0, "accuracy": 0.0}
    for inputs, target in itertools.islice(batches, n_batches):
        networks.model.reset_metrics()
        result = networks.model.test_on_batch(inputs, target, return_dict=True)
        for key in sums:
            sums[key] += float(result[key]) / n_batches
    return {"pairs": n_batches * config.fit.batch, **sums}
