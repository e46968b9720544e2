"""L3-Net: the published audio and image networks (Cramer et al. 2019; Arandjelovic & Zisserman 2017).

Layer for layer as marl/l3embedding trained them and as the published OpenL3 weights expect: convolutions 3x3 with
bias, He-normal; batch normalisation with Keras' defaults. Axes (batch, frequency, time, channel) for sound,
(batch, height, width, channel) for pictures. Layer names are ours: weights are matched by order, never by name.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from ..spec import FrontEnd, Network

IMAGE_SHAPE = (224, 224, 3)
BLOCKS = (1, 2, 4, 8)  # filters of the four blocks, in units of the width


def audio_network(front_end: FrontEnd, network: Network) -> keras.Model:
    """Spectrogram (N, F, T, 1) in dB -> embedding (N, D): pre-activation maps of the last convolution, max-pooled.

    4,689,860 parameters for width 64 and every representation.
    """
    inputs = keras.Input(front_end.shape, name="spectrogram")
    maps = _trunk(inputs, network.width, "audio_embedding_layer", "valid")
    return keras.Model(inputs, _embedding(maps, network.pool), name="audio_network")


def audio_strip_network(front_end: FrontEnd, network: Network) -> keras.Model:
    """The same network with time left open: (N, F, T + 8 (k - 1), 1) -> (N, k, D), the k windows 8 columns apart.

    With k = 1 it is `audio_network`. With more, a window's vector differs a little from its own: convolutions see its
    neighbours where `audio_network` sees zeros.
    """
    inputs = keras.Input((front_end.n_bins, None, 1), name="spectrogram")
    maps = _trunk(inputs, network.width, "audio_embedding_layer", "valid")
    columns = front_end.n_frames // 2 // 2 // 2  # of a window's map
    height, width = network.pool
    pooled = layers.MaxPooling2D((height, width), strides=(height, 1))(maps)
    last = columns - width  # where the last pool of a window begins, after its first one
    parts = [pooled[:, :, at : at - last or None] for at in range(0, columns, width)]  # each (N, f, k, channels)
    vectors = ops.transpose(ops.stack(parts, axis=3), (0, 2, 1, 3, 4))
    vectors = layers.Reshape((-1, pooled.shape[1] * len(parts) * pooled.shape[3]))(vectors)
    return keras.Model(inputs, vectors, name="audio_strip_network")


def image_network(network: Network) -> keras.Model:
    """Picture (N, 224, 224, 3) in [-1, 1] -> embedding (N, D). 4,691,020 parameters for width 64."""
    inputs = keras.Input(IMAGE_SHAPE, name="image")
    maps = _trunk(inputs, network.width, "vision_embedding_layer", "same", swap_first=True)
    return keras.Model(inputs, _embedding(maps, network.pool), name="image_network")


def audio_tower(front_end: FrontEnd, network: Network) -> keras.Model:
    """The audio network as it is trained: embedding layer, then BN, ReLU and a pooling over the whole map (N, 512).

    Its weights begin with those of `audio_network`, in the same order.
    """
    inputs = keras.Input(front_end.shape, name="spectrogram")
    maps = _trunk(inputs, network.width, "audio_embedding_layer", "valid")
    return keras.Model(inputs, _summary(maps, "valid"), name="audio_model")


def image_tower(network: Network) -> keras.Model:
    """The image network as it is trained (N, 512). Its weights begin with those of `image_network`."""
    inputs = keras.Input(IMAGE_SHAPE, name="image")
    maps = _trunk(inputs, network.width, "vision_embedding_layer", "same", swap_first=True)
    return keras.Model(inputs, _summary(maps, "same"), name="vision_model")


def _trunk(x, width: int, last_name: str, pool_padding: str, swap_first: bool = False):
    """Input BN and four blocks of two convolutions; ends with the last convolution itself."""
    x = layers.BatchNormalization()(x)
    for i, factor in enumerate(BLOCKS):
        x = layers.ReLU()(layers.BatchNormalization()(_conv(width * factor)(x)))
        if factor == BLOCKS[-1]:
            return _conv(width * factor, name=last_name)(x)
        x = _conv(width * factor)(x)
        if swap_first and i == 0:  # the published image network has ReLU before BN here, and only here
            x = layers.BatchNormalization()(layers.ReLU()(x))
        else:
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D(2, padding=pool_padding)(x)


def _embedding(maps, pool: tuple[int, int]):
    return layers.Flatten()(layers.MaxPooling2D(pool, padding="same")(maps))


def _summary(maps, padding: str):
    x = layers.ReLU()(layers.BatchNormalization()(maps))
    return layers.Flatten()(layers.MaxPooling2D(maps.shape[1:3], padding=padding)(x))


def _conv(filters: int, name: str | None = None) -> layers.Conv2D:
    return layers.Conv2D(filters, 3, padding="same", name=name, kernel_initializer="he_normal")
