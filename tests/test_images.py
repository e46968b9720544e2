"""Image models: parity with OpenL3 0.4.2, arrays and lists, folders, sound and pictures together."""

import json
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import tone, tree, write
from PIL import Image
from test_pictures import scenery
from test_video import ffmpeg, stairs, uneven

import l3embed
from l3embed import cli, decode, engine, extract, imagefrontend, images, store, weights
from l3embed.errors import ImageError, L3EmbedWarning, UsageError, WeightsError
from l3embed.plan import plan
from l3embed.spec import Model, l3_image_front_end, l3_image_network, openl3_model

NAME = "openl3-image-mel256-music-{}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder of its own: each size of the published network is converted once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L3EMBED_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def published(fixtures, cache):
    """(size, front end, precision) -> the published network with the synthetic weights."""
    pytest.importorskip("keras")
    file, made = fixtures / "openl3" / "openl3_image_synthetic.h5.gz", {}

    def load(size=512, front_end=None, precision="f32"):
        key = size, front_end, precision
        if key not in made:
            made[key] = l3embed.load(NAME.format(size), weights=file, front_end=front_end, precision=precision, batch=4)
        return made[key]

    return load


def _placeholder(front_end=None) -> images.ImageModel:
    """Computes next to nothing: a vector of 8 numbers that depends on each row's mean."""
    model = Model("placeholder", l3_image_front_end(front_end or "training"), l3_image_network(512), 8, "")
    return images.ImageModel(replace(weights.card(), model=model), engine.PlaceholderEngine, "f32")


@pytest.fixture(scope="module")
def model():
    return _placeholder()


def _cosine(a, b):
    return ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()


# --- agreement with OpenL3


def test_parity_with_openl3(published, fixtures):
    expected = np.load(fixtures / "openl3" / "expected_image.npz")
    for key in expected:
        _, size, name = key.split("/")
        path = next((fixtures / "openl3" / "images").glob(f"{name}*"))
        for precision, cosine, relative in (("f32", 0.99999, 1e-3), ("bf16", 0.9995, 0.02)):
            try:
                found = published(int(size), "openl3-0.4", precision).embed_images(path)
            except UsageError as error:  # a processor without bfloat16
                assert "bfloat16" in str(error)
                continue
            assert found.shape == expected[key].shape and found.dtype == np.float32
            assert _cosine(found, expected[key]) >= cosine
            assert np.linalg.norm(found - expected[key]) <= relative * np.linalg.norm(expected[key])


def test_the_switch_matters(published, fixtures):
    """The two front ends differ by far more than rounding: the parity above is that of the switch."""
    path = fixtures / "openl3" / "images" / "coffee.png"
    right, openl3 = (published(512, name).embed_images(path) for name in (None, "openl3-0.4"))
    assert 0.9 < _cosine(right, openl3) < 0.995


def test_graph_and_keras_network_agree(published):
    pictures = [scenery(300, 260), scenery(224, 224, 1)]
    graph = published().embed_images(pictures)
    by_keras = images.ImageModel(published().card, engine.KerasEngine, "f32", 2).embed_images(pictures)
    np.testing.assert_allclose(graph, by_keras, rtol=1e-3, atol=1e-4)


def test_the_two_sizes_are_two_poolings_of_one_map(published):
    """512 is the maximum over the whole map, 8192 over sixteenths of it."""
    picture = scenery(256, 256)
    large, small = published(8192).embed_images(picture), published(512).embed_images(picture)
    np.testing.assert_allclose(large.reshape(16, 512).max(axis=0), small[0], rtol=1e-4, atol=1e-5)


def test_a_sound_models_weights_are_refused(fixtures, cache):
    file = fixtures / "openl3" / "openl3_audio_mel256_synthetic.h5.gz"
    with pytest.raises(WeightsError, match="of an audio network"):
        l3embed.load(NAME.format(512), weights=file)


@pytest.mark.parametrize(("name", "front_end", "message"), [
    ("openl3-image-mel256-music-6144", None, "unknown model"), ("openl3-image-mel64-music-512", None, "unknown model"),
    ("openl3-image-mel256-512", None, "unknown model"),
    ("openl3-image-mel256-music-512", "openl3-0.4-kapre", "expected one of training, openl3-0.4"),
])  # fmt: skip
def test_names(name, front_end, message):
    with pytest.raises(UsageError, match=message):
        openl3_model(name, front_end)


def test_a_released_image_model_is_read_back(published, tmp_path):
    """As a card of its own, with its front end, and the same vectors."""
    card = published().card
    folder = tmp_path / "own"
    shutil.copytree(card.path.parent, folder)
    own = l3embed.load(folder, precision="f32", batch=4)
    assert own.spec.front_end == l3_image_front_end() and own.spec.modality == "image"
    np.testing.assert_array_equal(own.embed_images(scenery(240, 240)), published().embed_images(scenery(240, 240)))


# --- pictures in memory


def test_arrays_batches_lists_and_paths_agree(model, tmp_path):
    pictures = np.stack([scenery(300, 260, seed) for seed in range(3)])
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    together = model.embed_images(pictures)
    assert together.shape == (3, 8) and together.dtype == np.float32
    for other in (list(pictures), paths, list(map(str, paths)), [pictures[:2], paths[2]], tuple(pictures)):
        np.testing.assert_allclose(model.embed_images(other), together, rtol=1e-6)
    np.testing.assert_allclose(model.embed_images(pictures[1]), together[1:2], rtol=1e-6)
    np.testing.assert_allclose(model.embed_images(pictures / 255), together, atol=0.02)
    assert model.embed_images([]).shape == (0, 8)


def test_what_openl3_divides_by(model):
    """The largest value of all pictures that share an array; a list's items do not share."""
    openl3 = _placeholder("openl3-0.4")
    dark, bright = scenery(240, 240) // 4, np.full((240, 240, 3), 200, np.uint8)
    row = imagefrontend.prepare(dark, openl3.spec.front_end)
    by = {"alone": row.max(), "together": 200.0}
    alone, together = openl3.embed_images(dark), openl3.embed_images(np.stack([dark, bright]))
    np.testing.assert_allclose(alone * by["alone"], together[:1] * by["together"], rtol=1e-4)
    np.testing.assert_allclose(openl3.embed_images([dark, bright])[:1], alone, rtol=1e-6)


def test_frame_rates(model):
    clips = [np.stack([scenery(240, 240)] * n) for n in (3, 2)]
    _, times = model.embed_images(clips[0], 10)
    np.testing.assert_allclose(times, [0, 0.1, 0.2])
    embedding, times = model.embed_images(clips, [10, 4])
    assert len(embedding) == 5
    np.testing.assert_allclose(times, [0, 0.1, 0.2, 0, 0.25])
    np.testing.assert_allclose(_placeholder("openl3-0.4").embed_images(clips, [10, 4])[1], [0, 0.25, 0.5, 0, 0.25])
    for rate in (0, -1, float("nan"), "25", True, [10], [10, 0]):
        with pytest.raises(UsageError, match="frame_rate must be"):
            model.embed_images(clips, rate)


def test_which_picture_is_wrong_is_said(model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(ImageError, match=r"image 1: has shape \(300, 300\)"):
        model.embed_images([scenery(240, 240), np.zeros((300, 300), np.uint8)])
    with pytest.raises(ImageError, match=r"a\.png: cannot be decoded: neither Pillow nor ffmpeg"):
        model.embed_images(tmp_path / "a.png")
    with pytest.raises(UsageError, match="is a video: use embed_video"):
        model.embed_images(stairs(tmp_path / "a.mkv", n=1))
    with pytest.raises(UsageError, match="embeds pictures, not sound"):
        model.embed(tone(1), 32_000)
    with pytest.warns(L3EmbedWarning, match="image 0: smaller than 224 x 224: enlarged"):
        model.embed_images(scenery(100, 100))
    with pytest.warns(L3EmbedWarning, match="all pixels are zero"):
        model.embed_images(np.zeros((300, 300, 3), np.uint8))


def test_sounds_doors_refuse_image_models(published):
    from l3embed import hear

    with pytest.raises(UsageError, match="embeds pictures, and here is sound"):
        hear.load_model(str(published().card.path))


# --- videos


def test_a_videos_pictures_are_those_pictures(model, tmp_path):
    path = stairs(tmp_path / "a.mkv", n=7)
    embedding, times = model.embed_video(path)
    pictures = [picture for _, picture in decode.open_pictures(path, 256, 224)]
    np.testing.assert_array_equal(embedding, model.embed_images(pictures))
    np.testing.assert_allclose(times, np.arange(7) / 10, atol=1e-3)
    embedding, times = model.embed_video(path, hop=0.25)
    np.testing.assert_allclose(times, [0, 0.25, 0.5])
    np.testing.assert_array_equal(embedding, model.embed_images([pictures[k] for k in (0, 2, 5)]))


def test_video_as_openl3(model, tmp_path):
    """One divisor for the whole video, found before it is embedded."""
    openl3 = _placeholder("openl3-0.4")
    embedding, _ = openl3.embed_video(stairs(tmp_path / "a.mkv", n=5))
    levels = embedding[:, 0] / embedding[-1, 0]
    np.testing.assert_allclose(levels, np.arange(1, 6) / 5, atol=0.015)


@pytest.mark.parametrize("front_end", ["training", "openl3-0.4"])
def test_videos_and_pictures_as_bytes_and_file_objects(front_end, tmp_path):
    model = _placeholder(front_end)
    Image.fromarray(scenery(300, 260)).save(tmp_path / "a.png")
    for path in (stairs(tmp_path / "a.mkv", n=3), tmp_path / "a.png"):
        expected = model.embed_video(path)
        with open(path, "rb") as file:
            for source in (path.read_bytes(), file):
                for a, b in zip(model.embed_video(source), expected, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_wrong_hops(model, tmp_path):
    path = stairs(tmp_path / "a.mkv", n=1)
    for hop in (0, -1, float("nan"), float("inf"), "0.1", True):
        with pytest.raises(UsageError, match="hop must be a number of seconds > 0"):
            model.embed_video(path, hop=hop)


def test_memory_does_not_grow_with_the_length_of_a_video(model, tmp_path):
    peaks = []
    for seconds in (4, 40):
        path = tmp_path / f"{seconds}.mkv"
        source = f"testsrc2=size=64x64:rate=20:duration={seconds}"
        ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "ultrafast", path)
        tracemalloc.start()
        with pytest.warns(L3EmbedWarning, match="enlarged"):
            embedding, _ = model.embed_video(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(embedding) == 20 * seconds
    assert peaks[1] < peaks[0] + 3e6  # 720 more pictures are 433 MB at the network's input


# --- folders


@pytest.fixture
def folder(tmp_path):
    """A video with sound, one without, one without picture, a picture, a sound, and what is none of them."""
    place = tmp_path / "in"
    place.mkdir()
    write(place / "sound.wav", tone(1.3, 16_000), 16_000)
    stairs(tmp_path / "silent.mkv", n=12)
    ffmpeg("-i", tmp_path / "silent.mkv", "-i", place / "sound.wav", "-c:v", "copy", place / "both.mkv")
    shutil.move(tmp_path / "silent.mkv", place / "silent.mkv")
    ffmpeg("-i", place / "sound.wav", place / "blind.mp4")
    Image.fromarray(scenery(300, 300)).save(place / "picture.jpg")
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (place / "notes.md").write_text("x")
    return place


def _items(folder, *modalities):
    return plan([str(folder)], modalities=modalities).items


def test_image_model_takes_pictures_and_videos(model, folder, tmp_path):
    found = plan([str(folder)], modalities=("image",))
    names = sorted(Path(item.source).name for item in found.items)
    assert names == ["blind.mp4", "both.mkv", "broken.png", "picture.jpg", "silent.mkv"] and found.n_ignored == 2
    results = {Path(r.source).name: r for r in extract.extract(model, found.items, tmp_path / "out")}
    assert {name for name, r in results.items() if r.error} == {"blind.mp4", "broken.png"}
    assert sorted(tree(tmp_path / "out")) == ["both.npz", "picture.npz", "silent.npz"]
    embedding, times, metadata = store.read(tmp_path / "out" / "both.npz")
    expected = model.embed_video(folder / "both.mkv")
    np.testing.assert_array_equal(embedding, expected[0])
    np.testing.assert_array_equal(times, expected[1])
    wanted = {"front_end": "training", "aligned": False, "source": "both.mkv", "model": "placeholder"}
    assert wanted.items() <= metadata.items() and results["both.mkv"].n_pictures == 12
    embedding, times, _ = store.read(tmp_path / "out" / "picture.npz")
    np.testing.assert_array_equal(embedding, model.embed_images(folder / "picture.jpg"))
    assert times.tolist() == [0.0]


def test_done_is_skipped_and_another_recipe_is_not(model, folder, tmp_path):
    out, items = tmp_path / "out", _items(folder, "image")
    aligned = images.Grid.plain(0.5)

    def n_skipped(model=model, **how):
        return sum(r.skipped for r in extract.extract(model, items, out, **how))

    assert n_skipped() == 0 and n_skipped() == 3
    assert n_skipped(grid=aligned) == 0 and n_skipped(grid=aligned) == 3
    assert n_skipped(grid=images.Grid.plain(0.25)) == 0
    assert n_skipped(model=_placeholder("openl3-0.4")) == 0
    assert n_skipped(model=_placeholder("openl3-0.4"), overwrite=True) == 0


def test_pipes_links_and_folders_in_disguise(model, tmp_path):
    """None of them holds up the run."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.jpg").mkdir()
    Image.fromarray(scenery(300, 300)).save(tmp_path / "zebra.png")
    results = list(extract.extract(model, _items(tmp_path, "image"), tmp_path / "out"))
    errors = {Path(r.source).name: r.error for r in results}
    assert errors == {
        "link.png": "does not exist", "zebra.png": None,
        "pipe.jpg": "is not a regular file but a pipe or a device: save it to a file first",
    }  # fmt: skip


def test_jobs_change_nothing(model, folder, tmp_path):
    for i in range(20):
        Image.fromarray(scenery(230, 250, i)).save(folder / f"{i}.png")
    trees = []
    for jobs in (1, 3):
        results = list(extract.extract(model, _items(folder, "image"), tmp_path / str(jobs), jobs=jobs))
        assert len(results) == 25 and sum(bool(r.error) for r in results) == 2
        trees.append(tree(tmp_path / str(jobs)))
    assert len(trees[0]) == 23 and trees[0] == trees[1]


def test_sound_and_pictures_of_one_folder(folder):
    found = {item.output: item.modality for item in _items(folder, "audio", "image")}
    assert found == {
        "sound_audio.npz": "audio", "picture_image.npz": "image", "broken_image.npz": "image",
        **{f"{name}_{m}.npz": m for name in ("both", "silent", "blind") for m in ("audio", "image")},
    }  # fmt: skip


def test_two_models_and_equal_stems(tmp_path):
    for name in ("a.mp4", "a.jpg", "a.wav", "b.mp4", "b_image.png", "c.unknown"):
        (tmp_path / name).write_bytes(b"x")
    names = ["a.mp4", "a.jpg", "a.wav", "b.mp4", "b_image.png", "c.unknown"]
    items = plan([str(tmp_path / n) for n in names], modalities=("audio", "image")).items
    assert sorted(item.output for item in items) == sorted([
        "a.mp4_audio.npz", "a.mp4_image.npz", "a.jpg_image.npz", "a.wav_audio.npz", "b_audio.npz", "b_image.npz",
        "b_image_image.npz", "c_audio.npz", "c_image.npz",
    ])  # fmt: skip


@pytest.mark.parametrize("center", [True, False])
def test_one_picture_for_each_window_of_sound(model, placeholder, tmp_path, center):
    """The sound lasts longer than the picture, and has its windows."""
    write(tmp_path / "s.wav", tone(2.6), 32_000)
    uneven(tmp_path / "v.mkv", "N*N*40", n=7)  # pictures at 0, 0.04, 0.16, 0.36, 0.64, 1.0, 1.44 s
    path = tmp_path / "a.mkv"
    ffmpeg("-i", tmp_path / "v.mkv", "-i", tmp_path / "s.wav", "-c", "copy", path)
    framing = placeholder.framing(0.3, center)
    items = [replace(item, modality=m) for m in ("audio",) for item in plan([str(path)]).items]
    (sound,) = extract.extract(placeholder, items, tmp_path / "sound", hop=0.3, center=center)
    (shown,) = extract.extract(model, items, tmp_path / "image", grid=images.Grid.of_sound(framing, 32_000))
    _, starts, _ = store.read(sound.output)
    embedding, times, metadata = store.read(shown.output)
    np.testing.assert_allclose(times, starts + (0 if center else 0.5))
    pictures = [picture for _, picture in decode.open_pictures(path, 256, 224)]
    begins = np.array([0, 0.04, 0.16, 0.36, 0.64, 1.0, 1.44])
    on_screen = [int(np.searchsorted(begins, t + 2e-3, side="right")) - 1 for t in times]
    np.testing.assert_array_equal(embedding, model.embed_images([pictures[k] for k in on_screen]))
    assert metadata["aligned"] == "sound" and metadata["hop_s"] == 0.3 and metadata["center"] is center


def test_alignment_knows_that_sound_begins_late(model, tmp_path):
    """Window 0 is at 0.5 s of the picture."""
    write(tmp_path / "s.wav", tone(1.0), 32_000)
    stairs(tmp_path / "v.mkv", n=12)
    ffmpeg("-i", tmp_path / "v.mkv", "-itsoffset", "0.5", "-i", tmp_path / "s.wav", "-map", 0, "-map", 1, "-c", "copy",
           tmp_path / "a.mkv")  # fmt: skip
    grid = images.Grid(9600, 32_000, 32_000)
    (result,) = extract.extract(model, _items(tmp_path / "a.mkv", "image"), tmp_path, grid=grid)
    embedding, times, _ = store.read(result.output)
    pictures = [picture for _, picture in decode.open_pictures(tmp_path / "a.mkv", 256, 224)]
    np.testing.assert_allclose(times, [0, 0.3, 0.6])
    np.testing.assert_array_equal(embedding, model.embed_images([pictures[k] for k in (5, 8, 11)]))


def test_alignment_without_sound(model, folder, tmp_path):
    grid = images.Grid(16_000, 32_000, 32_000)
    (result,) = extract.extract(model, _items(folder / "silent.mkv", "image"), tmp_path, grid=grid)
    assert result.notes == ("not aligned to its sound (has no sound track) but up to the end of its picture",)
    np.testing.assert_allclose(store.read(result.output)[1], [0, 0.5, 1.0])


# --- the command


def test_the_command(published, fixtures, folder, tmp_path, capsys):
    """Everything of one folder with two models; what fails is named, and the rest is there."""
    published(512)  # converted before
    file = str(fixtures / "openl3" / "openl3_image_synthetic.h5.gz")
    out = tmp_path / "out"
    command = ["extract", str(folder), "-o", str(out), "--image-model", NAME.format(512), "--image-weights", file,
               "--align", "--hop", "0.5", "--precision", "f32", "--json"]  # fmt: skip
    assert cli.main(command) == 1
    total = json.loads(capsys.readouterr().out)
    failed = {Path(f["source"]).name: f["error"] for f in total["failed"]}
    assert failed["silent.mkv"] == "has no sound track" and failed["blind.mp4"].startswith("has no picture")
    assert set(failed) == {"silent.mkv", "blind.mp4", "broken.png"}
    names = ["blind_audio", "both_audio", "both_image", "picture_image", "silent_image", "sound_audio"]
    assert sorted(tree(out)) == [f"{name}.npz" for name in names]
    sound, shown = (store.read(out / f"both_{m}.npz") for m in ("audio", "image"))
    np.testing.assert_array_equal(sound[1], shown[1])
    assert len(sound[0]) == len(shown[0]) == 3 and shown[0].shape[1] == 512
    assert total["pictures"] == 3 + 3 + 1 and total["windows"] == 3 * 3
    assert cli.main(command) == 1 and json.loads(capsys.readouterr().out)["skipped"] == 6
    assert cli.main(["extract", str(folder / "picture.jpg"), "--model", NAME.format(512), "--weights", file, "-o",
                     str(tmp_path / "one")]) == 0  # fmt: skip
    assert "1 embedded (1 pictures)" in capsys.readouterr().out


def test_a_picture_on_standard_input(model):
    import io

    data = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
    (item,) = plan(["-"], io.BytesIO(data), ("image",)).items
    assert (item.source, item.output, item.modality, item.data) == ("-", "stdin.npz", "image", data)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--align"], "--align aligns pictures"), (["--image-weights", "x.h5"], "need --image-model"),
    (["--image-model", "l3-small-1"], "--image-model l3-small-1 is a model of sound"),
    (["--image-model", NAME.format(512), "--image-front-end", "slaney"], "unknown front end 'slaney'"),
])  # fmt: skip
def test_wrong_settings_cost_one_sentence(arguments, message, tmp_path, capsys):
    write(tmp_path / "a.wav", tone(1))
    assert cli.main(["extract", str(tmp_path / "a.wav"), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
