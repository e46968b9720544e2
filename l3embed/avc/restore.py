"""A run's networks, as they were trained, back from the disk."""

from __future__ import annotations

import os

from ..errors import TrainingError
from . import model
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
