"""Weight files as other programs write them, made by hand: their layouts are told here a second time, on purpose."""

import io
import itertools
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

CHANNELS = (1, 64, 64, 128, 128, 256, 256, 512, 512)  # of OpenL3's audio network, before and after its convolutions
NORMALISATION = ("gamma", "beta", "moving_mean", "moving_variance")


def l3_arrays(seed: int = 0, channels=CHANNELS) -> list[np.ndarray]:
    """Eight times batch normalisation (4 arrays) and convolution (2), at random."""
    rng, arrays = np.random.default_rng(seed), []
    for before, after in itertools.pairwise(channels):
        arrays += [rng.uniform(0.5, 1.5, before) for _ in NORMALISATION]
        arrays += [rng.normal(0, (9 * before) ** -0.5, (3, 3, before, after)), rng.normal(0, 0.1, after)]
    return [a.astype(np.float32) for a in arrays]


def l3_layers(arrays: list[np.ndarray], start: int = 1) -> list[tuple[str, dict]]:
    """(layer name, {weight name: array}) of OpenL3's files; numbering starts wherever Keras happened to be."""
    layers = [(f"input_{start}", {})]
    for i in range(8):
        name = f"batch_normalization_{start + i}"
        layers.append((name, {f"{name}/{key}:0": a for key, a in zip(NORMALISATION, arrays[6 * i :], strict=False)}))
        layers.append((f"activation_{start + i}", {}))
        name = f"conv2d_{start + i}" if i < 7 else "audio_embedding_layer"
        layers.append((name, {f"{name}/kernel:0": arrays[6 * i + 4], f"{name}/bias:0": arrays[6 * i + 5]}))
    return layers


def front_end_layer(n_fft: int, bank: np.ndarray | None, name: str = "melspectrogram_1") -> tuple[str, dict]:
    """kapre 0.1.4's layer as OpenL3 0.2 saved it: real and imaginary kernels, and a filterbank (bins, bands)."""
    kernel = np.ones((n_fft, 1, 1, n_fft // 2 + 1), np.float32)
    arrays = {f"{name}/real_kernels:0": kernel, f"{name}/imag_kernels:0": kernel}
    return name, arrays if bank is None else {**arrays, f"{name}/Variable:0": bank.astype(np.float32)}


def write_keras(path: Path, layers: list, listed=None, group: str | None = None, pieces: int = 0) -> Path:
    """A file as Keras 2 wrote it: weights only, or (`group` "model_weights") of a whole model.

    `listed`: names in `layer_names`, where they differ from the layers; `pieces`: of that attribute when it is cut.
    """
    import h5py

    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        names = [name.encode() for name in (listed or [name for name, _ in layers])]
        if pieces:
            for i, part in enumerate(np.array_split(np.array(names), pieces)):
                root.attrs[f"layer_names{i}"] = part
        else:
            root.attrs["layer_names"] = names
        for name, arrays in layers:
            layer = root.create_group(name)
            layer.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, array in arrays.items():
                layer.create_dataset(key, data=array)
    return path


def write_yamnet(path: Path, arrays: list[np.ndarray], last: str = "logits") -> Path:
    """YAMNet as Keras 2 saved it. Layers' names hold slashes, and the path of an array its layer's name twice."""
    import h5py

    names = [("layer1/conv", "kernel"), *[("layer1/conv/bn", k) for k in ("beta", "moving_mean", "moving_variance")]]
    for i in range(2, 15):
        for part, kernel in (("depthwise_conv", "depthwise_kernel"), ("pointwise_conv", "kernel")):
            names.append((f"layer{i}/{part}", kernel))
            names += [(f"layer{i}/{part}/bn", k) for k in ("beta", "moving_mean", "moving_variance")]
    names += [(last, "kernel"), (last, "bias")]
    assert len(names) == len(arrays) == 110
    with h5py.File(path, "w") as file:
        for (layer, key), array in zip(names, arrays, strict=True):
            file[f"{layer}/{layer}/{key}:0"] = array
    return path


# --- PyTorch's pickles, opcode by opcode: what torch.save of a dictionary of tensors writes


def torchopenl3_state(arrays: list[np.ndarray], bank: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """torchopenl3's names and axes; `bank` is (bands, bins)."""
    state = {} if bank is None else {"speclayer.mel_basis": bank.astype(np.float32)}
    for i in range(8):
        keys = ("weight", "bias", "running_mean", "running_var")
        state |= {f"batch_normalization_{i + 1}.{k}": a for k, a in zip(keys, arrays[6 * i :], strict=False)}
        state[f"batch_normalization_{i + 1}.num_batches_tracked"] = np.array(7)
        name = f"conv2d_{i + 1}" if i < 7 else "audio_embedding_layer"
        state[f"{name}.weight"] = np.ascontiguousarray(arrays[6 * i + 4].transpose(3, 2, 0, 1))
        state[f"{name}.bias"] = arrays[6 * i + 5]
    return state


_STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage", "float64": "DoubleStorage"}


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _int(n: int) -> bytes:
    return b"J" + struct.pack("<i", n)


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _tensor(key: str, array: np.ndarray, view: bytes) -> bytes:
    """``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())``."""
    storage = f"ctorch\n{_STORAGES[array.dtype.name]}\n".encode()
    pid = _tuple(_text("storage"), storage, _text(key), _text("cpu"), _int(array.size), view) + b"Q"
    strides = [s // array.itemsize for s in array.strides]
    shape, stride = (_tuple(*map(_int, x)) for x in (array.shape, strides))
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + _tuple(pid, _int(0), shape, stride, b"\x89", hooks) + b"R"


def _dictionary(state: dict, view: bytes, extra: bytes) -> bytes:
    """An ordered dictionary; `extra` is a pickled value under the key "extra"."""
    items = b"".join(_text(name) + _tensor(str(i), array, view) for i, (name, array) in enumerate(state.items()))
    items += _text("extra") + extra if extra else b""
    return b"ccollections\nOrderedDict\n)R(" + items + b"u"


def write_torch(path: Path, state: dict, nested: str = "", extra: bytes = b"", legacy: bool = False) -> Path:
    """A checkpoint: zip archive (PyTorch 1.6 and later), or the older stream of pickles."""
    view = b"N" if legacy else b""
    body = _dictionary(state, view, extra)
    body = b"}" + _text(nested) + body + b"s" if nested else body
    pickled = b"\x80\x02" + body + b"."
    if legacy:
        keys = [str(i) for i in range(len(state))]
        data = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
        data += pickled + pickle.dumps(keys, 2)
        data += b"".join(struct.pack("<q", a.size) + a.tobytes() for a in state.values())
    else:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
            for i, array in enumerate(state.values()):
                archive.writestr(f"archive/data/{i}", array.tobytes())
            archive.writestr("archive/version", "3\n")
        data = stream.getvalue()
    path.write_bytes(data)
    return path


# --- Torch7's objects, one after the other; numbers are handed out in the order in which tables and objects begin


class Torch7:
    """A file as torch.save writes it (binary, 64 bits)."""

    def __init__(self):
        self.numbers = itertools.count(1)

    def text(self, text: str) -> bytes:
        return struct.pack("<i", len(text)) + text.encode()

    def value(self, value) -> bytes:
        if isinstance(value, dict):
            number = next(self.numbers)
            items = b"".join(self.value(part) for item in value.items() for part in item)
            return struct.pack("<iii", 3, number, len(value)) + items
        if isinstance(value, np.ndarray):
            return self.tensor(value)
        if isinstance(value, tuple):  # (class, table)
            head = self.head(value[0])
            return head + self.value(value[1])
        if isinstance(value, bool):
            return struct.pack("<ii", 5, value)
        if isinstance(value, str):
            return struct.pack("<i", 2) + self.text(value)
        return struct.pack("<i", 0) if value is None else struct.pack("<id", 1, value)

    def head(self, name: str) -> bytes:
        return struct.pack("<ii", 4, next(self.numbers)) + self.text("V 1") + self.text(name)

    def tensor(self, array: np.ndarray) -> bytes:
        """A view that begins at the second number of its storage."""
        sizes = [*array.shape, *(s // array.itemsize for s in array.strides)]
        about = struct.pack(f"<i{len(sizes)}qq", array.ndim, *sizes, 2)
        head = self.head("torch.CudaTensor")
        storage = self.head("torch.CudaStorage") + struct.pack("<q", array.size + 1)
        return head + about + storage + bytes(4) + array.astype("<f4").tobytes()


def write_t7(path: Path, network) -> Path:
    path.write_bytes(Torch7().value(network))
    return path
