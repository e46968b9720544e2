"""YAMNet: MobileNet v1 on log-mel patches (96 frames, 64 bands, 1); layers after tensorflow/models, yamnet.py.

Convolutions "same" without bias; batch normalisation without gamma, epsilon 1e-4. Variant "tflite" is the network of
`yamnet.tflite`: ReLU6, and maps rounded to the steps of its 8 bits.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from ..spec import FrontEnd, Network

N_CLASSES = 521
EPSILON = 1e-4
# (stride, filters in units of the first layer's) of the 13 separable convolutions
BLOCKS = ((1, 2), (2, 4), (1, 4), (2, 8), (1, 8), (2, 16), *[(1, 16)] * 5, (2, 32), (1, 32))


def audio_network(front_end: FrontEnd, network: Network) -> keras.Model:
    """Log-mel patch (N, 96, 64, 1) -> mean of the last maps (N, 1024), or with output "scores" probabilities (N, 521).

    3,751,369 parameters with the classifier, at width 32.
    """
    parts = _Quantised if network.variant == "tflite" else _Float
    how = {"padding": "same", "use_bias": parts.bias}
    inputs = keras.Input(front_end.shape, name="spectrogram")
    x = parts.activated(layers.Conv2D(network.width, 3, strides=2, **how, name="layer1_conv"), parts.input(inputs))
    for i, (stride, factor) in enumerate(BLOCKS, 2):
        depthwise = layers.DepthwiseConv2D(3, strides=stride, **how, name=f"layer{i}_depthwise")
        pointwise = layers.Conv2D(network.width * factor, 1, **how, name=f"layer{i}_pointwise")
        x = parts.activated(pointwise, parts.activated(depthwise, x))
    x = parts.mean(layers.GlobalAveragePooling2D()(x))
    if network.output == "scores":
        x = parts.scores(layers.Dense(N_CLASSES, name="logits")(x))
    return keras.Model(inputs, x, name="yamnet")


class _Float:
    """The Keras network's parts."""

    bias = False

    def activated(convolution, x):
        return layers.ReLU()(layers.BatchNormalization(scale=False, epsilon=EPSILON)(convolution(x)))

    def input(x):
        return x

    def mean(x):
        return x

    def scores(x):
        return keras.activations.sigmoid(x)


class _Quantised:
    """Those of the TFLite file, whose 8-bit integers are computed with as the numbers that they stand for."""

    bias = True  # batch normalisation is in the kernels

    def activated(convolution, x):
        return Steps(-128)(convolution(x))  # a ReLU6: -128 stands for 0, 127 for 6 or the largest that was ever seen

    def input(x):
        return Steps(16)(x)

    def mean(x):
        return Steps(-128)(x)

    def scores(x):
        return ops.round(keras.activations.sigmoid(Steps(100)(x)) * 256) / 256


@keras.saving.register_keras_serializable("l3embed")
class Steps(layers.Layer):
    """Numbers to the nearest that 8 bits hold: ``step (q - zero)``, q a whole number from -128 to 127."""

    def __init__(self, zero: int, **kwargs):
        super().__init__(**kwargs)
        self.zero = zero

    def build(self, _):
        self.step = self.add_weight(name="step", shape=(), initializer="ones", trainable=False)

    def call(self, x):
        return self.step * ops.clip(ops.round(x / self.step), -128 - self.zero, 127 - self.zero)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "zero": self.zero}
