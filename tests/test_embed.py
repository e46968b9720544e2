"""The corridor as a whole: arrays, lists and files; framing; folders; memory."""

import json
import tracemalloc
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import tone, tree, write

from l3embed import embed, engine, extract, store
from l3embed.errors import AudioError, L3EmbedWarning, UsageError
from l3embed.frontend import spectrograms
from l3embed.plan import plan


def _cosine(a, b):
    return ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()


# --- sound in memory


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("hop", [0.1, 0.2, 0.3, 0.6, 0.7, 0.25, 1 / 3, 1.7])
def test_vectors_are_those_of_the_windows_cut_by_hand(shipped, hop, center):
    sound, fe = tone(2.35), shipped.spec.front_end
    embedding, timestamps = shipped.embed(sound, 32_000, hop=hop, center=center)
    step, half = int(hop * 32_000 + 1e-6), 16_000 if center else 0
    padded = np.concatenate([np.zeros(half), sound, np.zeros(80_000)]).astype(np.float32)
    n = 1 + int(np.ceil(max(0, len(sound) + half - 32_000) / step))
    windows = [spectrograms(padded[i * step : i * step + 32_000], np.array([0]), fe) for i in range(n)]
    rows = [(0, np.concatenate(windows)), (0, None)]
    alone = engine.OpenVinoEngine(shipped.card, precision="f32")  # every window by itself, whatever it could share
    expected = np.concatenate([v for _, v in engine.run(alone, rows) if v is not None])
    np.testing.assert_allclose(embedding, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(timestamps, np.arange(n) * step / 32_000, rtol=0, atol=1e-12)
    assert embedding.dtype == np.float32 and timestamps.dtype == np.float64


def test_kinds_of_arrays_agree(shipped):
    sound = tone(1.2)
    reference, _ = shipped.embed(sound, 32_000)
    integers = np.round(sound * 32767).astype(np.int16)
    for other in (
        sound.astype(np.float32),
        np.stack([sound, sound], axis=1),
        integers,
        integers.astype(np.int32) << 16,
    ):
        assert _cosine(shipped.embed(other, 32_000)[0], reference) > 0.9999
    halves = np.stack([2 * sound, np.zeros_like(sound)], axis=1)  # the mix is the mean
    np.testing.assert_allclose(shipped.embed(halves, 32_000)[0], reference, atol=1e-3)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 44_100, 96_000])
def test_any_rate(shipped, rate_hz):
    t = np.arange(int(1.5 * rate_hz)) / rate_hz
    sound = 0.3 * np.sin(2 * np.pi * 700 * t) * (1 + np.sin(2 * np.pi * 3 * t))
    t32 = np.arange(48_000) / 32_000
    reference, times = shipped.embed(0.3 * np.sin(2 * np.pi * 700 * t32) * (1 + np.sin(2 * np.pi * 3 * t32)), 32_000)
    found, found_times = shipped.embed(sound, rate_hz)
    np.testing.assert_array_equal(times, found_times)
    middle = slice(5, 10)  # windows whose edges lie inside the sound: what resampling does to edges is its own matter
    assert _cosine(found[middle], reference[middle]) > 0.995


def test_lists_and_files(shipped, tmp_path):
    sounds = [tone(1.3, 16_000, 300), tone(0.2, 44_100, 900)]
    paths = [
        write(tmp_path / f"{i}.wav", s, r, subtype="FLOAT")
        for i, (s, r) in enumerate(zip(sounds, (16_000, 44_100), strict=True))
    ]
    together = shipped.embed(sounds, [16_000, 44_100], hop=0.5)
    from_files = shipped.embed(paths, hop=0.5)
    for i, (sound, rate) in enumerate(zip(sounds, (16_000, 44_100), strict=True)):
        alone = shipped.embed(sound, rate, hop=0.5)
        for a, b, c in zip(alone, together[i], from_files[i], strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, c, atol=1e-4)
    assert shipped.embed([]) == []


def test_each_holds_one_sound_at_a_time(placeholder):
    taken = []

    def sounds():
        for i in range(50):
            taken.append(i)
            yield tone(0.5)

    first = next(placeholder.each(sounds(), 32_000))
    assert first[0].shape == (1, 8) and len(taken) < 50


@pytest.mark.parametrize(("audio", "rate", "message"), [
    (np.array([]), 32_000, "is empty"), (np.array([0.1, np.nan] * 500), 32_000, "NaN or infinite"),
    (np.zeros((2, 32_000)), 32_000, "transpose it"), (np.zeros((4, 4, 4)), 32_000, "3 dimensions"),
    (np.zeros(3), 32_000, "too short"), (np.array(["a"]), 32_000, "expected float or integer samples"),
])  # fmt: skip
def test_arrays_that_are_no_sound(placeholder, audio, rate, message):
    with pytest.raises(AudioError, match=message):
        placeholder.embed(audio, rate)


def test_wrong_settings(placeholder):
    for hop in (0, -1, float("nan"), float("inf"), 1e-9, "0.1"):
        with pytest.raises(UsageError, match="hop must be"):
            placeholder.embed(tone(1), 32_000, hop=hop)
    for center in ("no", 0, 1):
        with pytest.raises(UsageError, match="center must be True or False"):
            placeholder.embed(tone(1), 32_000, center=center)
    with pytest.raises(UsageError, match="sample_rate is missing"):
        placeholder.embed(tone(1))
    with pytest.raises(UsageError, match="sample_rate must be a finite number"):
        placeholder.embed(tone(1), -5)
    with pytest.raises(UsageError, match="one for each sound: 1, not 2"):
        placeholder.embed([tone(1)], [1, 2])


def test_silence_is_embedded_with_a_warning(placeholder, tmp_path):
    with pytest.warns(L3EmbedWarning, match="all samples are zero"):
        embedding, _ = placeholder.embed(np.zeros(32_000), 32_000)
    assert np.isfinite(embedding).all()
    with pytest.warns(L3EmbedWarning, match=r"s\.wav: all samples are zero"):
        placeholder.embed(write(tmp_path / "s.wav", np.zeros(32_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        placeholder.embed(tone(0.01), 32_000)  # shorter than a window: padded, as documented, without a word


def test_sound_that_was_never_scaled_is_told(placeholder):
    with pytest.warns(L3EmbedWarning, match="samples reach 9.83e\\+03 where full scale is 1"):
        placeholder.embed(32767 * tone(1.0, seed=3).clip(-0.3, 0.3), 32_000)


# --- folders


def _extract(model, inputs, folder, **how):
    return list(extract.extract(model, plan([str(i) for i in inputs]).items, Path(folder), **how))


@pytest.fixture
def recordings(tmp_path):
    for i in range(7):
        write(tmp_path / "in" / f"{i % 3}" / f"{i}.wav", tone(0.4 + 0.5 * i, 16_000, 200 + 100 * i, seed=i), 16_000)
    return tmp_path / "in"


def test_an_output_says_what_made_it(shipped, recordings, tmp_path):
    (result,) = _extract(shipped, [recordings / "0" / "0.wav"], tmp_path / "out", hop=0.25)
    embedding, timestamps, metadata = store.read(result.output)
    expected = shipped.embed(recordings / "0" / "0.wav", hop=0.25)
    np.testing.assert_array_equal(embedding, expected[0])
    np.testing.assert_array_equal(timestamps, expected[1])
    wanted = {"model": "l3-small-taught-1", "front_end": "log-mel", "hop_s": 0.25, "hop_samples": 8000, "center": True,
              "precision": "f32", "engine": "openvino", "source": "0.wav", "shared_windows": 1}  # fmt: skip
    assert wanted.items() <= metadata.items()
    assert metadata["weights_sha256"] == shipped.card.table["files"]["weights"]["sha256"]
    assert asdict(result)["n_windows"] == len(embedding) and result.seconds == pytest.approx(0.4)
    json.dumps(metadata)


def test_jobs_and_batches_change_nothing(shipped, recordings, tmp_path):
    import l3embed

    _extract(shipped, [recordings], tmp_path / "one")
    _extract(shipped, [recordings], tmp_path / "two", jobs=2)
    assert len(tree(tmp_path / "one")) == 7 and tree(tmp_path / "one") == tree(tmp_path / "two")
    for batch in (1, 64):
        _extract(l3embed.load(precision="f32", batch=batch), [recordings], tmp_path / str(batch))
        for name in tree(tmp_path / "one"):
            a, b = store.read(tmp_path / "one" / name)[0], store.read(tmp_path / str(batch) / name)[0]
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_done_is_skipped_and_other_settings_are_computed_again(placeholder, recordings, tmp_path):
    out = tmp_path / "out"
    assert not any(r.skipped for r in _extract(placeholder, [recordings], out))
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.npz")}
    assert all(r.skipped for r in _extract(placeholder, [recordings], out))
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.npz")} == before
    assert not any(r.skipped for r in _extract(placeholder, [recordings], out, hop=0.5))
    assert not any(r.skipped for r in _extract(placeholder, [recordings], out, hop=0.5, center=False))
    assert not any(r.skipped for r in _extract(placeholder, [recordings], out, hop=0.5, center=False, overwrite=True))
    next(out.rglob("*.npz")).unlink()
    assert sum(not r.skipped for r in _extract(placeholder, [recordings], out, hop=0.5, center=False)) == 1


def test_one_bad_file_is_one_failure(placeholder, recordings, tmp_path):
    good = _tree_of_results(placeholder, recordings, tmp_path / "good")
    (recordings / "1" / "zero.wav").write_bytes(b"")
    (recordings / "0" / "text.wav").write_text("hello")
    write(recordings / "2" / "nan.wav", np.array([0.0, np.nan] * 8000), 16_000, subtype="FLOAT")
    late = tone(40, 16_000)
    late[-5] = np.inf  # found after many windows have been embedded
    write(recordings / "2" / "late.wav", late, 16_000, subtype="FLOAT")
    for jobs in (1, 2):
        out = tmp_path / f"out{jobs}"
        results = _extract(placeholder, [recordings], out, jobs=jobs)
        failed = {Path(r.source).name: r.error for r in results if r.error}
        assert set(failed) == {"zero.wav", "text.wav", "nan.wav", "late.wav"} and len(results) == 11
        assert (
            "empty" in failed["zero.wav"]
            and "not audio" in failed["text.wav"]
            and "first at 40.000 s" in failed["late.wav"]
        )
        assert tree(out) == good


def test_an_error_that_nobody_foresaw_stays_with_its_recording(placeholder, recordings, tmp_path, monkeypatch):
    original = embed.decode.open_recording

    def fragile(source, rate_hz):
        if "4.wav" in str(source):
            raise RuntimeError("the decoder stumbled")
        return original(source, rate_hz)

    monkeypatch.setattr(embed.decode, "open_recording", fragile)
    results = _extract(placeholder, [recordings], tmp_path / "out")
    assert [r.error for r in results if r.error] == ["RuntimeError: the decoder stumbled"] and len(results) == 7
    with pytest.raises(RuntimeError, match="stumbled"):
        placeholder.embed(recordings / "1" / "4.wav")


def _tree_of_results(model, recordings, out):
    _extract(model, [recordings], out)
    return tree(out)


def test_memory_does_not_grow_with_the_length_of_a_file(placeholder, tmp_path, monkeypatch):
    monkeypatch.setattr(store.rows, "IN_MEMORY", 10_000)
    peaks = []
    for minutes in (0.5, 5):
        path = write(tmp_path / f"{minutes}.wav", np.tile(tone(30, 16_000), int(minutes * 2)), 16_000)
        tracemalloc.start()
        (result,) = _extract(placeholder, [path], tmp_path / "out")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert result.n_windows == minutes * 600 - 4
    assert peaks[1] < 1.3 * peaks[0]


def test_jobs_out_of_range(placeholder, recordings, tmp_path):
    with pytest.raises(UsageError, match="jobs must be at least 1"):
        _extract(placeholder, [recordings], tmp_path, jobs=0)


def test_real_recordings_through_the_placeholder(placeholder, shared_data, tmp_path):
    results = _extract(placeholder, [shared_data / "esc10" / "001 - Dog bark"], tmp_path)
    assert len(results) == 40 and not any(r.error for r in results)
    assert all(r.n_windows in (46, 47) for r in results)  # five seconds, some a few samples longer


# --- other ways in


def test_scikit_learn_transformer(shipped, recordings):
    sklearn = pytest.importorskip("sklearn")
    import pickle

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from l3embed.transformer import Embedder

    paths = sorted(recordings.rglob("*.wav"))
    embedder = Embedder(precision="f32", pooling="mean+max", hop=0.2)
    copy = sklearn.base.clone(embedder)
    assert copy.get_params() == embedder.get_params() and not hasattr(copy, "model_")
    x = copy.fit(paths).transform(paths)
    assert x.shape == (7, 768) and len(copy.get_feature_names_out()) == 768
    single = shipped.embed(paths[3], hop=0.2)[0]
    np.testing.assert_allclose(x[3], np.concatenate([single.mean(0), single.max(0)]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(copy)).transform(paths[:2]), x[:2])
    labels = [int(p.stem) % 2 for p in paths]
    pipeline = make_pipeline(embedder, LogisticRegression(max_iter=2000)).set_params(embedder__hop=0.5)
    assert pipeline.fit(paths, labels).predict(paths).tolist() == labels
    arrays = [tone(0.5, 16_000), tone(0.7, 16_000)]
    assert Embedder(sample_rate=16_000, precision="f32").fit_transform(arrays).shape == (2, 384)
    with pytest.raises(UsageError, match="pooling must be one of"):
        Embedder(pooling="median").fit(paths)
    with pytest.raises(UsageError, match="pooling must be one of"):
        copy.set_params(pooling="median").transform(paths)
    with pytest.raises(UsageError, match="not one path"):
        embedder.transform(str(paths[0]))
    with pytest.raises(UsageError, match="at least one recording"):
        embedder.transform([])
    assert len(pickle.loads(pickle.dumps(embedder)).get_feature_names_out()) == 768


def test_hear_functions(shipped):
    from l3embed import hear

    model = hear.load_model()
    assert (model.sample_rate, model.scene_embedding_size, model.timestamp_embedding_size) == (32_000, 384, 384)
    audio = np.stack([tone(2.0, hz=h) for h in (300, 600, 900)]).astype(np.float32)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    assert embeddings.shape == (3, 31, 384) and timestamps.shape == (3, 31)
    np.testing.assert_allclose(timestamps[0], 50.0 * np.arange(31), atol=1e-3)
    scenes = hear.get_scene_embeddings(audio, model)
    expected = model.embedding_model.embed(audio[1], 32_000, hop=0.5)[0].mean(axis=0)
    np.testing.assert_allclose(scenes[1], expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(UsageError, match=r"must be \(n_sounds, n_samples\)"):
        hear.get_scene_embeddings(audio[0], model)
    with pytest.raises(UsageError, match=r"must be \(n_sounds, n_samples\)"):
        hear.get_scene_embeddings(audio[:0], model)
    with pytest.raises(UsageError, match="must be floats"):
        hear.get_scene_embeddings((audio * 32_767).astype(np.int16), model)


def test_hear_takes_a_card_a_name_or_a_weight_file(tmp_path):
    from l3embed import hear, weights
    from l3embed.errors import WeightsError

    for path in ("", weights.DEFAULT, str(weights.card().path)):
        assert hear.load_model(path).embedding_model.name == weights.DEFAULT
    (tmp_path / "own.h5").write_bytes(b"?")
    with pytest.raises(WeightsError, match=r"own\.h5: is not a weight file"):
        hear.load_model(str(tmp_path / "own.h5"))


def test_hear_gives_tensors_for_tensors():
    tf = pytest.importorskip("tensorflow")
    from l3embed import hear

    audio = tf.zeros((1, 32_000)) + tf.sin(tf.range(32_000, dtype=tf.float32) / 10)
    assert tf.is_tensor(hear.get_scene_embeddings(audio, hear.load_model()))


def test_shared_windows_of_openl3_lie_on_the_grid_of_its_network(placeholder):
    """Three poolings of columns 242 samples apart: 1936 samples. Exact windows stay where they are asked for."""
    from l3embed import spec

    class Sharing(engine.PlaceholderEngine):
        can_share = True

    card = replace(placeholder.card, model=replace(spec.openl3_model("openl3-mel256-music-6144"), dim=8))
    model = embed.EmbeddingModel(card, Sharing)
    assert model.framing(0.1, windows="exact").hop == 4800 and not model.framing(0.1).shared
    for hop, steps in ((0.1, 2), (0.001, 1), (0.06, 1), (0.0605, 2), (0.5, 12)):
        framing = model.framing(hop, windows="shared")
        assert (framing.hop, framing.every, framing.shared) == (steps * 1936, steps, True)
    assert not model.framing(0.7, windows="shared").shared, "so far apart they are cheaper alone"
    assert model.framing(0.7, windows="shared").hop == 33_600
    with pytest.raises(UsageError, match="windows must be one of exact, shared"):
        model.framing(0.1, windows="both")
    sound = tone(7.3, 48_000)
    (found, times), (exact, at) = (
        model.embed(sound, 48_000, hop=4 * 1936 / 48_000, windows=w) for w in ("shared", "exact")
    )
    assert found.shape == exact.shape
    np.testing.assert_array_equal(times, at)
