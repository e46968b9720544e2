"""Networks as backend-neutral Keras 3 models, one file a family. The only definition of each network."""

from __future__ import annotations

import os

from ..errors import MissingExtraError, UsageError

FAMILIES = {
    "l3": "l3",
    "l3-small": "small",
    "edgel3": "edgel3",
    "vggish": "vggish",
    "yamnet": "yamnet",
    "panns": "panns",
    "soundnet": "soundnet",
    "imagenet": "imagenet",
}  # family -> module of this folder


def keras():
    """Keras. Raises MissingExtraError where it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets every user without a GPU with errors
    try:
        import keras
    except ImportError as error:
        raise MissingExtraError("building a network", "train") from error
    return keras


def family(name: str):
    """The module of a family: `audio_network`, `image_network`, `audio_tower`, `image_tower`, `IMAGE_SHAPE`."""
    from importlib import import_module

    if name not in FAMILIES:
        raise UsageError(f"unknown network family {name!r}: expected one of {', '.join(FAMILIES)}")
    keras()
    return import_module(f".{FAMILIES[name]}", __name__)


def build(function, policy: str, *arguments):
    """What `function` builds under one of Keras' dtype policies: a setting of the process, put back afterwards."""
    config = keras().config
    before = config.dtype_policy()
    config.set_dtype_policy(policy)
    try:
        return function(*arguments)
    finally:
        config.set_dtype_policy(before)
