"""Networks trained on ImageNet, for spectrograms taken as pictures: ResNet50, MobileNet, SqueezeNet 1.1.

A spectrogram has one channel, these have three: it is copied to them. Levels relative to a maximum are first mapped
to what the network was trained on, silence to black and the maximum to white; absolute levels are taken as they are.
Neither size nor proportions are changed: all that follows is convolutions and a mean over the last map.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from ..spec import FrontEnd, Network

CLASSES = 1000
TORCHVISION = dict(epsilon=1e-5, momentum=0.9)
CAFFE = ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0))  # blue, green, red; of values from 0 to 255
INPUTS = {  # variant -> (mean, scale) of its three channels, of values from 0 to 255
    # of values from 0 to 1: .485, .456, .406 and .229, .224, .225, red, green and blue
    "resnet50-torchvision": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "resnet50-keras": CAFFE,
    "mobilenet": ((127.5,) * 3, (127.5,) * 3),
    "squeezenet": CAFFE,
}  # fmt: skip


def audio_network(front_end: FrontEnd, network: Network) -> keras.Model:
    """Spectrogram (N, F, T, 1) -> mean of the last map (N, D), or with output "logits" the classifier's (N, 1000).

    `network.variant` is a key of INPUTS. D and parameters with the classifier: ResNet50 2048, 25,557,032 (torchvision,
    trainable) and 25,636,712 (keras.applications, all); MobileNet 1024, 4,253,864 (all); SqueezeNet, which has no
    classifier here, 512, 722,496.
    """
    inputs = keras.Input(front_end.shape, name="spectrogram")
    x = _picture(inputs, front_end, *INPUTS[network.variant])
    x = NETWORKS[network.variant](x, network.output == "logits")
    return keras.Model(inputs, x, name=network.variant.replace("-", "_"))


def _picture(x, front_end: FrontEnd, means, scales):
    """The three channels. With a range the spectrogram lies in [-range, 0], which becomes [0, 255]."""
    if not (front_end.range_db and front_end.relative):
        return layers.Concatenate()([x, x, x])
    white, slope = 255.0, 255.0 / front_end.range_db
    channels = [layers.Rescaling(slope / s, (white - m) / s)(x) for m, s in zip(means, scales, strict=True)]
    return layers.Concatenate()(channels)


def _of_keras(make: Callable[..., keras.Model]):
    """A network of keras.applications behind `x`."""

    def network(x, classify: bool):
        how = dict(classes=CLASSES, classifier_activation=None) if classify else dict(pooling="avg")
        return make(include_top=classify, weights=None, input_tensor=x, **how).output

    return network


# --- torchvision's ResNet50, version 1.5: strides in the 3x3 convolutions, zeros on every side


def _resnet50(x, classify: bool):
    x = _normalised(_conv(x, 64, 7, "conv1", stride=2), "bn1")
    x = layers.ZeroPadding2D(1)(layers.ReLU()(x))  # zeros are as good as minus infinity where nothing is below them
    x = layers.MaxPooling2D(3, strides=2)(x)
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for i in range(blocks):
            x = _bottleneck(x, width, f"layer{stage}.{i}", stride=2 if stage > 1 and i == 0 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(CLASSES, name="fc")(x) if classify else x


def _bottleneck(x, width: int, name: str, stride: int):
    inner = layers.ReLU()(_normalised(_conv(x, width, 1, f"{name}.conv1"), f"{name}.bn1"))
    inner = layers.ReLU()(_normalised(_conv(inner, width, 3, f"{name}.conv2", stride), f"{name}.bn2"))
    inner = _normalised(_conv(inner, 4 * width, 1, f"{name}.conv3"), f"{name}.bn3")
    if x.shape[-1] != 4 * width:
        x = _normalised(_conv(x, 4 * width, 1, f"{name}.downsample.0", stride), f"{name}.downsample.1")
    return layers.ReLU()(layers.Add()([inner, x]))


def _conv(x, filters: int, kernel: int, name: str, stride: int = 1):
    """Zeros on every side: "same" would put them elsewhere where the stride is 2."""
    padded = layers.ZeroPadding2D(kernel // 2)(x) if kernel > 1 else x
    return layers.Conv2D(filters, kernel, strides=stride, use_bias=False, name=name)(padded)


def _normalised(x, name: str):
    return layers.BatchNormalization(name=name, **TORCHVISION)(x)


# --- SqueezeNet 1.1 (Iandola et al. 2016; rcmalli/keras-squeezenet), up to the last fire module


def _squeezenet(x, classify: bool):
    if classify:
        raise ValueError("the published SqueezeNet weights have no classifier")
    x = layers.Conv2D(64, 3, strides=2, activation="relu", name="conv1")(x)
    for i, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        if i in (2, 4, 6):
            x = layers.MaxPooling2D(3, strides=2)(x)
        name = f"fire{i}"
        x = layers.Conv2D(squeezed, 1, activation="relu", name=f"{name}.squeeze1x1")(x)
        wide = dict(filters=4 * squeezed, padding="same", activation="relu")
        x = layers.Concatenate()([
            layers.Conv2D(kernel_size=1, name=f"{name}.expand1x1", **wide)(x),
            layers.Conv2D(kernel_size=3, name=f"{name}.expand3x3", **wide)(x),
        ])  # fmt: skip
    return layers.GlobalAveragePooling2D()(x)


NETWORKS = {
    "resnet50-torchvision": _resnet50,
    "resnet50-keras": _of_keras(keras.applications.ResNet50),
    "mobilenet": _of_keras(keras.applications.MobileNet),
    "squeezenet": _squeezenet,
}
