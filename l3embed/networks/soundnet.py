"""SoundNet of 8 layers (Aytar, Vondrick, Torralba 2016; cvondrick/soundnet): one-dimensional, on the waveform itself.

Written as two-dimensional with width 1, as its authors did, so that published kernels (k, 1, in, out) fit as they are.
Convolutions with bias, zeros on both sides; batch normalisation with epsilon 1e-5; pools without padding.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from ..spec import Network, Waveform

EPSILON = 1e-5
# (filters in units of the width, kernel, pool behind it) of conv1 to conv7: stride 2, half a kernel of zeros a side
CONVOLUTIONS = ((1, 64, 8), (2, 32, 8), (4, 16, 1), (8, 8, 1), (16, 4, 4), (32, 4, 1), (64, 4, 1))
HEADS = {"objects": ("conv8", 1000), "scenes": ("conv8_2", 401)}  # ImageNet's and Places'


def audio_network(front_end: Waveform, network: Network) -> keras.Model:
    """Waveform (N, samples, 1, 1) in [-256, 256] -> `network.output`.

    That is a layer, (N, T, D): "conv5" and "conv7" after their ReLU, or "pool5"; with "-mean" or "-max" behind it over
    time, (N, D). "objects" and "scenes" are probabilities, the mean over time (N, D), of sounds of at least 9 steps of
    conv7. Trainable parameters: 2,874,320 up to conv7, 8,193,000 and 3,285,393 in the two heads.
    """
    layer, _, pooling = network.output.partition("-")
    inputs = keras.Input((None, 1, 1), name="waveform")
    x = _trunk(inputs, network.width, layer)
    if layer in HEADS:
        x, pooling = _head(x, layer), "mean"
    x = layers.Reshape((-1, x.shape[-1]))(x)
    if pooling:
        x = (ops.mean if pooling == "mean" else ops.max)(x, axis=1)
    return keras.Model(inputs, x, name=f"soundnet_{layer}")


def _trunk(x, width: int, last: str):
    """All seven convolutions, or what is up to the layer `last`."""
    for i, (factor, kernel, pool) in enumerate(CONVOLUTIONS, 1):
        x = layers.ZeroPadding2D((kernel // 2, 0))(x)
        x = layers.Conv2D(width * factor, (kernel, 1), strides=(2, 1), name=f"conv{i}")(x)
        x = layers.ReLU()(layers.BatchNormalization(epsilon=EPSILON, momentum=0.9, name=f"bn{i}")(x))
        if last == f"conv{i}":
            return x
        if pool > 1:
            x = layers.MaxPooling2D((pool, 1))(x)
        if last == f"pool{i}":
            return x
    return x


def _head(x, layer: str):
    """Without the last step of conv7, half of which is zeros behind the end.

    In training nothing depended on it (20 s are 15 steps, of which the heads see 14), and so it came to be: in the
    published weights all its numbers are large, and a head that sees it names one class whatever the sound is.
    """
    name, classes = HEADS[layer]
    x = layers.Cropping2D(((0, 1), (0, 0)))(x)
    return layers.Softmax()(layers.Conv2D(classes, (8, 1), strides=(2, 1), name=name)(x))
