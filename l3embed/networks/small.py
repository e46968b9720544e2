"""The small L3 family: the audio and image networks of the models that ship.

After L3-Net (3x3 convolutions, BN, ReLU, max-pooling, filters doubling from block to block), with three differences,
made for extraction on ordinary processors:

* time is never padded and the three poolings halve it exactly, so with the log-mel front end a window that starts
  0.1 s later sees the same maps one column later: overlapping windows can share their computation without changing a
  number;
* block one has one convolution, not two: its maps are the largest and cost the most;
* the embedding keeps `pool[0]` bands of frequency, max-pooled over all of time.
"""

from __future__ import annotations

import keras
from keras import layers

from ..spec import SMALL_IMAGE_SIZE, FrontEnd, Network

IMAGE_SHAPE = (SMALL_IMAGE_SIZE, SMALL_IMAGE_SIZE, 3)
BLOCKS = (1, 2, 4, 8)
# Log-mel values of ordinary recordings lie around -10 +- 15 (10 log10 of a magnitude): to about [-1, 1].
LEVEL_OFFSET, LEVEL_SCALE = 10.0, 15.0


def audio_network(front_end: FrontEnd, network: Network) -> keras.Model:
    """Spectrogram (N, F, T, 1) -> embedding (N, D): last convolution before its activation, max-pooled per band.

    655,420 parameters and 0.15 GFLOP a window at width 24; D = 8 x width x bands.
    """
    inputs, pooled = _audio(front_end, network, front_end.n_frames)
    return keras.Model(inputs, layers.Flatten()(pooled), name="audio_network")


def audio_strip_network(front_end: FrontEnd, network: Network) -> keras.Model:
    """The same network with time left open: (N, F, T + 8 (k - 1), 1) -> (N, k, D), the k windows 8 columns apart."""
    inputs, pooled = _audio(front_end, network, None)
    vectors = layers.Reshape((-1, pooled.shape[1] * pooled.shape[3]))(layers.Permute((2, 1, 3))(pooled))
    return keras.Model(inputs, vectors, name="audio_strip_network")


def _audio(front_end: FrontEnd, network: Network, n_frames: int | None):
    """Input, and the maps (N, bands, windows, channels) pooled over each window's columns of the last convolution."""
    inputs = keras.Input((front_end.n_bins, n_frames, 1), name="spectrogram")
    x = layers.Rescaling(1 / LEVEL_SCALE, LEVEL_OFFSET / LEVEL_SCALE)(inputs)
    maps = _trunk(layers.BatchNormalization()(x), network.width, pad_time=False)
    height, columns = maps.shape[1] // network.pool[0], _columns(front_end.n_frames)
    return inputs, layers.MaxPooling2D((height, columns), strides=(height, 1))(maps)


def _columns(n_frames: int) -> int:
    """Columns of the last convolution for a spectrogram of `n_frames`."""
    for i in range(len(BLOCKS)):
        n_frames = n_frames // 2 - 4 if i else n_frames - 2  # a halving and two convolutions; one convolution at first
    return n_frames


def image_network(network: Network) -> keras.Model:
    """Picture (N, 64, 64, 3) in [-1, 1] -> vector (N, 8 x width)."""
    inputs = keras.Input(IMAGE_SHAPE, name="image")
    maps = _trunk(layers.BatchNormalization()(inputs), network.width, pad_time=True)
    return keras.Model(inputs, layers.GlobalMaxPooling2D()(maps), name="image_network")


def audio_tower(front_end: FrontEnd, network: Network) -> keras.Model:
    """The audio network as it is trained: BN and ReLU after the embedding. Its weights begin with the network's."""
    return _tower(audio_network(front_end, network), "audio_model")


def image_tower(network: Network) -> keras.Model:
    """The image network as it is trained."""
    return _tower(image_network(network), "vision_model")


def _tower(network: keras.Model, name: str) -> keras.Model:
    x = layers.ReLU()(layers.BatchNormalization()(network.output))
    return keras.Model(network.input, x, name=name)


def _trunk(x, width: int, pad_time: bool):
    for i, factor in enumerate(BLOCKS):
        if i:
            x = layers.MaxPooling2D(2)(x)
            x = _activate(_conv(x, width * factor, pad_time))
        x = _conv(x, width * factor, pad_time)
        if factor != BLOCKS[-1]:
            x = _activate(x)
    return x


def _activate(x):
    return layers.ReLU()(layers.BatchNormalization()(x))


def _conv(x, filters: int, pad_time: bool):
    """3x3 convolution; frequency is always zero-padded by one, time only where asked."""
    x = layers.ZeroPadding2D((1, int(pad_time)))(x)
    return layers.Conv2D(filters, 3, kernel_initializer="he_normal", use_bias=False)(x)
