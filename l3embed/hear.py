"""The three functions of the HEAR benchmark (Turian et al. 2022), for use as its embedding module: `l3embed.hear`.

Conventions of HEAR: sound is (n_sounds, n_samples) at the model's own rate, in [-1, 1]; time stamps are milliseconds,
at the centre of each frame; tensors in, tensors of the same kind out (NumPy arrays here, too).
"""

from __future__ import annotations

import os

import numpy as np

from .embed import EmbeddingModel, load_of_sound
from .errors import UsageError

TIMESTAMP_HOP_S = 0.05  # HEAR asks for 50 ms or less
SCENE_HOP_S = 0.5  # as the published OpenL3 wrapper for HEAR does


class Model:
    """An embedding model with the attributes that HEAR reads; `embedding_model` is l3embed's own."""

    def __init__(self, embedding_model: EmbeddingModel):
        self.embedding_model = embedding_model
        self.sample_rate = embedding_model.spec.front_end.rate_hz
        self.scene_embedding_size = self.timestamp_embedding_size = embedding_model.dim


def load_model(model_file_path: str = "", model_name: str | None = None) -> Model:
    """`model_file_path`: a weight file or the path of a card, "" for the model's own weights."""
    is_weights = os.path.isfile(model_file_path) and not model_file_path.endswith(".toml")
    if model_name is None and not is_weights:
        return Model(load_of_sound(model_file_path or None))
    return Model(load_of_sound(model_name, weights_file=model_file_path or None))


def get_timestamp_embeddings(audio, model: Model):
    """(n_sounds, n_samples) -> embeddings (n_sounds, T, D) float32, time stamps (n_sounds, T) ms."""
    embeddings, seconds = _embed(audio, model, TIMESTAMP_HOP_S)
    return _like(audio, embeddings), _like(audio, (1000 * seconds).astype(np.float32))


def get_scene_embeddings(audio, model: Model):
    """(n_sounds, n_samples) -> (n_sounds, D) float32: the mean over windows half a second apart."""
    embeddings, _ = _embed(audio, model, SCENE_HOP_S)
    return _like(audio, embeddings.mean(axis=1))


def _embed(audio, model: Model, hop_s: float) -> tuple[np.ndarray, np.ndarray]:
    sounds = np.asarray(audio.detach().cpu() if hasattr(audio, "detach") else audio)
    if sounds.ndim != 2 or not sounds.size:
        raise UsageError(f"audio must be (n_sounds, n_samples). Received: shape {sounds.shape}")
    if sounds.dtype.kind != "f":  # as float32 they would be thousands of times too loud
        raise UsageError(f"audio must be floats in [-1, 1]. Received: {sounds.dtype}")
    results = model.embedding_model.embed(list(sounds), model.sample_rate, hop=hop_s, center=True)
    return np.stack([e for e, _ in results]), np.stack([t for _, t in results])


def _like(audio, array: np.ndarray):
    """The array as the kind of tensor that came in; no framework is imported that is not in use already."""
    import sys

    kind = type(audio).__module__.partition(".")[0]
    if kind == "torch":
        return sys.modules["torch"].from_numpy(array).to(audio.device)
    if kind == "tensorflow":
        return sys.modules["tensorflow"].convert_to_tensor(array)
    return array
