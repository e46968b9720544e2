"""What strangers send: bounds kept before and while it is decoded, and an ffmpeg that is led nowhere."""

import io
import json
import subprocess

import numpy as np
import pytest
import soundfile
from test_decode_ffmpeg import MEDIA, make_media

from l3embed.decode import Bounds, ffmpeg_binary, open_array, open_recording
from l3embed.decode.bounds import DEMUXERS
from l3embed.errors import AudioError, LimitError


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    return {name: make_media(folder, name, *options) for name, options in MEDIA.items()}


def wav(seconds, rate_hz=8000, channels=1):
    out = io.BytesIO()
    soundfile.write(out, np.full((round(seconds * rate_hz), channels), 0.1, np.float32), rate_hz, format="WAV")
    return out.getvalue()


def read(source, bounds):
    with open_recording(source, 16_000, bounds) as recording:
        return np.concatenate(list(recording))


@pytest.mark.parametrize(
    "body, bounds, text",
    [
        (wav(2.01), Bounds(seconds=2), "is longer than the 2 s that are allowed"),
        (wav(1, channels=3), Bounds(channels=2), "has 3 channels, at most 2 are allowed"),
        (wav(1, 4000), Bounds(least_hz=8000), "has a rate of 4000 Hz, 8000 to inf Hz are allowed"),
        (wav(1, 96_000), Bounds(most_hz=48_000), "has a rate of 96000 Hz, 0 to 48000 Hz are allowed"),
    ],
)
def test_a_header_beyond_the_bounds_is_refused_before_anything_is_decoded(body, bounds, text):
    with pytest.raises(LimitError) as refused:
        open_recording(body, 16_000, bounds)
    assert str(refused.value) == text
    with pytest.raises(LimitError):
        samples, rate_hz = soundfile.read(io.BytesIO(body), always_2d=True)
        open_array(samples, rate_hz, 16_000, bounds)
    kept = Bounds(2.01, 3, 4000, 96_000)
    assert len(read(body, kept)) == len(read(body, None)) > 0


@pytest.mark.parametrize("name", ["sound.m4a", "video.webm", "sound.wma", "sound.aac"])
def test_sound_that_goes_on_is_stopped(media, name):
    with open(media[name], "rb") as file, pytest.raises(LimitError, match="longer than the 1 s"):
        read(file, Bounds(seconds=1))


@pytest.mark.parametrize("name", [name for name in MEDIA if name != "silent.mp4"])
@pytest.mark.parametrize("kind", ["file", "bytes", "stream"])
def test_a_guarded_ffmpeg_reads_the_same_sound(media, name, kind):
    """Of an open file without a name too, wherever its index lies."""
    wanted = read(media[name], None)
    with open(media[name], "rb") as file:
        source = {"file": file, "bytes": media[name].read_bytes(), "stream": io.BytesIO(media[name].read_bytes())}[kind]
        assert np.array_equal(read(source, Bounds()), wanted)


def test_an_ffmpeg_without_the_fd_protocol_reads_a_pipe(media, monkeypatch):
    monkeypatch.setattr("l3embed.decode.ffmpeg._open_file_protocol", lambda: "pipe")
    with open(media["video.webm"], "rb") as file:
        assert np.array_equal(read(file, Bounds()), read(media["video.webm"], None))


def test_a_guarded_ffmpeg_opens_nothing_else(media, tmp_path, monkeypatch):
    """Playlists in every dress, with what they name beside them: an unguarded ffmpeg would read it."""
    soundfile.write(tmp_path / "secret.wav", np.full(16_000, 0.5), 16_000)
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret.wav"
    lures = [
        f"ffconcat version 1.0\nfile {secret}\n", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n",
        "\n\n ffconcat version 1.0\nfile secret.wav\n", f"file '{secret}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 50001 RTP/AVP 0\n",
        f"<MPD><Period><AdaptationSet><Representation><BaseURL>{secret}</BaseURL></Representation></AdaptationSet>"
        "</Period></MPD>", "sine=frequency=440:duration=1",
    ]  # fmt: skip
    for lure in lures:
        for prefix in ("", "\0"):
            with pytest.raises(AudioError, match="is not audio"):
                read((prefix + lure).encode(), Bounds())
    # a lure, told what it is: it is followed without the guard, and with either half of it not
    (tmp_path / "lure").write_text(f"file {secret}\n")
    for guard, works in (([], True), (["-format_whitelist", DEMUXERS], False), (["-protocol_whitelist", "fd"], False)):
        command = [
            ffmpeg_binary(),
            "-v",
            "error",
            "-f",
            "concat",
            "-safe",
            "0",
            *guard,
            "-i",
            "lure",
            "-f",
            "null",
            "-",
        ]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert (done.returncode == 0 and not done.stderr) == works


def test_the_worker_writes_no_file_and_tells_all_in_plain_bytes(media):
    """As the service runs it: a process, an open file, messages; with RLIMIT_FSIZE 0 ffmpeg still decodes."""
    from l3embed import weights
    from l3embed.service.decoders import Decoders
    from l3embed.service.worker import Task
    from l3embed.windows import Framing

    front_end = weights.card().model.front_end
    decoders = Decoders(1)
    try:
        child = decoders.take()
        for path in (media["sound.m4a"], media["video.mp4"]):
            with open(path, "rb") as file:
                task = Task("recording", front_end, Framing(32_000, 3200), Bounds(), None, 60.0, 3 << 30)
                heads, rows = zip(*child.read(task, file), strict=True)
            assert heads[-1]["end"] == "done" and heads[-1]["seconds"] == pytest.approx(2, abs=0.1)
            assert sum(head.get("n_windows", 0) for head in heads) == sum(len(r) for r in rows if r is not None) > 10
            json.dumps(heads)
        decoders.give(child)
        assert decoders.take() is child and child.is_alive
    finally:
        decoders.close()
    assert child.end() is not None
