"""Prepared clips: does training see the same from shards as from the files themselves?"""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from conftest import environment, tree
from made_videos import FORM, PLAIN, RATE, batches, heard, make_config, make_video, seen

pytest.importorskip("pescador")

from l3embed import cli
from l3embed.avc import clips, index, prepare, prepared, sources, survey
from l3embed.errors import AudioError, TrainingError


def _config(source, folder, **data):
    return make_config(**{"videos": (str(source),), "prepared": str(folder), **data})


def _only(config, **data):
    """As on a machine that has nothing but the prepared clips."""
    return replace(config, data=replace(config.data, videos=(), recordings=(), index="", **data))


@pytest.fixture(scope="module")
def shards(constant, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "shards"
    config = _config(constant, folder, frames="array")
    assert prepare.prepare(config) == (6, {})
    return config


def test_a_prepared_clip_is_the_stretch_that_it_was_made_of(changing, tmp_path):
    for name in ("a.mkv", "b.mkv"):
        shutil.copy(changing, tmp_path / name)
    config = _config(tmp_path, tmp_path / "shards", frames="array")
    prepare.prepare(config)
    expected = [clips.video_stretch(changing, at, RATE, 2.5, 10, 73) for at in (0.0, 2.5, 3.5)]
    file, rng, which = sources.Sources(_only(config), "train").files[0], np.random.default_rng(0), set()
    for _ in range(12):
        clip = file.open(rng, FORM)
        (i,) = [i for i, one in enumerate(expected) if np.abs(clip.sound - one.sound).max() <= 1.01 / 32767]
        np.testing.assert_array_equal(np.stack(list(clip.frames)), expected[i].frames)
        assert (clip.rate_hz, clip.frames_hz) == (RATE, 10)
        which.add(i)
    assert which == {0, 1, 2}


def test_pairs_from_shards_match_and_mismatch_as_they_should(shards):
    counts = Counter()
    for inputs, target in batches(_only(shards), 6):
        for sound, image, (_, match) in zip(inputs["audio"][..., 0], inputs["image"], target, strict=True):
            assert (heard(sound) == seen(image)) == bool(match)
            counts[heard(sound)] += 1
    assert set(counts) == set(range(6))


def test_sampling_options_hold_for_shards_too(tmp_path):
    for name, marks in (("even", [0, 2, 4, 6, 4, 2]), ("odd", [1, 3, 5, 7, 5, 3])):
        make_video(tmp_path / f"{name}.mkv", marks)
    config = _config(tmp_path, tmp_path / "shards", clip_s=6.0)
    prepare.prepare(config)
    far = replace(_only(config), pairs=replace(PLAIN, negatives="video", far_s=2.5))
    for inputs, target in batches(far, 2):
        for sound, image, (mismatch, _) in zip(inputs["audio"][..., 0], inputs["image"], target, strict=True):
            sounds = {heard(part) for part in sound.reshape(100, -1)}
            assert {x % 2 for x in sounds} == {seen(image) % 2} and (seen(image) in sounds or mismatch)
    bug = replace(_only(config), pairs=replace(PLAIN, misaligned=True))
    assert {seen(image) for image in batches(bug, 1)[0][0]["image"]} <= {2, 3}


def test_jpeg_keeps_the_picture_and_takes_less_room(constant, shards, tmp_path):
    config = _config(constant, tmp_path / "jpeg")
    prepare.prepare(config, jobs=2)
    a, b = (
        {f.path.name: f for f in sources.Sources(c, "train").files} for c in (_only(shards), _only(config))
    )  # fmt: skip
    for name in a:
        x, y = (side[name].open(np.random.default_rng(1), FORM) for side in (a, b))
        np.testing.assert_array_equal(x.sound, y.sound)
        assert len(x.frames) == len(y.frames)
        assert np.abs(x.frames[7].astype(int) - y.frames[7]).max() <= 6
    bytes_of = [sum(p.stat().st_size for p in (f).glob("*.frames.bin")) for f in
                (tmp_path / "jpeg", type(tmp_path)(shards.data.prepared))]  # fmt: skip
    assert bytes_of[0] < bytes_of[1] / 5


def test_what_is_made_does_not_depend_on_how_or_when(constant, tmp_path, monkeypatch):
    """One at a time or several, in one go or stopped in the middle of a shard: the same bytes."""
    monkeypatch.setattr(prepare, "FILES", 2)
    config = _config(constant, tmp_path / "a")
    prepare.prepare(config)
    whole = tree(tmp_path / "a")
    assert {name for name in whole if name.endswith(".json")} == {
        "manifest.json",
        *(f"train-0000{i}.json" for i in range(3)),
    }
    prepare.prepare(_config(constant, tmp_path / "b"), jobs=3)
    assert tree(tmp_path / "b") == whole
    entry, made = prepare._entry, []

    def stop_at_the_fourth(file, *more):
        made.append(file.path.name)
        if len(made) == 4:
            raise KeyboardInterrupt
        return entry(file, *more)

    monkeypatch.setattr(prepare, "_entry", stop_at_the_fourth)
    config = _config(constant, tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(config)
    assert "train-00000.json" in tree(tmp_path / "c") and "train-00001.json" not in tree(tmp_path / "c")
    with pytest.raises(
        TrainingError, match=r"2 of the 3 shards of the train part are not there, such as train-00001.json"
    ):
        sources.Sources(_only(config), "train")
    made.clear()
    monkeypatch.setattr(prepare, "_entry", lambda file, *more: made.append(file.path.name) or entry(file, *more))
    prepare.prepare(config)
    assert len(made) == 4 and tree(tmp_path / "c") == whole


def test_a_killed_run_leaves_nothing_that_counts(constant, tmp_path):
    code = (
        "import os, signal\nfrom l3embed.avc import config, prepare\n"
        "add = prepare._Writer.add\n"
        "def die(self, clip):\n    add(self, clip)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "prepare._Writer.add = die\n"
        f"prepare.prepare(config.TrainConfig(data=config.DataConfig(videos=({str(constant)!r},), "
        f"prepared={str(tmp_path / 'x')!r}, held_out=0.0), model=config.ModelConfig(family='l3-small')))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == -9
    assert any(p.name.endswith(".part") for p in (tmp_path / "x").iterdir())
    config = _config(constant, tmp_path / "x", clip_s=10.0, n_active=20, pairs_per_clip=20)
    config = replace(config, seed=20180216)
    prepare.prepare(config)
    assert not any(p.name.endswith(".part") for p in (tmp_path / "x").iterdir())
    assert len(sources.Sources(_only(config), "train").files) == 6


def test_a_full_disk_leaves_no_half_shard(constant, tmp_path, monkeypatch):
    def full(self, clip):
        raise OSError(28, "No space left on device", "train-00000.sound.s16")

    monkeypatch.setattr(prepare._Writer, "add", full)
    with pytest.raises(OSError, match="No space left"):
        prepare.prepare(_config(constant, tmp_path / "x"))
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["manifest.json"]


def test_files_that_cannot_be_used_are_named_and_the_others_are_made(constant, tmp_path, capsys):
    for name in ("0.mkv", "1.mkv"):
        shutil.copy(constant / name, tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    make_video(tmp_path / "mute.mkv", [1, 2], sound=False)
    config = tmp_path / "run.toml"
    config.write_text("[data]\nvideos = ['.']\nprepared = 'shards'\nheld_out = 0.0\n[model]\nfamily = 'l3-small'\n")
    assert cli.main(["train", str(config), "--prepare", "-q"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("2 files prepared, 2 cannot be used: ")
    assert "mute.mkv: left out: has no sound" in err and "text.mp4: left out: ffmpeg cannot decode it" in err
    assert cli.main(["train", str(config), "--prepare", "-q"]) == 1  # again: nothing to do, and it still says so
    assert "2 files prepared, 2 cannot be used" in capsys.readouterr().out


def test_a_header_that_promises_too_much_or_too_little_does_not_matter(changing, tmp_path):
    """Matroska's Duration, a float of 8 bytes in milliseconds, overwritten."""
    for name, seconds in (("long.mkv", 600.0), ("little.mkv", 1.0)):
        data = bytearray(changing.read_bytes())
        at = data.index(b"\x44\x89\x88") + 3
        data[at : at + 8] = struct.pack(">d", 1000 * seconds)
        (tmp_path / name).write_bytes(data)
    config = _config(tmp_path, tmp_path / "shards")
    assert prepare.prepare(config) == (2, {})
    for file in sources.Sources(_only(config), "train").files:
        assert [(b - a) / RATE for a, b in (clip["sound"] for clip in file.clips)] == pytest.approx([2.5] * 3, abs=0.05)


def test_an_index_brings_its_parts_and_labels(constant, tmp_path):
    for path in constant.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "labels.csv").write_text(
        "path,label\n" + "".join(f"{i}.mkv,{'odd' if i % 2 else 'even'}\n" for i in range(6))
    )
    wanted = survey.Wanted(labels=str(tmp_path / "labels.csv"), held_out=0.34, test=0.34)
    table = survey.init(str(tmp_path), str(tmp_path / "i.csv"), wanted)
    config = make_config(index=str(table.path), prepared=str(tmp_path / "shards"))
    prepare.prepare(config)
    for part in index.PARTS:
        found = {file.path.name: file.labels for file in sources.Sources(_only(config), part).files}
        assert found == {row.path: frozenset(row.labels) for row in table.part(part)}


def test_recordings_are_cut_and_their_pictures_drawn_later(tmp_path):
    t = np.arange(int(6.2 * RATE)) / RATE
    for i, hz in enumerate((400, 1200)):
        soundfile.write(tmp_path / f"{i}.wav", 1.5 * np.sin(2 * np.pi * hz * t), RATE, "FLOAT")
    soundfile.write(tmp_path / "short.wav", 0.3 * np.sin(2 * np.pi * 800 * t[:9000]), RATE, "FLOAT")
    config = make_config(recordings=(str(tmp_path),), prepared=str(tmp_path / "shards"))
    assert prepare.prepare(config) == (3, {})
    files = {file.path.name: file for file in sources.Sources(_only(config), "train").files}
    assert [len(files[name].clips) for name in ("0.wav", "1.wav", "short.wav")] == [3, 3, 1]
    clip = files["0.wav"].open(np.random.default_rng(0), FORM)
    assert clip.frames is None and len(clip.sound) == 2.5 * RATE
    assert np.abs(clip.sound).max() == pytest.approx(1.5, abs=1e-3)  # louder than full scale, and still so
    assert len(files["short.wav"].open(np.random.default_rng(0), FORM).sound) == 2 * RATE
    assert np.isfinite(batches(_only(config), 1)[0][0]["audio"]).all()


@pytest.mark.parametrize(("length", "expected"), [
    (10, [0]), (4, [0]), (20, [0, 10]), (25, [0, 10, 15]), (30.5, [0, 10, 20, 20.5]), (0, [0]),
])  # fmt: skip
def test_stretches_cover_everything_and_are_whole(length, expected):
    np.testing.assert_allclose(prepare._starts(length, 10), expected)


@pytest.mark.parametrize("seconds", [0.4, 2.0, 2.5, 4.0, 5.0, 7.5, 9.1])
def test_pieces_of_a_recording_begin_where_those_of_a_video_do(tmp_path, seconds):
    ramp = np.linspace(-0.9, 0.9, int(seconds * RATE), dtype=np.float32)
    soundfile.write(tmp_path / "ramp.wav", ramp, RATE, "FLOAT")
    n = int(2.5 * RATE)
    expected = [ramp[round(at) : round(at) + n] for at in prepare._starts(len(ramp), n)]
    found = list(prepare._pieces(tmp_path / "ramp.wav", n, RATE))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_some_pieces_of_a_recording_each_with_the_same_chance(tmp_path):
    soundfile.write(tmp_path / "steps.wav", np.repeat(np.arange(1, 6) / 10, RATE), RATE, "FLOAT")
    form, counts = replace(FORM, clip_s=1.0), Counter()
    for seed in range(60):
        made = list(
            prepare._cut_recording(sources.SoundFile(tmp_path / "steps.wav"), form, 2, np.random.default_rng(seed))
        )
        assert len(made) == 2
        counts.update(round(float(clip.sound[0]) * 10) for clip in made)
    assert set(counts) == {1, 2, 3, 4, 5} and min(counts.values()) > 12  # 24 each, on average


def test_fewer_clips_of_a_long_file_where_asked(tmp_path):
    make_video(tmp_path / "long.mkv", [0, 1, 2, 3, 4, 5] * 2, hz=2)
    make_video(tmp_path / "short.mkv", [0, 1], hz=2)
    config = _config(tmp_path, tmp_path / "shards", clips_per_file=2, clip_s=2.0)
    prepare.prepare(config)
    files = {file.path.name: file for file in sources.Sources(_only(config), "train").files}
    assert [len(files[name].clips) for name in ("long.mkv", "short.mkv")] == [2, 1]


def test_a_long_clip_is_opened_more_often_than_a_short_one(shards):
    file = sources.Sources(_only(shards), "train").files[0]
    two = [{**file.clips[0], "sound": [0, 3000]}, {**file.clips[0], "sound": [3000, 4000]}]
    file, rng = replace(file, clips=tuple(two)), np.random.default_rng(0)
    lengths = Counter(len(file.open(rng, FORM).sound) for _ in range(400))
    assert lengths.keys() == {3000, 1000} and 240 < lengths[3000] < 360


def test_prepared_folders_that_do_not_fit(constant, shards, tmp_path):
    with pytest.raises(TrainingError, match=r"holds clips of other files or settings \(clip_s\): name another folder"):
        prepare.prepare(replace(shards, data=replace(shards.data, clip_s=3.0)))
    with pytest.raises(TrainingError, match=r"other files or settings \(parts\)"):
        prepare.prepare(replace(shards, data=replace(shards.data, held_out=0.5)))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").touch()
    with pytest.raises(TrainingError, match="is not empty and holds no prepared clips"):
        prepare.prepare(_config(constant, tmp_path / "x"))
    with pytest.raises(TrainingError, match=r"manifest.json: cannot be read \(No such file .* --prepare makes it"):
        sources.Sources(make_config(prepared=str(tmp_path / "nowhere")), "train")
    with pytest.raises(TrainingError, match=r"set data\.prepared"):
        prepare.prepare(make_config(videos=(str(constant),)))
    with pytest.raises(TrainingError, match="nothing to prepare"):
        prepare.prepare(make_config(scenes=1.0, prepared=str(tmp_path / "y")))
    paper = replace(_only(shards), model=replace(shards.model, family="l3"))
    with pytest.raises(
        TrainingError, match=r"was prepared for 32000 Hz and frames of 73 pixels; this network takes 48000"
    ):
        batches(paper, 1)


def test_shards_that_were_spoilt(shards, tmp_path):
    def spoilt(name):
        shutil.copytree(shards.data.prepared, tmp_path / name)
        return tmp_path / name, make_config(prepared=str(tmp_path / name))

    folder, config = spoilt("cut")
    path = folder / "train-00000.sound.s16"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(AudioError, match=r"train-00000.sound.s16 is shorter than it was: copy it again"):
        for file in sources.Sources(config, "train").files:
            file.open(np.random.default_rng(0), FORM)
    folder, config = spoilt("gone")
    (folder / "train-00000.frames.bin").unlink()
    with pytest.raises(AudioError, match="its shard cannot be read"):
        sources.Sources(config, "train").files[0].open(np.random.default_rng(0), FORM)
    folder, config = spoilt("table")
    (folder / "train-00000.json").write_text('{"files": [{}]}')
    with pytest.raises(TrainingError, match=r"train-00000.json: is damaged"):
        sources.Sources(config, "train")
    folder, config = spoilt("manifest")
    (folder / "manifest.json").write_text(json.dumps({"format": "x"}))
    with pytest.raises(TrainingError, match="its format is 'x', not"):
        sources.Sources(config, "train")
    with pytest.raises(TrainingError, match="a prepared frame cannot be read"):
        prepared.jpeg_decoded(b"no picture")
