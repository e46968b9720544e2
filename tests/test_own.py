"""Models of one's own: the graph in a file and the few lines beside it, against NumPy."""

import os
import struct
import tomllib

import numpy as np
import pytest

import l3embed
from l3embed import weights, zoo
from l3embed.errors import UsageError, WeightsError
from l3embed.frontend import spectrograms
from l3embed.spec import plain
from l3embed.weights import own

RATE, WINDOW, DIM = 8_000, 400, 3
WAVEFORM = f'rate_hz = {RATE}\nwindow_s = {WINDOW / RATE}\nfront_end = "waveform"\n'
KERNEL = np.random.default_rng(0).normal(0, 1, (WINDOW, DIM)).astype(np.float32)
SOUND = np.random.default_rng(1).normal(0, 0.1, 3 * WINDOW).astype(np.float32)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))


def _field(number: int, value) -> bytes:
    """A field of a protocol buffer: a whole number, text, or a message."""
    if isinstance(value, int):
        return bytes([number << 3]) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(n: int) -> bytes:
    n &= 2**64 - 1
    return bytes([n & 127 | 128]) + _varint(n >> 7) if n > 127 else bytes([n])


def _onnx(path, axes=("N", WINDOW), kernel=KERNEL, operator="MatMul"):
    """An ONNX file of one product, y = x kernel, written field by field after onnx.proto."""

    def value(name, shape):
        dims = b"".join(_field(1, _field(2, n) if isinstance(n, str) else _field(1, n)) for n in shape)
        return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))

    constant = b"".join(_field(1, n) for n in kernel.shape) + _field(2, 1) + _field(8, "kernel")
    constant += _field(9, kernel.astype("<f4").tobytes())
    node = _field(1, "x") + _field(1, "kernel") + _field(2, "y") + _field(4, operator)
    graph = _field(1, node) + _field(2, "graph") + _field(5, constant)
    graph += _field(11, value("x", axes)) + _field(12, value("y", (*axes[:-1], kernel.shape[1])))
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13)))
    return path


def _told(path, text=WAVEFORM):
    path.with_suffix(".toml").write_text(text)
    return path


@pytest.mark.parametrize("axes", [("N", WINDOW), ("N", 1, WINDOW), (1, WINDOW), ("N", 1, 1, WINDOW)])
def test_a_network_on_waveforms(tmp_path, axes):
    model = l3embed.load(_told(_onnx(tmp_path / "mine.onnx", axes), WAVEFORM + "scale = 2.0\n"), precision="f32")
    assert (model.name, model.dim, model.spec.front_end.rate_hz) == ("mine", DIM, RATE)
    embedding, times = model.embed(SOUND, RATE)
    np.testing.assert_allclose(embedding, 2 * SOUND.reshape(3, WINDOW) @ KERNEL, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(times, [0, 0.05, 0.1])  # hop: the window, unless the card says otherwise
    embedding, _ = model.embed(SOUND, RATE, hop=0.025)
    assert len(embedding) == 5 and np.allclose(embedding[1], 2 * SOUND[200:600] @ KERNEL, rtol=1e-4, atol=1e-5)


def test_the_card_says_how_recordings_are_cut(tmp_path):
    path = _told(_onnx(tmp_path / "mine.onnx"), WAVEFORM + 'hop_s = 0.025\ncenter = true\nname = "other"\n')
    model = l3embed.load(str(path))
    assert tomllib.loads(weights.show(path))["front_end"]["window_samples"] == WINDOW
    assert model.precision == "f32"  # whatever the processor has: what the file computes elsewhere
    framing = model.framing()
    assert (model.name, framing.hop, framing.lead) == ("other", 200, 200)
    _told(path, WAVEFORM)  # another card: nothing of the first is left
    assert l3embed.load(path).framing().lead == 0


@pytest.mark.parametrize("said", ['front_end = "yamnet"\n', None], ids=["by name", "table"])
def test_a_network_on_spectrograms(tmp_path, said):
    entry = zoo.find("yamnet")
    if said is None:
        said = weights.toml({"front_end": {k: v for k, v in plain(entry.model.front_end).items() if v is not None}})
    kernel = np.random.default_rng(0).normal(0, 1, (64, DIM)).astype(np.float32)
    path = _told(_onnx(tmp_path / "mel.onnx", ("N", 96, 64), kernel), said)
    model = l3embed.load(path, precision="f32")
    assert model.dim == 96 * DIM
    sound = np.random.default_rng(1).normal(0, 0.1, 15_600)
    expected = spectrograms(sound, np.array([0]), entry.model.front_end)[0, :, :, 0] @ kernel
    np.testing.assert_allclose(model.embed(sound, 16_000)[0][0], expected.ravel(), rtol=1e-4, atol=1e-3)


def test_openvinos_own_files_and_an_output_by_name(tmp_path):
    import openvino
    from openvino import opset13 as ops

    row = ops.parameter([-1, WINDOW], openvino.Type.f32, name="x")
    hidden = ops.matmul(row, ops.constant(KERNEL), False, False, name="hidden")
    graph = openvino.Model([ops.result(ops.relu(hidden))], [row], "own")
    openvino.save_model(graph, tmp_path / "mine.xml", compress_to_fp16=False)
    linear = SOUND.reshape(3, WINDOW) @ KERNEL
    model = l3embed.load(_told(tmp_path / "mine.xml"), precision="f32")
    np.testing.assert_allclose(model.embed(SOUND, RATE)[0], np.maximum(linear, 0), rtol=1e-4, atol=1e-5)
    for name in ("hidden", "MatMul"):
        model = l3embed.load(_told(tmp_path / "mine.xml", f'{WAVEFORM}output = "{name}"\n'), precision="f32")
        np.testing.assert_allclose(model.embed(SOUND, RATE)[0], linear, rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightsError, match=r"mine\.xml: has no tensor or node 'no'"):
        l3embed.load(_told(tmp_path / "mine.xml", f'{WAVEFORM}output = "no"\n'))
    (tmp_path / "mine.bin").unlink()
    with pytest.raises(WeightsError, match=r"mine\.bin: cannot be read"):
        l3embed.load(tmp_path / "mine.xml")


def test_a_keras_file_is_converted_and_one_with_code_refused(tmp_path):
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras runs on another backend here")
    network = keras.Sequential([keras.Input((WINDOW,)), keras.layers.Dense(DIM, use_bias=False)])
    network.set_weights([KERNEL])
    network.save(tmp_path / "mine.keras")
    model = l3embed.load(_told(tmp_path / "mine.keras"), precision="f32")
    np.testing.assert_allclose(model.embed(SOUND, RATE)[0], SOUND.reshape(3, WINDOW) @ KERNEL, rtol=1e-4, atol=1e-5)
    mark = str(tmp_path / "was run")
    evil = keras.layers.Lambda(lambda x: [os.makedirs(mark, exist_ok=True), x][1])
    keras.Sequential([keras.Input((WINDOW,)), evil]).save(tmp_path / "evil.keras")
    os.rmdir(mark)
    with pytest.raises(WeightsError, match=r"evil\.keras: its graph cannot be made"):
        l3embed.load(_told(tmp_path / "evil.keras"))
    assert not os.path.exists(mark)


def test_tflite_on_waveforms_takes_one_window_a_call(shared_data, fixtures, tmp_path):
    """YAMNet's own file, front end and all: its input has no axis for windows."""
    (tmp_path / "yamnet.tflite").write_bytes((shared_data / "weights" / "yamnet.tflite").read_bytes())
    card = 'rate_hz = 16000\nwindow_s = 0.975\nhop_s = 0.48\nfront_end = "waveform"\n'
    expected = np.load(fixtures / "yamnet" / "expected.npz")
    for output, key in (("", "scores"), ("ReduceMean", "embedding")):
        path = _told(tmp_path / "yamnet.tflite", f'{card}output = "{output}"\n')
        found, _ = l3embed.load(path, precision="f32").embed(fixtures / "yamnet" / "audio" / "dog_16k.wav")
        assert found.shape == expected[f"dog/{key}"].shape
        if key == "scores":
            np.testing.assert_allclose(found, expected["dog/scores"], atol=0.1)
        else:
            cosines = (found * expected["dog/embedding"]).sum(1) / np.linalg.norm(found, axis=1)
            assert (cosines / np.linalg.norm(expected["dog/embedding"], axis=1)).min() > 0.999


# --- what is wrong


@pytest.mark.parametrize(("text", "kind", "why"), [
    ("", UsageError, "front_end must be"), ("x = [", WeightsError, "is not TOML"),
    ('front_end = "waveform"\n', UsageError, "needs rate_hz and window_s"),
    (WAVEFORM.replace("8000", "0"), UsageError, "must be > 0"), (WAVEFORM + "hop = 1\n", UsageError, "hop is not"),
    (WAVEFORM + "hop_s = 0\n", UsageError, "hop_s must be a number of seconds > 0"),
    (WAVEFORM + 'center = "no"\n', UsageError, "center true or false"),
    ('front_end = "nobody"\n', UsageError, "'nobody' is neither waveform nor the name of a model"),
    ('front_end = "openl3-image-mel128-env-512"\n', UsageError, "makes no spectrograms"),
    ('rate_hz = 8000\nfront_end = "yamnet"\n', UsageError, "its rate or window is not that of the card"),
    ("[front_end]\nn_fft = 512\n", UsageError, "front_end is not whole or not right"),
    ('front_end = "yamnet"\n', WeightsError, r"of shape \(-1, 400\), the card's front end gives \(96, 64, 1\)"),
])  # fmt: skip
def test_cards_that_say_something_else_are_refused(tmp_path, text, kind, why):
    path = _told(_onnx(tmp_path / "mine.onnx"), text)
    with pytest.raises(kind, match=why):
        l3embed.load(path)


@pytest.mark.parametrize("suffix", own.SUFFIXES[1:])  # Keras reads its own in a process of its own: slow
@pytest.mark.parametrize(
    "content", [b"", b"<html>", struct.pack("<64I", *range(64)), b"\x00\x00\x00\x00TFL3" + 9 * b"\xff"]
)
def test_files_that_are_no_models_are_refused(tmp_path, suffix, content):
    path = _told(tmp_path / f"mine{suffix}")
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=rf"mine\{suffix}: "):
        l3embed.load(path)


def test_what_is_missing_is_named(tmp_path):
    path = _onnx(tmp_path / "mine.onnx")
    with pytest.raises(WeightsError, match=r"mine\.onnx: needs a card beside it, mine\.toml, with rate_hz"):
        l3embed.load(path)
    with pytest.raises(WeightsError, match=r"none\.onnx: cannot be read"):
        l3embed.load(_told(tmp_path / "none.onnx"))
    with pytest.raises(UsageError, match="is a model whole"):
        l3embed.load(_told(path), weights=path)
    with pytest.raises(WeightsError, match="OpenVINO cannot read this model"):
        l3embed.load(_told(_onnx(tmp_path / "odd.onnx", operator="NoSuchThing")))
    card = weights.find(path)
    from l3embed.engine import KerasEngine

    with pytest.raises(UsageError, match="mine: is a graph and no Keras network: it runs on the processor"):
        KerasEngine(card)
