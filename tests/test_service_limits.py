"""What clients may not do, and what they are told then. No answer names a path; none takes longer than a limit."""

import contextlib
import io
import json
import socket
import struct
import urllib.parse
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from conftest import tone, write
from serving import ask, embed, eventually, form, metric, problem, running

from l3embed.decode import ffmpeg_binary
from l3embed.embed import EmbeddingModel
from l3embed.engine import PlaceholderEngine
from l3embed.errors import UsageError
from l3embed.service import keys, negotiation
from l3embed.service.problems import Problem

LIMITS = {"max_seconds": 20, "max_bytes": 300_000, "max_windows": 500, "max_channels": 4, "silent_s": 1.0,
          "max_files": 3, "max_cells": 50, "most_hz": 400_000}  # fmt: skip


@pytest.fixture(scope="module")
def server(placeholder):
    with running([placeholder], **LIMITS) as server:
        yield server


def sound(seconds, rate_hz=8000, channels=1, kind="WAV", value=0.1):
    out = io.BytesIO()
    soundfile.write(out, np.full((round(seconds * rate_hz), channels), value, np.float32), rate_hz, format=kind)
    return out.getvalue()


def test_the_service_is_well_after_all_of_this(server):
    """Asked by the others at their end: here that it is at its beginning."""
    assert embed(server.url, sound(1))[0] == 200


def test_a_body_that_promises_too_much_is_refused_before_it_comes(server):
    with _raw(server.url, b"Content-Length: 300001\r\nContent-Type: audio/wav\r\n\r\n") as link:
        assert _status(link) == 413


def test_a_body_that_does_not_say_its_length_is_cut_off(server):
    def endless():
        for _ in range(100):
            yield bytes(10_000)

    table = problem(embed(server.url, endless()), 413, "too_large")
    assert "300000" in table["detail"]


def test_silence_that_is_small_as_a_file_is_still_long(server):
    body = sound(36_000, 1000, kind="FLAC", value=0)
    assert len(body) < LIMITS["max_bytes"]
    problem(embed(server.url, body), 413, "too_long")


def test_what_a_header_does_not_say_is_found_while_decoding(server, tmp_path):
    """FLAC in Ogg without a length, and Matroska whose header is silent: both go on and on."""
    import subprocess

    path = write(tmp_path / "a.wav", np.zeros(60 * 8000), 8000)
    for name in ("a.mka", "a.opus", "a.mp3"):
        live = ["-live", "1"] if name.endswith("mka") else []
        subprocess.run([ffmpeg_binary(), "-v", "error", "-i", str(path), *live, str(tmp_path / name)], check=True)
        problem(embed(server.url, (tmp_path / name).read_bytes()), 413, "too_long")


@pytest.mark.parametrize(
    "body, status, reason",
    [
        (sound(1, channels=5), 422, "beyond_limits"),
        (sound(0.1, rate_hz=500_000), 422, "beyond_limits"),
        (sound(15, rate_hz=50), 422, "beyond_limits"),
        (b"RIFF" + b"\xff" * 100, 422, "bad_audio"),
        (sound(1)[:44], 422, "bad_audio"),
        (b"no sound at all", 422, "bad_audio"),
        (b"", 422, "empty"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 422, "bad_audio"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 422, "bad_audio"),
        (b"\0#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/\n", 422, "bad_audio"),
        (b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>", 422, "bad_audio"),
        (
            b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=audio 5004 RTP/AVP 0\r\n",
            422,
            "bad_audio",
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 422, "bad_audio"),
    ],
)
def test_what_is_no_recording_or_too_much_of_one(server, body, status, reason):
    problem(embed(server.url, body), status, reason)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_sound_that_is_no_number(server, value):
    out = io.BytesIO()
    array = tone(1, 8000)
    array[4000] = value
    soundfile.write(out, array, 8000, format="WAV", subtype="FLOAT")
    assert "0.500 s" in problem(embed(server.url, out.getvalue()), 422, "bad_audio")["detail"]
    text = json.dumps({"samples": array.tolist(), "sample_rate": 8000})
    problem(embed(server.url, text, kind="application/json"), 422, "bad_audio")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"samples": [1, 2]}', '{"samples": "x", "sample_rate": 8000}', "[" * 100_000, "null",
     '{"samples": [[1, 2], [3]], "sample_rate": 8000}', '{"samples": [{}], "sample_rate": 8000}',
     '{"samples": [0.1], "sample_rate": -1}', '{"samples": [0.1], "sample_rate": "8000"}',
     '{"samples": [0.1, 0.1, 0.2], "sample_rate": 1e300}', '{"samples": [], "sample_rate": 8000}'],
)  # fmt: skip
def test_json_that_is_not_samples(server, text):
    status, _, body = embed(server.url, text, kind="application/json")
    assert status == 422 and json.loads(body)["reason"] in ("bad_audio", "bad_setting", "empty", "beyond_limits"), body


def test_npy_that_is_not_samples(server):
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], object), allow_pickle=True)
    for body in (b"\x93NUMPY", pickled.getvalue(), b"PK\3\4", b"x"):
        problem(embed(server.url, body, kind="application/x-npy", query="?sample_rate=8000"), 422, "bad_audio")
    problem(embed(server.url, body, kind="application/x-npy"), 422, "bad_setting")


@pytest.mark.parametrize(
    "query", ["hop=0", "hop=-1", "hop=nan", "hop=inf", "hop=x", "center=maybe", "pool=median", "windows=all", "hopp=1",
              "timestamps=x", "hop=1e-9", "windows=exact&windows=x"],
)  # fmt: skip
def test_settings_out_of_range(server, query):
    problem(embed(server.url, sound(1), query=f"?{query}"), 422, "bad_setting")


def test_other_things_that_are_not_there(server):
    problem(embed(server.url, sound(1), query="?model=x"), 404, "unknown_model")
    problem(ask(server.url, "GET", "/v1/models/..%2f..%2fetc%2fpasswd"), 404, "not_found")
    problem(ask(server.url, "GET", "/v1/models/x"), 404, "unknown_model")
    problem(ask(server.url, "GET", "/v1/nothing"), 404, "not_found")
    assert problem(ask(server.url, "GET", "/v1/embed"), 405, "wrong_method") and embed(server.url, sound(1))[0] == 200
    problem(embed(server.url, sound(1), "text/html"), 406, "not_acceptable")
    problem(embed(server.url, sound(1), kind="text/html"), 415, "unknown_type")


def test_a_missing_pyarrow_is_told(server, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = problem(embed(server.url, sound(1), "application/vnd.apache.arrow.stream"), 406, "not_acceptable")
    assert "l3embed[serve]" in table["detail"]


def test_too_many_windows_and_too_large_a_matrix(server):
    problem(embed(server.url, sound(10), query="?hop=0.001"), 413, "too_many_windows")
    body, kind = form([("a", "a", sound(3)), ("b", "b", sound(3))])
    answer = ask(server.url, "POST", "/v1/similarity?matrix=true", body, {"Content-Type": kind})
    problem(answer, 413, "too_many_windows")


def test_forms_that_are_not_right(server):
    one = ("file", "a.wav", sound(1))
    for files, fields, path, status, reason in (
        ([], [("file", "text")], "/v1/embed", 422, "no_file"),
        ([("sound", "a.wav", sound(1))], [], "/v1/embed", 422, "no_file"),
        ([one, one], [], "/v1/embed", 400, "bad_request"),
        ([one], [("hop", "x")], "/v1/embed", 422, "bad_setting"),
        ([one], [("model", "m" * 3000)], "/v1/embed", 400, "bad_request"),
        ([one] * 4, [], "/v1/embed/batch", 413, "too_many_files"),
        ([], [("x", "y")], "/v1/embed/batch", 422, "no_file"),
        ([("a", "a", sound(1))], [], "/v1/similarity", 422, "no_file"),
    ):
        body, kind = form(files, fields)
        problem(ask(server.url, "POST", path, body, {"Content-Type": kind}), status, reason)
    for path in ("/v1/embed/batch", "/v1/similarity"):
        problem(ask(server.url, "POST", path, sound(1), {"Content-Type": "audio/wav"}), 415, "unknown_type")
    problem(embed(server.url, b"--x\r\n", kind="multipart/form-data"), 400, "bad_request")
    problem(embed(server.url, b"garbage", kind="multipart/form-data; boundary=x"), 400, "bad_request")


@contextlib.contextmanager
def _raw(url, head):
    """A connection on which POST /v1/embed with this head was sent."""
    parts = urllib.parse.urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as link:
        link.sendall(b"POST /v1/embed HTTP/1.1\r\nHost: x\r\n" + head)
        yield link


def _status(link):
    return int(link.recv(65_536).split()[1])


def test_a_sender_that_says_nothing_more_is_told_so(server):
    with _raw(server.url, b"Content-Length: 1000\r\n\r\nabc") as link:
        assert _status(link) == 408


def test_a_sender_of_one_byte_at_a_time_is_told_so(server):
    with _raw(server.url, b"Content-Length: 1000\r\n\r\n") as link:
        link.settimeout(0.2)
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                assert _status(link) == 408
                return
            link.sendall(b"x")
    raise AssertionError("it was listened to for ever")


def test_requests_that_are_no_http(server):
    parts = urllib.parse.urlsplit(server.url)
    for head in (b"nonsense\r\n\r\n", b"POST /v1/embed HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                 b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"):  # fmt: skip
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as link:
            link.sendall(head)
            assert _status(link) == 400
    assert embed(server.url, sound(1))[0] == 200


def test_a_head_that_never_ends_is_hung_up_on(server, monkeypatch):
    from l3embed.service import server as module

    monkeypatch.setattr(module, "HEAD_S", 0.3)
    parts = urllib.parse.urlsplit(server.url)
    for beginning in (b"", b"GET / HTTP/1.1\r\nHost"):
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as link:
            link.sendall(beginning)
            with contextlib.suppress(ConnectionResetError):
                assert link.recv(100) == b""


def test_a_reader_that_takes_nothing_is_hung_up_on(placeholder):
    """Its vectors wait in a file; the recording is computed and its place is free before it is."""
    wide = EmbeddingModel(replace(placeholder.card, model=replace(placeholder.spec, dim=4096)), PlaceholderEngine)
    with running([wide], silent_s=1.0) as server:
        parts = urllib.parse.urlsplit(server.url)
        body = sound(60)
        with socket.socket() as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.connect((parts.hostname, parts.port))
            head = f"POST /v1/embed HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            link.sendall(head.encode() + body)
            eventually(lambda: metric(server.url, 'l3embed_failures_total{reason="client_gone"}'))
            assert server.desk.admission.n_open == 0
            eventually(lambda: server.desk.room.used == 0)


def test_a_full_disk_is_told(placeholder):
    with running([placeholder], max_disk_bytes=40_000) as server:
        problem(embed(server.url, sound(5)), 507, "no_space")  # the body
        problem(embed(server.url, sound(1), query="?hop=0.0001"), 507, "no_space")  # the vectors
        assert embed(server.url, sound(0.5))[0] == 200
        eventually(lambda: server.desk.room.used == 0)


def test_a_decoder_that_costs_too_much_is_ended(placeholder):
    with running([placeholder], cpu_s=-360.0, max_seconds=3600) as server:  # a second is left
        problem(embed(server.url, sound(3000, 1000, value=0, kind="FLAC")), 422, "too_costly")


def test_a_decoder_that_needs_too_much_memory_is_told_so(placeholder):
    with running([placeholder], memory_bytes=1 << 20) as server:
        problem(embed(server.url, json.dumps({"samples": [0.5] * 100_000, "sample_rate": 8000}),
                      kind="application/json"), 422, "too_costly")  # fmt: skip


def test_out_of_time(placeholder):
    with running([placeholder], max_compute_s=0.0) as server:
        problem(embed(server.url, sound(1)), 503, "out_of_time")


def test_keys(placeholder, tmp_path):
    path = tmp_path / "keys"
    path.write_text("# ours\nfirst-key-0123456789\n\nsecond-key-987654321\n")
    with running([placeholder], keys=keys.read(str(path))) as server:
        for headers in ({}, {"Authorization": "Bearer first-key"}, {"X-API-Key": "x"}, {"X-API-Key": "é"},
                        {"Authorization": "Basic first-key-0123456789"}, {"X-API-Key": "# ours"}):  # fmt: skip
            answer = embed(server.url, sound(1), **headers)
            assert problem(answer, 401, "no_key") and answer[1]["WWW-Authenticate"] == "Bearer"
        for headers in ({"Authorization": "Bearer first-key-0123456789"}, {"X-API-Key": "second-key-987654321"}):
            assert embed(server.url, sound(1), **headers)[0] == 200
        assert ask(server.url, "GET", "/v1/models")[0] == ask(server.url, "GET", "/metrics")[0] == 401
        assert ask(server.url, "GET", "/healthz")[0] == ask(server.url, "GET", "/")[0] == 200
        described = json.loads(ask(server.url, "GET", "/openapi.json")[2])
        assert described["paths"]["/v1/embed"]["post"]["security"] == [{"bearer": []}, {"header": []}]


@pytest.mark.parametrize("text", ["", "# none\n", "short\n", "ä" * 20])
def test_files_of_keys_that_are_not_right(tmp_path, text):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"keys: .*key"):
        keys.read(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        keys.read(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    "header, wanted",
    [(None, "a/x"), ("*/*", "a/x"), ("b/y", "b/y"), ("a/*;q=0.5, b/y", "b/y"), ("b/*, a/x;q=0.1", "b/y"),
     ("a/x;q=0, */*", "b/y"), ("text/html, */*;q=0.1", "a/x"), (" B/Y ;q=1.0", "b/y"), ("a/x, b/y", "a/x")],
)  # fmt: skip
def test_the_type_that_is_liked_best_is_chosen(header, wanted):
    assert negotiation.chosen(header, ["a/x", "b/y"]) == wanted


@pytest.mark.parametrize("header", ["c/z", "*/*;q=0", "a/x;q=x", ";;", "a/x;q=0,b/y;q=0"])
def test_a_type_that_is_not_there_is_not_chosen(header):
    with pytest.raises(Problem):
        negotiation.chosen(header, ["a/x", "b/y"])


def test_request_ids_are_kept_where_they_are_sane(server, caplog):
    import logging

    def said():
        return [json.loads(record.message) for record in caplog.records if record.name == "l3embed.service"]

    with caplog.at_level(logging.INFO, "l3embed.service"):
        assert embed(server.url, sound(1), **{"X-Request-ID": "mine-1.2_3"})[1]["X-Request-ID"] == "mine-1.2_3"
        for other in ("x" * 65, "a b", "a;b", ""):
            made = embed(server.url, b"x", **{"X-Request-ID": other})[1]["X-Request-ID"]
            assert len(made) == 16 and made != other
        eventually(lambda: made in [line["id"] for line in said()])  # it is written after the answer
    lines = said()
    first = next(line for line in lines if line["id"] == "mine-1.2_3")
    assert first["status"] == 200 and first["route"] == "/v1/embed" and first["seconds"] == 1 and first["bytes"] > 0
    assert next(line for line in lines if line["id"] == made)["reason"] == "bad_audio"


def test_wav_that_lies_about_its_size_or_has_thousands_of_channels(server):
    body = bytearray(sound(1))
    body[40:44] = struct.pack("<I", 2**31 - 1)
    assert embed(server.url, bytes(body))[0] == 200  # read as far as it goes, with a note
    head = (
        b"RIFF" + struct.pack("<I", 60_036) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 10_000, 8000, 0, 20_000, 16)
    )
    answer = embed(server.url, head + b"data" + struct.pack("<I", 60_000) + bytes(60_000))
    assert answer[0] == 422, answer
