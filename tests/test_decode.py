"""Decoding against signals known in closed form."""

import io
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st
from tones import POSIX, RATE, Unseekable, assert_tones, best_correlation, encoded, read, tones

from l3embed import decode
from l3embed.decode import from_array, open_recording
from l3embed.errors import AudioError, UsageError

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


def test_mp3_files_joined_end_to_end_are_read_to_the_end():
    """libsndfile stops where the first one's header says, ffmpeg reads on. A tag is no further file."""
    first, second = (encoded(tones(seconds, RATE), RATE, "MP3") for seconds in (2, 3))
    tag = b"ID3\x03\x00\x00\x00\x00\x01\x08" + bytes(136)  # 1 x 128 + 8 bytes
    for data in (first + second, tag + first + tag + second, first + second + b"TAG" + bytes(125)):
        sound, _ = read(data)
        assert len(sound) == pytest.approx(5 * RATE, abs=0.1 * RATE) and np.abs(sound[-RATE:]).max() > 0.03
    for data in (first, tag + first, first + b"TAG" + bytes(125), first + b"APETAGEX" + bytes(24)):
        sound, recording = read(data)
        assert len(sound) == 2 * RATE and not recording.notes


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
