"""PANNs: CNN6, CNN10, CNN14, MobileNetV1 and ResNet22 (Kong et al. 2020), trained on AudioSet's 527 classes.

All five share the beginning, batch normalisation of every mel band, and the head: mean over the bands, maximum plus
mean over time, a dense layer with ReLU, which is the embedding, and a sigmoid for each class. Strides are average
pools that drop an odd last row or column, as PyTorch's do. Axes (batch, time, frequency, channel), time left open.
Layers have the names of the published checkpoints (`conv_block1.conv1`), by which weights are matched.
"""

from __future__ import annotations

import itertools

import keras
from keras import layers, ops

from ..spec import FrontEnd, Network

CLASSES = 527
NORMALISATION = dict(epsilon=1e-5, momentum=0.9)  # PyTorch's defaults; its momentum counts from the other end


def audio_network(front_end: FrontEnd, network: Network, classes: int = CLASSES) -> keras.Model:
    """Log-mel (N, T, 64, 1) in dB -> `network.output` of the clip, or of every column of the last map.

    `network.variant` is a key of TRUNKS. Outputs: "", the embedding (N, D), D = 512 (CNN6, CNN10), 1024 (MobileNetV1)
    or 2048; "scores" in [0, 1] (N, `classes`); "frames" and "frame-scores" of each column (N, columns, ...), maximum
    plus mean being taken over the column and its two neighbours: the head of the authors' Cnn14_DecisionLevelMax.

    Trainable parameters with the scores and 527 classes, at width 64: 4,837,455 (CNN6), 5,219,279 (CNN10),
    80,753,615 (CNN14), 4,796,303 (MobileNetV1), 63,675,087 (ResNet22).
    """
    inputs = keras.Input((None, front_end.n_mels, 1), name="spectrogram")
    x = layers.BatchNormalization(axis=2, name="bn0", **NORMALISATION)(inputs)
    maps = TRUNKS[network.variant](x, network.width)
    columns = ops.mean(maps, axis=2)
    pooled = (_over_neighbours if network.output.startswith("frame") else _over_clip)(columns)
    x = layers.Dense(columns.shape[-1], activation="relu", name="fc1")(layers.Dropout(0.5)(pooled))
    if "scores" in network.output:
        x = layers.Dense(classes, activation="sigmoid", name="fc_audioset", dtype="float32")(x)
    return keras.Model(inputs, x, name=network.variant)


def _over_clip(columns):
    return ops.max(columns, axis=1) + ops.mean(columns, axis=1)


def _over_neighbours(columns):
    """Zeros count in the mean at both ends, and never are a maximum: columns are means of what ReLU let through."""
    padded = layers.ZeroPadding1D(1)(columns)
    return layers.MaxPooling1D(3, strides=1)(padded) + layers.AveragePooling1D(3, strides=1)(padded)


# --- trunks: (N, T, 64, 1) normalised -> (N, T // 16 or 32, 4 or 2, channels)


def _cnn(blocks: int, convolutions: int, kernel: int):
    """A trunk of blocks, each of convolutions, a pool and dropout; each has twice the filters of the one before it."""

    def trunk(x, width: int):
        for i in range(1, blocks + 1):
            x = _block(x, width << (i - 1), f"conv_block{i}", convolutions, kernel)
            x = layers.Dropout(0.2)(_pool(x, 1 if i == 6 else 2))  # CNN14 has six, the last one without a pool
        return x

    return trunk


def _mobilenet(x, width: int):
    """A 3x3 stem and 13 separable blocks; every pool stands between a convolution and its normalisation."""
    x = layers.ReLU()(_normalised(_pool(_conv(x, width // 2, 3, "features.0.0"), 2), "features.0.2"))
    blocks = [(1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), *[(8, 1)] * 5, (16, 2), (16, 1)]
    for i, (factor, stride) in enumerate(blocks, 1):
        name = f"features.{i}"
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}.0")(x)
        x = layers.ReLU()(_normalised(_pool(x, stride), f"{name}.2"))
        x = layers.ReLU()(_normalised(_conv(x, width * factor, 1, f"{name}.4"), f"{name}.5"))
    return x


def _resnet22(x, width: int):
    """CNN10's first block, four stages of two residual blocks, a pool, and a block of 32 widths without one."""
    x = layers.Dropout(0.2)(_pool(_block(x, width, "conv_block1"), 2))
    for stage, i in itertools.product(range(1, 5), (0, 1)):
        pool = 2 if stage > 1 and i == 0 else 1
        x = _residual(x, width << (stage - 1), f"resnet.layer{stage}.{i}", pool)
    x = layers.Dropout(0.2)(_pool(x, 2))
    return layers.Dropout(0.2)(_block(x, 32 * width, "conv_block_after1"))


def _residual(x, filters: int, name: str, pool: int):
    pooled = _pool(x, pool)
    inner = layers.ReLU()(_normalised(_conv(pooled, filters, 3, f"{name}.conv1"), f"{name}.bn1"))
    inner = _conv(layers.Dropout(0.1)(inner), filters, 3, f"{name}.conv2")
    inner = _normalised(inner, f"{name}.bn2", gamma_initializer="zeros")  # each block begins as the identity
    if pool > 1:
        pooled = _normalised(_conv(pooled, filters, 1, f"{name}.downsample.1"), f"{name}.downsample.2")
    return layers.ReLU()(layers.Add()([inner, pooled]))


def _block(x, filters: int, name: str, convolutions: int = 2, kernel: int = 3):
    for i in range(1, convolutions + 1):
        x = layers.ReLU()(_normalised(_conv(x, filters, kernel, f"{name}.conv{i}"), f"{name}.bn{i}"))
    return x


def _conv(x, filters: int, kernel: int, name: str):
    return layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=name)(x)


def _normalised(x, name: str, **how):
    return layers.BatchNormalization(name=name, **NORMALISATION, **how)(x)


def _pool(x, size: int):
    return layers.AveragePooling2D(size)(x) if size > 1 else x


TRUNKS = {
    "cnn6": _cnn(blocks=4, convolutions=1, kernel=5),
    "cnn10": _cnn(blocks=4, convolutions=2, kernel=3),
    "cnn14": _cnn(blocks=6, convolutions=2, kernel=3),
    "mobilenetv1": _mobilenet,
    "resnet22": _resnet22,
}
