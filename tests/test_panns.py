"""PANNs: published sizes, outputs of the authors' CNN10, all five against NumPy, checkpoints that do not fit."""

import gzip
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from made_weights import write_torch

pytest.importorskip("keras")

from l3embed import networks, weights, zoo
from l3embed.errors import L3EmbedWarning, WeightsError
from l3embed.frontend import mel_filterbank, spectrograms
from l3embed.weights import resolve, tensors
from l3embed.windows import Framing, chunks
from l3embed.zoo import panns

KINDS = tuple(panns.DIMS)
WIDTH = 2  # of the tiny networks here


def _entry(kind: str, output: str = "", width: int = 64) -> zoo.Entry:
    entry = zoo.find(f"panns-{kind}" + (f"-{output}" if output else ""))
    model = entry.model
    dim = panns.CLASSES if "scores" in output else model.dim * width // 64
    return replace(entry, model=replace(model, dim=dim, network=replace(model.network, width=width)))


def _network(entry: zoo.Entry, arrays=None):
    network = networks.family("panns").audio_network(entry.model.front_end, entry.model.network)
    if arrays is not None:
        weights.set_arrays(network, arrays, "test")
    return network


# --- the same networks in NumPy, told a second time; (channels, time, frequency), as PyTorch has them


class Twin:
    """A network that makes up its arrays, under their names in a checkpoint, when they are first asked for."""

    def __init__(self, kind: str, width: int = WIDTH, classes: int = panns.CLASSES):
        self.kind, self.width, self.classes = kind, width, classes
        self.state: dict[str, np.ndarray] = {}
        self.rng = np.random.default_rng(0)
        self(np.zeros((64, 64)))  # asks for all of them

    def array(self, name: str, shape: tuple, low=None) -> np.ndarray:
        if name not in self.state:
            fan_in = np.prod(shape[1:])
            made = (
                self.rng.uniform(low, low + 0.8, shape) if low is not None else self.rng.normal(0, fan_in**-0.5, shape)
            )
            self.state[name] = made.astype(np.float32)
        return self.state[name].astype(float)

    def norm(self, x, name: str):
        n, at = len(x), (slice(None), None, None)
        mean, variance = self.array(f"{name}.running_mean", (n,), -0.3), self.array(f"{name}.running_var", (n,), 0.6)
        gamma, beta = self.array(f"{name}.weight", (n,), 0.6), self.array(f"{name}.bias", (n,), -0.3)
        self.state[f"{name}.num_batches_tracked"] = np.array(9)
        return (x - mean[at]) / np.sqrt(variance[at] + 1e-5) * gamma[at] + beta[at]

    def conv(self, x, out: int, k: int, name: str, depthwise: bool = False):
        kernel = self.array(f"{name}.weight", (out, 1 if depthwise else len(x), k, k))
        padded = np.pad(x, ((0, 0), (k // 2,) * 2, (k // 2,) * 2))
        seen = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))  # (c, t, f, k, k)
        return (
            np.einsum("ctfij,cij->ctf", seen, kernel[:, 0]) if depthwise else np.einsum("ctfij,ocij->otf", seen, kernel)
        )

    def block(self, x, out: int, name: str, n: int = 2, k: int = 3):
        for i in range(1, n + 1):
            x = np.maximum(self.norm(self.conv(x, out, k, f"{name}.conv{i}"), f"{name}.bn{i}"), 0)
        return x

    def residual(self, x, out: int, name: str):
        shortcut = x
        if out > len(x):
            shortcut = x = pool(x)
            shortcut = self.norm(self.conv(shortcut, out, 1, f"{name}.downsample.1"), f"{name}.downsample.2")
        x = np.maximum(self.norm(self.conv(x, out, 3, f"{name}.conv1"), f"{name}.bn1"), 0)
        return np.maximum(self.norm(self.conv(x, out, 3, f"{name}.conv2"), f"{name}.bn2") + shortcut, 0)

    def maps(self, x):
        w = self.width
        if self.kind == "mobilenetv1":
            x = np.maximum(self.norm(pool(self.conv(x, w // 2, 3, "features.0.0")), "features.0.2"), 0)
            for i, out in enumerate((1, 2, 2, 4, 4, 8, 8, 8, 8, 8, 8, 16, 16), 1):
                x = self.conv(x, len(x), 3, f"features.{i}.0", depthwise=True)
                x = np.maximum(self.norm(pool(x) if i in (2, 4, 6, 12) else x, f"features.{i}.2"), 0)
                x = np.maximum(self.norm(self.conv(x, w * out, 1, f"features.{i}.4"), f"features.{i}.5"), 0)
            return x
        if self.kind == "resnet22":
            x = pool(self.block(x, w, "conv_block1"))
            for stage in (1, 2, 3, 4):
                for i in (0, 1):
                    x = self.residual(x, w * 2 ** (stage - 1), f"resnet.layer{stage}.{i}")
            return self.block(pool(x), 32 * w, "conv_block_after1")
        blocks, n, k = {"cnn6": (4, 1, 5), "cnn10": (4, 2, 3), "cnn14": (6, 2, 3)}[self.kind]
        for i in range(blocks):
            x = self.block(x, w * 2**i, f"conv_block{i + 1}", n, k)
            x = x if i == 5 else pool(x)
        return x

    def __call__(self, logmel, frames: bool = False):
        """(T, 64) -> embedding and scores, of all or of each column."""
        x = self.norm(logmel.T[:, :, None], "bn0").transpose(2, 1, 0)
        columns = self.maps(x).mean(axis=2).T
        if frames:
            padded = np.pad(columns, ((1, 1), (0, 0)))
            seen = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=0)
            pooled = seen.max(axis=-1) + seen.mean(axis=-1)
        else:
            pooled = columns.max(axis=0) + columns.mean(axis=0)
        n = columns.shape[1]
        embedding = np.maximum(pooled @ self.array("fc1.weight", (n, n)).T + self.array("fc1.bias", (n,), -0.3), 0)
        weight, bias = (
            self.array("fc_audioset.weight", (self.classes, n)),
            self.array("fc_audioset.bias", (self.classes,), -0.3),
        )
        return embedding, 1 / (1 + np.exp(-(embedding @ weight.T + bias)))


def pool(x):
    t, f = x.shape[1] // 2, x.shape[2] // 2
    return x[:, : 2 * t, : 2 * f].reshape(len(x), t, 2, f, 2).mean(axis=(2, 4))


@pytest.fixture(scope="module", params=KINDS)
def twin(request):
    return Twin(request.param)


# --- sizes


@pytest.mark.parametrize(("kind", "parameters"), [
    ("cnn6", 4_837_455), ("cnn10", 5_219_279), ("cnn14", 80_753_615), ("mobilenetv1", 4_796_303),
    ("resnet22", 63_675_087),
])  # fmt: skip
def test_published_parameter_counts(kind, parameters):
    network = _network(_entry(kind, "scores"))
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == parameters
    assert network.output_shape == (None, 527)
    assert network.layers[-2].output.shape[-1] == panns.DIMS[kind]


# --- numbers


def test_authors_cnn10(fixtures):
    """Their network, weights and sounds (fixtures/README.md): front end, conversion, embedding and scores."""
    folder = fixtures / "panns"
    expected = np.load(folder / "expected.npz")
    found, _ = tensors.read([folder / "Cnn10_synthetic.pth.gz"])
    import soundfile

    for output, key in (("", "embedding"), ("scores", "clipwise_output")):
        entry = _entry("cnn10", output)
        network = _network(entry, panns.arrays(found, entry.model))
        for clip in ("dog", "rain"):
            sound, rate = soundfile.read(folder / "audio" / f"{clip}_32k.wav")
            fe = replace(entry.model.front_end, window_samples=len(sound))
            assert rate == fe.rate_hz
            vector = np.asarray(network(spectrograms(sound, [0], fe)))[0]
            wanted = expected[f"Cnn10/{clip}/{key}"]
            assert np.linalg.norm(vector - wanted) <= 1e-5 * np.linalg.norm(wanted)


@pytest.mark.parametrize("output", panns.OUTPUTS)
@pytest.mark.parametrize("frames", [32, 95])
def test_all_networks_against_numpy(twin, output, frames):
    """From a checkpoint's names and axes to numbers, for the shortest sound of all and an odd length."""
    entry = _entry(twin.kind, output, WIDTH)
    network = _network(entry, panns.arrays(twin.state, entry.model))
    logmel = np.random.default_rng(1).normal(0, 1, (frames, 64)).astype(np.float32)
    wanted = twin(logmel, frames=output.startswith("frame"))["scores" in output]
    found = np.asarray(network(logmel[None, :, :, None]))[0]
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("khz", panns.GRIDS)
def test_mel_bands(khz, fixtures):
    """32 kHz: those in the authors' checkpoint. The other rates: librosa's, where it is installed."""
    bank = mel_filterbank(panns.front_end(khz))
    if khz == 32:
        stored, _ = tensors.read([fixtures / "panns" / "Cnn10_synthetic.pth.gz"])
        wanted = stored["logmel_extractor.melW"].T
    else:
        librosa = pytest.importorskip("librosa")
        n_fft, _, f_max = panns.GRIDS[khz]
        wanted = librosa.filters.mel(sr=1000 * khz, n_fft=n_fft, n_mels=64, fmin=50, fmax=f_max)
    np.testing.assert_allclose(bank, wanted, rtol=0, atol=1e-6 * wanted.max())


# --- through the whole corridor


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A tiny CNN6, as a file, converted: (twin, output -> model)."""
    from l3embed import engine
    from l3embed.embed import EmbeddingModel

    folder = tmp_path_factory.mktemp("panns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L3EMBED_CACHE", str(folder / "cache"))
        twin = Twin("cnn6")
        file = write_torch(folder / "Cnn6.pth", twin.state, nested="model")
        card = resolve._find_entry(_entry("cnn6", "frames", WIDTH), file)
        yield twin, EmbeddingModel(card, engine.choose("cpu"), "f32")


def _logmel(sound):
    """torchlibrosa's, in a few lines of its own."""
    padded = np.pad(sound, 512, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::320]
    power = np.abs(np.fft.rfft(frames * np.hanning(1025)[:-1])) ** 2
    return 10 * np.log10(np.maximum(power @ mel_filterbank(panns.front_end()).T, 1e-10))


@pytest.mark.parametrize("seconds", [0.15, 0.16, 2.35])
def test_sounds_of_any_length_are_taken_whole(loaded, seconds):
    twin, model = loaded
    sound = np.random.default_rng(3).normal(0, 0.1, round(32_000 * seconds)).astype(np.float32)
    vectors, times = model.embed(sound, 32_000)
    wanted, _ = twin(_logmel(sound), frames=True)
    assert vectors.shape == wanted.shape == ((1 + len(sound) // 320) // 16, 16)
    np.testing.assert_allclose(vectors, wanted, rtol=1e-3, atol=1e-4 * wanted.max())
    np.testing.assert_array_equal(times, np.arange(len(vectors)) * 0.16)


def test_shorter_sounds_are_made_up_with_zeros(loaded):
    _, model = loaded
    sound = np.random.default_rng(3).normal(0, 0.1, 1000).astype(np.float32)
    padded = np.pad(sound, (0, 3800))
    with pytest.warns(L3EmbedWarning, match=r"shorter than the 0\.15 s that the model needs"):
        vectors, _ = model.embed(sound, 32_000)
    np.testing.assert_array_equal(vectors, model.embed(padded, 32_000)[0])


# --- checkpoints that do not fit


def _refused(tmp_path, state, message, kind="cnn10", **how):
    file = write_torch(tmp_path / "w.pth", state, nested="model", **how)
    with pytest.raises(WeightsError, match=message) as error:
        resolve._find_entry(_entry(kind, "", WIDTH), file)
    assert "\n" not in str(error.value) and str(file) in str(error.value)


@pytest.mark.parametrize("other", KINDS)
def test_another_networks_checkpoint_is_named(tmp_path, other, monkeypatch):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path))
    wanted = "cnn6" if other == "cnn10" else "cnn10"
    _refused(tmp_path, Twin(other).state, f"its arrays are those of {other}: name panns-{other}", wanted)


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s.pop("conv_block2.bn1.running_var"), r"holds no conv_block2\.bn1\.running_var"),
    (lambda s: s.pop("fc1.bias"), r"holds no fc1\.bias"),
    (lambda s: s.update({"att_block.att.weight": np.ones((2, 2), np.float32)}), r"holds att_block\.att\.weight, which"),
    (lambda s: s.update({"fc1.weight": np.ones((3, 3), np.float32)}), r"has shape \(3, 3\), the network expects"),
    (lambda s: s["conv_block1.conv1.weight"].fill(np.nan), "NaN"),
    (lambda s: s["conv_block1.bn1.running_var"].fill(-1), "negative"),
    (lambda s: s.update({"logmel_extractor.melW": np.ones((513, 64), np.float32)}), "other mel bands"),
    (lambda s: s.update({"spectrogram_extractor.stft.conv_real.weight": np.ones((257, 1, 512), np.float32)}),
     "windows of 512 samples, not 1024"),
], ids=["missing", "missing dense", "extra", "shape", "nan", "negative variance", "mel", "fft"])  # fmt: skip
def test_checkpoints_that_do_not_fit_are_refused(tmp_path, monkeypatch, change, message):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path))
    state = Twin("cnn10").state
    change(state)
    _refused(tmp_path, state, message)


class _Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))
    trap = tmp_path / "trap"
    code = pickle.dumps(_Code(str(trap)), 0)[:-1]
    _refused(tmp_path, Twin("cnn10").state, "pickled with code", extra=code)
    assert not trap.exists()


def test_a_damaged_checkpoint_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))
    whole = write_torch(tmp_path / "whole.pth", Twin("cnn6").state, nested="model").read_bytes()
    for name, data in (("cut.pth", whole[:-4000]), ("cut.pth.gz", gzip.compress(whole)[:-9]), ("empty.pth", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeightsError, match=re.escape(name)):
            resolve._find_entry(_entry("cnn6", "", WIDTH), tmp_path / name)


@pytest.mark.parametrize(("n", "lengths"), [
    (10, [48]), (100, [100]), (150, [150]), (151, [100, 51]), (400, [100, 100, 100, 100]), (460, [100] * 3 + [100, 60]),
])  # fmt: skip
def test_long_recordings_are_taken_in_pieces_none_of_them_a_sliver(n, lengths):
    sound = np.arange(1, n + 1, dtype=np.float32)
    blocks = [sound[:37], sound[37:]]
    pieces = [signal for signal, _, _ in chunks(blocks, Framing(100, 100, whole=True, least=48))]
    assert [len(p) for p in pieces] == lengths
    np.testing.assert_array_equal(np.concatenate(pieces)[:n], sound)


def test_frames_of_long_recordings_lie_on_one_grid():
    """As many in a full piece as their times say, and as many pieces as the recording is long."""
    for kind in KINDS:
        for model in (_entry(kind, "frames").model, _entry(kind).model):
            assert model.cutting.most_samples == panns.WHOLE_FRAMES * 320
        entry = _entry(kind, "frames", WIDTH)
        n_frames = 1 + panns.WHOLE_FRAMES  # of a piece: both ends are reflected
        shape = _network(entry).compute_output_shape((1, n_frames, 64, 1))
        assert shape[1] == entry.model.cutting.most_samples // entry.model.cutting.frame_samples
