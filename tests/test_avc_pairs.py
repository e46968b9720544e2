"""Clips, pairs and the processes that make them: does a pair that is called matching match, and the others not?

The videos are made so that content tells: every second (or every video) has a colour and a tone of its own.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("pescador")

from l3embed.avc import clips, loader, pairs, picture, render
from l3embed.avc.config import DataConfig, FitConfig, ModelConfig, PairConfig, TrainConfig
from l3embed.decode import VIDEO_SUFFIXES, ffmpeg_binary
from l3embed.errors import AudioError, TrainingError, UsageError

RATE = 32_000
PLAIN = PairConfig(gain=(1, 1), flip=False, saturation=(1, 1), brightness=0)
ROOT = Path(__file__).resolve().parents[1]


def _ffmpeg(*arguments):
    subprocess.run([ffmpeg_binary(), "-y", "-v", "error", "-nostdin", *map(str, arguments)], check=True)


def _colour(i):
    return 20 + 40 * i  # of the red channel


def _tone_hz(i):
    return 400 * (i + 1)


def _seen(image):
    """Which of the colours a picture has."""
    return round((float(image[..., 0].mean()) - 20) / 40)


def _heard(sound):
    """Which of the tones a sound has."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return round(spectrum.argmax() * RATE / len(sound) / 400) - 1


@pytest.fixture(scope="session")
def make_video(tmp_path_factory):
    """A lossless video whose second j has the colour and the tone number `marks[j]`."""

    def _make(path, marks, hz=10, size=(96, 80), sound=True):
        folder = tmp_path_factory.mktemp("parts")
        t = np.arange(RATE) / RATE
        tones = [0.5 * np.sin(2 * np.pi * _tone_hz(m) * t) for m in marks]
        soundfile.write(folder / "sound.wav", np.concatenate(tones), RATE)
        frames = np.zeros((len(marks) * hz, size[1], size[0], 3), np.uint8)
        frames[..., 0] = np.repeat([_colour(m) for m in marks], hz)[:, None, None]
        frames.tofile(folder / "frames.raw")
        pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", hz]
        tracks = ["-i", folder / "sound.wav", "-c:a", "pcm_s16le"] if sound else []
        _ffmpeg(*pictures, "-i", folder / "frames.raw", *tracks, "-c:v", "ffv1", "-pix_fmt", "bgr0", path)
        return path

    return _make


@pytest.fixture(scope="session")
def changing(make_video, tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "changing.mkv", [3, 0, 4, 1, 5, 2])


@pytest.fixture(scope="session")
def constant(make_video, tmp_path_factory):
    """A folder of videos that keep their colour and tone for three seconds."""
    folder = tmp_path_factory.mktemp("constant")
    for i in range(6):
        make_video(folder / f"{i}.mkv", [i] * 3, hz=5)
    return folder


def _config(**data):
    small = ModelConfig(family="l3-small", width=4, image_width=4)
    data = DataConfig(**{"clip_s": 2.5, "n_active": 4, "pairs_per_clip": 4, "held_out": 0.0, **data})
    return TrainConfig(seed=7, model=small, data=data, pairs=PLAIN, fit=FitConfig(batch=16, steps=4, epochs=2))


def _batches(config, n, seed=(7, 0, 0), split="train"):
    stream = pairs.stream(config, pairs.Sources(config, split), 64, list(seed))
    return list(islice(pairs.batches(stream, config, list(seed)), n))


# --- clips


def test_frames_are_of_the_second_that_is_heard(changing):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        clip = clips.from_video(changing, rng, RATE, 3.0, 10, 73)
        assert len(clip.sound) == 3 * RATE and len(clip.frames) in (30, 31)
        for start in rng.integers(0, 2 * RATE, 20):
            parts = clip.sound[start : start + RATE].reshape(100, -1)
            heard = {_heard(x) for x in parts if np.abs(x).max() > 0.4}
            assert _seen(clip.image(start / RATE, 73, rng)) in heard


def test_every_frame_of_the_second_has_its_chance(changing):
    clip = clips.from_video(changing, np.random.default_rng(0), RATE, 6.0, 10, 73)
    marked = replace(clip, frames=np.arange(60, dtype=np.uint8)[:, None, None, None])
    drawn = [int(marked.image(2.0, 73, np.random.default_rng(i)).item()) for i in range(200)]
    assert set(drawn) == set(range(20, 30))
    assert {int(marked.image(5.9, 73, np.random.default_rng(i)).item()) for i in range(9)} == {59}


def test_a_track_that_begins_late_stays_where_it_was(changing, tmp_path):
    late = tmp_path / "late.mkv"
    _ffmpeg("-i", changing, "-itsoffset", "1.5", "-i", changing, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    clip = clips.from_video(late, np.random.default_rng(0), RATE, 60, 10, 73)
    assert np.abs(clip.sound[: int(1.45 * RATE)]).max() < 1e-3
    assert [_heard(clip.sound[int((1.7 + j) * RATE) :][: RATE // 2]) for j in range(6)] == [3, 0, 4, 1, 5, 2]
    assert [_seen(clip.frames[10 * j + 5]) for j in range(6)] == [3, 0, 4, 1, 5, 2]


def test_odd_videos(changing, tmp_path):
    """Two sound tracks, more than 8 bits, odd sizes, rotation, a resolution that changes, a name that is not UTF-8."""
    tone = ["-f", "lavfi", "-i", "sine=800:d=2"]

    def picture_of(size, *more):
        return ["-f", "lavfi", "-i", f"testsrc=s={size}:r=15:d=2", *tone, *more]

    def shape(path):
        clip = clips.from_video(path, np.random.default_rng(0), RATE, 5, 10, 73)
        assert _heard(clip.sound[RATE // 2 : RATE]) == 1
        return clip.frames.shape[1:3]

    _ffmpeg(*picture_of("64x48", *tone, "-map", "0", "-map", "1", "-map", "2"), tmp_path / "two.mp4")
    assert shape(tmp_path / "two.mp4") == (73, 97)
    _ffmpeg(*picture_of("64x48", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le"), tmp_path / "deep.mkv")
    assert shape(tmp_path / "deep.mkv") == (73, 97)
    _ffmpeg(*picture_of("47x63", "-c:v", "ffv1", "-pix_fmt", "bgr0"), tmp_path / "odd.mkv")
    assert shape(tmp_path / "odd.mkv") == (98, 73)
    _ffmpeg(*picture_of("64x48"), tmp_path / "a.ts")
    _ffmpeg(*picture_of("48x96"), tmp_path / "b.ts")
    (tmp_path / "changes.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    assert shape(tmp_path / "changes.ts") == (73, 97)
    _ffmpeg("-display_rotation", 90, "-i", tmp_path / "two.mp4", "-c", "copy", tmp_path / "turned.mp4")
    assert shape(tmp_path / "turned.mp4") == (97, 73)
    if sys.platform == "linux":
        name = tmp_path / os.fsdecode(b"\xff -x.mkv")
        name.write_bytes((tmp_path / "odd.mkv").read_bytes())
        assert shape(name) == (98, 73)


def test_unusable_videos_are_refused_with_the_reason(make_video, tmp_path):
    def reason(path):
        with pytest.raises(AudioError) as caught:
            clips.from_video(path, np.random.default_rng(0), RATE, 5, 10, 73)
        return str(caught.value)

    assert reason(make_video(tmp_path / "mute.mkv", [1], sound=False)) == "has no sound"
    soundfile.write(tmp_path / "sound.wav", np.ones(RATE * 2) * 0.1, RATE)
    assert reason(tmp_path / "sound.wav") == "has no picture"
    _ffmpeg("-t", 0.5, "-i", make_video(tmp_path / "long.mkv", [1]), "-c", "copy", tmp_path / "short.mkv")
    assert "at least 1 s is needed" in reason(tmp_path / "short.mkv")
    (tmp_path / "text.mp4").write_text("no video " * 100)
    assert "ffmpeg cannot decode it" in reason(tmp_path / "text.mp4")
    assert "No such file" in reason(tmp_path / "nowhere.mp4")
    soundfile.write(tmp_path / "nan.wav", np.full(RATE * 2, np.nan), RATE, "FLOAT")
    _ffmpeg("-i", tmp_path / "long.mkv", "-i", tmp_path / "nan.wav", "-map", "0:v", "-map", "1:a", "-c", "copy",
            tmp_path / "nan.mkv")  # fmt: skip
    assert "NaN" in reason(tmp_path / "nan.mkv")


def test_a_truncated_stream_of_images_gives_the_whole_ones():
    one = b"P6\n3 2\n255\n" + bytes(range(18))
    for cut in range(len(one) + 1):
        images = list(clips._ppm_images(one + one[:cut]))
        assert len(images) == 1 + (cut == len(one))
        assert images[0].shape == (2, 3, 3) and images[0][1, 0, 0] == 9
    assert list(clips._ppm_images(b"")) == []


def test_a_stretch_of_a_recording_comes_from_anywhere_in_it(tmp_path):
    ramp = np.linspace(0, 0.9, 10 * RATE, dtype=np.float32)
    soundfile.write(tmp_path / "ramp.wav", ramp, RATE, "FLOAT")
    starts = []
    for seed in range(8):
        clip = clips.from_recording(tmp_path / "ramp.wav", np.random.default_rng(seed), RATE, 3.0)
        at = np.abs(ramp - clip.sound[0]).argmin()
        np.testing.assert_array_equal(clip.sound, ramp[at : at + 3 * RATE])
        starts.append(at / RATE)
    assert min(starts) < 2 and max(starts) > 5
    soundfile.write(tmp_path / "short.wav", ramp[: RATE // 4] + 0.1, RATE)
    assert len(clips.from_recording(tmp_path / "short.wav", np.random.default_rng(0), RATE, 3.0).sound) == 2 * RATE


@pytest.mark.parametrize(("start", "expected"), [(0, 0), (13, 13), (70, 70), (95, 80), (500, 80)])
def test_a_header_that_promises_too_much_gives_the_end(start, expected):
    blocks = np.split(np.arange(100), [7, 20, 21, 60])
    np.testing.assert_array_equal(clips._take(blocks, start, 20), np.arange(expected, expected + 20))
    np.testing.assert_array_equal(clips._take(blocks, start, 200), np.arange(100))


def test_a_folder_without_videos(tmp_path):
    with pytest.raises(TrainingError, match=r"holds no video \(.3gp, .avi.*: check the path"):
        clips.find((str(tmp_path),), VIDEO_SUFFIXES, "video")


# --- rendered videos


def test_a_rendered_video_shows_its_click_where_it_is_heard(tmp_path):
    sound = 1e-3 * np.random.default_rng(0).standard_normal(44_100 * 6).astype(np.float32)
    sound[int(3.3 * 44_100)] = 0.9
    soundfile.write(tmp_path / "click.wav", sound, 44_100, "FLOAT")
    render.render(tmp_path / "click.wav", tmp_path / "click.mp4", size=128)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["click.mp4", "click.wav"]  # nothing left over
    clip = clips.from_video(tmp_path / "click.mp4", np.random.default_rng(0), RATE, 60, 10, 128)
    assert np.abs(clip.sound).argmax() / RATE == pytest.approx(3.3, abs=0.002)
    assert len(clip.sound) == pytest.approx(6 * RATE, abs=RATE // 20) and len(clip.frames) == 60
    for k, frame in enumerate(clip.frames):
        loudness = frame[:, :, 1].astype(float).sum(axis=0)
        inside = abs(k / 10 - 3.3) < 0.48
        if inside:  # the second around k / 10 s, from left to right
            assert loudness.argmax() / 128 == pytest.approx(3.3 - k / 10 + 0.5, abs=0.04), k
        assert abs(k / 10 - 3.3) < 0.52 or loudness.max() < 1.5 * np.median(loudness) + 128, k


def test_a_frame_is_the_picture_of_the_second_around_it(tmp_path):
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, int(2.3 * picture.RATE_HZ)).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", sound, picture.RATE_HZ, "FLOAT")
    found = list(render.frames(tmp_path / "noise.wav", 64, 4))
    padded = np.pad(sound, picture.RATE_HZ // 2)
    expected = [picture.draw(padded[int(k * picture.RATE_HZ / 4) :][: picture.RATE_HZ], 64) for k in range(10)]
    np.testing.assert_array_equal(found, expected)
    assert len(list(render.frames(tmp_path / "noise.wav", 64, 0.4))) == 1


def test_what_cannot_be_rendered(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError, match="is not audio"):
        render.render(tmp_path / "text.wav", tmp_path / "x.mp4")
    with pytest.raises(UsageError, match="must be even"):
        render.render(tmp_path / "text.wav", tmp_path / "x.mp4", size=73)
    assert [p.name for p in tmp_path.iterdir()] == ["text.wav"]


def test_the_script_renders_a_folder_and_names_what_it_cannot(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "deep" / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 8000), 8000)
    (tmp_path / "in" / "b.wav").write_text("no sound")
    command = [sys.executable, ROOT / "scripts" / "render_videos.py", tmp_path / "in", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    assert done.returncode == 1 and "b.wav: is not audio" in done.stderr and "a.wav" not in done.stderr
    assert [str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.mp4")] == ["deep/a.wav.mp4"]


def _environment():
    """A child process finds what this process finds, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}


# --- pairs


def test_the_seed_decides_the_pairs(constant):
    config = replace(_config(videos=(str(constant),), scenes=0.5), pairs=PairConfig())
    a, b, c = (_batches(config, 2, seed) for seed in [(7, 0, 0), (7, 0, 0), (7, 1, 0)])
    for (x, t), (y, u), (z, _) in zip(a, b, c, strict=True):
        for key in x:
            np.testing.assert_array_equal(x[key], y[key])
            assert not np.array_equal(x[key], z[key])
        np.testing.assert_array_equal(t, u)


def test_matches_match_and_mismatches_do_not(constant):
    seen = Counter()
    for inputs, target in _batches(_config(videos=(str(constant),)), 8):
        assert inputs["audio"].shape == (16, RATE, 1) and inputs["audio"].dtype == np.float32
        assert inputs["image"].shape == (16, 64, 64, 3) and inputs["image"].dtype == np.uint8
        assert target.shape == (16, 2) and target.dtype == np.float32
        np.testing.assert_array_equal(target.sum(axis=0), [8, 8])
        for sound, image, (mismatch, match) in zip(inputs["audio"][..., 0], inputs["image"], target, strict=True):
            assert match == 1 - mismatch
            assert (_heard(sound) == _seen(image)) == bool(match)
            seen[_heard(sound)] += 1
    assert set(seen) == set(range(6)) and max(seen.values()) < 4 * min(seen.values())


def test_the_contrastive_target_tells_files_apart_even_where_one_is_open_twice(constant):
    config = _config(videos=(str(constant),), n_active=12)
    config = replace(config, fit=replace(config.fit, objective="contrastive", batch=48))
    inputs, clip = _batches(config, 1)[0]
    assert clip.shape == (48, 1)
    content = [_heard(x) for x in inputs["audio"][..., 0]]
    assert content == [_seen(x) for x in inputs["image"]]
    assert len(set(content)) == len(set(clip[:, 0])) == len(set(zip(content, clip[:, 0].tolist(), strict=True))) > 2


def test_every_scene_is_a_clip_of_its_own():
    config = _config(scenes=1.0, pairs_per_clip=1, n_active=3)
    config = replace(config, fit=replace(config.fit, objective="contrastive"))
    assert len(np.unique(_batches(config, 1)[0][1])) == 16


def test_pictures_of_another_second_only_where_asked(changing, tmp_path):
    for name in ("a.mkv", "b.mkv"):
        (tmp_path / name).write_bytes(changing.read_bytes())
    config = _config(videos=(str(tmp_path),), clip_s=6.0)
    config = replace(config, pairs=replace(PLAIN, same_second=0.0), fit=replace(config.fit, objective="contrastive"))
    inputs, _ = _batches(config, 1)[0]
    same = [_seen(i) in {_heard(s[:8000]), _heard(s[-8000:])} for s, i in zip(inputs["audio"][..., 0], inputs["image"],
                                                                              strict=True)]  # fmt: skip
    assert sum(same) < 12


def test_gain_never_clips():
    rng = np.random.default_rng(0)
    for peak in (0.1, 0.97, 1.0, 1.3):
        sound = np.float32([0, peak, -peak / 2])
        for gain in [(0.9, 1.1), (1.5, 2.0), (0.2, 0.4)]:
            found = [pairs._gain(sound, replace(PLAIN, gain=gain), rng) for _ in range(50)]
            assert max(np.abs(x).max() for x in found) <= 1 + 1e-6
            factors = [x[1] / peak for x in found]
            assert min(factors) >= min(gain[0], 1 / peak) - 1e-6 and max(factors) <= gain[1] + 1e-6
            assert np.ptp(factors) > 0 or gain[0] * peak > 1
    assert not pairs._gain(np.zeros(5, np.float32), PLAIN, rng).any()


def test_crops_lie_anywhere_inside_and_nowhere_else():
    image = np.stack(np.broadcast_arrays(*np.mgrid[:70, :90], 0), axis=-1).astype(np.uint8)
    rng = np.random.default_rng(0)
    corners = np.array([pairs._crop(image, 64, rng)[[0, -1], [0, -1], :2] for _ in range(400)])
    np.testing.assert_array_equal(corners[:, 1] - corners[:, 0], np.full((400, 2), 63))
    np.testing.assert_array_equal(corners[:, 0].min(axis=0), [0, 0])
    np.testing.assert_array_equal(corners[:, 1].max(axis=0), [69, 89])


def test_half_of_the_pictures_are_flipped_and_nothing_else_changes_when_colours_rest():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    rng = np.random.default_rng(1)
    flipped = 0
    for _ in range(200):
        found = pairs._recolour(image, replace(PLAIN, flip=True), rng)
        flipped += np.array_equal(found, image[:, ::-1])
        assert np.array_equal(found, image) or np.array_equal(found, image[:, ::-1])
    assert 70 < flipped < 130
    np.testing.assert_array_equal(pairs._recolour(image, PLAIN, rng), image)


def test_saturation_keeps_grey_and_brightness_stays_in_its_range():
    grey = np.full((4, 4, 3), 128, np.uint8)
    colour = np.broadcast_to(np.uint8([200, 60, 40]), (4, 4, 3))
    rng = np.random.default_rng(0)
    assert (pairs._recolour(grey, replace(PLAIN, saturation=(0.5, 1.5)), rng) == 128).all()
    none = pairs._recolour(colour, replace(PLAIN, saturation=(0, 0)), rng)
    assert np.ptp(none) == 0 and none[0, 0, 0] == round(0.299 * 200 + 0.587 * 60 + 0.114 * 40)
    levels = [int(pairs._recolour(grey, replace(PLAIN, brightness=0.1), rng)[0, 0, 0]) for _ in range(100)]
    assert 102 <= min(levels) < 110 and 146 < max(levels) <= 154


def test_broken_files_are_named_once_and_left_out(constant, tmp_path, capsys):
    for path in constant.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for i in range(6):
        (tmp_path / f"broken-{i}.mp4").write_text("no video")
    config = _config(videos=(str(tmp_path),))
    sources = pairs.Sources(config, "train")
    for epoch in range(2):  # of one process: its sources are the same
        for batch in islice(pairs.batches(pairs.stream(config, sources, 64, [7, epoch]), config, [7, epoch]), 3):
            assert len(batch[1]) == 16
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == len({line.split(":")[0] for line in lines}) > 3
    assert all("broken-" in line and "left out of training: ffmpeg cannot decode it" in line for line in lines)


def test_broken_snippets_are_named_and_scenes_go_on_without(tmp_path, capsys):
    (tmp_path / "broken.wav").write_text("no sound")
    soundfile.write(tmp_path / "good.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 8000), 8000)
    _batches(_config(recordings=(str(tmp_path),), scenes=1.0), 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"{tmp_path / 'broken.wav'}: left out of training: is not audio")


def test_no_usable_file_ends_training(constant, tmp_path):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_text("no video")
    with pytest.raises(TrainingError, match="of the 3 files can be used, and a mismatch needs two; the last one"):
        _batches(_config(videos=(str(tmp_path),)), 1)
    (tmp_path / "d.mkv").write_bytes((constant / "0.mkv").read_bytes())
    with pytest.raises(TrainingError, match="1 of the 4 files can be used"):
        _batches(_config(videos=(str(tmp_path),)), 1)


def test_parts_are_disjoint_and_complete(tmp_path):
    for i in range(60):
        (tmp_path / f"{i}.mp4").touch()
    config = _config(videos=(str(tmp_path),), held_out=0.3)
    parts = [pairs.Sources(config, split).videos for split in pairs.SPLITS]
    assert sorted(p for part in parts for p in part) == sorted(tmp_path.iterdir())
    assert 6 <= len(parts[1]) <= 30
    (tmp_path / "more").mkdir()
    (tmp_path / "3.mp4").rename(tmp_path / "more" / "3.mp4")  # a file keeps its part wherever it is moved
    again = [pairs.Sources(config, split).videos for split in pairs.SPLITS]
    assert [{p.name for p in part} for part in again] == [{p.name for p in part} for part in parts]
    with pytest.raises(TrainingError, match="no files left for the held_out part"):
        pairs.Sources(_config(videos=(str(tmp_path),)), "held_out")


def test_sound_without_video_gets_its_own_picture(tmp_path):
    t = np.arange(3 * RATE) / RATE
    for i, hz in enumerate((200, 2000, 8000)):
        soundfile.write(tmp_path / f"{i}.wav", 0.5 * np.sin(2 * np.pi * hz * t), RATE)
    for inputs, target in _batches(_config(recordings=(str(tmp_path),)), 2):
        for sound, image, (_, match) in zip(inputs["audio"][..., 0], inputs["image"], target, strict=True):
            drawn = picture.draw(sound, 73)[..., 0].astype(float).sum(axis=1).argmax()
            shown = image[..., 0].astype(float).sum(axis=1).argmax()
            assert (-2 <= drawn - shown <= 11) == bool(match)  # the crop's place is unknown, 0 to 9 rows


def test_real_videos(shared_data):
    config = replace(_config(videos=(str(shared_data / "video"),), n_active=6), pairs=PairConfig())
    for inputs, target in _batches(config, 2):
        assert target.sum() == 16 and np.isfinite(inputs["audio"]).all() and np.abs(inputs["audio"]).max() > 0.01
        assert (inputs["image"].std(axis=(1, 2, 3)) > 2).mean() > 0.8


# --- the processes


def _loaded(config, n, first_epoch=0, in_graph=True):
    found = loader.Loader(config, 64, in_graph, first_epoch)
    with contextlib.closing(found):
        return list(islice(iter(found), n))


def _same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x["audio"], y["audio"]) and np.array_equal(x["image"], y["image"]) and np.array_equal(t, u)
        for (x, t), (y, u) in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_the_order_does_not_depend_on_speed_and_an_epoch_can_be_resumed(workers):
    config = _config(scenes=1.0)
    config = replace(config, fit=replace(config.fit, batch=4, steps=3, workers=workers))
    first = _loaded(config, 99)
    assert len(first) == 6  # two epochs of three steps, then the end
    assert _same(_loaded(config, 99, first_epoch=1), first[3:])
    assert not _same(first[:3], first[3:])
    direct = [_batches(config, 3, (7, 0, worker)) for worker in range(workers)]
    assert _same(first[:3], [direct[step % workers][step // workers] for step in range(3)])


def test_spectrograms_where_the_front_end_is_not_in_the_graph():
    config = _config(scenes=1.0)
    inputs, _ = next(loader.held_out(config, pairs.Sources(config, "held_out"), 64, in_graph=False))
    assert inputs["audio"].shape == (16, *config.front_end.shape)
    again, _ = next(loader.held_out(config, pairs.Sources(config, "held_out"), 64, in_graph=False))
    np.testing.assert_array_equal(inputs["audio"], again["audio"])


def test_an_error_of_a_worker_reaches_its_parent(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("no video")
    with pytest.raises(TrainingError, match="files can be used"):
        _loaded(_config(videos=(str(tmp_path),)), 1)


def test_a_killed_worker_ends_the_run():
    """Killed within a batch, as the kernel does when memory runs out: no waiting for the other half."""
    config = _config(scenes=1.0)
    found = loader.Loader(replace(config, fit=replace(config.fit, steps=1000)), 64, True, 0)
    errors = []

    def consume():
        try:
            for i, _ in enumerate(found):
                if i == 0:
                    found._processes[0].kill()
        except TrainingError as error:
            errors.append(str(error))

    thread = threading.Thread(target=consume, daemon=True)
    with contextlib.closing(found):
        thread.start()
        thread.join(60)
        assert not thread.is_alive() and "ended without a word" in errors[0]


def test_a_killed_run_leaves_no_worker_behind():
    code = (
        "import os, signal\nfrom l3embed.avc import config, loader\n"
        "c = config.TrainConfig(model=config.ModelConfig(family='l3-small'), data=config.DataConfig(scenes=1.0, "
        "clip_s=2.0, n_active=2), fit=config.FitConfig(batch=4))\n"
        "next(iter(loader.Loader(c, 64, True, 0)))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=_environment(), stdout=subprocess.PIPE)
    with process:
        process.communicate(timeout=60)  # a worker that lived on would keep the other end of this pipe open
    assert process.returncode == -9
