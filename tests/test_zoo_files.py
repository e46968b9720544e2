"""Weight files whose arrays have names: what TensorFlow, Keras and NumPy write is read, what is no such file refused.

The files are written by those programs themselves, with networks of a few filters in the published layouts.
"""

import os
import struct

import numpy as np
import pytest
from made_weights import write_torch, write_yamnet

pytest.importorskip("tensorflow")
pytest.importorskip("h5py")

from dataclasses import replace
from pathlib import Path

from l3embed import networks, weights, zoo
from l3embed.errors import UsageError, WeightsError
from l3embed.frontend import spectrograms
from l3embed.weights import crc32c, tensors, tfcheckpoint, tflite

VGGISH = {"conv1": (3, 3, 1, 2), "conv2": (3, 3, 2, 4), "conv3/conv3_1": (3, 3, 4, 8), "conv3/conv3_2": (3, 3, 8, 8),
          "conv4/conv4_1": (3, 3, 8, 16), "conv4/conv4_2": (3, 3, 16, 16), "fc1/fc1_1": (384, 128),
          "fc1/fc1_2": (128, 128), "fc2": (128, 128)}  # fmt: skip
SLOTS = {"global_step": np.int64(-7), "vggish/fc2/weights/Adam": np.ones((3, 2), np.float32)}


def _vggish(seed=0):
    rng, found = np.random.default_rng(seed), {}
    for layer, shape in VGGISH.items():
        found[f"vggish/{layer}/weights"] = rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape).astype(np.float32)
        found[f"vggish/{layer}/biases"] = rng.normal(0, 0.1, shape[-1]).astype(np.float32)
    return found


def _save(path, arrays, version=1):
    """A checkpoint by TensorFlow's own saver."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [v1.Variable(value, name=name) for name, value in arrays.items()]
        session.run(v1.global_variables_initializer())
        kind = v1.train.SaverDef.V1 if version == 1 else v1.train.SaverDef.V2
        v1.train.Saver(variables, write_version=kind).save(session, str(path), write_meta_graph=False)
    return Path(path)


@pytest.fixture(scope="module", params=[1, 2], ids=["V1", "V2"])
def checkpoint(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "vggish_model.ckpt"
    arrays = {**_vggish(), **SLOTS, "text": np.array([b"not numbers"])}
    return _save(path, arrays, request.param)


def test_checkpoints_are_read_without_tensorflow(checkpoint):
    found, labels = tensors.read([checkpoint])
    expected = {**_vggish(), **SLOTS}
    assert set(found) == set(expected) and labels == []
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name
    parts = tfcheckpoint.files(checkpoint)
    assert all(path.exists() for path in parts)
    for part in parts:  # whichever of them is named
        assert tfcheckpoint.files(part) == parts and set(tensors.read([part])[0]) == set(expected)


def test_vggish_is_what_tensorflow_computes_of_the_same_variables(checkpoint, shared_data):
    import tensorflow as tf

    a, entry = _vggish(), zoo.find("vggish")
    x = spectrograms(np.random.default_rng(0).normal(0, 0.1, 31_000), np.array([0, 15_360]), entry.model.front_end)

    def convolved(y, name):
        return tf.nn.relu(tf.nn.conv2d(y, a[f"vggish/{name}/weights"], 1, "SAME") + a[f"vggish/{name}/biases"])

    def dense(y, name):
        return y @ a[f"vggish/{name}/weights"] + a[f"vggish/{name}/biases"]

    y = x
    for block in (["conv1"], ["conv2"], ["conv3/conv3_1", "conv3/conv3_2"], ["conv4/conv4_1", "conv4/conv4_2"]):
        for name in block:
            y = convolved(y, name)
        y = tf.nn.max_pool2d(y, 2, 2, "SAME")
    expected = {"vggish-12288": tf.reshape(y, [2, -1])}
    y = tf.nn.relu(dense(expected["vggish-12288"], "fc1/fc1_1"))
    expected["vggish-4096"] = tf.nn.relu(dense(y, "fc1/fc1_2"))
    expected["vggish"] = dense(expected["vggish-4096"], "fc2")
    expected["vggish-relu"] = tf.nn.relu(expected["vggish"])
    pca = shared_data / "weights" / "vggish_pca_params.npz"
    with np.load(pca) as parameters:
        vectors, means = parameters["pca_eigen_vectors"], parameters["pca_means"].reshape(-1, 1)
    for plain in ("vggish", "vggish-relu"):
        rotated = (vectors @ (expected[plain].numpy().T.astype(float) - means)).T
        expected[f"{plain}-pca"] = ((np.clip(rotated, -2, 2) + 2) * 255 / 4).astype(np.uint8)
    assert {name for name in zoo.names() if name.startswith("vggish")} == set(expected)
    for name, vectors in expected.items():
        found = np.asarray(_network(name, tensors.read([checkpoint, pca])[0], 2)(x))
        if name.endswith("pca"):
            assert (found == vectors).mean() > 0.99 and np.abs(found - vectors).max() <= 1
        else:
            np.testing.assert_allclose(found, vectors, rtol=1e-4, atol=1e-5)


def _network(name, named, width):
    """A published model's Keras network, `width` filters wide, with arrays out of its files."""
    entry = zoo.find(name)
    model = replace(entry.model, network=replace(entry.model.network, width=width))
    network = networks.family(model.network.family).audio_network(model.front_end, model.network)
    weights.set_arrays(network, entry.arrays(named, model), "FILE")
    return network


def test_ports_hold_the_same_arrays_under_other_names(tmp_path):
    """torchvggish's features and embeddings, and Keras layers with slashes in their names."""
    import h5py

    published, entry = _vggish(), zoo.find("vggish")
    expected = entry.arrays(published, entry.model)
    indices = [f"features.{i}" for i in (0, 3, 6, 8, 11, 13)] + [f"embeddings.{i}" for i in (0, 2, 4)]
    state = {}
    with h5py.File(tmp_path / "vggish.h5", "w") as file:
        for torch, layer in zip(indices, VGGISH, strict=True):
            kernel, bias = published[f"vggish/{layer}/weights"], published[f"vggish/{layer}/biases"]
            turned = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
            state |= {f"{torch}.weight": np.ascontiguousarray(turned), f"{torch}.bias": bias}
            keras = f"vggish_{layer}" if layer.startswith("fc") else layer
            file[f"{keras}/{keras}/kernel:0"], file[f"{keras}/{keras}/bias:0"] = kernel, bias
    write_torch(tmp_path / "vggish.pth", state)
    for name in ("vggish.pth", "vggish.h5"):
        found = entry.arrays(tensors.read([tmp_path / name])[0], entry.model)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    with pytest.raises(ValueError, match="holds vggish/conv1/weights twice"):
        entry.arrays({**published, "conv1/conv1/kernel": published["vggish/conv1/weights"]}, entry.model)


# --- bad checkpoints


@pytest.mark.parametrize(("change", "why"), [
    (lambda a: a.pop("vggish/fc2/biases"), r"holds no vggish/fc2/biases \(1 of 18 arrays are missing\)"),
    (lambda a: a.update({"mynet/fc1/weights": np.ones(3)}), "holds mynet/fc1/weights, which the network has not"),
    (lambda a: [a.pop(name) for name in list(a)] and a.update(x=np.ones(2)), r"holds no .* \(18 of 18 arrays"),
])  # fmt: skip
def test_a_checkpoint_of_another_model_is_refused(tmp_path, monkeypatch, change, why):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))
    arrays = _vggish()
    change(arrays)
    path = _save(tmp_path / "x.ckpt", arrays)
    with pytest.raises(WeightsError, match=rf"x\.ckpt: is no weight file of vggish \(it {why}"):
        weights.find("vggish", path)


def test_other_shapes_and_impossible_numbers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))
    path = _save(tmp_path / "narrow.ckpt", _vggish())
    with pytest.raises(WeightsError, match=r"narrow\.ckpt: array 0 has shape \(3, 3, 1, 2\), the network expects"):
        weights.find("vggish", path)
    arrays = _vggish()
    arrays["vggish/conv2/biases"][1] = np.nan
    with pytest.raises(WeightsError, match="its vggish/conv2/biases holds NaN or infinity"):
        tensors.read([_save(tmp_path / "nan.ckpt", arrays)])
    with pytest.raises(WeightsError, match="which another file of this model holds, too"):
        tensors.read([path, path])


def test_truncated_and_damaged_checkpoints_are_refused(checkpoint, tmp_path):
    parts = tfcheckpoint.files(checkpoint)
    for part in parts:
        for share in (0.0, 0.2, 0.7, 0.999):
            for other in parts:
                (tmp_path / other.name).write_bytes(other.read_bytes())
            data = part.read_bytes()
            (tmp_path / part.name).write_bytes(data[: int(len(data) * share)])
            with pytest.raises(WeightsError, match="is not a weight file that l3embed can read"):
                tensors.read([tmp_path / checkpoint.name])
    if len(parts) > 1:
        (tmp_path / parts[0].name).write_bytes(parts[0].read_bytes())
        (tmp_path / parts[1].name).unlink()
        with pytest.raises(WeightsError, match="it has 1 data files, of which 0 lie beside it"):
            tensors.read([tmp_path / checkpoint.name])


def test_a_changed_byte_never_changes_an_array(checkpoint, tmp_path):
    """It is found, but for those few that no array depends on: text, and what makes up the footer."""
    expected = tensors.read([checkpoint])[0]
    rng, parts = np.random.default_rng(0), tfcheckpoint.files(checkpoint)
    for part in parts:
        for other in parts:
            (tmp_path / other.name).write_bytes(other.read_bytes())
        data = part.read_bytes()
        harmless = 0
        for at in (0, len(data) - 1, *rng.integers(len(data), size=40)):
            changed = bytearray(data)
            changed[at] ^= int(rng.integers(1, 256))
            (tmp_path / part.name).write_bytes(changed)
            try:
                found = tensors.read([tmp_path / checkpoint.name])[0]
            except WeightsError:
                continue
            harmless += 1
            assert set(found) == set(expected) and all(np.array_equal(found[n], a) for n, a in expected.items())
        assert harmless < 10


def test_checksums_are_castagnolis():
    assert crc32c.crc32c(b"123456789") == 0xE3069283  # the check value of its definition (RFC 3720, B.4)
    data = np.random.default_rng(0).integers(0, 256, 5 * crc32c._STRIPES + 77, dtype=np.uint8).tobytes()
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    assert crc32c.crc32c(data) == crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(("content", "why"), [
    (b"", "it is empty"), (b"<html>sign in</html>", "it is a web page"), (b"hello", "of no format that l3embed reads"),
    (b"PK\x03\x04 and nothing", "not a zip file"), (b"\x80\x04cos\nsystem\n(S'true'\ntR.", "with code, os.system"),
    (b"\x00\x00\x00\x00TFL3" + 40 * b"\xff", ""),
])  # fmt: skip
def test_files_that_hold_no_weights_are_refused(tmp_path, content, why):
    path = tmp_path / "vggish_model.ckpt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"vggish_model\.ckpt: is not a weight file that l3embed can read.*{why}"):
        tensors.read([path])


def test_an_archive_with_pickled_objects_is_refused_and_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was run"),)

    np.savez(tmp_path / "pca.npz", pca_means=np.array([Evil()], dtype=object))
    with pytest.raises(WeightsError, match="Object arrays cannot be loaded"):
        tensors.read([tmp_path / "pca.npz"])
    assert not (tmp_path / "was run").exists()


def test_weights_are_one_path_or_several(tmp_path, monkeypatch):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))
    for wrong in ([], [3], ["a", ""], 3):
        with pytest.raises(UsageError, match="weights are given as the path of a file, or several in a list"):
            weights.find("vggish", wrong)
    with pytest.raises(WeightsError, match=r"none\.ckpt: cannot be read \(no such file"):
        weights.find("vggish", tmp_path / "none.ckpt")
    with pytest.raises(UsageError, match="takes one weight file"):
        weights.find("openl3-linear-env-512", ["a", "b"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsError, match=r"folder/vggish_model\.ckpt"):
        weights.find("vggish", tmp_path / "folder")


# --- YAMNet's Keras file


def _yamnet(width=2):
    """Weights that are somewhere, in the order of the network."""
    entry = zoo.find("yamnet-scores")
    model = replace(entry.model, network=replace(entry.model.network, width=width))
    network = networks.family("yamnet").audio_network(model.front_end, model.network)
    rng = np.random.default_rng(0)
    values = [
        rng.uniform(0.5, 1.5, w.shape) if "variance" in w.path else rng.normal(0, 0.4, w.shape) for w in network.weights
    ]
    network.set_weights([v.astype(np.float32) for v in values])
    return network


@pytest.mark.parametrize("last", ["logits", "dense"])
def test_yamnets_keras_file_is_read(tmp_path, last):
    network = _yamnet()
    path = write_yamnet(tmp_path / "yamnet.h5", network.get_weights(), last)
    (tmp_path / "map.csv").write_text('index,mid,display_name\n0,/m/09x0r,Speech\n1,/m/x,"Child speech, kid"\n')
    named, labels = tensors.read([path, tmp_path / "map.csv"])
    assert len(named) == 110 and labels == ["Speech", "Child speech, kid"]
    x = np.random.default_rng(1).normal(-3, 1, (2, 96, 64, 1)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(_network("yamnet-scores", named, 2)(x)), np.asarray(network(x)), atol=1e-6)
    assert np.asarray(_network("yamnet", named, 2)(x)).shape == (2, 64)
    with pytest.raises(ValueError, match="holds layer1/conv/bn/layer1/conv/bn/gamma, which the network has not"):
        zoo.find("yamnet").arrays(
            {**named, "layer1/conv/bn/layer1/conv/bn/gamma": np.ones(2)}, zoo.find("yamnet").model
        )


def test_yamnet_is_mobilenet_with_tensorflows_uneven_padding():
    """Against tf.nn, layer by layer: "SAME" of stride 2 pads even maps on one side only; no gamma; epsilon 1e-4."""
    import tensorflow as tf

    network = _yamnet()
    values = iter(network.get_weights())
    x = y = np.random.default_rng(1).normal(-3, 1, (2, 96, 64, 1)).astype(np.float32)

    def normalised(y):
        beta, mean, variance = next(values), next(values), next(values)
        return tf.nn.relu((y - mean) / np.sqrt(variance + 1e-4) + beta)

    y = normalised(tf.nn.conv2d(y, next(values), 2, "SAME"))
    for stride in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1):
        y = normalised(tf.nn.depthwise_conv2d(y, next(values), [1, stride, stride, 1], "SAME"))
        y = normalised(tf.nn.conv2d(y, next(values), 1, "SAME"))
    assert y.shape[1:3] == (3, 2)
    logits = tf.reduce_mean(y, [1, 2]) @ next(values) + next(values)
    np.testing.assert_allclose(np.asarray(network(x)), tf.sigmoid(logits), atol=1e-5)


# --- TensorFlow Lite


def test_constants_of_a_tflite_file_are_read(tmp_path):
    import tensorflow as tf

    kernel = np.random.default_rng(0).normal(0, 1, (5, 4)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([1, 5], tf.float32)])
    def product(x):
        return tf.nn.relu(x @ kernel)

    function = product.get_concrete_function()
    data = tf.lite.TFLiteConverter.from_concrete_functions([function], product).convert()
    found = tflite.read(data)
    assert any(a.shape == (4, 5) and np.allclose(a, kernel.T) for a in found.values())
    assert tflite.labels(data) == []
    for end in (12, 40, len(data) // 2):
        with pytest.raises((ValueError, struct.error, IndexError)):
            tflite.read(data[:end])
    (tmp_path / "other.tflite").write_bytes(data)
    named, _ = tensors.read([tmp_path / "other.tflite"])
    with pytest.raises(ValueError, match="holds no layer1/conv/layer1/conv/kernel"):
        zoo.find("yamnet").arrays(named, zoo.find("yamnet").model)
