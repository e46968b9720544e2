"""The client against the local model: the same methods, the same numbers, the same words when something is wrong."""

import http.server
import inspect
import json
import threading
import warnings

import numpy as np
import pytest
from conftest import tone, write
from serving import running

import l3embed
from l3embed import Client
from l3embed.embed import EmbeddingModel
from l3embed.errors import AudioError, L3EmbedWarning, ServiceError, UsageError
from l3embed.pooling import cosine
from l3embed.service import keys


@pytest.fixture(scope="module")
def client(shipped):
    with running([shipped], max_seconds=100) as server, Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    return [write(folder / f"{i}.flac", tone(0.4 + 1.3 * i, 22_050, 300 * (i + 1), seed=i), 22_050) for i in range(6)]


def equal(a, b):
    return a[0].dtype == b[0].dtype and np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])


@pytest.mark.parametrize("method", ["embed", "each"])
def test_the_methods_are_called_as_the_local_model_s(method):
    assert inspect.signature(getattr(Client, method)) == inspect.signature(getattr(EmbeddingModel, method))


def test_the_client_is_there_when_it_is_asked_for():
    assert l3embed.Client is Client and "Client" in l3embed.__all__
    with pytest.raises(AttributeError, match="no attribute 'Clients'"):
        _ = l3embed.Clients


def test_it_says_what_the_local_model_says_of_itself(client, shipped):
    for name in ("name", "dim", "precision", "classes"):
        assert getattr(client, name) == getattr(shipped, name)
    assert client.fingerprint == shipped.spec.fingerprint() and client.models() == [client.info]
    assert client.info["rate_hz"] == 32_000 and client.info["hop_s"] == 0.1


@pytest.mark.parametrize("how", [{}, {"hop": 0.5, "center": False}, {"hop": 0.3, "timestamps": "openl3"}])
def test_files_one_and_many(client, shipped, files, how):
    assert equal(client.embed(files[3], **how), shipped.embed(files[3], **how))
    assert equal(client.embed(str(files[3]), **how), shipped.embed(files[3], **how))
    many = client.embed(files, **how)
    assert isinstance(many, list) and all(map(equal, many, shipped.embed(files, **how)))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int16", "uint8", "int32", ">i2", "longdouble"])
@pytest.mark.parametrize("channels", [1, 2])
def test_arrays_of_any_kind_are_the_same_sound(client, shipped, dtype, channels):
    kind = np.dtype(dtype)
    sound = np.stack([tone(1.7, 16_000, 500 * (c + 1)) for c in range(channels)], axis=1)
    if kind.kind != "f":
        sound = sound * 2.0 ** (8 * kind.itemsize - 2) + (128 if kind.kind == "u" else 0)
    sound = sound.astype(kind)
    assert equal(client.embed(sound, 16_000), shipped.embed(sound, 16_000))


def test_many_arrays_of_many_rates(client, shipped):
    sounds, rates = [tone(1 + i / 3, r) for i, r in enumerate((8000, 44_100, 32_000))], [8000, 44_100, 32_000]
    assert all(map(equal, client.embed(sounds, rates), shipped.embed(sounds, rates)))
    assert all(map(equal, client.each(iter(sounds[:1] * 9), 8000), [shipped.embed(sounds[0], 8000)] * 9))


def test_a_stream_of_windows(client, shipped, files):
    wanted, times = shipped.embed(files[5])
    got = list(client.stream(files[5]))
    assert np.array_equal([v for v, _ in got], wanted) and [t for _, t in got] == times.tolist()
    assert next(client.stream(tone(60, 8000), 8000))[0].dtype == np.float32  # the rest is not waited for


def test_similarity(client, shipped, files):
    a, b = (shipped.embed(f, hop=0.5)[0] for f in files[2:4])
    means = [x.astype(float).mean(axis=0)[None] for x in (a, b)]
    assert client.similarity(*files[2:4], hop=0.5) == pytest.approx(cosine(*means)[0, 0], abs=1e-6)
    alike, matrix = client.similarity(files[2], files[3].read_bytes(), pool="max", matrix=True, hop=0.5)
    assert -1 <= alike <= 1 and np.allclose(matrix, cosine(a, b), atol=1e-6)


@pytest.mark.parametrize(
    "sound, rate",
    [(np.zeros(100, bool), 8000), (np.array([0.1, np.nan] * 100), 8000), (np.zeros((2, 50)), 8000),
     (np.zeros(0), 8000), (np.zeros(100, np.int64), 8000), (np.zeros((9, 9, 9)), 8000), (np.array([{}]), 8000),
     ([0.1] * 100, [8000] * 3), (np.zeros(100), None), ("/nowhere.wav", None), (__file__, None)],
)  # fmt: skip
def test_what_is_wrong_is_said_in_the_same_words(client, shipped, sound, rate):
    with pytest.raises((AudioError, UsageError)) as local:
        shipped.embed(sound, rate)
    with pytest.raises(type(local.value)) as remote:
        client.embed(sound, rate)
    objects = "is not an array of samples" in str(remote.value)  # NumPy does not send what it does not know
    assert objects or str(remote.value) == str(local.value)


def test_settings_that_are_wrong(client, files):
    for how in ({"hop": -1}, {"windows": "x"}, {"hop": 0.1, "center": "perhaps"}):
        with pytest.raises(UsageError):
            client.embed(files[0], **how)
    with pytest.raises(UsageError, match="url must be"):
        Client("localhost:8000")
    with pytest.raises(UsageError, match="no model 'x'"):
        _ = Client(client.url, model="x").dim
    with pytest.raises(UsageError, match="no such model"):
        Client(client.url, model="x").embed(files[0])
    with pytest.raises(AudioError, match=r"sound 0: is longer than the 100 s"):
        client.embed(np.zeros(200 * 1000), 1000)
    with pytest.raises(AudioError, match=r"sound 0: is longer than the 100 s"):
        list(client.stream(np.zeros(200 * 1000), 1000))


def test_what_is_odd_about_a_sound_is_warned_of(client):
    for call in (client.embed, lambda *sound: list(client.stream(*sound))):
        with pytest.warns(L3EmbedWarning, match="sound 0: all samples are zero"):
            call(np.zeros(8000), 8000)


def test_a_key(shipped, files, tmp_path):
    (tmp_path / "keys").write_text("0123456789abcdef")
    with running([shipped], keys=keys.read(str(tmp_path / "keys"))) as server:
        with pytest.raises(UsageError, match="needs an API key"):
            Client(server.url).embed(files[0])
        with Client(server.url, "0123456789abcdef") as client:
            assert equal(client.embed(files[0]), shipped.embed(files[0]))


class _Moody(http.server.BaseHTTPRequestHandler):
    """Answers what it is told to, one after the other."""

    protocol_version = "HTTP/1.1"
    script: list = []  # noqa: RUF012

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, body = self.script.pop(0)
        if status is None:  # gone without a word
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def moody(client, files, monkeypatch):
    """(client of a server that answers what is put into its script, an answer that is right, the waits)."""
    waits = []
    monkeypatch.setattr("l3embed.client.time.sleep", waits.append)
    head = {"Content-Type": "application/octet-stream", "Accept": "application/x-npz"}
    right = (200, {}, client._read("POST", "/v1/embed", lambda: files[0].read_bytes(), head))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Moody)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}", retry_s=10) as asking:
            yield asking, right, waits
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _busy(after, status=429):
    headers = {} if after is None else {"Retry-After": after}
    return status, headers, json.dumps({"reason": "queue_full", "detail": "too busy"}).encode()


def test_a_busy_service_is_asked_again_when_it_says_and_not_for_ever(moody, files):
    client, right, waits = moody
    _Moody.script[:] = [_busy("3"), _busy("2", 503), _busy(None), _busy("soon", 502), right]
    assert client.embed(files[0])[0].shape[1] == 384 and waits == [3, 2, 1, 1]
    _Moody.script[:] = [_busy("4"), _busy("100")]
    with pytest.raises(ServiceError, match="too busy"):
        client.embed(files[0])
    assert waits[4:] == [4]


def test_connections_that_break_are_made_anew_and_not_for_ever(moody, files):
    client, right, waits = moody
    gone = (None, {}, b"")
    _Moody.script[:] = [gone, right]
    assert client.embed(files[0])[0].shape[1] == 384
    _Moody.script[:] = [gone] * 20
    with pytest.raises(ServiceError, match="cannot be reached"):
        client.embed(files[0])
    cut = (200, {"Content-Length": str(len(right[2]))}, right[2][:100])
    _Moody.script[:] = [(*cut[:1], {**cut[1], "Connection": "close"}, cut[2])]
    with pytest.raises(ServiceError, match="broke off"):
        client.embed(files[0])
    _Moody.script[:] = [(500, {}, b"<html>")]
    with pytest.raises(ServiceError, match="answered 500"):
        client.embed(files[0])
    _Moody.script[:] = [(200, {}, b'{"model": "x"}\n{"time_s": 0, "embedding": [1.0]}\n')]
    with pytest.raises(ServiceError, match="ended before"):
        list(client.stream(files[0]))
    assert waits == []


def test_nobody_there(files):
    with warnings.catch_warnings(), pytest.raises(ServiceError, match=r"127\.0\.0\.1:9: cannot be reached"):
        Client("http://127.0.0.1:9").embed(files[0])
