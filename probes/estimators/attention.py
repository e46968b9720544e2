"""The head of CAB-CNN (Lu, Zhang & Nayak) on frozen window embeddings: 40 small classifiers, and a network that says at
each window whom to listen to.

Shared by all windows: classifiers D-8-4-labels (ReLU, ReLU, softmax), attention D-160-80-40 (ReLU, ReLU, softmax) over
the classifiers. A window's probabilities are the classifiers' mean weighted by attention, a clip's are the mean over
its windows; the loss is the negative logarithm of the clip's. Adam at 1e-3, batches of 128 clips, stopped 15 epochs
after the lowest validation loss, whose weights are kept (the paper gives neither the rate nor what it monitors).

Two departures. The paper's input is a convolutional network's map of the sound, here it is the windows' embeddings; and
an epoch sees 8 windows of each clip, drawn anew, instead of cutting all clips of a batch to the shortest. Predictions
use all windows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .mlp import VALIDATION, NetworkProbe
from .networks import Recipe

GRID = ({},)
FEW_SHOT = {"validation": 0.0, "epochs": 50}  # no clip to spare: all epochs are trained
RATE, BATCH, PATIENCE, EPOCHS = 1e-3, 128, 15, 200
LEAST = 1e-7  # of a probability, as in Keras' cross-entropy


@dataclass(frozen=True)
class Heads:
    """`classifiers` of (8, 4) hidden units each, and attention of (160, 80), on clips of up to `windows` windows."""

    classifiers: int = 40
    hidden: tuple[int, int] = (8, 4)
    attention: tuple[int, int] = (160, 80)
    windows: int = 8
    clipwise = True
    kernels = (0, 2, 4, 6, 8, 10)

    def start(self, rng, n_in: int, n_out: int) -> list[np.ndarray]:
        """Glorot's uniform kernels, biases of zero: three layers of the classifiers, then three of the attention."""
        k, out = self.classifiers, []
        for a, b in itertools.pairwise((n_in, *self.hidden, n_out)):
            limit = np.sqrt(6 / (a + b))
            kernel = rng.uniform(-limit, limit, (k, a, b))
            if not out:  # all classifiers see the same windows: one product
                out += [kernel.transpose(1, 0, 2).reshape(a, k * b), np.zeros((1, k * b))]
            else:
                out += [kernel, np.zeros((1, k, b))]
        for a, b in itertools.pairwise((n_in, *self.attention, k)):
            limit = np.sqrt(6 / (a + b))
            out += [rng.uniform(-limit, limit, (a, b)), np.zeros((1, b))]
        return [w.astype(np.float32) for w in out]

    def running(self) -> list[np.ndarray]:
        return []

    def scores(self, ops, weights, running, x, mask, draw):
        """(N, B, T, D), mask (N, B, T) -> (N, B, labels) log-probabilities of clips."""
        (n, b, t), k = (mask.shape[0], mask.shape[1], mask.shape[2]), self.classifiers
        x = ops.reshape(x, (n, b * t, x.shape[-1]))
        k1, b1, k2, b2, k3, b3, *attention = weights
        h = ops.reshape(ops.maximum(x @ k1 + b1, 0.0), (n, b * t, k, self.hidden[0]))
        h = ops.maximum(ops.einsum("nikh,nkhg->nikg", h, k2) + b2[:, None, 0], 0.0)
        each = _softmax(ops, ops.einsum("nikh,nkhg->nikg", h, k3) + b3[:, None, 0])
        for layer in (0, 2):
            x = ops.maximum(x @ attention[layer] + attention[layer + 1], 0.0)
        listened = _softmax(ops, x @ attention[4] + attention[5])
        windows = ops.reshape(ops.einsum("nik,nikl->nil", listened, each), (n, b, t, each.shape[-1]))
        total = ops.total(windows * mask[..., None], 2)
        mean = total / ops.maximum(ops.total(mask, 2), 1.0)[..., None]
        return ops.log(ops.maximum(mean, LEAST)), ()


def _softmax(ops, x):
    x = ops.exp(x - ops.largest(x, -1))
    return x / ops.total(x, -1)[..., None]


class AttentionProbe(NetworkProbe):
    """The defaults are the paper's where it gives them. In `fit(X, y, groups)` groups are the clips; without them each
    row is a clip of one window."""

    clipwise = True

    def __init__(
        self, classifiers=40, windows=8, rate=RATE, epochs=EPOCHS, patience=PATIENCE, batch=BATCH,
        validation=VALIDATION, random_state=0, engine=None,
    ):  # fmt: skip
        self.classifiers, self.windows, self.rate, self.epochs = classifiers, windows, rate, epochs
        self.patience, self.batch, self.validation, self.random_state = patience, batch, validation, random_state
        self.engine = engine

    def _network(self):
        return Heads(self.classifiers, windows=self.windows)

    def _recipe(self):
        return Recipe(self.epochs, self.patience if self.validation else 0, self.batch)

    def _grid(self):
        return [(self.rate, 0.0)]
