"""Weight files to arrays in a network's own order, whatever the file's format."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import L3EmbedError, MissingExtraError, WeightsError, reason
from . import checkpoint, hdf5
from .files import unpacked


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    arrays : in the network's topological order, kernels (height, width, in, out), float32
    n_fft, filterbank : of the front end stored with them, if one is: its FFT size, and (n_fft // 2 + 1, n_mels)
    """

    arrays: list[np.ndarray]
    n_fft: int | None = None
    filterbank: np.ndarray | None = None


def read_arrays(path: Path) -> list[np.ndarray]:
    """The arrays of a weight file, see `read`."""
    return read(path).arrays


def read(path: Path) -> WeightFile:
    """A weight file: l3embed's own HDF5, Keras' legacy one (OpenL3's), or torchopenl3's checkpoints; gzipped or not.

    Names are not stable between Keras files, the order in which a file lists its layers is. Front-end kernels inside
    the file are not among the arrays. Raises WeightsError for anything else.
    """
    path = Path(path)
    try:
        data = unpacked(path)
        if data.startswith(hdf5.SIGNATURE):
            return WeightFile(*hdf5.read(data))
        if data.startswith(checkpoint.SIGNATURES):
            return _from_torchopenl3(checkpoint.state_dict(data))
        raise ValueError(what_is(data))
    except MissingExtraError:
        raise
    except (OSError, EOFError, zlib.error, LookupError, AttributeError, TypeError, ValueError, RuntimeError,
            MemoryError, L3EmbedError) as error:  # fmt: skip
        raise WeightsError(f"{path}: is not a weight file that l3embed can read ({reason(error)})") from error


def what_is(data: bytes, otherwise: str = "neither HDF5 nor a PyTorch checkpoint") -> str:
    """What a file of an unknown kind seems to be."""
    start = data.lstrip()[:40].lower()
    if not start:
        return "it is empty"
    if start.startswith(b"<"):
        return "it is a web page"
    if start.startswith(b"version https://git-lfs"):
        return "it is Git LFS's pointer to the file, not the file"
    return f"it is {otherwise}"


def _from_torchopenl3(state: dict[str, np.ndarray]) -> WeightFile:
    """torchopenl3 1.0.1 names its layers in order: eight times batch normalisation and convolution.

    Kernels come as (out, in, height, width).
    """
    pairs = [(f"batch_normalization_{i}", f"conv2d_{i}") for i in range(1, 8)]
    names = []
    for normalisation, convolution in [*pairs, ("batch_normalization_8", "audio_embedding_layer")]:
        names += [f"{normalisation}.{key}" for key in ("weight", "bias", "running_mean", "running_var")]
        names += [f"{convolution}.weight", f"{convolution}.bias"]
    if missing := [name for name in names if name not in state]:
        raise ValueError(f"it holds no {missing[0]}: of another network?")
    arrays = [state[name] for name in names]
    kernels, bank = state.get("speclayer.dft_real_kernels"), state.get("speclayer.mel_basis")
    return WeightFile(
        [np.ascontiguousarray(a.transpose(2, 3, 1, 0) if a.ndim == 4 else a, np.float32) for a in arrays],
        None if kernels is None else kernels.shape[-1],
        None if bank is None else bank.T,
    )


def write_arrays(path: Path, arrays: list, dtype: str = "float16") -> None:
    """l3embed's own layout, see `hdf5.write`."""
    hdf5.write(path, arrays, dtype)
