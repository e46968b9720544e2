"""Videos rendered from recordings: does a picture show the second that is heard?"""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import ROOT, environment

from l3embed.avc import clips, picture, render
from l3embed.errors import AudioError, UsageError

RATE = 32_000


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
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 1 and "b.wav: is not audio" in done.stderr and "a.wav" not in done.stderr
    assert [str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.mp4")] == ["deep/a.wav.mp4"]
