"""Vectors for probes: from the store, once, the same as the model gives; segments; failures; memory."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import environment
from labelled import RATE_HZ, make, sound, table

from l3embed import store
from l3embed.errors import UsageError
from l3embed.pooling import pool
from probes import contents, datasets, extraction, features, models

pytest.importorskip("pyarrow")
MODEL = {"model": "l3-small-1", "hop": 0.5, "precision": "f32"}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return models.load(*models.parse([MODEL]), tmp_path_factory.mktemp("twins"))


def _features(system, data, folder, **how):
    shas = [found.sha256 for found in contents.contents(data, folder)]
    return extraction.features(system, data, folder, shas, **how)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return datasets.read(make(tmp_path_factory.mktemp("set")))


@pytest.fixture(scope="module")
def found(system, data, tmp_path_factory):
    return _features(system, data, tmp_path_factory.mktemp("store"))


def test_vectors_are_the_model_s_own_in_the_order_of_the_clips(system, data, found):
    view, cost = found
    wanted = system.model.embed([clip.path for clip in data.clips], hop=0.5)
    rows = dict(view.windows())
    assert list(rows) == list(range(len(data.clips))) and view.ok.all() and not view.failed
    for row, (embedding, _) in enumerate(wanted):
        np.testing.assert_array_equal(rows[row], embedding)
        np.testing.assert_array_equal(view.pooled("mean+max")[row], pool(embedding, "mean+max"))
    assert view.n_windows.tolist() == [len(e) for e, _ in wanted] and view.dim == system.model.dim
    assert not cost["cached"] and cost["computed"] == len(data.clips) and cost["sound_s"] == len(data.clips)
    assert cost["notes"] == {}
    assert cost["windows"] == sum(view.n_windows) and cost["bytes"] == cost["windows"] * view.dim * 4


def test_what_is_in_the_store_is_not_computed_again_wherever_the_recordings_lie(system, data, found, tmp_path):
    """The same files below another folder, in another order and with other labels: another set of the same sounds."""
    view, cost = found
    rows = []
    for i, clip in enumerate(reversed(data.clips)):
        (tmp_path / f"{i}.wav").write_bytes(clip.path.read_bytes())
        rows.append([f"{i}.wav", "ab"[i % 2], "", i % 3])
    table(tmp_path, rows)
    other = datasets.read(tmp_path)
    again, now = _features(system, other, view.store)
    assert now["cached"] and now["computed"] == 0
    for (_, a), clip in zip(again.windows(), other.clips, strict=True):
        row = len(data.clips) - 1 - int(clip.path.stem)
        np.testing.assert_array_equal(a, next(v for _, v in view.windows([row])))
    _, third = _features(system, data, view.store)
    assert third["cached"] and third["wall_s"] == cost["wall_s"] and third["sound_s"] == cost["sound_s"]


def test_files_of_one_name_keep_their_own_vectors(data, found):
    """Every group has its 0.wav; two folders may have sets of one name."""
    view, _ = found
    first = [row for row, clip in enumerate(data.clips) if clip.path.name == "0.wav"]
    vectors = view.pooled("mean")[first]
    assert len(first) == 6 and len(np.unique(vectors, axis=0)) == 6


def test_other_settings_have_a_key_of_their_own(data, found, tmp_path_factory):
    view, _ = found
    other = models.load(*models.parse([{**MODEL, "hop": 1.0}]), view.store)
    mixed, cost = _features(other, data, view.store)
    alone, _ = _features(other, data, tmp_path_factory.mktemp("other"))
    assert mixed.key != view.key and not cost["cached"]
    for (_, a), (_, b) in zip(mixed.windows(), alone.windows(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_above_the_memory_limit_pooled_vectors_are_mapped_and_the_same(system, data, found):
    view, _ = found
    small = features.Features(view.name, view.store, view.key, view.ids, view.dim, view.n_windows, {}, memory=5000)
    mapped = small.pooled("mean+std")
    assert isinstance(mapped, np.memmap) and not isinstance(view.pooled("mean+std"), np.memmap)
    np.testing.assert_array_equal(mapped, view.pooled("mean+std"))
    for (_, a), (_, b) in zip(small.windows(), view.windows(), strict=True):  # pages given back come again
        np.testing.assert_array_equal(a, b)


def test_some_of_the_clips(found):
    view, _ = found
    rows = np.array([7, 2, 11])
    part = view.take(rows)
    np.testing.assert_array_equal(part.pooled("max"), view.pooled("max")[rows])
    assert [v.tobytes() for _, v in part.windows()] == [v.tobytes() for _, v in view.windows(rows)]


def test_a_clip_that_cannot_be_embedded_is_a_row_with_a_reason(system, tmp_path):
    folder = make(tmp_path / "set")
    (folder / "g0" / "1.wav").write_bytes(b"no sound at all")
    (folder / "g3" / "2.wav").unlink()
    data = datasets.read(folder)
    view, cost = _features(system, data, tmp_path / "store")
    failed = {data.clips[row].id: why for row, why in view.failed.items()}
    assert set(failed) == {"g0/1.wav", "g3/2.wav"} == set(cost["failed"]) and all(failed.values())
    bad = sorted(view.failed)
    assert not view.ok[bad].any() and view.ok.sum() == len(data.clips) - 2
    assert np.isnan(view.pooled("mean")[bad]).all() and np.isfinite(np.delete(view.pooled("mean"), bad, 0)).all()
    assert not set(bad) & {row for row, _ in view.windows()}


def test_a_store_that_is_none_is_left_alone(system, data, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.toml").write_text("schema = 99")
    with pytest.raises(store.corpus.StoreError, match="schema 99"):
        _features(system, data, tmp_path / "store")


@pytest.mark.filterwarnings("ignore:.*all samples are zero")
def test_segments_are_embedded_as_the_sound_between_their_ends(system, tmp_path):
    """One of them is silent, which is noted."""
    long = np.concatenate([sound(hz, i, 1.5) for i, hz in enumerate((300, 900, 2700))])
    long[round(4.4 * RATE_HZ) :] = 0
    soundfile.write(tmp_path / "long.wav", long, RATE_HZ, subtype="FLOAT")
    clips = [
        datasets.Clip(tmp_path / "long.wav", label, "1", id=f"long#{label}", start_s=start, end_s=end)
        for label, start, end in (("a", 0.25, 1.5), ("b", 1.5, 3.0), ("c", 3.0, None), ("d", 4.4, 9.0), ("e", 5.0, 6.0))
    ]
    data = datasets.DataSet("segments", tmp_path, tuple(clips), "none", "accuracy", "", "")
    view, _ = _features(system, data, tmp_path / "store")
    assert [data.clips[row].label for row in view.failed] == ["e"] and "ends before" in view.failed[4]
    for row, vectors in view.windows():
        start, end = (round((s if s is not None else 4.5) * RATE_HZ) for s in (clips[row].start_s, clips[row].end_s))
        wanted, _ = system.model.embed(long[start:end].astype(np.float32), RATE_HZ, hop=0.5)
        np.testing.assert_array_equal(vectors, wanted)
    _, cost = _features(system, data, tmp_path / "store")
    assert cost["cached"] and cost["notes"] == {"all samples are zero": 1}


def test_arrays_have_the_face_of_features():
    rng = np.random.default_rng(0)
    windows = [rng.standard_normal((n, 3)).astype(np.float32) for n in (4, 1, 2)]
    view = features.ArrayFeatures("a", [*windows, None, np.full((2, 3), np.nan)])
    assert view.ok.tolist() == [True] * 3 + [False] * 2 and set(view.failed) == {3, 4} and view.dim == 3
    assert view.n_windows.tolist() == [4, 1, 2, 0, 0]
    np.testing.assert_array_equal(view.pooled("mean+std")[:3], [pool(w, "mean+std") for w in windows])
    assert np.isnan(view.pooled("mean")[3:]).all() and [row for row, _ in view.windows([4, 2, 0])] == [2, 0]
    single = features.ArrayFeatures("b", np.eye(3, dtype=np.float32)).take(np.array([2, 0]))
    np.testing.assert_array_equal(single.pooled("mean+max"), np.eye(3)[[2, 0]])


@pytest.mark.parametrize(("text", "n"), [("2GB", 2e9), ("1.5 GiB", 1.5 * 2**30), ("300m", 3e8), (4096, 4096)])
def test_sizes(text, n):
    assert features.memory_bytes(text) == n


@pytest.mark.parametrize("text", ["", "much", "-1GB", "3 parsecs", "0"])
def test_no_sizes(text):
    with pytest.raises(UsageError, match="memory must be a size"):
        features.memory_bytes(text)


def test_what_libsndfile_cannot_enter_is_decoded_from_its_beginning(changing):
    """A video's sound; the whole of it, cut, is the reference."""
    import io

    from l3embed import decode
    from probes import segments

    with decode.open_recording(changing, 16_000) as recording:
        whole = np.concatenate(list(recording))
    got, rate_hz = soundfile.read(io.BytesIO(segments.cut(str(changing), 1.25, 3.5, 16_000)), dtype="float32")
    assert rate_hz == 16_000
    np.testing.assert_array_equal(got, whole[20_000:56_000])


PASS = """
import sys, numpy as np
from pathlib import Path
from l3embed.store import layout, open as opened
from probes.features import Features
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
corpus = opened(folder)
n = [len(corpus.clip(id)) for id in corpus.clips]
found = Features("random", folder, layout.keys(folder)[0], corpus.clips, corpus.dim, n, {}, limit)
del corpus
def taken(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024
next(iter(found.windows()))[1].sum(), np.load
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here on
before, total = taken("VmRSS"), 0.0
for _, vectors in found.windows():
    total += float(vectors.sum(dtype=np.float64))
print(taken("VmHWM") - before, total)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_pass_over_a_store_of_many_times_the_limit_stays_small(tmp_path):
    """Pages of the files that are mapped are counted, too."""
    from stores import RECIPE, Item

    limit, n, vectors = 4_000_000, 80, np.random.default_rng(0).standard_normal((500, 256)).astype(np.float32)
    with store.writing(tmp_path, {**RECIPE}, "store") as out:
        for i in range(n):
            item = Item(f"{i:03}", str(i).encode())
            writer = out.writer(item)
            writer.append(vectors + i)
            writer.commit(np.arange(500.0), {**out.recipe, **out.identity(item), "seconds": 1.0, "notes": []})
    call = [sys.executable, "-c", PASS, str(tmp_path), str(limit)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=environment())
    grown, total = map(float, done.stdout.split())
    assert total == pytest.approx(sum(float((vectors + i).sum(dtype=np.float64)) for i in range(n)), rel=1e-6)
    assert n * vectors.nbytes > 10 * limit and grown < limit
