"""EdgeL3 SEA (ksangeeta2429/edgel3): L3's audio network with fewer filters, after its last batch norm and ReLU.

Its sparse networks are L3's own ("l3") with other weights.
"""

from __future__ import annotations

import keras
from keras import layers

from ..spec import FrontEnd, Network
from .l3 import BLOCKS, trunk


def audio_network(front_end: FrontEnd, network: Network) -> keras.Model:
    """Spectrogram (N, 64, 50, 1) in dB -> embedding (N, D): maximum of each of the last maps, >= 0, half of them 0.

    Variant "sea-D": D is 8 times the width, or less, where the last block has fewer filters. 4,691,908 parameters for
    512, 1,175,524 for 256, 584,420 for 128, 399,460 for 64.
    """
    dim = int(network.variant.removeprefix("sea-"))
    filters = [network.width * factor for factor in BLOCKS[:-1]] + [dim]
    inputs = keras.Input(front_end.shape, name="spectrogram")
    maps = trunk(inputs, filters, "audio_embedding_layer", "valid")
    x = layers.ReLU()(layers.BatchNormalization()(maps))
    return keras.Model(inputs, layers.Flatten()(layers.MaxPooling2D(network.pool)(x)), name="audio_network")
