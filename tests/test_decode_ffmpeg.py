"""Decoding through ffmpeg, and everything that can go wrong with it."""

import io
import os
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from tones import POSIX, RATE, Failing, Unseekable, best_correlation, encoded, read, refusal, tones

from l3embed.decode import open_recording

# --- Through ffmpeg


def make_media(folder: Path, name: str, *options: str) -> Path:
    """Two seconds of tones, twice as loud on the right, encoded by ffmpeg."""
    soundfile.write(folder / "source.wav", 3 * tones(2, RATE)[:, None] * [1, 2], RATE)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-v", "error", "-i", folder / "source.wav", *options]
    subprocess.run([*command, folder / name], check=True, stdin=subprocess.DEVNULL)
    return folder / name


PICTURE = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=2", "-shortest")
MEDIA = {
    "sound.m4a": ("-metadata", "title=Duration: 00:00:09.00 [error]"),
    "sound.aac": (),
    "video.mp4": (*PICTURE, "-c:v", "mpeg4", "-movflags", "+faststart"),
    "video.webm": (*PICTURE, "-c:v", "libvpx", "-c:a", "libopus"),
    "sound.wma": (),
    "silent.mp4": (*PICTURE, "-map", "1:v", "-c:v", "mpeg4"),
}


@pytest.fixture(scope="session")
def media(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("media")
    return {name: make_media(folder, name, *options) for name, options in MEDIA.items()}


@pytest.mark.parametrize("name", [name for name in MEDIA if name != "silent.mp4"])
def test_what_only_ffmpeg_reads(media, name):
    sound, recording = read(media[name])
    assert abs(len(sound) - 2 * RATE) < 0.08 * RATE
    assert best_correlation(sound, 2) > 0.99
    assert sound.std() == pytest.approx(3 * 1.5 * tones(2, RATE).std(), rel=0.05)
    assert recording.seconds == pytest.approx(2, abs=0.08) and recording.expected_s == pytest.approx(2, abs=0.2)
    assert recording.notes == []


def test_ffmpeg_reads_bytes_and_leaves_nothing_behind(media, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = media["sound.m4a"].read_bytes()
    expected = read(media["sound.m4a"])[0]
    for source in (data, io.BytesIO(data), Unseekable(data)):
        np.testing.assert_array_equal(read(source)[0], expected)
    refusal(media["silent.mp4"].read_bytes())
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_sound(media):
    assert refusal(media["silent.mp4"]) == "has no sound track"


def test_a_reader_that_stops_early_leaves_no_process(media):
    with open_recording(media["video.mp4"], RATE) as recording:
        process = recording._reader._process
        next(iter(recording))
    assert process.returncode is not None and process.stdout.closed and process.stderr.closed
    with open_recording(media["video.mp4"], RATE) as recording:
        process = recording._reader._process
    assert process.returncode is not None


@pytest.mark.parametrize("name", ["video.mp4", "video.webm"])
def test_a_cut_that_ffmpeg_survives_is_noted(media, name):
    data = media[name].read_bytes()
    sound, recording = read(data[: len(data) * 7 // 10])
    assert 0 < len(sound) < 2 * RATE
    assert any("damaged" in note for note in recording.notes)


def test_a_cut_that_takes_the_index(media):
    data = media["sound.m4a"].read_bytes()
    assert refusal(data[: len(data) // 2]).startswith("is truncated (its index")


def test_no_ffmpeg(media, monkeypatch):
    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", none)
    assert "pip install imageio-ffmpeg" in refusal(media["sound.m4a"])
    read(encoded(tones(0.1, RATE), RATE))  # the rest needs none


def stand_in(folder: Path, monkeypatch, script: str) -> None:
    """Put a script in the place of ffmpeg; it may call `sound(n)` to write n samples of AU."""
    header = "import sys, os, struct\nout = sys.stdout.buffer\n"
    header += "au = b'.snd' + struct.pack('>5I', 24, 2**32 - 1, 6, 48000, 1)\n"
    header += "def sound(n): out.write(au + bytes(4 * n)); out.flush()\n"
    (folder / "ffmpeg").write_text(f"#!{sys.executable} -IS\n{header}{script}\n")
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@POSIX
@pytest.mark.parametrize(
    "script, text",
    [
        ("sound(96000); sys.exit(69)", "is damaged: ffmpeg could not decode it past 2.00 s"),
        ("sound(96000); os.kill(os.getpid(), 9)", "is damaged: ffmpeg could not decode it past 2.00 s"),
        ("sound(0)", "holds no samples"),
        ("sys.exit(3)", "cannot be decoded: neither libsndfile nor ffmpeg (status 3)"),
        ("sys.stderr.write('[error] Invalid data'); sys.exit(1)", "is not audio"),
        ("sys.stderr.write('[info] Input #0'); sys.exit(1)", "cannot be decoded"),
        ("sys.stderr.write('[info] Input #0\\n[error] Invalid data'); sys.exit(1)", "cannot be decoded"),
    ],
)
def test_what_ffmpeg_ends_with(script, text, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, script)
    assert refusal(b"unknown bytes").startswith(text)


@POSIX
@pytest.mark.parametrize(
    "said, notes",
    [
        ("", ["the header promises 60.00 s, the sound ends at 2.00 s"]),
        ("[in#0 @ 0x1] [warning] Estimating duration from bitrate, this may be inaccurate\\n", []),
    ],
)
def test_a_track_that_ends_before_its_time(said, notes, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, f"sys.stderr.write('{said}[info]   Duration: 00:01:00.00, start: 0')\nsound(96000)")
    sound, recording = read(b"unknown bytes")
    assert len(sound) == 96_000 and recording.expected_s == 60 and recording.notes == notes


@POSIX
def test_a_talkative_ffmpeg_does_not_block(tmp_path, monkeypatch):
    talk = "for i in range(20000): sys.stderr.write('[x @ 0x1] [error] ' + 80 * 'e' + chr(10))\n"
    stand_in(tmp_path, monkeypatch, f"{talk}sound(4800)\n{talk}")
    sound, recording = read(b"unknown bytes")
    assert len(sound) == 4800 and recording.notes == ["damaged: ffmpeg decoded on, some sound may be missing or wrong"]


@POSIX
def test_an_ffmpeg_that_does_not_start(tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_bytes(b"\x7fELF broken")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "does not start" in refusal(b"unknown bytes")


@pytest.mark.parametrize("name", ["-i", "a:b", "http:x", "100%d", "[1] *?", "ü 音", os.fsdecode(b"caf\xe9")])
def test_odd_names(media, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for data in (encoded(tones(2, RATE), RATE), media["sound.m4a"].read_bytes()):
        try:
            Path(name).write_bytes(data)
        except OSError:
            pytest.skip("this file system does not take such a name")
        for path in (name, Path(name), Path(name).resolve()):
            assert best_correlation(read(path)[0], 2) > 0.99


def test_a_disk_that_gives_up_before_ffmpeg_reads(media):
    file = Failing(media["sound.m4a"].read_bytes())
    file.good = 5000
    assert refusal(file) == "cannot be read: input/output error"
