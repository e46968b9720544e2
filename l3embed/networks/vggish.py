"""VGGish (Hershey et al. 2017): six 3x3 convolutions, three dense layers; as tensorflow/models has it."""

from __future__ import annotations

import keras
from keras import layers, ops

from ..spec import FrontEnd, Network

BLOCKS = ((1, 1), (2, 1), (4, 2), (8, 2))  # (filters in units of the width, convolutions) between poolings
DENSE, DIM = 64, 128  # units of the first two dense layers in units of the width, and of the last
CLIP = 2.0  # of what PCA gives: [-2, 2] becomes 0 to 255 (vggish_params.py)


def audio_network(front_end: FrontEnd, network: Network) -> keras.Model:
    """Log-mel example (N, 96, 64, 1) -> embedding (N, 128), linear; 72,141,184 parameters at width 64.

    Output "relu": with the ReLU of the first release. "pca", "relu-pca": after PCA and quantisation, whole numbers from
    0 to 255. "fc1_2": second dense layer (N, 64 x width). "pool4": the last maps, (time, mel, channel) flattened.
    """
    inputs = x = keras.Input(front_end.shape, name="spectrogram")
    for factor, n in BLOCKS:
        for _ in range(n):
            x = layers.Conv2D(network.width * factor, 3, padding="same", activation="relu", **_start())(x)
        x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Flatten()(x)
    if network.output != "pool4":
        for _ in range(2):
            x = layers.Dense(network.width * DENSE, activation="relu", **_start())(x)
    if network.output not in ("pool4", "fc1_2"):
        activation = "relu" if network.output.startswith("relu") else None
        x = layers.Dense(DIM, activation=activation, name="embedding", **_start())(x)
    if network.output.endswith("pca"):
        x = Quantised()(x)
    return keras.Model(inputs, x, name="vggish")


def _start() -> dict:
    return {"kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.01)}


@keras.saving.register_keras_serializable("l3embed")
class Quantised(layers.Layer):
    """AudioSet's postprocessing: PCA with whitening, clipped to [-2, 2], then 8 bits, cut off to whole numbers."""

    def build(self, shape):
        self.vectors = self.add_weight(name="vectors", shape=(shape[-1], DIM), trainable=False)
        self.means = self.add_weight(name="means", shape=(shape[-1],), initializer="zeros", trainable=False)

    def call(self, x):
        y = ops.clip(ops.matmul(x - self.means, self.vectors), -CLIP, CLIP)
        return ops.floor((y + CLIP) * (255 / (2 * CLIP)))

    def compute_output_shape(self, shape):
        return (*shape[:-1], DIM)
