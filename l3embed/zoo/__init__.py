"""The published models beside OpenL3's: what each is, where its files come from, how they become arrays.

One file a family, each with ``entries() -> list[Entry]``. All are computed in f32 unless the user says otherwise:
bf16 changes their vectors by up to 1 % (docs/models.md). No weights are read here and no network is built: `weights`
does the first, `networks` the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

import numpy as np

from ..spec import Model, Network

FAMILIES = ("edgel3", "vggish", "yamnet", "panns", "soundnet", "imagenet")  # modules of this folder


@dataclass(frozen=True)
class File:
    """A published file. It is fetched only where address and hash are known, and otherwise put in its place by hand."""

    folder: str  # below the cache folder
    name: str  # as published
    url: str = ""
    hash: str = ""  # "sha256:...", "md5:..." or "git:..." (what git calls it), as far as anybody has published one
    instead: File | None = None  # of the same weights, and with a known hash


@dataclass(frozen=True)
class Entry:
    """A published model.

    files : of the model whole, in the order in which `weights=` takes them; the first holds the network
    arrays : (what the files hold by name, the model) -> the arrays in the order of the Keras network. Raises ValueError
        for what does not belong to the model. None: the arrays are in order in a Keras file
    network : (likewise) -> the network that they are for, where it depends on the file. None: the model's
    """

    model: Model
    description: str
    licence: str
    files: tuple[File, ...]
    arrays: Callable[[Mapping[str, np.ndarray], Model], list[np.ndarray]] | None = None
    network: Callable[[Mapping[str, np.ndarray], Model], Network] | None = None
    remarks: str = ""  # what its users should know

    @property
    def name(self) -> str:
        return self.model.name


@lru_cache
def _entries() -> dict[str, Entry]:
    modules = (import_module(f".{family}", __name__) for family in FAMILIES)
    return {entry.name: entry for module in modules for entry in module.entries()}


def names() -> list[str]:
    """All names, family by family."""
    return list(_entries())


def find(name) -> Entry | None:
    """The entry of that name, if there is one."""
    return _entries().get(str(name))


def minimum(model: Model) -> float:
    """Seconds that a model of sound needs; what is shorter is made up to that."""
    if model.cutting.hop_s is None:
        return model.cutting.least_samples / model.front_end.rate_hz
    return model.front_end.window_s


# --- for the families: names to arrays


def take(tensors: Mapping[str, np.ndarray], names: list[str], unused: Callable[[str], bool] = lambda name: False):
    """The tensors of these names, in order.

    Raises ValueError where one is missing, and where there are others than those that `unused` knows: both say that
    the file is of another network.
    """
    if missing := [name for name in names if name not in tensors]:
        raise ValueError(
            f"it holds no {missing[0]} ({len(missing)} of {len(names)} arrays are missing): of another model?"
        )
    wanted = set(names)
    if extra := [name for name in tensors if name not in wanted and not unused(name) and not of_training(name)]:
        raise ValueError(
            f"it holds {extra[0]}, which the network has not ({len(extra)} such arrays): of another model?"
        )
    return [np.asarray(tensors[name], np.float32) for name in names]


def of_training(name: str) -> bool:
    """Whether an array by its name is a counter or slot that a training program left in its checkpoint."""
    last = name.rpartition("/")[2]
    slots = ("Adam", "Adam_1", "Momentum", "RMSProp", "RMSProp_1", "Adagrad", "ExponentialMovingAverage")
    return last in (*slots, "global_step", "beta1_power", "beta2_power") or name.endswith("num_batches_tracked")
