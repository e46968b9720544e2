"""Weight files in HDF5: l3embed's own, and Keras' legacy layout, in which OpenL3's are published."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np

from ..errors import MissingExtraError

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def read(data: bytes) -> tuple[list[np.ndarray], int | None, np.ndarray | None]:
    """(arrays, FFT size and filterbank of a front end inside the file), see `arrays.WeightFile`.

    A legacy file lists its layers in `layer_names`, in order, and each one's arrays in `weight_names`. OpenL3's front
    end (to 0.3) is one of the layers: kernels (n_fft, 1, 1, n_fft // 2 + 1), real and imaginary, and a filterbank.
    Files of whole models keep all this in the group `model_weights`. Raises ValueError, and what h5py raises.
    """
    with _h5py().File(io.BytesIO(data), "r") as file:
        if list(file) and all(key.isdecimal() for key in file):
            return [_array(file[key]) for key in sorted(file)], None, None
        root = file.get("model_weights", file)
        if "layers" in root or "_layer_checkpoint_dependencies" in root:
            raise ValueError(
                "it is a Keras 3 weight file, which does not tell the order of its layers: write a legacy one with "
                "model.save('NAME.h5')"
            )
        names = _names(root, "layer_names")
        if not names:
            raise ValueError("it lists no layers")
        layers = {name: [_array(root[name][key]) for key in _names(root[name], "weight_names")] for name in names}
        if len(layers) < len(names):
            raise ValueError("it lists a layer twice")
    front_ends = [name for name, arrays in layers.items() if "spectrogram" in name or _n_fft(arrays)]
    inside = [array for name in front_ends for array in layers.pop(name)]
    n_fft = _n_fft(inside)
    bank = inside[2] if n_fft and len(inside) == 3 and inside[2].shape[:1] == (n_fft // 2 + 1,) else None
    return list(itertools.chain(*layers.values())), n_fft, bank


def read_named(data: bytes) -> dict[str, np.ndarray]:
    """All arrays of a file by their paths, which walk through nested groups; ``model_weights/`` and ``:0`` left out."""
    found = {}

    def visit(path, item):
        if hasattr(item, "dtype") and not path.startswith("optimizer_weights/"):
            found[path.removeprefix("model_weights/").removesuffix(":0")] = _array(item)

    with _h5py().File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
    if not found:
        raise ValueError("it holds no arrays")
    return found


def _n_fft(arrays: list[np.ndarray]) -> int | None:
    """The FFT size, if these are the arrays of a front end."""
    shape = arrays[0].shape if arrays else ()
    return shape[0] if len(shape) == 4 and shape[1:] == (1, 1, shape[0] // 2 + 1) else None


def _array(dataset) -> np.ndarray:
    if getattr(dataset, "dtype", np.dtype("O")).kind != "f":
        raise ValueError(f"{dataset.name} does not hold floating-point numbers")
    return dataset[()].astype("float32")


def _names(group, attribute: str) -> list[str]:
    """A list of names; Keras cuts long ones into `attribute0`, `attribute1`, ..."""
    pieces = itertools.takewhile(group.attrs.__contains__, (f"{attribute}{i}" for i in itertools.count()))
    keys = [attribute] if attribute in group.attrs else pieces
    names = [name for key in keys for name in np.atleast_1d(group.attrs[key]).tolist()]
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def write(path: Path, arrays: list, dtype: str) -> None:
    """Arrays numbered in order; those of 16 bits, which ship, deflated: it saves a little, and changes no number.

    In memory first: where the disk is full, HDF5 2.0 ends the process with a segmentation fault while closing.
    """
    memory = io.BytesIO()
    with _h5py().File(memory, "w", libver="latest") as file:
        for i, array in enumerate(arrays):
            deflate = {"compression": "gzip", "shuffle": True} if array.size > 1000 and dtype == "float16" else {}
            file.create_dataset(f"{i:03d}", data=array.astype(dtype), **deflate)
    path.write_bytes(memory.getbuffer())


def _h5py():
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("reading network weights", "train") from error
    return h5py
