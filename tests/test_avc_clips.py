"""Clips: are frames of the second that is heard, and what becomes of odd and broken files?"""

import os
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from made_videos import FORM, RATE, ffmpeg, heard, make_video, seen

from l3embed import decode
from l3embed.avc import clips
from l3embed.decode import VIDEO_SUFFIXES
from l3embed.errors import AudioError, TrainingError


def test_frames_are_of_the_second_that_is_heard(changing):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        clip = clips.from_video(changing, rng, RATE, 3.0, 10, 73)
        assert len(clip.sound) == 3 * RATE and len(clip.frames) in (30, 31)
        for start in rng.integers(0, 2 * RATE, 20):
            parts = clip.sound[start : start + RATE].reshape(100, -1)
            tones = {heard(x) for x in parts if np.abs(x).max() > 0.4}
            assert seen(clip.image(start / RATE, FORM, rng)) in tones


def test_every_frame_of_the_second_has_its_chance(changing):
    clip = clips.from_video(changing, np.random.default_rng(0), RATE, 6.0, 10, 73)
    marked = replace(clip, frames=np.arange(60, dtype=np.uint8)[:, None, None, None])
    drawn = [int(marked.image(2.0, FORM, np.random.default_rng(i)).item()) for i in range(200)]
    assert set(drawn) == set(range(20, 30))
    assert {int(marked.image(5.9, FORM, np.random.default_rng(i)).item()) for i in range(9)} == {59}


def test_a_track_that_begins_late_stays_where_it_was(changing, tmp_path):
    late = tmp_path / "late.mkv"
    ffmpeg("-i", changing, "-itsoffset", "1.5", "-i", changing, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    clip = clips.from_video(late, np.random.default_rng(0), RATE, 60, 10, 73)
    assert np.abs(clip.sound[: int(1.45 * RATE)]).max() < 1e-3
    assert [heard(clip.sound[int((1.7 + j) * RATE) :][: RATE // 2]) for j in range(4)] == [3, 0, 4, 1]
    assert [seen(clip.frames[10 * j + 5]) for j in range(6)] == [3, 0, 4, 1, 5, 2]


def test_odd_videos(changing, tmp_path):
    """Two sound tracks, more than 8 bits, odd sizes, rotation, a resolution that changes, a name that is not UTF-8."""
    tone = ["-f", "lavfi", "-i", "sine=800:d=2"]

    def picture_of(size, *more):
        return ["-f", "lavfi", "-i", f"testsrc=s={size}:r=15:d=2", *tone, *more]

    def shape(path):
        clip = clips.from_video(path, np.random.default_rng(0), RATE, 5, 10, 73)
        assert heard(clip.sound[RATE // 2 : RATE]) == 1
        return clip.frames.shape[1:3]

    ffmpeg(*picture_of("64x48", *tone, "-map", "0", "-map", "1", "-map", "2"), tmp_path / "two.mp4")
    assert shape(tmp_path / "two.mp4") == (73, 97)
    ffmpeg(*picture_of("64x48", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le"), tmp_path / "deep.mkv")
    assert shape(tmp_path / "deep.mkv") == (73, 97)
    ffmpeg(*picture_of("47x63", "-c:v", "ffv1", "-pix_fmt", "bgr0"), tmp_path / "odd.mkv")
    assert shape(tmp_path / "odd.mkv") == (98, 73)
    ffmpeg(*picture_of("64x48"), tmp_path / "a.ts")
    ffmpeg(*picture_of("48x96"), tmp_path / "b.ts")
    (tmp_path / "changes.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    assert shape(tmp_path / "changes.ts") == (73, 97)
    ffmpeg("-display_rotation", 90, "-i", tmp_path / "two.mp4", "-c", "copy", tmp_path / "turned.mp4")
    assert shape(tmp_path / "turned.mp4") == (97, 73)
    if sys.platform == "linux":
        name = tmp_path / os.fsdecode(b"\xff -x.mkv")
        name.write_bytes((tmp_path / "odd.mkv").read_bytes())
        assert shape(name) == (98, 73)


def test_unusable_videos_are_refused_with_the_reason(tmp_path):
    def reason(path):
        with pytest.raises(AudioError) as caught:
            clips.from_video(path, np.random.default_rng(0), RATE, 5, 10, 73)
        return str(caught.value)

    assert reason(make_video(tmp_path / "mute.mkv", [1], sound=False)) == "has no sound"
    soundfile.write(tmp_path / "sound.wav", np.ones(RATE * 2) * 0.1, RATE)
    assert reason(tmp_path / "sound.wav") == "has no picture"
    ffmpeg("-t", 0.5, "-i", make_video(tmp_path / "long.mkv", [1]), "-c", "copy", tmp_path / "short.mkv")
    assert "at least 1 s is needed" in reason(tmp_path / "short.mkv")
    (tmp_path / "text.mp4").write_text("no video " * 100)
    assert "ffmpeg cannot decode it" in reason(tmp_path / "text.mp4")
    assert "No such file" in reason(tmp_path / "nowhere.mp4")
    soundfile.write(tmp_path / "nan.wav", np.full(RATE * 2, np.nan), RATE, "FLOAT")
    ffmpeg("-i", tmp_path / "long.mkv", "-i", tmp_path / "nan.wav", "-map", "0:v", "-map", "1:a", "-c", "copy",
            tmp_path / "nan.mkv")  # fmt: skip
    assert "NaN" in reason(tmp_path / "nan.mkv")


def test_a_header_that_promises_too_much_still_gives_a_stretch_from_inside(changing, tmp_path):
    """Matroska's duration overwritten: 6 s become 600."""
    path, data = tmp_path / "long.mkv", bytearray(changing.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # the Duration element: a float of 8 bytes, in milliseconds
    data[at : at + 8] = struct.pack(">d", 600_000.0)
    path.write_bytes(data)
    assert decode.header_s(path) == 600
    found = [clips.from_video(path, np.random.default_rng(seed), RATE, 3.0, 10, 73) for seed in range(6)]
    assert len({clip.sound[:2000].tobytes() for clip in found}) > 4  # from anywhere in it, and whole
    for clip in found:
        assert len(clip.sound) == pytest.approx(3 * RATE, abs=RATE // 20) and len(clip.frames) in (29, 30, 31)
        told = [seen(frame) == heard(clip.sound[k * RATE // 10 :][:3200]) for k, frame in enumerate(clip.frames[:-1])]
        assert np.mean(told) > 0.8  # but where a tenth of a second holds two marks
    data[at : at + 8] = struct.pack(">d", 1_000.0)  # and too little
    path.write_bytes(data)
    assert len(clips.from_video(path, np.random.default_rng(0), RATE, 3.0, 10, 73).sound) == 3 * RATE


def test_a_video_that_is_corrupt_in_the_middle_keeps_sound_and_picture_together(tmp_path):
    marks = [0, 1, 2, 3, 4, 5]
    path = make_video(tmp_path / "whole.mkv", marks, size=(96, 96))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    (tmp_path / "corrupt.mkv").write_bytes(data)
    clip = clips.from_video(tmp_path / "corrupt.mkv", np.random.default_rng(0), RATE, 60, 10, 73)
    ends = [(heard(clip.sound[at : at + RATE // 2]), seen(clip.frames[round(at / RATE * 10) + 3])) for at in
            (RATE // 4, RATE * 5 + RATE // 4)]  # fmt: skip
    assert ends == [(0, 0), (5, 5)]


def test_sound_without_a_picture_of_its_second_is_not_used(changing, tmp_path):
    """A picture that ends after 2 s while its sound goes on: later sounds would all get the last frame."""
    path = tmp_path / "x.mkv"
    ffmpeg("-i", changing, "-t", 2, "-i", changing, "-map", "0:a", "-map", "1:v", "-c", "copy", path)
    for seed in range(4):
        clip = clips.from_video(path, np.random.default_rng(seed), RATE, 3.0, 10, 73)
        assert len(clip.sound) / RATE <= len(clip.frames) / 10 + 0.1
        told = [seen(frame) == heard(clip.sound[k * RATE // 10 :][:3200]) for k, frame in enumerate(clip.frames)]
        assert np.mean(told) > 0.8  # but where a tenth of a second holds two marks


def test_silence_is_no_sound(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.full(RATE * 2, 1e-5), RATE, "FLOAT")
    ffmpeg("-i", make_video(tmp_path / "a.mkv", [1, 2]), "-i", tmp_path / "silence.wav", "-map", "0:v", "-map", "1:a",
           "-c", "copy", tmp_path / "silent.mkv")  # fmt: skip
    with pytest.raises(AudioError, match=r"^is silent$"):
        clips.from_video(tmp_path / "silent.mkv", np.random.default_rng(0), RATE, 5, 10, 73)


def test_hidden_files_are_not_found(tmp_path):
    """As macOS leaves them on every memory stick."""
    (tmp_path / "._a.mp4").touch()
    (tmp_path / "a.mp4").touch()
    assert clips.find((str(tmp_path),), VIDEO_SUFFIXES, "video") == [tmp_path / "a.mp4"]


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
