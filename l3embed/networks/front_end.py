"""The front ends as kapre layers, for the training graph. kapre runs on Keras' TensorFlow backend only."""

from __future__ import annotations

import warnings

import kapre
import keras
from keras import layers, ops

from ..spec import FrontEnd

# kapre always floors at a distance below the maximum; this one is never reached (float32 spans 760 dB).
_NO_FLOOR = 1e4
_NORMS = {"slaney": "slaney", "sum": 1, "none": None}  # as librosa calls them


def front_end_layers(fe: FrontEnd) -> keras.Model:
    """Windows (N, samples, 1) -> spectrograms (N, F, T, 1): the numbers of `l3embed.frontend.spectrograms`."""
    inputs = keras.Input((fe.window_samples, 1), name="audio")
    x = layers.ZeroPadding1D(fe.pad_samples)(inputs)
    x = kapre.STFT(n_fft=fe.n_fft, hop_length=fe.hop_samples, pad_end=False,
                   input_data_format="channels_last", output_data_format="channels_last")(x)  # fmt: skip
    x = kapre.Magnitude()(x)  # (N, T, F, 1)
    if fe.n_mels:
        bank = dict(sample_rate=fe.rate_hz, n_freq=fe.n_fft // 2 + 1, n_mels=fe.n_mels, f_min=0.0, f_max=fe.rate_hz / 2,
                    htk=fe.mel_scale == "htk", norm=_NORMS[fe.mel_norm])  # fmt: skip
        with warnings.catch_warnings():  # of empty filters, which the published front ends have
            warnings.simplefilter("ignore", UserWarning)
            mel = kapre.ApplyFilterbank(type="mel", filterbank_kwargs=bank, data_format="channels_last")
        x = Power(0.5)(mel(Power(2.0)(x))) if fe.mel_of == "power" else mel(x)
    x = kapre.MagnitudeToDecibel(ref_value=1.0, amin=fe.amin, dynamic_range=fe.range_db or _NO_FLOOR)(x)
    if fe.range_db is not None:
        x = MinusMaximum()(x)
    return keras.Model(inputs, layers.Permute((2, 1, 3))(x), name="front_end")


@keras.saving.register_keras_serializable("l3embed")
class Power(layers.Layer):
    """Elementwise power. kapre has magnitudes only; the published weights were trained on mel of power."""

    def __init__(self, exponent: float, **kwargs):
        super().__init__(**kwargs)
        self.exponent = exponent

    def call(self, x):
        return ops.sqrt(x) if self.exponent == 0.5 else ops.power(x, self.exponent)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "exponent": self.exponent}


@keras.saving.register_keras_serializable("l3embed")
class MinusMaximum(layers.Layer):
    """Each spectrogram minus its own maximum (kapre 0.1.4 did so, later versions do not)."""

    def call(self, x):
        return x - ops.max(x, axis=(1, 2, 3), keepdims=True)

    def compute_output_shape(self, shape):
        return shape
