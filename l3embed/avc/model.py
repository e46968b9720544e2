"""The correspondence model of a configuration: an image tower, an audio tower, and a head that joins them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MissingExtraError, TrainingError
from .config import TrainConfig

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Networks:
    """What is trained. `model` takes {"image", "audio"} through both towers into the head."""

    model: keras.Model  # compiled
    audio: keras.Model
    image: keras.Model
    head: keras.Model
    image_size: int  # side of its pictures

    def parts(self) -> dict:
        return {"audio": self.audio, "image": self.image, "head": self.head}


def start_keras(backend: str = ""):
    """Keras on a backend, or on its own choice. Raises MissingExtraError, or TrainingError where another one runs."""
    if backend and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras
        import pescador  # noqa: F401
    except ImportError as error:
        if error.name == "jax":
            raise TrainingError("Keras' JAX backend needs a package that is not installed: pip install jax") from error
        raise MissingExtraError("training", "train") from error
    if backend and keras.backend.backend() != backend:
        raise TrainingError(f"Keras already runs on {keras.backend.backend()!r} in this process, not on {backend!r}")
    return keras


def front_end_in_graph() -> bool:
    """Whether sound becomes spectrograms inside the model: where kapre works."""
    import keras

    return keras.backend.backend() == "tensorflow"


def build(config: TrainConfig, in_graph: bool) -> Networks:
    """The networks of a configuration, with random weights, compiled.

    Inputs: "audio" (N, window, 1), or spectrograms (N, F, T, 1) where the front end is not in the graph;
    "image" (N, size, size, 3) in 0 to 255.
    """
    import keras

    from ..networks import family

    networks, front_end = family(config.model.family), config.front_end
    audio = keras.Input((front_end.window_samples, 1) if in_graph else front_end.shape, name="audio")
    image = keras.Input(networks.IMAGE_SHAPE, name="image", dtype="uint8")
    spectrogram = audio
    if in_graph:  # in float32 whatever the precision of the networks: bfloat16 has no room for a spectrogram
        from ..networks.front_end import front_end_layers

        spectrogram = front_end_layers(front_end)(audio)
    keras.config.set_dtype_policy(config.fit.precision)
    try:
        audio_tower = networks.audio_tower(front_end, config.audio)
        image_tower = networks.image_tower(config.image)
        image_tower.trainable = config.fit.train == "both"
        vectors = [image_tower(keras.layers.Rescaling(1 / 127.5, -1)(image)), audio_tower(spectrogram)]
        model, head = _compiled(config, {"image": image, "audio": audio}, vectors, in_graph)
    finally:
        keras.config.set_dtype_policy("float32")
    return Networks(model, audio_tower, image_tower, head, networks.IMAGE_SHAPE[0])


def _compiled(config: TrainConfig, inputs: dict, vectors: list, in_graph: bool):
    import keras

    from ..networks.heads import OBJECTIVES

    objective = OBJECTIVES[config.fit.objective]
    head = objective.head(*(v.shape[-1] for v in vectors))
    model = keras.Model(inputs, head(vectors))
    for variable in model.variables:  # the paper: on all kernels
        if variable.name == "kernel":
            variable.regularizer = keras.regularizers.L2(config.fit.l2) if config.fit.l2 else None
    model.compile(
        keras.optimizers.Adam(_learning_rate(config)), loss=objective.loss,
        metrics=[keras.metrics.MeanMetricWrapper(objective.accuracy, name="accuracy")],
        jit_compile=False if in_graph else "auto",
    )  # fmt: skip
    model.optimizer.build(model.trainable_variables)  # so that a checkpoint can be loaded into it
    return model, head


def _learning_rate(config: TrainConfig):
    import keras

    if config.fit.decay == "cosine":
        return keras.optimizers.schedules.CosineDecay(config.fit.learning_rate, config.fit.epochs * config.fit.steps)
    return config.fit.learning_rate
