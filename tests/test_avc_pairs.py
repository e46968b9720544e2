"""Pairs: does a pair that is called matching match, and the others not?"""

import colorsys
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import soundfile
from made_videos import FORM, PLAIN, RATE, batches, equal_batches, heard, make_config, make_video, seen

pytest.importorskip("pescador")

from l3embed.avc import augment, clips, pairs, picture
from l3embed.avc.config import PairConfig
from l3embed.errors import TrainingError


def test_the_seed_decides_the_pairs(constant):
    config = replace(make_config(videos=(str(constant),), scenes=0.5), pairs=PairConfig())
    a, b, c = (batches(config, 2, seed) for seed in [(7, 0, 0), (7, 0, 0), (7, 1, 0)])
    for (x, t), (y, u), (z, _) in zip(a, b, c, strict=True):
        for key in x:
            np.testing.assert_array_equal(x[key], y[key])
            assert not np.array_equal(x[key], z[key])
        np.testing.assert_array_equal(t, u)


def test_matches_match_and_mismatches_do_not(constant):
    counts = Counter()
    for inputs, target in batches(make_config(videos=(str(constant),)), 8):
        assert inputs["audio"].shape == (16, RATE, 1) and inputs["audio"].dtype == np.float32
        assert inputs["image"].shape == (16, 64, 64, 3) and inputs["image"].dtype == np.uint8
        assert target.shape == (16, 2) and target.dtype == np.float32
        np.testing.assert_array_equal(target.sum(axis=0), [8, 8])
        for sound, image, (mismatch, match) in zip(inputs["audio"][..., 0], inputs["image"], target, strict=True):
            assert match == 1 - mismatch
            assert (heard(sound) == seen(image)) == bool(match)
            counts[heard(sound)] += 1
    assert set(counts) == set(range(6)) and max(counts.values()) < 4 * min(counts.values())


def test_the_contrastive_target_tells_files_apart_even_where_one_is_open_twice(constant):
    config = make_config(videos=(str(constant),), n_active=12)
    config = replace(config, fit=replace(config.fit, objective="contrastive", batch=48))
    inputs, clip = batches(config, 1)[0]
    assert clip.shape == (48, 1)
    content = [heard(x) for x in inputs["audio"][..., 0]]
    assert content == [seen(x) for x in inputs["image"]]
    assert len(set(content)) == len(set(clip[:, 0])) == len(set(zip(content, clip[:, 0].tolist(), strict=True))) > 2


def test_every_scene_is_a_clip_of_its_own():
    config = make_config(scenes=1.0, pairs_per_clip=1, n_active=3)
    config = replace(config, fit=replace(config.fit, objective="contrastive"))
    assert len(np.unique(batches(config, 1)[0][1])) == 16


def test_pictures_of_another_second_only_where_asked(changing, tmp_path):
    for name in ("a.mkv", "b.mkv"):
        (tmp_path / name).write_bytes(changing.read_bytes())
    config = make_config(videos=(str(tmp_path),), clip_s=6.0)
    config = replace(config, pairs=replace(PLAIN, same_second=0.0), fit=replace(config.fit, objective="contrastive"))
    inputs, _ = batches(config, 1)[0]
    same = [seen(i) in {heard(s[:8000]), heard(s[-8000:])} for s, i in zip(inputs["audio"][..., 0], inputs["image"],
                                                                              strict=True)]  # fmt: skip
    assert sum(same) < 12


def test_the_published_bug_shows_the_last_frame(changing, tmp_path):
    for name in ("a.mkv", "b.mkv"):
        (tmp_path / name).write_bytes(changing.read_bytes())
    bug = replace(PLAIN, misaligned=True)
    config = make_config(bug, {"objective": "contrastive", "batch": 48}, videos=(str(tmp_path),), clip_s=6.0)
    (inputs, _), *_ = batches(config, 1)
    assert [seen(image) for image in inputs["image"]] == [2] * 48  # changing ends in colour 2
    assert {heard(sound[:8000, 0]) for sound in inputs["audio"]} == {0, 1, 2, 3, 4, 5}


def test_the_published_bug_takes_samples_for_seconds(changing):
    """The few sounds that begin within the first samples get the second of that number."""
    clip = clips.from_video(changing, np.random.default_rng(0), RATE, 6.0, 10, 73)
    assert [seen(clip.image(float(sample), FORM, np.random.default_rng(0))) for sample in (0, 1, 2, 5, 6, 99_999)] == [
        3, 0, 4, 2, 2, 2,
    ]  # fmt: skip


def test_a_stream_can_be_entered_anywhere_without_decoding_what_was_before(constant, tmp_path, monkeypatch):
    """Also with broken files, which an uninterrupted run knows and one that begins here does not."""
    for path in constant.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for i in range(4):
        (tmp_path / f"broken-{i}.mp4").write_text("no video")
    opened, from_video = [], clips.from_video
    monkeypatch.setattr(clips, "from_video", lambda path, *how: opened.append(path) or from_video(path, *how))
    monkeypatch.setattr(pairs, "Sources", _OneLabel)
    for negatives in ("other", "label", "video"):
        pair = PairConfig(negatives=negatives, far_s=1.2)
        config = make_config(pair, {"batch": 6}, videos=(str(tmp_path),), scenes=0.2, pairs_per_clip=3)
        whole = batches(config, 9)
        n_before = len(opened)
        assert equal_batches(batches(config, 2, first=7), whole[7:])
        assert len(opened) - n_before < 12 + 4  # the clips of two batches of 6, and what is broken


def test_negatives_of_the_same_video_are_far_from_the_sound(tmp_path):
    """Each second of a video has a mark of its own, so a picture tells where in the video it is from."""
    make_video(tmp_path / "even.mkv", [0, 2, 4, 6, 4, 2], hz=5)
    make_video(tmp_path / "odd.mkv", [1, 3, 5, 7, 5, 3], hz=5)
    far = replace(PLAIN, negatives="video", far_s=2.5)
    config = make_config(far, videos=(str(tmp_path),), clip_s=6.0)
    for inputs, target in batches(config, 4):
        np.testing.assert_array_equal(target.sum(axis=0), [8, 8])
        for sound, image, (mismatch, _) in zip(inputs["audio"][..., 0], inputs["image"], target, strict=True):
            sounds = {heard(part) for part in sound.reshape(100, -1)}
            assert {x % 2 for x in sounds} == {seen(image) % 2}  # of one video, match or not
            assert (seen(image) in sounds) or mismatch
    config = replace(config, fit=replace(config.fit, objective="contrastive"))
    (inputs, clip), *_ = batches(config, 1)
    parts = Counter(clip[:, 0].tolist())
    assert len(parts) == 4 and sum(n for part, n in parts.items() if part % 2) == 8  # two files, two parts each


def test_the_two_parts_of_a_clip_are_as_far_apart_as_was_asked():
    rng = np.random.default_rng(0)
    for seconds, far_s in [(10.0, 3.0), (4.0, 3.0), (7.3, 1.0)]:
        clip = clips.Clip(np.zeros(int(seconds * 1000), np.float32), 1000)
        early, late = ([pairs._start(rng, clip, 1000, part, far_s) for _ in range(500)] for part in (0, 1))
        assert min(late) - max(early) >= 1000 * far_s
        assert min(early) <= 0.02 * 1000 * seconds and max(late) >= 0.98 * 1000 * (seconds - 1)
        assert max(late) <= 1000 * (seconds - 1)


def test_clips_too_short_for_far_negatives_are_named(constant, capsys):
    config = make_config(replace(PLAIN, negatives="video"), videos=(str(constant),), clip_s=6.0)
    with pytest.raises(TrainingError, match=r"is 3.00 s long: pairs.negatives = 'video' needs 4 s"):
        batches(config, 1)


class _OneLabel(pairs.Sources):
    def __init__(self, *what):
        super().__init__(*what)
        self.files = [replace(file, labels=frozenset({"one"})) for file in self.files]


class _Labelled(pairs.Sources):
    """As an index would give them: even videos are of one label, odd ones of another, the last has one of its own."""

    def __init__(self, *what):
        super().__init__(*what)
        names, everything = [{"even"}, {"odd"}], self.files
        self.files = [replace(f, labels=frozenset(names[int(f.path.stem) % 2])) for f in self.files[:5]]
        self.files.append(replace(everything[5], labels=frozenset({"alone"})))


def test_negatives_of_the_same_label_need_labels(constant):
    with pytest.raises(
        TrainingError, match=r"'label' needs videos that share a label, and none of the train part do: name an index"
    ):
        batches(make_config(replace(PLAIN, negatives="label"), videos=(str(constant),)), 1)


@pytest.mark.parametrize("objective", ["binary", "contrastive"])
def test_negatives_of_the_same_label(constant, monkeypatch, objective):
    monkeypatch.setattr(pairs, "Sources", _Labelled)
    config = make_config(replace(PLAIN, negatives="label"), {"objective": objective}, videos=(str(constant),))
    counts = Counter()
    for inputs, target in batches(config, 6):
        content = [heard(sound) for sound in inputs["audio"][..., 0]]
        if objective == "contrastive":  # in twos: each has another video of its label in the batch
            for a, b in zip(content[::2], content[1::2], strict=True):
                assert (a != b and a % 2 == b % 2) or a == b == 5
            continue
        for a, image, (mismatch, _) in zip(content, inputs["image"], target, strict=True):
            if mismatch:
                assert a != seen(image) and (a == 5 or a % 2 == seen(image) % 2)
                counts[a == 5] += 1
    assert objective == "contrastive" or (counts[False] > 20 and counts[True])


def test_gain_never_clips():
    rng = np.random.default_rng(0)
    for peak in (0.1, 0.97, 1.0, 1.3):
        sound = np.float32([0, peak, -peak / 2])
        for gain in [(0.9, 1.1), (1.5, 2.0), (0.2, 0.4)]:
            found = [augment.gain(sound, replace(PLAIN, gain=gain), rng) for _ in range(50)]
            assert max(np.abs(x).max() for x in found) <= 1 + 1e-6
            factors = [x[1] / peak for x in found]
            assert min(factors) >= min(gain[0], 1 / peak) - 1e-6 and max(factors) <= gain[1] + 1e-6
            assert np.ptp(factors) > 0 or gain[0] * peak > 1
    assert not augment.gain(np.zeros(5, np.float32), PLAIN, rng).any()


def test_crops_lie_anywhere_inside_and_nowhere_else():
    image = np.stack(np.broadcast_arrays(*np.mgrid[:70, :90], 0), axis=-1).astype(np.uint8)
    rng = np.random.default_rng(0)
    corners = np.array([augment.crop(image, 64, rng)[[0, -1], [0, -1], :2] for _ in range(400)])
    np.testing.assert_array_equal(corners[:, 1] - corners[:, 0], np.full((400, 2), 63))
    np.testing.assert_array_equal(corners[:, 0].min(axis=0), [0, 0])
    np.testing.assert_array_equal(corners[:, 1].max(axis=0), [69, 89])


def test_half_of_the_pictures_are_flipped_and_nothing_else_changes_when_colours_rest():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    rng = np.random.default_rng(1)
    flipped = 0
    for _ in range(200):
        found = augment.recolour(image, replace(PLAIN, flip=True), rng)
        flipped += np.array_equal(found, image[:, ::-1])
        assert np.array_equal(found, image) or np.array_equal(found, image[:, ::-1])
    assert 70 < flipped < 130
    np.testing.assert_array_equal(augment.recolour(image, PLAIN, rng), image)


def test_saturation_is_that_of_hsv_and_brightness_stays_in_its_range():
    rng = np.random.default_rng(0)
    colours = np.concatenate([rng.integers(0, 256, (60, 3)), [[0, 0, 0], [255, 255, 255], [9, 9, 9], [0, 255, 255]]])
    image = np.uint8(colours)[None]
    for factor in (0.0, 0.5, 1.3, 5.0):
        found = augment.recolour(image, replace(PLAIN, saturation=(factor, factor)), rng)[0]
        for before, after in zip(colours / 255, found, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            expected = colorsys.hsv_to_rgb(hue, min(1, saturation * factor), value)
            np.testing.assert_allclose(after, 255 * np.array(expected), atol=0.51)
    grey = np.full((4, 4, 3), 128, np.uint8)
    levels = [int(augment.recolour(grey, replace(PLAIN, brightness=0.1), rng)[0, 0, 0]) for _ in range(100)]
    assert 102 <= min(levels) < 110 and 146 < max(levels) <= 154
    dark = [int(augment.recolour(grey // 64, replace(PLAIN, brightness=1.0), rng)[0, 0, 0]) for _ in range(50)]
    assert min(dark) == 0 and max(dark) <= 255


def test_saturation_and_brightness_come_in_either_order():
    """A red that brightness drives to its floor: what saturation makes of it tells which came first."""
    image = np.broadcast_to(np.uint8([100, 10, 60]), (4, 4, 3))
    settings = replace(PLAIN, saturation=(0.5, 0.5), brightness=32 / 255)
    found = {tuple(augment.recolour(image, settings, np.random.default_rng(i))[0, 0].tolist()) for i in range(60)}
    brightness_first, saturation_first = set(), set()
    for level in np.linspace(-32, 32, 6401):
        bright = np.maximum(np.array([100, 10, 60]) + level, 0)
        brightness_first.add(tuple(np.rint((bright + bright.max()) / 2).astype(int).tolist()))
        saturation_first.add(tuple(np.rint(np.array([100, 55, 80]) + level).astype(int).tolist()))
    assert found <= brightness_first | saturation_first
    assert found - brightness_first and found - saturation_first


def test_broken_files_are_named_once_and_left_out(constant, tmp_path, capsys):
    for path in constant.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for i in range(6):
        (tmp_path / f"broken-{i}.mp4").write_text("no video")
    config = make_config(videos=(str(tmp_path),))
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
    batches(make_config(recordings=(str(tmp_path),), scenes=1.0), 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"{tmp_path / 'broken.wav'}: left out of training: is not audio")


def test_no_usable_file_ends_training(constant, tmp_path):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_text("no video")
    with pytest.raises(TrainingError, match="of the 3 files can be used, and a mismatch needs two; the last one"):
        batches(make_config(videos=(str(tmp_path),)), 1)
    (tmp_path / "d.mkv").write_bytes((constant / "0.mkv").read_bytes())
    with pytest.raises(TrainingError, match="1 of the 4 files can be used"):
        batches(make_config(videos=(str(tmp_path),)), 1)


def _paths(sources):
    return [file.path for file in sources.files]


def test_parts_are_disjoint_and_complete(tmp_path):
    for i in range(60):
        (tmp_path / f"{i}.mp4").touch()
    config = make_config(videos=(str(tmp_path),), held_out=0.3)
    parts = [_paths(pairs.Sources(config, split)) for split in pairs.SPLITS]
    assert sorted(p for part in parts for p in part) == sorted(tmp_path.iterdir())
    assert 6 <= len(parts[1]) <= 30
    (tmp_path / "more").mkdir()
    (tmp_path / "3.mp4").rename(tmp_path / "more" / "3.mp4")  # a file keeps its part wherever it is moved
    again = [_paths(pairs.Sources(config, split)) for split in pairs.SPLITS]
    assert [{p.name for p in part} for part in again] == [{p.name for p in part} for part in parts]
    with pytest.raises(TrainingError, match="no files left for the held_out part"):
        pairs.Sources(make_config(videos=(str(tmp_path),)), "held_out")


def test_sound_without_video_gets_its_own_picture(tmp_path):
    t = np.arange(3 * RATE) / RATE
    for i, hz in enumerate((200, 2000, 8000)):
        soundfile.write(tmp_path / f"{i}.wav", 0.5 * np.sin(2 * np.pi * hz * t), RATE)
    for inputs, target in batches(make_config(recordings=(str(tmp_path),)), 2):
        for sound, image, (_, match) in zip(inputs["audio"][..., 0], inputs["image"], target, strict=True):
            drawn = picture.draw(sound, 73)[..., 0].astype(float).sum(axis=1).argmax()
            shown = image[..., 0].astype(float).sum(axis=1).argmax()
            assert (-2 <= drawn - shown <= 11) == bool(match)  # the crop's place is unknown, 0 to 9 rows


def test_real_videos(shared_data):
    config = replace(make_config(videos=(str(shared_data / "video"),), n_active=6), pairs=PairConfig())
    for inputs, target in batches(config, 2):
        assert target.sum() == 16 and np.isfinite(inputs["audio"]).all() and np.abs(inputs["audio"]).max() > 0.01
        assert (inputs["image"].std(axis=(1, 2, 3)) > 2).mean() > 0.8
