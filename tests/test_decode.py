"""Decoding against signals known in closed form, and every way in which a recording can be broken."""

import io
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from l3embed import decode
from l3embed.decode import Recording, from_array, open_recording
from l3embed.errors import AudioError, UsageError

RATE = 48_000
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs pipes, permissions and scripts as on POSIX")


def tones(seconds: float, rate_hz: float) -> np.ndarray:
    """(n,) float64: four sines below 3 kHz, so that any rate from 8 kHz on holds them; peak below 0.1."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    parts = [(0.04, 220, 0.3), (0.03, 733, 1.1), (0.02, 1511, 2.0), (0.008, 2903, 0.7)]
    return sum(a * np.sin(2 * np.pi * f * t + phase) for a, f, phase in parts)


def encoded(samples, rate_hz: int, format: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format, subtype=subtype)
    return file.getvalue()


def read(source, rate_hz: int = RATE) -> tuple[np.ndarray, Recording]:
    with open_recording(source, rate_hz) as recording:
        blocks = list(recording)
    assert all(block.dtype == np.float32 and block.ndim == 1 and len(block) for block in blocks)
    sound = np.concatenate(blocks)
    assert recording.n_samples == len(sound) and recording.rate_hz == rate_hz
    return sound, recording


def refusal(source, rate_hz: int = RATE) -> str:
    """The sentence with which a recording is refused, checked to be one."""
    with pytest.raises(AudioError) as caught:
        read(source, rate_hz)
    text = str(caught.value)
    assert "\n" not in text and "Traceback" not in text and "Error" not in text and ".py" not in text
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
    return text


def assert_tones(sound: np.ndarray, seconds: float, gain: float = 1.0, atol: float = 2e-4, rate_hz: int = RATE):
    """Equal to the tones in closed form, apart from the filter's ringing at the two ends."""
    expected = gain * tones(seconds, rate_hz)
    assert abs(len(sound) - len(expected)) <= 1
    inside = slice(rate_hz // 50, len(expected) - rate_hz // 50)
    np.testing.assert_allclose(sound[inside], expected[inside], atol=atol)


def best_correlation(sound: np.ndarray, seconds: float, delay: int = 3000) -> float:
    """Of the sound with the tones, at the best delay of up to `delay` samples either way."""
    n = round(seconds * RATE) - 2 * delay
    expected = tones(seconds, RATE)[delay : delay + n]
    size = 2 * (n + 2 * delay)
    spectrum = np.fft.rfft(sound[: n + 2 * delay], size) * np.conj(np.fft.rfft(expected, size))
    at = int(np.argmax(np.fft.irfft(spectrum, size)[: len(sound[: n + 2 * delay]) - n]))
    return float(np.corrcoef(sound[at : at + n], expected)[0, 1])


# --- What comes out


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_channel_count(rate_hz, channels):
    gains = np.arange(1, channels + 1)
    sound, recording = read(encoded(tones(1.2, rate_hz)[:, None] * gains, rate_hz, subtype="FLOAT"))
    assert_tones(sound, 1.2, gain=gains.mean(), atol=3e-5 * gains.mean())
    assert recording.seconds == pytest.approx(1.2) and recording.expected_s == recording.seconds
    assert recording.peak == pytest.approx(np.abs(tones(1.2, rate_hz)).max() * gains.mean(), rel=1e-5)
    assert recording.notes == []


# quantisation: half a step of the sample, in full scale 1
LOSSLESS = [("WAV", "PCM_U8", 2**-7), ("WAV", "PCM_16", 2**-15), ("WAV", "PCM_24", 2**-23), ("WAV", "PCM_32", 2**-24)]
LOSSLESS += [("WAV", "FLOAT", 1e-8), ("WAV", "DOUBLE", 1e-8), ("FLAC", "PCM_16", 2**-15), ("FLAC", "PCM_24", 2**-23)]
LOSSLESS += [
    ("AIFF", "PCM_16", 2**-15),
    ("AIFF", "PCM_24", 2**-23),
    ("RF64", "PCM_16", 2**-15),
    ("AU", "PCM_16", 2**-15),
]


@pytest.mark.parametrize("format, subtype, step", LOSSLESS)
def test_lossless_formats(format, subtype, step):
    samples = 5 * np.stack([tones(1.3, RATE), 0.5 * tones(1.3, RATE)], axis=1)
    sound, recording = read(encoded(samples, RATE, format, subtype))
    np.testing.assert_allclose(sound, samples.mean(axis=1), atol=step + 1e-7)
    assert recording.notes == []


LOSSY = [(f, s, r) for f, s in [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")] for r in (44_100, 48_000)]


@pytest.mark.parametrize("format, subtype, rate_hz", [*LOSSY, ("OGG", "OPUS", 48_000)])  # Opus has no 44.1 kHz
def test_lossy_formats(format, subtype, rate_hz):
    if subtype not in soundfile.available_subtypes(format):
        pytest.skip(f"this libsndfile has no {subtype}")
    sound, recording = read(encoded(5 * np.stack([tones(2, rate_hz)] * 2, axis=1), rate_hz, format, subtype))
    assert abs(len(sound) - 2 * RATE) <= 0.06 * RATE
    assert best_correlation(sound, 2) > 0.99
    assert recording.notes == []


def test_content_decides_not_the_name(tmp_path):
    for name in ("flac.wav", "flac.raw", "flac.mp3", "flac"):
        (tmp_path / name).write_bytes(encoded(tones(0.5, RATE), RATE, "FLAC"))
        assert_tones(read(tmp_path / name)[0], 0.5)


def test_path_bytes_and_file_objects_are_the_same(tmp_path):
    data = encoded(tones(1.5, 44_100), 44_100)
    (tmp_path / "a.wav").write_bytes(data)
    expected = read(tmp_path / "a.wav")[0]
    file = io.BytesIO(data)
    file.seek(100)
    with open(tmp_path / "a.wav", "rb") as opened:
        for source in (str(tmp_path / "a.wav"), data, bytearray(data), file, opened, Unseekable(data)):
            np.testing.assert_array_equal(read(source)[0], expected)
    assert not file.closed


class Unseekable(io.RawIOBase):
    """Bytes that come once, as from a network."""

    def __init__(self, data: bytes):
        self._file = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._file.readinto(buffer)


# --- Blocks


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 47_999, 96_000])
def test_resampling_does_not_depend_on_blocks(rate_hz, monkeypatch):
    samples = np.random.default_rng(0).uniform(-1, 1, 2 * rate_hz + 17).astype(np.float32)
    expected = soxr.resample(samples, rate_hz, RATE, quality="HQ")
    for block_s in (0.0017, 0.0371, 1.0, 9.0):
        monkeypatch.setattr(decode, "BLOCK_S", block_s)
        sound = read(encoded(samples, rate_hz, subtype="FLOAT"))[0]
        assert abs(len(sound) - len(expected)) <= 1
        n = min(len(sound), len(expected))
        np.testing.assert_allclose(sound[:n], expected[:n], atol=1e-4)


@pytest.mark.parametrize("format", ["FLAC", "OGG", "MP3"])
def test_decoding_does_not_depend_on_blocks(format, monkeypatch):
    data = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE), RATE, format)
    expected = read(data)[0]
    for block_s in (0.0371, 9.0):
        monkeypatch.setattr(decode, "BLOCK_S", block_s)
        np.testing.assert_allclose(read(data)[0], expected, atol=1e-6)


def test_memory_does_not_grow_with_the_recording(tmp_path):
    def peak_bytes(seconds: int) -> int:
        soundfile.write(tmp_path / "long.wav", np.tile(tones(1, 8000), seconds), 8000)
        read(encoded(tones(1, 8000), 8000))  # imports are not to be counted
        tracemalloc.start()
        with open_recording(tmp_path / "long.wav", 32_000) as recording:
            longest = max(len(block) for block in recording)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert recording.n_samples == seconds * 32_000 and longest < 1.1 * 32_000
        return peak

    assert peak_bytes(600) < 1.5 * peak_bytes(10)


def test_a_header_with_many_channels_does_not_make_blocks_large():
    data = encoded(np.zeros((30_000, 200)), 1_000_000, subtype="PCM_U8")
    with open_recording(data, 1_000_000) as recording:
        assert max(len(block) for block in recording) * 200 <= 2**22


def test_a_recording_is_read_once():
    data = encoded(tones(0.1, RATE), RATE)
    with open_recording(data, RATE) as recording:
        list(recording)
        with pytest.raises(UsageError, match="once"):
            iter(recording)


def test_silence_is_sound():
    sound, recording = read(encoded(np.zeros(4800), RATE))
    assert len(sound) == 4800 and recording.peak == 0.0
    assert read(encoded(np.full(4800, 2**-15), RATE))[1].peak > 0


def test_progress_while_reading():
    with open_recording(encoded(tones(3.5, 44_100), 44_100), RATE) as recording:
        assert recording.expected_s == 3.5 and recording.seconds == 0 and recording.n_samples == 0
        seconds = [recording.seconds for _ in recording]
    assert seconds[:3] == [1, 2, 3] and seconds[-1] == recording.seconds == 3.5


@pytest.mark.parametrize("rate_hz", [0, -1, True, "48000", None, float("nan"), float("inf")])
def test_impossible_rates(rate_hz):
    with pytest.raises(UsageError, match="rate_hz"):
        open_recording(encoded(tones(0.1, RATE), RATE), rate_hz)
    with pytest.raises(UsageError, match="sample_rate"):
        from_array(np.ones(4800), rate_hz, RATE)


@pytest.mark.parametrize("source", [3, None, np.zeros(4800), io.StringIO("text")])
def test_impossible_sources(source):
    with pytest.raises(UsageError, match="recording"):
        open_recording(source, RATE)


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
    assert refusal(data[: len(data) // 2]).startswith("is truncated: its index")


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


# --- What is refused


def test_missing_and_folders(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded(tones(0.1, RATE), RATE))
    assert refusal(tmp_path / "none.wav") == "does not exist"
    assert refusal(tmp_path / "a.wav" / "none.wav") == "does not exist"
    assert refusal(tmp_path) == "is a folder, not a recording"
    assert refusal("nul\0byte").startswith("cannot be read")
    assert refusal("long" * 2000).startswith("cannot be read")


@POSIX
def test_permission_denied(tmp_path):
    (tmp_path / "closed.wav").write_bytes(encoded(tones(0.1, RATE), RATE))
    (tmp_path / "closed.wav").chmod(0)
    tmp_path.chmod(0o755)
    # permission bits do not bind root, so that a child looks with the eyes of nobody
    script = (
        "import os, sys; from l3embed.decode import open_recording\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: open_recording('closed.wav', 48000)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    root = Path(decode.__file__).parents[2]
    child = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "AudioError cannot be read: permission denied"


@pytest.mark.parametrize("data", [b"", io.BytesIO(), Unseekable(b"")], ids=["bytes", "file", "stream"])
def test_empty(data, tmp_path):
    assert refusal(data) == "is empty (0 bytes)"
    (tmp_path / "empty.flac").touch()
    assert refusal(tmp_path / "empty.flac") == "is empty (0 bytes)"


@pytest.mark.parametrize("format", ["WAV", "AIFF", "OGG"])
def test_a_header_and_nothing_else(format):
    assert refusal(encoded(np.zeros(0), RATE, format)).startswith("holds no samples")


def test_too_short():
    assert (
        refusal(encoded(np.ones(3) / 2, RATE))
        == "is too short: 3 samples at 48000 Hz (0.062 ms), at least 1 ms are needed"
    )
    assert refusal(encoded(np.ones(44) / 2, 44_100)).startswith("is too short: 44 samples")
    assert len(read(encoded(np.ones(48) / 2, RATE))[0]) == 48
    assert len(read(encoded(np.ones(8) / 2, 8000))[0]) == 48


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number(value):
    samples = np.stack([tones(3, RATE)] * 2, axis=1)
    samples[int(2.25 * RATE), 1] = value
    assert refusal(encoded(samples, RATE, subtype="FLOAT")) == (
        "holds NaN or infinite samples, the first at 2.250 s: repair or cut that part"
    )
    with pytest.raises(AudioError, match=r"first at 2\.250 s"):
        from_array(samples, RATE, RATE)


@pytest.mark.parametrize(
    "data",
    [
        b"this is a text file, whatever its name says\n" * 50,
        np.random.default_rng(1).bytes(20_000),
        bytes(5000),
        b"RIFF\0\0\0\0WAVE",
        b"fLaC" + bytes(100),
        b"OggS" + bytes(100),
    ],
    ids=["text", "noise", "zeros", "riff", "flac", "ogg"],
)
def test_not_audio(data, tmp_path):
    (tmp_path / "a.wav").write_bytes(data)
    for source in (tmp_path / "a.wav", data):
        text = refusal(source)
        assert text == "is not audio: neither libsndfile nor ffmpeg recognises it" or text.startswith(
            "cannot be decoded"
        )


def test_playlists_are_not_followed(tmp_path):
    soundfile.write(tmp_path / "other.wav", tones(0.5, RATE), RATE)
    for text in ("#EXTM3U\n#EXTINF:1,\nother.wav\n", "ffconcat version 1.0\nfile other.wav\n", "\ufeff<html></html>"):
        (tmp_path / "list.mp3").write_text(text)
        assert "playlist or a web page" in refusal(tmp_path / "list.mp3")


@POSIX
@pytest.mark.parametrize("kind", ["device", "pipe", "pipe in the place of a file"])
def test_pipes_and_devices_do_not_block(kind, tmp_path, monkeypatch):
    path = "/dev/zero" if kind == "device" else tmp_path / "pipe"
    if kind != "device":
        os.mkfifo(path)
    if kind == "pipe in the place of a file":
        status = os.stat(__file__)
        monkeypatch.setattr(os, "stat", lambda path: status)
    texts = []
    look = threading.Thread(target=lambda: texts.append(refusal(path)), daemon=True)
    look.start()
    look.join(5)
    assert texts == ["is not a regular file but a pipe or a device: save it to a file first"]


# --- What is cut off


def test_truncated_flac():
    data = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE), RATE, "FLAC", "PCM_16")
    text = refusal(data[: len(data) * 6 // 10])
    assert text.startswith("is truncated") and "promises 5.00 s" in text
    could_be_read = float(text.split(", ")[-1].split(" s ")[0])
    assert 2.8 <= could_be_read <= 3.0
    assert read(data)[1].notes == []


def test_a_flac_that_ends_without_an_error(monkeypatch):
    """Some versions of libsndfile stop quietly at the cut."""
    data = encoded(tones(3, RATE), RATE, "FLAC")
    with open_recording(data, RATE) as recording:
        whole, sound = recording._reader.read, []
        recording._reader.read = lambda n: whole(n if recording.seconds < 2 else 0)
        with pytest.raises(AudioError, match=r"is truncated: the header promises 3\.00 s, 2\.00 s could be read"):
            sound.extend(recording)
    assert len(sound) == 2


@pytest.mark.parametrize("format, header", [("WAV", 44), ("RF64", 104), ("AIFF", 54)])
def test_a_truncated_plain_file_is_read_to_its_end(format, header):
    data = encoded(tones(5, RATE), RATE, format, "PCM_16")
    sound, recording = read(data[: header + 3 * RATE * 2])
    np.testing.assert_allclose(sound, tones(3, RATE), atol=2**-15)
    assert recording.notes == ["truncated: the header promises 5.00 s, 3.00 s could be read"]


def test_a_truncated_wav_with_something_before_the_sound():
    data = encoded(tones(5, RATE), RATE, subtype="PCM_16")
    data = data[:36] + b"note" + (3).to_bytes(4, "little") + b"odd\0" + data[36:]
    assert read(data)[1].notes == []
    assert read(data[: 56 + 3 * RATE * 2])[1].notes == ["truncated: the header promises 5.00 s, 3.00 s could be read"]


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0])
def test_a_wav_of_unknown_length(size):
    """As written to a pipe, or by a recorder that lost its power; some say 0, some almost 2^31 or 2^32."""
    data = encoded(tones(2, RATE), RATE, subtype="PCM_16")
    sizes = size.to_bytes(4, "little")
    sound, recording = read(data[:4] + sizes + data[8:40] + sizes + data[44:])
    np.testing.assert_allclose(sound, tones(2, RATE), atol=2**-15)
    assert recording.notes == []


def test_a_flac_of_unknown_length():
    data = bytearray(encoded(tones(2, RATE), RATE, "FLAC"))
    data[21] &= 0xF0  # the 36 bits of the number of samples
    data[22:26] = bytes(4)
    assert_tones(read(bytes(data))[0], 2)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_truncated_ogg(subtype):
    if subtype not in soundfile.available_subtypes("OGG"):
        pytest.skip(f"this libsndfile has no {subtype}")
    data = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE), RATE, "OGG", subtype)
    last_page = data.rfind(b"OggS")
    for cut in (len(data) * 6 // 10, last_page, last_page + 10, len(data) - 1):
        sound, recording = read(data[:cut])
        assert recording.notes == [
            f"truncated: the end-of-stream mark is missing, {len(sound) / RATE:.2f} s could be read"
        ]
    assert read(data)[1].notes == []


def test_the_length_of_an_mp3_is_not_checked():
    data = encoded(tones(5, RATE), RATE, "MP3")
    sound, recording = read(data[: len(data) * 6 // 10])
    assert 2 * RATE < len(sound) < 4 * RATE and recording.notes == []


class Failing(io.BytesIO):
    """A disk that gives up after some bytes."""

    good = 0

    def read(self, n=-1):
        if self.tell() + min(max(n, 0), len(self.getbuffer()) - self.tell()) > self.good:
            raise OSError(5, "Input/output error")
        return super().read(n)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG"])
def test_a_disk_that_gives_up(format):
    data = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE), RATE, format)
    file = Failing(data)
    file.good = len(data)
    with open_recording(file, RATE) as recording:
        blocks = iter(recording)
        next(blocks)
        file.good = len(data) // 2
        with pytest.raises(AudioError, match=r"^cannot be read: input/output error$"):
            list(blocks)
    file.good = 10
    assert refusal(file) == "cannot be read: input/output error"


def test_a_disk_that_gives_up_before_ffmpeg_reads(media):
    file = Failing(media["sound.m4a"].read_bytes())
    file.good = 5000
    assert refusal(file) == "cannot be read: input/output error"


def append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(bytes(9600))


def replace(path: Path) -> None:
    path.with_suffix(".new").write_bytes(path.read_bytes())
    path.with_suffix(".new").replace(path)


@POSIX
@pytest.mark.parametrize("change", [append, replace, lambda path: os.truncate(path, 100_000), os.unlink])
@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_a_file_that_changes_while_it_is_read(format, change, tmp_path):
    path = tmp_path / "growing"
    path.write_bytes(encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE), RATE, format))
    with open_recording(path, RATE) as recording:
        blocks = iter(recording)
        next(blocks)
        change(path)
        with pytest.raises(AudioError, match=r"^changed while it was being read: run again when"):
            list(blocks)


# --- Arrays


@pytest.mark.parametrize(
    "dtype, subtype", [("int16", "PCM_16"), ("int32", "PCM_32"), ("float32", "FLOAT"), ("float64", "DOUBLE")]
)
@pytest.mark.parametrize("rate_hz", [8000, 48_000])
def test_arrays_and_files_agree(dtype, subtype, rate_hz):
    scale = 1 if dtype.startswith("float") else np.iinfo(dtype).max
    samples = (5 * scale * tones(1.3, rate_hz)[:, None] * [1, 0.5]).astype(dtype)
    np.testing.assert_array_equal(
        from_array(samples, rate_hz, RATE), read(encoded(samples, rate_hz, subtype=subtype))[0]
    )


@given(dtype=st.sampled_from(["int8", "uint8", "int16", "uint16", "int32", "uint32"]), share=st.floats(0, 1))
def test_integers_are_scaled_by_their_range(dtype, share):
    info = np.iinfo(dtype)
    value = info.min + int(share * (info.max - info.min))
    middle = (info.min + info.max + 1) // 2
    sound = from_array(np.full(100, value, dtype), RATE, RATE)
    np.testing.assert_allclose(sound, (value - middle) / (info.max + 1 - middle), rtol=1e-6)
    assert sound.dtype == np.float32 and -1 <= sound.min() and sound.max() <= 1


def test_floats_are_left_alone():
    np.testing.assert_array_equal(from_array([2.5, -3.0] * 50, RATE, RATE), np.float32([2.5, -3.0] * 50))
    np.testing.assert_array_equal(from_array(np.full(100, 0.5, np.float16), RATE, RATE), np.full(100, 0.5))
    sound = np.ones(100, np.float32)
    from_array(sound, RATE, RATE)[:] = 0
    assert sound.all()  # what comes back is the caller's own


@pytest.mark.parametrize("sample_rate", [44_100, 44_100.0, np.int64(44_100), np.float32(44_100)])
def test_sample_rates_of_any_kind_of_number(sample_rate):
    assert_tones(from_array(tones(1.3, 44_100), sample_rate, RATE), 1.3)
    assert len(from_array(np.ones((4800, 2)), 4800.5, RATE)) == round(4800 * RATE / 4800.5)


@pytest.mark.parametrize(
    "audio, text",
    [
        (np.zeros((2, 4800)), "transpose"),
        (np.zeros(4800, bool), "holds bool values"),
        (np.zeros(4800, complex), "holds complex128 values"),
        (np.zeros(4800, object), "holds object values"),
        (np.zeros(4800, np.int64), "full scale is unknown"),
        (np.float32(0), "has 0 dimensions"),
        (np.zeros((4800, 2, 1)), "has 3 dimensions"),
        (np.zeros(0), "is empty"),
        (np.zeros((4800, 0)), "is empty"),
        (np.zeros(47), "is too short: 47 samples at 48000 Hz"),
        ([[1.0], [1.0, 2.0]], "is not an array of samples"),
        ("sound.wav", "holds str"),
        (np.full(4800, 1e300), "NaN or infinite"),
    ],
)
def test_arrays_that_are_not_sound(audio, text):
    with pytest.raises(AudioError, match=text) as caught:
        from_array(audio, RATE, RATE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sample_rate", [1e-30, 0.001, 4, 1e9, 1e30])
def test_rates_beyond_the_resampler(sample_rate):
    with pytest.raises(AudioError, match="too far from 48000 Hz"):
        from_array(np.zeros(2_000_000), sample_rate, RATE)


# --- Real recordings


@pytest.mark.parametrize("pattern", ["esc10/*/*.ogg", "video/*.mp4"])
def test_real_recordings(shared_data, pattern):
    paths = sorted(shared_data.glob(pattern))[::40][:5]
    assert paths
    for path in paths:
        sound, recording = read(path)
        # a video may outlast its sound by a little
        assert len(sound) / RATE == pytest.approx(recording.expected_s, abs=0.15)
        assert 0 < recording.peak < 2 and recording.notes == []


_INTERRUPTED = """
import signal, sys
from l3embed.decode import open_recording, source
tell, calls = source.Source.tell, []
def interrupted(self):
    calls.append(self)
    if len(calls) == 3:
        signal.raise_signal(signal.SIGINT)
    return tell(self)
try:
    with open_recording(sys.argv[1], 48_000) as recording:
        source.Source.tell = interrupted
        list(recording)
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("interrupted")
"""


def test_ctrl_c_inside_libsndfile_is_not_forgotten(tmp_path):
    """libsndfile calls back into Python, where an interrupt would be printed and taken for the end of the file."""
    (tmp_path / "a.flac").write_bytes(encoded(tones(9, RATE), RATE, "FLAC"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _INTERRUPTED, str(tmp_path / "a.flac")]  # a process that is interrupted alone
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_chained_ogg_is_read_to_its_end_or_told():
    """RFC 3533: files joined end to end are a file; ffmpeg reads on, unless the rate changes."""
    first = encoded(tones(2, RATE), RATE, "OGG")
    sound, _ = read(first + encoded(tones(3, RATE), RATE, "OGG"))
    assert len(sound) == pytest.approx(5 * RATE, abs=0.02 * RATE) and np.abs(sound[-RATE:]).max() > 0.03
    _, recording = read(first + encoded(tones(3, 32_000), 32_000, "OGG"))
    assert "some sound may be missing" in recording.notes[0]


@POSIX
def test_a_size_that_came_round_at_4_gib_is_told(tmp_path):
    path, n = tmp_path / "long.wav", 2**32 + RATE * 2
    path.write_bytes(encoded(np.zeros(RATE, np.int16), RATE))
    os.truncate(path, 44 + n)  # sparse
    sound, recording = read(path)
    assert len(sound) == RATE and "more than 4 GiB: its header counts 1.00 s only" in recording.notes[0]


def test_the_first_channel_alone_where_a_model_takes_that(tmp_path):
    """SoundNet does. Otherwise channels are averaged."""
    left, right = (0.25 * np.random.default_rng(i).uniform(-1, 1, 4_000).astype(np.float32) for i in (0, 1))
    both = np.stack([left, right], axis=1)
    with decode.open_array(both, 8_000, 8_000) as recording:
        recording.mix = "first"
        np.testing.assert_array_equal(np.concatenate(list(recording)), left)
    np.testing.assert_allclose(decode.from_array(both, 8_000, 8_000), both.mean(axis=1), atol=1e-7)
