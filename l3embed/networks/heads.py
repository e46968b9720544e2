"""What sits on top of an image tower and an audio tower while they learn correspondence, and is thrown away after."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers, ops

PROJECTION_DIM = 128
# Start of the learned inverse temperature (0.1) and its bound (0.01), as in CLIP (Radford et al. 2021, section 2.5).
LOG_SCALE_START, LOG_SCALE_MAX = math.log(10), math.log(100)


def correspondence_head(image_dim: int, audio_dim: int, units: int = 128) -> keras.Model:
    """[image vector, audio vector] -> probabilities (N, 2) of (mismatch, correspondence), in that order.

    Concatenation, dense 128 ReLU, softmax, as in marl/l3embedding: 131,458 parameters for two 512-vectors.
    """
    inputs = [keras.Input((image_dim,), name="image_vector"), keras.Input((audio_dim,), name="audio_vector")]
    hidden = layers.Dense(units, activation="relu", kernel_initializer="he_normal")(layers.Concatenate()(inputs))
    outputs = layers.Dense(2, activation="softmax", dtype="float32", kernel_initializer="he_normal")(hidden)
    return keras.Model(inputs, outputs, name="correspondence_head")


def contrastive_head(image_dim: int, audio_dim: int) -> keras.Model:
    """[image vectors (N, .), audio vectors (N, .)] -> logits (N, N): audio i (row) against image j (column)."""
    inputs = [keras.Input((image_dim,), name="image_vector"), keras.Input((audio_dim,), name="audio_vector")]
    image, audio = (layers.Dense(PROJECTION_DIM, kernel_initializer="he_normal")(x) for x in inputs)
    return keras.Model(inputs, Similarity(dtype="float32")([audio, image]), name="contrastive_head")


@keras.saving.register_keras_serializable("l3embed")
class Similarity(layers.Layer):
    """Cosine of every row of the first input with every row of the second, times a learned inverse temperature."""

    def build(self, _):
        start = keras.initializers.Constant(LOG_SCALE_START)
        self.log_scale = self.add_weight(name="log_scale", shape=(), initializer=start)

    def call(self, vectors):
        a, b = (ops.normalize(v, axis=-1) for v in vectors)
        return ops.matmul(a, ops.transpose(b)) * ops.exp(ops.minimum(self.log_scale, LOG_SCALE_MAX))

    def compute_output_shape(self, shapes):
        return (shapes[0][0], shapes[1][0])


def contrastive_loss(clip, logits):
    """Cross-entropy of finding one's own partner in the batch, both ways.

    clip (N,) or (N, 1): which recording an item is from. Items of the same recording are no negatives of each other.
    """
    masked = _mask_same_clip(clip, logits)
    own = ops.arange(ops.shape(logits)[0])
    both = (masked, ops.transpose(masked))
    return sum(keras.losses.sparse_categorical_crossentropy(own, x, from_logits=True) for x in both) / 2


def pair_accuracy(clip, logits):
    """Share of (match, mismatch) comparisons in the batch that the match wins: 0.5 is chance, at any batch size."""
    masked = _mask_same_clip(clip, logits)
    own = ops.diagonal(logits)[:, None]
    counted = ops.cast(masked > _NEVER / 2, "float32") - ops.eye(ops.shape(logits)[0])
    return ops.sum(ops.cast(own > logits, "float32") * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1)


_NEVER = -1e9


def _mask_same_clip(clip, logits):
    clip = ops.reshape(clip, (-1,))
    same = ops.cast(ops.equal(clip[:, None], clip[None, :]), logits.dtype) - ops.eye(ops.shape(logits)[0])
    return logits + same * _NEVER


@dataclass(frozen=True)
class Objective:
    """What the towers' vectors are trained for. `loss` and `accuracy` take (target, head's output), as Keras' do."""

    head: Callable[[int, int], keras.Model]  # sizes of the image vector and the audio vector
    loss: Callable
    accuracy: Callable


OBJECTIVES = {
    "binary": Objective(correspondence_head, keras.losses.categorical_crossentropy, keras.metrics.categorical_accuracy),
    "contrastive": Objective(contrastive_head, contrastive_loss, pair_accuracy),
}
