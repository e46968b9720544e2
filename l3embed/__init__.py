"""Embeddings of sound and pictures: train, extract, probe and serve L3-Net.

>>> import l3embed
>>> model = l3embed.load()                                      # the shipped model
>>> embedding, timestamps = model.embed("recording.wav")        # (T, D) float32, (T,) s
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["Client", "__version__", "errors", "load"]


def __getattr__(name: str):
    """`Client`, of a service (`l3embed serve`), is loaded when it is asked for: NumPy comes with it."""
    if name == "Client":
        from .client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(name=None, *, weights=None, front_end=None, precision="auto", batch=None, device="cpu"):
    """Load an embedding model.

    Parameters
    ----------
    name : name of a shipped model (default: the shipped one), a published OpenL3 name such as
        "openl3-mel256-music-6144" or "openl3-image-mel256-music-8192", or the path of a model card or of the folder
        that holds it
    weights : path of a weight file for that model, in place of its own; published ones are otherwise fetched, once
    front_end : for OpenL3's audio models "kapre-0.1.4", "training", "openl3-0.4-kapre" or "openl3-0.4-librosa". By
        default the one that the weights were trained with where that can be told (kapre-0.1.4 for the published files),
        else "training". For its image models "training" (default) or "openl3-0.4"
    precision : "f32", "bf16", "int8", or "auto": bf16 where the device computes in it, else f32
    batch : windows computed at a time (default: 16; on a GPU 256, or what its memory holds)
    device : "cpu" (OpenVINO), or "gpu" (Keras, on an NVIDIA device that its backend sees; needs the train extra)

    Returns
    -------
    embed.EmbeddingModel, with ``embed(audio, sample_rate, hop=0.1, center=True)``; for models of pictures
    images.ImageModel, with ``embed_images(images)`` and ``embed_video(path)``

    Raises UsageError for unknown names and WeightsError for weights that are missing, damaged or of another network.
    """
    from .embed import load

    return load(name, weights_file=weights, front_end=front_end, precision=precision, batch=batch, device=device)
