"""The small L3 family: the audio and image networks of the models that ship.

After L3-Net (3x3 convolutions, BN, ReLU, max-pooling, filters doubling from block to block), with three differences,
made for extraction on ordinary processors:

* time is never padded and the three poolings halve it exactly, so with the log-mel front end a window that starts 0.1 s
  later sees the same maps one column later: overlapping windows can share their computation without changing a number;
* block one has one convolution, not two: its maps are the largest and cost the most;
* the embedding keeps `pool[0]` bands of frequency, max-pooled over all of time.
"""

from __future__ import annotations

import keras
from keras import layers

from ..spec import FrontEnd, Network

IMAGE_SHAPE = (64, 64, 3)
BLOCKS = (1, 2, 4, 8)
# Log-mel values of ordinary recordings lie around -10 +- 15 (10 log10 of a magnitude): to about [-1, 1].
LEVEL_OFFSET, LEVEL_SCALE = 10.0, 15.0


def audio_network(front_end: FrontEnd, network: Network) -> keras.Model:
    """Spectrogram (N, F, T, 1) -> embedding (N, D): last convolution before its activation, max-pooled per band."""
    inputs = keras.Input(front_end.shape, name="spectrogram")
    x = layers.Rescaling(1 / LEVEL_SCALE, LEVEL_OFFSET / LEVEL_SCALE)(inputs)
    maps = _trunk(layers.BatchNormalization()(x), network.width, time_padding="valid")
    bands, _ = network.pool
    pooled = layers.MaxPooling2D((maps.shape[1] // bands, maps.shape[2]))(maps)
    return keras.Model(inputs, layers.Flatten()(pooled), name="audio_network")


def image_network(width: int) -> keras.Model:
    """Picture (N, 64, 64, 3) in [-1, 1] -> vector (N, 8 width)."""
    inputs = keras.Input(IMAGE_SHAPE, name="image")
    maps = _trunk(layers.BatchNormalization()(inputs), width, time_padding="same")
    return keras.Model(inputs, layers.GlobalMaxPooling2D()(maps), name="image_network")


def projection(dim: int, out_dim: int, name: str) -> keras.Model:
    """Vector (N, dim) -> (N, out_dim) for the correspondence head; thrown away after training."""
    inputs = keras.Input((dim,), name=f"{name}_vector")
    x = layers.ReLU()(layers.BatchNormalization()(inputs))
    return keras.Model(inputs, layers.Dense(out_dim, kernel_initializer="he_normal")(x), name=f"{name}_projection")


def _trunk(x, width: int, time_padding: str):
    for i, factor in enumerate(BLOCKS):
        if i:
            x = layers.MaxPooling2D(2)(x)
            x = _activate(_conv(x, width * factor, time_padding))
        x = _conv(x, width * factor, time_padding)
        if factor != BLOCKS[-1]:
            x = _activate(x)
    return x


def _activate(x):
    return layers.ReLU()(layers.BatchNormalization()(x))


def _conv(x, filters: int, time_padding: str):
    """3x3 convolution; frequency always zero-padded by one, time only where asked."""
    x = layers.ZeroPadding2D((1, 1 if time_padding == "same" else 0))(x)
    return layers.Conv2D(filters, 3, kernel_initializer="he_normal", use_bias=False)(x)
