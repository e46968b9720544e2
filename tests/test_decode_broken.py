"""Every way in which a recording can be broken: refused, or read with a note."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tones import POSIX, RATE, Failing, Unseekable, assert_tones, encoded, read, refusal, tones

from l3embed import decode
from l3embed.decode import from_array, open_recording
from l3embed.errors import AudioError

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
        b"OggS\0\2\0\0",
    ],
    ids=["text", "noise", "zeros", "riff", "flac", "ogg", "cut ogg"],
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
