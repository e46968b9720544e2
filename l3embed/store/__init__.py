"""Where vectors go: one `.npz` a recording (`npz`), or a store of shards for corpora (docs/store.md).

>>> from l3embed import store
>>> embedding, timestamps, metadata = store.read("embeddings/dog.npz")
>>> corpus = store.open("embeddings.store")                      # a `Corpus`; needs the store extra (pyarrow)
>>> corpus.clip("dog.wav"), corpus.times("dog.wav"), corpus.pooled(pooling="mean+max")
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from .corpus import Corpus
from .corpus import Corpus as open
from .npz import SAMPLE_BYTES, NpzFolder, NpzWriter, identity, is_done, read
from .writer import ClipWriter, CorpusWriter

__all__ = [
    "FORMATS", "SAMPLE_BYTES", "ClipWriter", "Corpus", "CorpusWriter", "NpzFolder", "NpzWriter", "identity", "is_done",
    "open", "read", "writing",
]  # fmt: skip

FORMATS = ("npz", "store")


def writing(folder: Path, recipe: dict, format: str = "npz", dtype: str = "float32") -> NpzFolder | CorpusWriter:
    """What takes the vectors of an extraction. Raises UsageError for an unknown format, or a dtype it does not have."""
    if format not in FORMATS:
        raise UsageError(f"format must be one of {', '.join(FORMATS)}. Received: {format!r}")
    if format == "store":
        return CorpusWriter(folder, recipe, dtype)
    if dtype != "float32":
        raise UsageError(f"format npz holds float32 only: use --format store. Received: dtype {dtype}")
    return NpzFolder(folder, recipe)
