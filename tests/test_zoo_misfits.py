"""Files given to the wrong model, and files in which something is missing, superfluous or of another shape.

Each is refused in one sentence that names the file, before anything is converted. Pickles with code, and damaged files,
are in the tests of their readers.
"""

import gzip
import io
from dataclasses import replace

import numpy as np
import pytest
from made_weights import write_keras, write_torch, write_yamnet

pytest.importorskip("keras")
pytest.importorskip("h5py")

import h5py

from l3embed import weights, zoo
from l3embed.errors import WeightsError
from l3embed.weights import resolve

MODELS = {  # of each reader one, and the file among those below that is its own
    "vggish": "", "vggish-pca": "", "yamnet": "yamnet.tflite", "yamnet-scores": "yamnet.tflite",
    "edgel3-sea-64": "edgel3", "edgel3-sea-128": "", "edgel3-ft-95.45": "", "panns-cnn6": "", "panns-cnn10": "Cnn10",
    "panns-cnn14-8k-frames": "", "soundnet-conv7": "", "imagenet-resnet50": "", "imagenet-resnet50-keras-logits": "",
    "imagenet-mobilenet-raw": "", "imagenet-squeezenet": "squeezenet",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))


def _refused(name: str, file, why: str) -> None:
    entry = name if isinstance(name, zoo.Entry) else zoo.find(name)
    with pytest.raises(WeightsError, match=why) as error:
        resolve._find_entry(entry, file)
    files = file if isinstance(file, list) else [file]
    assert "\n" not in str(error.value) and any(str(path) in str(error.value) for path in files)


@pytest.fixture(scope="module")
def real(shared_data, fixtures):
    folder = shared_data / "weights"
    return [*sorted(folder.glob("*")), fixtures / "panns" / "Cnn10_synthetic.pth.gz",
            *sorted((fixtures / "openl3").glob("*.h5.gz"))]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_no_other_models_file_is_taken(real, name):
    others = [path for path in real if not (MODELS[name] and path.name.startswith(MODELS[name]))]
    if name == "edgel3-ft-95.45":  # OpenL3's own networks, of which these have the shape
        others = [path for path in others if not path.name.startswith("openl3_audio")]
    assert len(others) >= 5
    pca = next(path for path in real if path.name.endswith("params.npz"))
    for path in others:
        files = [path, pca] if name.endswith("-pca") else [path]
        _refused(name, files, "is no weight file|is not a weight file|holds|has shape|was trained with")


# --- VGGish's PCA


@pytest.mark.parametrize(("arrays", "why"), [
    ({"pca_means": np.zeros(128)}, r"holds no pca_eigen_vectors \(1 of 2 arrays are missing\)"),
    ({"pca_means": np.zeros(128), "pca_eigen_vectors": np.eye(64)}, r"has shape \(64, 64\), the network expects"),
    ({"pca_means": np.zeros(100), "pca_eigen_vectors": np.eye(128)}, r"has shape \(100,\), the network exp"),
    ({"pca_means": np.full(128, np.nan), "pca_eigen_vectors": np.eye(128)}, "pca_means holds NaN"),
    ({"pca_means": np.zeros(128), "pca_eigen_vectors": np.eye(128), "more": np.eye(2)}, "holds more, which"),
], ids=["missing", "shape", "means", "nan", "extra"])  # fmt: skip
def test_pca_files_that_do_not_fit(tmp_path, arrays, why):
    shapes = {"conv1": (3, 3, 1, 1), "conv2": (3, 3, 1, 2), "conv3/conv3_1": (3, 3, 2, 4),
              "conv3/conv3_2": (3, 3, 4, 4), "conv4/conv4_1": (3, 3, 4, 8), "conv4/conv4_2": (3, 3, 8, 8),
              "fc1/fc1_1": (192, 64), "fc1/fc1_2": (64, 64), "fc2": (64, 128)}  # fmt: skip
    kinds = {f"vggish/{name}/weights": shape for name, shape in shapes.items()}
    kinds |= {f"vggish/{name}/biases": shape[-1:] for name, shape in shapes.items()}
    np.savez(tmp_path / "net.npz", **{name: np.zeros(shape, np.float32) for name, shape in kinds.items()})
    np.savez(tmp_path / "pca.npz", **arrays)
    entry = zoo.find("vggish-pca")
    narrow = replace(entry, model=replace(entry.model, network=replace(entry.model.network, width=1)))
    _refused(narrow, [tmp_path / "net.npz", tmp_path / "pca.npz"], why)


# --- files of Keras, by order (EdgeL3) and by name (YAMNet, SqueezeNet)


def _changed_copy(path, target, change):
    """The HDF5 file with something done to it."""
    data = path.read_bytes()
    data = io.BytesIO(gzip.decompress(data) if path.suffix == ".gz" else data)
    with h5py.File(data, "r+") as file:
        change(file)
    target.write_bytes(data.getvalue())
    return target


def _replaced(path: str, array):
    def change(file):
        del file[path]
        file[path] = np.asarray(array, np.float32)

    return change


def _dropped(file):
    group = file["model_weights"]
    group.attrs["layer_names"] = [n for n in group.attrs["layer_names"] if n not in (b"conv2d_3", "conv2d_3")]


def _doubled(file):
    group = file["model_weights"]
    group.create_group("dense_1").attrs["weight_names"] = [b"dense_1/kernel:0"]
    group["dense_1/dense_1/kernel:0"] = np.ones((64, 2), np.float32)
    group.attrs["layer_names"] = [*group.attrs["layer_names"], b"dense_1"]


@pytest.mark.parametrize(("change", "why"), [
    (_dropped, "holds 50 arrays, the network has 52"),
    (_doubled, "holds 53 arrays, the network has 52"),
    (_replaced("model_weights/conv2d_2/conv2d_2/kernel:0", np.ones((5, 5, 32, 32))), r"has shape \(5, 5, 32, 32\)"),
    (_replaced("model_weights/conv2d_2/conv2d_2/bias:0", np.full(32, np.inf)), "holds NaN or infinity"),
    (_replaced("model_weights/batch_normalization_3/batch_normalization_3/moving_variance:0", np.full(32, -1.0)),
     "a variance and holds negative numbers"),
    (_replaced("model_weights/melspectrogram_1/melspectrogram_1/Variable:0", np.ones((513, 128))),
     "was trained with 128 mel bands, edgel3-sea-64 has 64"),
], ids=["missing", "extra", "shape", "infinite", "variance", "mel"])  # fmt: skip
def test_edgel3_files_that_do_not_fit(tmp_path, shared_data, change, why):
    whole = shared_data / "weights" / "edgel3_sea_ust_audio_emb_64.h5.gz"
    _refused("edgel3-sea-64", _changed_copy(whole, tmp_path / "w.h5", change), why)


@pytest.mark.parametrize(("change", "why"), [
    (lambda file: file.pop("fire5/expand3x3/fire5/expand3x3_3/bias:0"), r"holds no fire5/expand3x3/bias \(1 of 50"),
    (lambda file: file.create_dataset("fire10/a/fire10/a/kernel:0", data=np.ones(3, "f4")), "holds fire10/a/kernel"),
    (_replaced("conv1/conv1_3/bias:0", np.ones(3)), r"has shape \(3,\), the network expects \(64,\)"),
], ids=["missing", "extra", "shape"])  # fmt: skip
def test_squeezenet_files_that_do_not_fit(tmp_path, shared_data, change, why):
    whole = shared_data / "weights" / "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
    _refused("imagenet-squeezenet", _changed_copy(whole, tmp_path / "w.h5", change), why)


@pytest.mark.parametrize(("change", "why"), [
    (lambda file: file.pop("layer7/pointwise_conv/bn/layer7/pointwise_conv/bn/beta:0"), "holds no layer7/point"),
    (lambda file: file.create_dataset("layer15/conv/layer15/conv/kernel:0", data=np.ones(3, "f4")), "holds layer"),
    (_replaced("logits/logits/kernel:0", np.ones((64, 527))), r"has shape \(64, 527\)"),
    (_replaced("layer2/depthwise_conv/bn/layer2/depthwise_conv/bn/moving_variance:0", [-1, 1]), "negative numbers"),
    (_replaced("layer1/conv/layer1/conv/kernel:0", np.full((3, 3, 1, 2), np.nan)), "holds NaN or infinity"),
], ids=["missing", "extra", "shape", "variance", "nan"])  # fmt: skip
def test_yamnets_keras_files_that_do_not_fit(tmp_path, change, why):
    entry = zoo.find("yamnet-scores")
    narrow = replace(entry, model=replace(entry.model, network=replace(entry.model.network, width=2)))
    arrays = [np.ones(w.shape, np.float32) for w in weights.outline(narrow.model).weights]
    whole = write_yamnet(tmp_path / "whole.h5", arrays)
    _refused(narrow, _changed_copy(whole, tmp_path / "w.h5", change), why)


def test_a_tflite_file_that_is_nearly_yamnet(tmp_path, shared_data):
    """Its constants are taken by the numbers of their layers, in the names."""
    data = (shared_data / "weights" / "yamnet.tflite").read_bytes()
    for i, old, new, why in (
        (1, b"tower0/network/layer9/", b"tower0/network/layer8/", "not that of YAMNet"),
        (2, b"tower0/network/layer28/reduce_mean", b"tower0/network/layer27/reduce_mean", "not that of YAMNet"),
        (3, b"mel_spectrogram", b"mel_spectrogran", "holds no layer1/conv/layer1/conv/kernel"),
    ):
        assert old in data
        path = tmp_path / f"{i}.tflite"
        path.write_bytes(data.replace(old, new))
        _refused("yamnet", path, why)


# --- SoundNet's ports


@pytest.mark.parametrize("layout", ["npy", "pth", "h5"])
@pytest.mark.parametrize(("change", "why"), [
    (lambda arrays: arrays.pop(("conv3", "beta")), "holds no|of another model"),
    (lambda arrays: arrays.update({("conv2", "weights"): np.ones((31, 1, 1, 2), "f4")}), r"has shape \(31, 1, 1, 2\)"),
    (lambda arrays: arrays[("conv1", "var")].fill(np.nan), "holds NaN"),
], ids=["missing", "shape", "nan"])  # fmt: skip
def test_soundnet_files_that_do_not_fit(tmp_path, layout, change, why):
    arrays, before = {}, 1
    for i, k in enumerate((64, 32, 16, 8, 4, 4, 4)):
        arrays[f"conv{i + 1}", "weights"] = np.ones((k, 1, before, 2**i), "f4")
        before = 2**i
        arrays |= {(f"conv{i + 1}", kind): np.ones(before, "f4") for kind in ("biases", "gamma", "beta", "mean", "var")}
    change(arrays)
    entry = zoo.find("soundnet-conv7")
    narrow = replace(entry, model=replace(entry.model, network=replace(entry.model.network, width=1)))
    _refused(narrow, WRITERS[layout](tmp_path / f"w.{layout}", arrays), why)


def _npy(path, arrays):
    nested: dict = {}
    for (layer, kind), array in arrays.items():
        nested.setdefault(layer, {})[kind] = array
    np.save(path, np.array(nested, dtype=object), allow_pickle=True)
    return path


def _pth(path, arrays):
    keys = {"weights": "0.weight", "biases": "0.bias", "gamma": "1.weight", "beta": "1.bias", "mean": "1.running_mean",
            "var": "1.running_var"}  # fmt: skip
    turned = {name: np.ascontiguousarray(a.transpose(3, 2, 0, 1)) if a.ndim == 4 else a for name, a in arrays.items()}
    return write_torch(path, {f"{layer}.{keys[kind]}": a for (layer, kind), a in turned.items()})


def _h5(path, arrays):
    keys = {"weights": "kernel", "biases": "bias", "gamma": "gamma", "beta": "beta", "mean": "moving_mean",
            "var": "moving_variance"}  # fmt: skip
    layers: dict = {}
    for (layer, kind), array in arrays.items():
        name = ("conv1d_" if kind in ("weights", "biases") else "batch_normalization_") + layer[4:]
        layers.setdefault(name, {})[f"{name}/{keys[kind]}:0"] = array[:, 0] if array.ndim == 4 else array
    return write_keras(path, list(layers.items()))


WRITERS = {"npy": _npy, "pth": _pth, "h5": _h5}
