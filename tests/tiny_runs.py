"""Training runs so small that they take seconds, here and in processes of their own."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from l3embed.avc.config import DataConfig, FitConfig, ModelConfig, PairConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[1]
CODE = """
import os, signal
from pathlib import Path
from l3embed.avc import checkpoints, train
from l3embed.avc.config import AboutConfig, DataConfig, FitConfig, ModelConfig, PairConfig, TrainConfig

def start(config, kill_at=0, convert=False):
    computed, check = [], train._check_loss
    def kill_at_batch(loss, when):
        check(loss, when)
        computed.append(loss)
        if len(computed) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
    train._check_loss = kill_at_batch
    if not convert:
        checkpoints.Run.add_graphs = lambda run: None
    train.train(config, progress=True)
    train._check_loss = check

"""


def tiny(run, **fit):
    return TrainConfig(
        run=str(run),
        seed=3,
        model=ModelConfig("tiny", "l3-small", width=4, image_width=4),
        data=DataConfig(scenes=1.0, clip_s=1.5, n_active=4, pairs_per_clip=4),
        pairs=PairConfig(),
        fit=FitConfig(**{"batch": 8, "steps": 3, "validation_steps": 2, "epochs": 2, "learning_rate": 1e-3, **fit}),
    )


def begin(code, **environment):
    """A process that runs CODE and then `code`."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    command = [sys.executable, "-c", CODE + code]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def learned(run):
    """What a run's CSV files say of losses and accuracies, and nothing of time."""
    keys = ("epoch", "pairs", "loss", "accuracy", "val_loss", "val_accuracy")
    history = [tuple(row[key] for key in keys) for row in rows(run / "history.csv")]
    return history, [tuple(row.values()) for row in rows(run / "batches.csv")]


def numbers(path):
    """The arrays of a checkpoint."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "about"}
