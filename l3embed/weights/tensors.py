"""Weight files to arrays by name, whatever the file's format: for models whose files name their arrays."""

from __future__ import annotations

import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import L3EmbedError, MissingExtraError, WeightsError, reason
from . import checkpoint, hdf5, npy, t7, tfcheckpoint, tflite
from .arrays import what_is
from .files import unpacked


def read(paths: Iterable[Path]) -> tuple[dict[str, np.ndarray], list[str]]:
    """What the files of a model hold together: (name -> array, labels of its classes where a file has them).

    HDF5, PyTorch's checkpoints, Torch7's networks, TensorFlow's checkpoints (both formats), TensorFlow Lite, NumPy's
    ``.npz`` without pickles and ``.npy`` of a dictionary of arrays; and a class map (``.csv`` with a column
    display_name). Raises WeightsError for anything else, damaged files, two arrays of one name, and NaN or infinity.
    """
    tensors: dict[str, np.ndarray] = {}
    labels: list[str] = []
    for path in paths:
        try:
            found, classes = _read(Path(path))
            if double := next((name for name in found if name in tensors), None):
                raise ValueError(f"it holds {double}, which another file of this model holds, too")
            if bad := next((n for n, a in found.items() if a.dtype.kind == "f" and not np.isfinite(a).all()), None):
                raise ValueError(f"its {bad} holds NaN or infinity")
        except MissingExtraError:
            raise
        except (OSError, EOFError, zlib.error, struct.error, zipfile.BadZipFile, LookupError, AttributeError, TypeError,
                ValueError, RuntimeError, MemoryError, L3EmbedError) as error:  # fmt: skip
            raise WeightsError(f"{path}: is not a weight file that l3embed can read ({reason(error)})") from error
        tensors |= found
        labels = classes or labels
    return tensors, labels


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    if tfcheckpoint.is_checkpoint(path):
        return tfcheckpoint.read(path), []
    data = unpacked(path)
    if data.startswith(hdf5.SIGNATURE):
        return hdf5.read_named(data), []
    if data[4:8] == tflite.IDENTIFIER:
        return tflite.read(data), tflite.labels(data)
    if _is_npz(data):
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return dict(archive), []
    if data.startswith(t7.SIGNATURE):
        return t7.read(data), []
    if data.startswith(npy.SIGNATURE):
        return npy.read(data), []
    if data.startswith(checkpoint.SIGNATURES):
        return checkpoint.state_dict(data), []
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(data.decode("utf-8")))
        return {}, [row["display_name"] for row in rows]
    raise ValueError(what_is(data, "of no format that l3embed reads (docs/models.md)"))


def _is_npz(data: bytes) -> bool:
    if not data.startswith(b"PK"):
        return False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())
