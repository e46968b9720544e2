"""Published models beside OpenL3's: sizes, front ends, framing, against their own programs' definitions and outputs."""

import runpy
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from l3embed import weights, zoo
from l3embed.embed import EmbeddingModel
from l3embed.engine import PlaceholderEngine
from l3embed.errors import L3EmbedWarning, UsageError, WeightsError
from l3embed.frontend import mel_filterbank, spectrograms
from l3embed.spec import Cutting, FrontEnd, Waveform, front_end_of, openl3_model, plain
from l3embed.weights.release import records

RATE = 16_000
REFERENCES = {"edgel3": "edgel3_sea_ust_audio_emb_64.h5.gz", "yamnet": "yamnet.tflite"}


def _cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


# --- records


def test_what_was_fingerprinted_before_these_models_came_stays_valid():
    """Values of the release before: stores and caches are found by them."""
    assert weights.card("l3-small-1").model.fingerprint() == "8e998fc4e817b97f"
    known = {"openl3-mel256-music-6144": "5c350d7dc3fae5de", "openl3-linear-env-512": "fcbf25998d464e17",
             "openl3-image-mel256-music-8192": "4d3111a609503da8"}  # fmt: skip
    assert {name: openl3_model(name).fingerprint() for name in known} == known
    assert openl3_model("openl3-mel128-env-512", "openl3-0.4-kapre").fingerprint() == "2a6f6d4f70dcf063"


def test_every_entry_is_whole_has_a_fingerprint_of_its_own_and_survives_its_card(tmp_path):
    entries = [zoo.find(name) for name in zoo.names()]
    assert len(entries) == len({entry.name for entry in entries}) and zoo.find("no such model") is None
    assert {"vggish", "vggish-pca", "yamnet", "yamnet-scores", "edgel3-sea-64", "edgel3-ft-95.45"} <= set(zoo.names())
    prints = [replace(entry.model, name="").fingerprint() for entry in entries if "edgel3-" not in entry.name]
    assert len(set(prints)) == len(prints)
    for entry in entries:
        assert entry.licence and entry.description and entry.files and entry.model.auto == "f32"
        for file in entry.files:
            assert not file.hash or (file.url and file.hash.partition(":")[0] in ("sha256", "md5", "git"))
        table = {**records(entry.model), "name": entry.name, "dim": entry.model.dim, "sha256": "0"}
        (tmp_path / "card.toml").write_text(weights.toml(table))
        assert weights.card(tmp_path / "card.toml").model == replace(entry.model, weights_sha256="0")


@pytest.mark.parametrize(("name", "parameters", "trainable"), [
    ("vggish", 72_141_184, 72_141_184), ("yamnet-scores", 3_751_369, 3_729_481), ("edgel3-sea-512", 4_691_908, None),
    ("edgel3-sea-256", 1_175_524, None), ("edgel3-sea-128", 584_420, None), ("edgel3-sea-64", 399_460, None),
    ("edgel3-kd-72.3", 4_689_860, None),
])  # fmt: skip
def test_networks_have_the_published_number_of_parameters(name, parameters, trainable):
    pytest.importorskip("keras")
    from l3embed.weights.release import outline

    model = zoo.find(name).model
    network = outline(model)
    assert network.count_params() == parameters and network.output_shape == (None, model.dim)
    if trainable:
        assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == trainable


# --- front ends, against their definitions in float64


def _log_mel(sound, offset):
    """mel_features.py: frames of 400, a transform of 512, triangles linear in mel, no DC."""
    window = [0.5 - 0.5 * np.cos(2 * np.pi * i / 400) for i in range(400)]
    frames = np.stack([sound[at : at + 400] * window for at in range(0, len(sound) - 399, 160)])
    kernel = np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(257)) / 512)
    mels = [1127 * np.log(1 + f / 700) for f in np.arange(257) * RATE / 512]
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    bank = np.zeros((257, 64))
    for band in range(64):
        low, centre, high = edges[band : band + 3]
        for k in range(1, 257):
            bank[k, band] = max(0, min((mels[k] - low) / (centre - low), (high - mels[k]) / (high - centre)))
    return np.log(np.abs(frames @ kernel) @ bank + offset)


@pytest.mark.parametrize(("name", "offset", "hop"), [("vggish", 0.01, 15_360), ("yamnet", 0.001, 7_680)])
def test_log_mel_patches_are_those_of_the_whole_recording(name, offset, hop):
    """The programs cut patches of 96 frames out of the whole spectrogram; here each is made from its own samples."""
    sound = np.random.default_rng(0).normal(0, 0.1, 15_600 + 2 * hop)
    whole, front_end = _log_mel(sound, offset), zoo.find(name).model.front_end
    found = spectrograms(sound, np.arange(3) * hop, front_end)
    assert found.shape == (3, 96, 64, 1) and front_end.shape == (96, 64, 1)
    expected = [whole[i * hop // 160 : i * hop // 160 + 96] for i in range(3)]
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-5)
    one = spectrograms(sound, np.array([hop]), front_end)  # alone: not by way of shared columns
    np.testing.assert_allclose(one[0], found[1], atol=1e-6)


def test_energies_reflected_ends_and_a_range_without_subtraction_are_librosas():
    librosa = pytest.importorskip("librosa")
    front_end = FrontEnd(
        "x", 1, rate_hz=RATE, window_samples=8_000, n_fft=512, hop_samples=160, pad_samples=(256, 256), n_mels=40,
        mel_scale="slaney", mel_norm="slaney", mel_of="energy", amin=1e-10, range_db=40.0, f_min_hz=50.0,
        f_max_hz=8_300.0, relative=False, pad_mode="reflect", layout="time-frequency",
    )  # fmt: skip
    sound = np.random.default_rng(0).normal(0, 0.1, 8_000) * np.linspace(1, 0, 8_000) ** 6
    mel = librosa.feature.melspectrogram(
        y=sound, sr=RATE, n_fft=512, hop_length=160, n_mels=40, fmin=50, fmax=8_300, pad_mode="reflect"
    )
    expected = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=40)
    assert expected.min() > expected.max() - 40 - 1e-6 and (expected == expected.min()).sum() > 100
    found = spectrograms(sound, np.array([0]), front_end)[0, :, :, 0]
    np.testing.assert_allclose(found, expected.T, atol=1e-3)


def test_waveforms_are_scaled_and_nothing_else():
    front_end = Waveform("waveform", 1, RATE, 4, 256.0)
    sound = np.arange(10) / 256
    np.testing.assert_array_equal(
        spectrograms(sound, np.array([0, 3]), front_end)[..., 0, 0], [[0, 1, 2, 3], [3, 4, 5, 6]]
    )
    assert front_end_of(plain(front_end)) == front_end


def test_tensorflows_mel_matrix_is_the_one_in_the_file(shared_data):
    from l3embed.weights import tflite

    data = (shared_data / "weights" / REFERENCES["yamnet"]).read_bytes()
    constants = tflite.read(data)
    np.testing.assert_allclose(
        mel_filterbank(zoo.find("yamnet").model.front_end), constants["mel_spectrogram"], atol=1e-5
    )
    labels = tflite.labels(data)
    assert len(labels) == 521 and (labels[0], labels[69], labels[70], labels[283]) == ("Speech", "Dog", "Bark", "Rain")


def test_vggishs_smoke_test_as_far_as_it_goes_without_weights():
    """Three examples of the authors' tone, and figures that their own mel_features.py (torchvggish 0.2) gives of it.

    What it says of embeddings, scripts/check_vggish.py asks of the real weights.
    """
    tone = np.sin(2 * np.pi * 1000 * np.arange(3 * RATE) / RATE)
    front_end = zoo.find("vggish").model.front_end
    embedding, _ = _placeholder(zoo.find("vggish").model).embed(tone, RATE)
    examples = spectrograms(tone, np.arange(3) * 15_360, front_end)
    assert len(embedding) == 3 and examples.shape == (3, 96, 64, 1)
    assert abs(examples.mean() - -3.42962) < 1e-5 and abs(examples.std() - 2.12658) < 1e-5


def test_the_smoke_test_of_real_weights_tells_right_figures_from_wrong_ones():
    script = runpy.run_path(str(ROOT / "scripts" / "check_vggish.py"))
    assert len(script["tone"](16_000)) == 48_000
    for name, (_, mean, deviation) in script["FIGURES"].items():
        made = np.random.default_rng(0).normal(size=384)
        made = (made - made.mean()) / made.std()
        for of_mean, of_deviation in ((1, 1), (1.08, 0.92), (1.2, 1), (0.5, 1), (1, 1.2), (1, 0.8)):
            vectors = mean * of_mean + deviation * made * of_deviation
            assert script["holds"](name, vectors) == (max(abs(of_mean - 1), abs(of_deviation - 1)) < 0.1)


# --- framing


def _placeholder(model):
    card = weights.card()
    return EmbeddingModel(replace(card, model=replace(model, dim=3)), PlaceholderEngine, "f32")


@pytest.mark.parametrize("n", [1_000, 15_599, 15_600, 15_601, 23_280, 30_959, 30_960, 31_000, 160_000])
@pytest.mark.filterwarnings("ignore::l3embed.errors.L3EmbedWarning")
def test_windows_are_counted_as_the_programs_count_them(n):
    sound = np.random.default_rng(0).normal(0, 0.1, n)
    embedding, times = _placeholder(zoo.find("vggish").model).embed(sound, RATE)
    frames = 1 + (n - 400) // 160
    assert len(embedding) == max(1, 1 + (frames - 96) // 96)  # at least one, where the program has none
    np.testing.assert_allclose(times, 0.96 * np.arange(len(times)))
    embedding, times = _placeholder(zoo.find("yamnet").model).embed(sound, RATE)
    assert len(embedding) == 1 + max(0, -(-(n - 15_600) // 7_680))
    np.testing.assert_allclose(times, 0.48 * np.arange(len(times)))


def test_a_sound_too_short_for_the_program_is_said_to_be_so():
    model = _placeholder(zoo.find("vggish").model)
    with pytest.warns(
        L3EmbedWarning, match=r"sound 0: is shorter than the 0\.975 s that the model needs: padded with z"
    ):
        model.embed(np.full(15_599, 0.1), RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.embed(np.full(15_600, 0.1), RATE)
        _placeholder(zoo.find("yamnet").model).embed(np.full(100, 0.1), RATE)


def test_hop_and_center_are_the_models_own_until_said_otherwise():
    model = _placeholder(zoo.find("vggish").model)
    own = model.framing()
    assert (own.window, own.hop, own.lead, own.drop) == (15_600, 15_360, 0, True) == (*_told(model.recipe(own)), True)
    assert model.framing(hop=0.5, center=True).hop == 8_000 and model.framing(center=True).lead == 7_800
    edge = _placeholder(zoo.find("edgel3-sea-64").model).framing()
    assert (edge.window, edge.hop, edge.lead, edge.drop) == (8_000, 800, 4_000, False)
    with pytest.raises(UsageError, match="vggish: its windows cannot share their computation"):
        model.framing(windows="shared")
    l3 = _placeholder(openl3_model("openl3-mel128-env-512"))
    assert l3.framing() == l3.framing(hop=0.1, center=True) and "drop" not in l3.recipe(l3.framing())


def _told(recipe):
    return recipe["window_samples"], recipe["hop_samples"], recipe["center"]


def _clips(**cutting):
    """A model that takes recordings whole, from 3 s on in pieces of 2 s."""
    front_end = replace(zoo.find("vggish").model.front_end, window_samples=2 * RATE)
    return replace(zoo.find("vggish").model, front_end=front_end, cutting=Cutting(None, False, **cutting))


class _Lengths(PlaceholderEngine):
    """Vectors (rows, frames // 10 or 1, 3) that hold the length of their row."""

    per = 0

    def finish(self, under_way):
        rows = under_way.shape[2]
        k = rows // self.per if self.per else 1
        return np.full((len(under_way), k, 3), rows, np.float32)


@pytest.mark.filterwarnings("ignore::l3embed.errors.L3EmbedWarning")
def test_a_recording_is_one_window_of_any_length_up_to_the_longest():
    model = EmbeddingModel(replace(weights.card(), model=replace(_clips(least_samples=8_000), dim=3)), _Lengths, "f32")
    lengths = ((100, [48]), (8_000, [48]), (24_000, [148]), (32_000, [198]), (48_000, [298]), (72_000, [198, 248]))
    for n, rows in lengths:
        embedding, times = model.embed(np.full(n, 0.1), RATE)
        assert embedding[:, 0].tolist() == rows
        assert times.tolist() == [2.0 * i for i in range(len(rows))]
    assert model.recipe(model.framing())["whole"] is True
    assert model.framing(hop=0.5).whole is False and len(model.embed(np.full(72_000, 0.1), RATE, hop=1.0)[0]) == 4
    with pytest.raises(UsageError, match="takes a recording as one window, which cannot be centred"):
        model.framing(center=True)


def test_vectors_inside_a_window_have_their_own_times():
    class Frames(_Lengths):
        per = 49  # of 198 rows of a full piece 4, each standing for 0.5 s

    model = EmbeddingModel(replace(weights.card(), model=replace(_clips(frame_samples=8_000), dim=3)), Frames, "f32")
    embedding, times = model.embed(np.full(88_000, 0.1), RATE)  # 2 s, 2 s, 1.5 s (148 rows)
    assert embedding[:, 0].tolist() == [198] * 8 + [148] * 3
    assert times.tolist() == [0.5 * i for i in range(11)]
    with pytest.raises(UsageError, match=r"has a vector every 0\.5 s: leave the hop out"):
        model.framing(hop=0.1)


def test_short_recordings_are_repeated_where_the_program_does_so():
    from l3embed.windows import Framing, chunks

    sound = np.arange(5, dtype=np.float32)
    for repeats, expected in ((True, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]), (False, [0, 1, 2, 3, 4] + 7 * [0])):
        framing = Framing(20, 20, whole=True, least=12, repeats=repeats)
        ((signal, starts, n),) = chunks([sound[:2], sound[2:]], framing)
        assert signal.tolist() == expected and starts.tolist() == [0] and n == 1
    assert list(chunks([], Framing(20, 20, whole=True, least=12))) == []


# --- the real weights, against the programs' own outputs


def _loaded(shared_data, name, **how):
    pytest.importorskip("keras")
    import l3embed

    return l3embed.load(name, weights=shared_data / "weights" / REFERENCES[name.partition("-")[0]], **how)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("L3EMBED_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def test_edgel3_is_what_edgel3_computes(shared_data, fixtures, cache):
    model = _loaded(shared_data, "edgel3-sea-64")
    assert model.precision == "f32"
    expected = np.load(fixtures / "edgel3" / "expected.npz")
    for key in (key for key in expected if "/hop" in key and not key.endswith("timestamps")):
        clip, _, *source, hop, center = key.split("/")
        path = fixtures / ("openl3" if source else "edgel3") / "audio" / (f"{clip}.wav" if source else f"{clip}_8k.wav")
        found, times = model.embed(path, hop=float(hop[3:]), center=center == "center1")
        assert found.shape == expected[key].shape
        assert _cosines(found, expected[key]).min() > (0.999 if source else 0.99999)
        np.testing.assert_allclose(times, expected[f"{key}/timestamps"], atol=1e-9)
    import soundfile

    for clip in ("dog", "rain"):
        sound, _ = soundfile.read(fixtures / "edgel3" / "audio" / f"{clip}_8k.wav")
        mel = spectrograms(sound, np.array([0]), model.spec.front_end)[0, :, :, 0]
        difference = np.abs(mel - expected[f"{clip}/sea64/first_second/melspectrogram_db"])
        assert np.median(difference) < 1e-5 and difference.max() < 0.02
        found, _ = model.embed(sound[:8_000], 8_000, hop=1.0, center=False)
        assert _cosines(found, expected[f"{clip}/sea64/first_second/embedding"][None]) > 0.99999


@pytest.mark.parametrize("clip", ["dog", "rain"])
def test_yamnet_is_what_the_tflite_file_computes(shared_data, fixtures, cache, clip):
    model = _loaded(shared_data, "yamnet-scores")
    assert model.precision == "f32" and model.classes[283] == "Rain"
    expected = np.load(fixtures / "yamnet" / "expected.npz")
    path = fixtures / "yamnet" / "audio" / f"{clip}_16k.wav"
    scores, times = model.embed(path)
    np.testing.assert_allclose(times, expected[f"{clip}/window_start"] / RATE)
    np.testing.assert_allclose(scores, expected[f"{clip}/scores"], atol=0.1)
    near = np.sort(expected[f"{clip}/scores"], axis=1)[:, -3:-2] - 0.1  # third place, less a step
    assert (np.take_along_axis(scores, expected[f"{clip}/top3"], axis=1) >= near).all()
    assert set(np.argsort(-scores.mean(axis=0))[:3]) == set(expected[f"{clip}/top3_mean"])


@pytest.mark.parametrize("clip", ["dog", "rain"])
def test_yamnets_embedding_is_that_of_the_tflite_file(shared_data, fixtures, clip):
    """The Keras network itself: what the graph is converted from."""
    pytest.importorskip("keras")
    import soundfile

    from l3embed.weights import tensors
    from l3embed.weights.release import build

    entry, path = zoo.find("yamnet"), shared_data / "weights" / REFERENCES["yamnet"]
    constants, _ = tensors.read([path])
    model = replace(entry.model, network=entry.network(constants, entry.model))
    network = build(model)
    weights.set_arrays(network, entry.arrays(constants, model), path)
    expected = np.load(fixtures / "yamnet" / "expected.npz")
    sound, _ = soundfile.read(fixtures / "yamnet" / "audio" / f"{clip}_16k.wav")
    starts = expected[f"{clip}/window_start"]
    patches = spectrograms(np.pad(sound, (0, 15_600)), starts, model.front_end)
    np.testing.assert_allclose(patches[..., 0], expected[f"{clip}/log_mel"], atol=2e-4)
    assert _cosines(np.asarray(network(patches)), expected[f"{clip}/embedding"]).min() >= 0.999


def test_a_name_without_weights_at_hand_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"sparsity_87\.0\.h5\.gz: is not at hand, and no hash of .*put the file at"):
        weights.find("edgel3-ft-87.0")
    with pytest.raises(UsageError, match="vggish has one front end, vggish"):
        weights.find("vggish", None, "training")
