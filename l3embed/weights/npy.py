"""Pickled NumPy files (``.npy`` of a dictionary of arrays) without running what a pickle may ask for."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator

import numpy as np

from ..errors import WeightsError

SIGNATURE = b"\x93NUMPY"


def read(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a dictionary of dictionaries of arrays, ``outer/inner``. Python 2's pickles, too.

    Raises ValueError for another content and WeightsError for a pickle that names code.
    """
    file = io.BytesIO(data)
    read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)[0]
    if version not in read_header:
        raise ValueError(f"it is NumPy's format of version {version}, which holds no dictionary")
    shape, _, dtype = read_header[version](file)
    if not dtype.hasobject or shape != ():
        raise ValueError("it holds a plain array, not a dictionary of arrays")
    try:
        found = _Unpickler(file, encoding="latin1").load()
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(f"it is damaged: {error}") from error
    found = found.item() if isinstance(found, np.ndarray) and found.shape == () else found
    arrays = dict(_walk(found, ""))
    if not arrays:
        raise ValueError("it holds no arrays")
    return arrays


def _walk(item, path: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(item, dict):
        for key, value in item.items():
            yield from _walk(value, f"{path}/{key}" if path else str(key))
    elif isinstance(item, np.ndarray) and item.dtype.kind == "f":
        yield path, item


class _Unpickler(pickle.Unpickler):
    """Knows dictionaries, text and arrays."""

    def find_class(self, module, name):
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct if hasattr(np, "_core") else np.core.multiarray._reconstruct
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return _encoded
        raise WeightsError(f"it is pickled with code, {module}.{name}, which is not run")


def _encoded(text: str, encoding: str) -> bytes:
    """How Python 3 pickles bytes for Python 2: as text in latin1."""
    if encoding != "latin1":
        raise ValueError(f"it holds bytes encoded as {encoding}")
    return text.encode("latin1")
