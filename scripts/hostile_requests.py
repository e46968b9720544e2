"""Requests that a service should survive: wrong bodies, forms, queries and headers, and clients that misbehave."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

HOST = b"Host: service\r\n"
CLIENTS_FAULT = frozenset({400, 401, 404, 405, 406, 408, 411, 413, 414, 415, 417, 422, 429, 431})
FINE = CLIENTS_FAULT | {200, 304}  # what may turn out to be a sound, or a harmless oddity
NO_ANSWER = 0  # the connection was closed without one
PAUSE_S = 0.2


@dataclass(frozen=True)
class Case:
    """What is sent, in pieces (numbers are pauses in seconds), and which statuses may come back."""

    name: str
    pieces: Callable[[], Iterable[bytes | float]]
    allowed: frozenset[int] = FINE
    limit_s: float = 30.0
    hang_up: bool = False  # close the sending side after the last piece
    may_kill: bool = False  # whether a decoder may die of it, which is answered with 502
    expected: bytes | None = None  # the body that has to come


def request(path="/v1/embed", body=b"", headers=(), method="POST", length=None, version="1.1") -> bytes:
    head = f"{method} {path} HTTP/{version}\r\n".encode("latin-1") + HOST + b"Connection: close\r\n"
    head += b"".join(h if isinstance(h, bytes) else h.encode("latin-1") + b"\r\n" for h in headers)
    if length != "":
        head += f"Content-Length: {len(body) if length is None else length}\r\n".encode()
    return head + b"\r\n" + body


def case(name: str, *arguments, allowed=FINE, limit_s=30.0, hang_up=False, **how) -> Case:
    data = request(*arguments, **how)
    return Case(name, lambda: [data], frozenset(allowed), limit_s, hang_up)


def of_file(name: str, data: bytes, allowed=FINE, accept: str = "application/x-npy") -> Case:
    sent = request(body=data, headers=["Content-Type: application/octet-stream", f"Accept: {accept}"])
    return Case(name, lambda: [sent], frozenset(allowed), 60, may_kill=True)


def requests(good: bytes, slow_s: float) -> Iterator[Case]:
    """All crafted requests. `good` is a short WAV file; `slow_s` how long a client may take before it is ended."""
    yield from queries(good)
    yield from headers(good)
    yield from json_bodies()
    yield from forms(good)
    yield from paths()
    yield from broken(good)
    yield from slow(good, slow_s)


def queries(good: bytes) -> Iterator[Case]:
    numbers = [
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e-300",
        "1e308",
        "1e999",
        "abc",
        "",
        "0x10",
        "1,5",
        "[]",
        "%00",
        "\u0661",
        "9" * 5000,
    ]
    for value in numbers:
        yield case(f"hop={value[:9]}", f"/v1/embed?hop={quoted(value)}", good, allowed=CLIENTS_FAULT)
    for value in (
        "../../../etc/passwd",
        "/etc/passwd",
        "%00",
        "a" * 8000,
        "openl3-mel256-music-6144",
        "l3-small-1.toml",
        "${x}",
        "<b>",
    ):
        yield case(f"model={value[:9]}", f"/v1/embed?model={quoted(value)}", good, allowed=CLIENTS_FAULT)
    for name in ("center", "pool", "windows", "timestamps", "unknown", "__class__", "model[]", "%ff"):
        yield case(f"{name}=odd", f"/v1/embed?{name}=odd%20value", good, allowed=CLIENTS_FAULT)
    yield case("hop-twice", "/v1/embed?hop=1&hop=x", good)
    yield case("many-options", "/v1/embed?" + "&".join(f"a{i}=1" for i in range(3000)), good, allowed=CLIENTS_FAULT)
    yield case("query-of-60-KB", "/v1/embed?model=" + "x" * 60_000, good, allowed={*CLIENTS_FAULT, NO_ANSWER})


def quoted(value: str) -> str:
    from urllib.parse import quote

    return value if value.startswith("%") else quote(value, safe="")


def headers(good: bytes) -> Iterator[Case]:
    for i, value in enumerate(
        ("text/html", "image/png", "*/*;q=0", "q=1", ";;;", "application/json;q=x", "a" * 5000, "\x80\xff", ",,,,")
    ):
        yield case(f"accept-{i}", body=good, headers=[f"Accept: {value}"])
    for i, value in enumerate(
        (
            "",
            "audio/../../x",
            "text/html",
            "application/xml",
            "image/svg+xml",
            "audio/wav; charset=\xff",
            "x" * 5000,
            ";",
        )
    ):
        yield case(f"content-type-{i}", body=good, headers=[f"Content-Type: {value}"])
    for encoding in ("gzip", "br", "deflate", "identity", "x, y"):
        yield case(f"encoding-{encoding}", body=good, headers=[f"Content-Encoding: {encoding}"])
    yield case("expect", body=good, headers=["Expect: 100-continue"])
    yield case("expect-odd", body=good, headers=["Expect: the-unexpected"])
    yield case("range", body=good, headers=["Range: bytes=0-99999999999"])
    yield case("request-id-injection", body=good, headers=[b"X-Request-Id: a\r\n b\r\n"], allowed={*FINE, NO_ANSWER})
    yield case("request-id-long", body=good, headers=["X-Request-Id: " + "a" * 10_000])
    yield case("request-id-escape", body=good, headers=["X-Request-Id: \x1b[31m{}%n"])
    yield case("key-odd", body=good, headers=["Authorization: Bearer \xff\xfe" + "k" * 5000])
    yield case("key-basic", body=good, headers=["Authorization: Basic Og=="])
    yield case("forwarded", body=good, headers=["X-Forwarded-For: 127.0.0.1, ::1", "X-Forwarded-Host: <script>"])
    http = {*FINE, NO_ANSWER}
    yield case("headers-1000", body=good, headers=[f"X-A{i}: b" for i in range(1000)], allowed=http)
    yield case("header-of-200-KB", body=good, headers=["X-A: " + "b" * 200_000], allowed=http)
    yield case("header-nul", body=good, headers=["X-A: \0"], allowed=http)
    yield case("header-without-colon", body=good, headers=["nonsense"], allowed=http)
    yield case("header-space", body=good, headers=["X A : b"], allowed=http)
    yield case("upgrade", body=good, headers=["Connection: Upgrade", "Upgrade: websocket"], allowed=http)
    yield case("upgrade-h2c", body=good, headers=["Upgrade: h2c", "HTTP2-Settings: AAAA"], allowed=http)


def json_bodies() -> Iterator[Case]:
    sound = [0.1, -0.1] * 4000
    values = {
        "null": None,
        "true": True,
        "number": 1,
        "string": "x",
        "list": [],
        "empty": {},
        "samples-missing": {"sample_rate": 8000},
        "rate-missing": {"samples": sound},
        "samples-empty": {"samples": [], "sample_rate": 8000},
        "samples-string": {"samples": "abc", "sample_rate": 8000},
        "samples-null": {"samples": [None] * 100, "sample_rate": 8000},
        "samples-ragged": {"samples": [[1, 2], [3]], "sample_rate": 8000},
        "samples-deep": {"samples": [[[[0.0]]]] * 100, "sample_rate": 8000},
        "samples-objects": {"samples": [{}] * 9, "sample_rate": 8000},
        "samples-mixed": {"samples": [0.1, "0.2", True, None], "sample_rate": 8000},
        "samples-bool": {"samples": [True, False] * 100, "sample_rate": 8000},
        "samples-huge": {"samples": [1e300] * 8000, "sample_rate": 8000},
        "samples-integers": {"samples": [2**70] * 100, "sample_rate": 8000},
        "channels-10000": {"samples": [[0.0] * 10_000] * 20, "sample_rate": 8000},
        "one-sample": {"samples": [0.5], "sample_rate": 8000},
        "extra": {"samples": sound, "sample_rate": 8000, "path": "/etc/passwd", "__proto__": {}},
        **{
            f"rate-{i}": {"samples": sound, "sample_rate": rate}
            for i, rate in enumerate([0, -1, 1e308, 1e-308, "8000", None, [], {}, True, 10**400, 1e12])
        },
    }
    for name, value in values.items():
        yield of_json(name, json.dumps(value).encode(), CLIENTS_FAULT if name != "extra" else FINE)
    texts = {
        "nan": b'{"samples": [NaN, Infinity], "sample_rate": 8000}',
        "1e999": b'{"samples": [1e999], "sample_rate": 8000}',
        "rate-nan": b'{"samples": [0.1, 0.2], "sample_rate": NaN}',
        "deep-lists": b"[" * 200_000,
        "deep-closed": b"[" * 50_000 + b"]" * 50_000,
        "deep-objects": b'{"a":' * 100_000,
        "deep-samples": b'{"sample_rate": 8000, "samples": ' + b"[" * 5000 + b"0" + b"]" * 5000 + b"}",
        "digits": b'{"samples": [' + b"9" * 100_000 + b'], "sample_rate": 8000}',
        "unfinished": b'{"samples": [0.1, 0.2',
        "not-utf8": b'{"samples": "\xff\xfe\x80", "sample_rate": 8000}',
        "utf16": json.dumps({"samples": [0.1]}).encode("utf-16"),
        "bom": b"\xef\xbb\xbf{}",
        "surrogate": b'{"samples": "\\ud800", "sample_rate": 8000}',
        "empty": b"",
        "two": b"{}{}",
        "twice": b'{"samples": 1, "samples": 2, "sample_rate": 8000}',
        "comment": b"// x\n{}",
        "nul": b'{"\\u0000": "\\u0000"}',
    }
    for name, text in texts.items():
        yield of_json(name, text, CLIENTS_FAULT)


def of_json(name: str, text: bytes, allowed) -> Case:
    return case(f"json-{name}", body=text, headers=["Content-Type: application/json"], allowed=allowed)


def form(parts: Iterable[tuple[str, bytes]], boundary: str = "xxx") -> bytes:
    made = b"".join(f"--{boundary}\r\n{head}\r\n\r\n".encode("latin-1") + body + b"\r\n" for head, body in parts)
    return made + f"--{boundary}--\r\n".encode()


def forms(good: bytes) -> Iterator[Case]:
    kind = ["Content-Type: multipart/form-data; boundary=xxx"]
    file = 'Content-Disposition: form-data; name="file"; filename="{}"\r\nContent-Type: audio/wav'
    for i, name in enumerate(
        (
            "../../../../tmp/evil.wav",
            "/etc/passwd",
            "a\0b.wav",
            "C:\\x\\y.wav",
            "x" * 20_000,
            "\xff\xfe",
            "",
            "%2e%2e%2f",
            'a"; x="',
        )
    ):
        yield case(f"form-name-{i}", body=form([(file.format(name), good)]), headers=kind)
    named = 'Content-Disposition: form-data; name="{}"'
    bodies = {
        "no-file": form([(named.format("other"), b"x")]),
        "file-is-text": form([(named.format("file"), b"text")]),
        "two-files": form([(file.format("a"), good), (file.format("b"), good)]),
        "parts-10000": form([(named.format("a"), b"x")] * 10_000),
        "files-3000": form([(file.format("a"), b"x")] * 3000),
        "unterminated": form([(file.format("a"), good)])[:-10],
        "empty": b"",
        "only-boundary": b"--xxx",
        "header-of-1-MB": form([("X: " + "y" * 1_000_000, b"x")]),
        "no-disposition": form([("X: y", good)]),
        "headers-5000": form([("\r\n".join(["X: y"] * 5000), b"x")]),
        "noise": np.random.default_rng(0).bytes(50_000),
        "nested": form(
            [(named.format("a") + "\r\nContent-Type: multipart/mixed; boundary=xxx", form([(file.format("a"), good)]))]
        ),
        "setting-in-form": form(
            [(named.format("model"), b"/etc/passwd"), (named.format("hop"), b"nan"), (file.format("a"), good)]
        ),
        "encoded": form([(file.format("a") + "\r\nContent-Transfer-Encoding: base64", good)]),
    }
    for name, body in bodies.items():
        yield case(f"form-{name}", body=body, headers=kind)
    for i, other in enumerate(
        (
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=" + "b" * 10_000,
            "multipart/mixed; boundary=xxx",
        )
    ):
        yield case(f"form-boundary-{i}", body=form([(file.format("a"), good)]), headers=[f"Content-Type: {other}"])
    for path in ("/v1/embed/batch", "/v1/similarity"):
        for name, body in bodies.items():
            yield case(f"{path}-{name}", path, body, kind)
        yield case(f"{path}-raw", path, good, ["Content-Type: audio/wav"], allowed=CLIENTS_FAULT)
        yield case(f"{path}-json", path, b'{"samples": []}', ["Content-Type: application/json"], allowed=CLIENTS_FAULT)
        yield case(f"{path}-deep", path, b"[" * 100_000, ["Content-Type: application/json"], allowed=CLIENTS_FAULT)


def paths() -> Iterator[Case]:
    for i, path in enumerate(
        (
            "/page/../../setup.cfg",
            "/page/..%2f..%2fsetup.cfg",
            "/page/%2e%2e/app.py",
            "/page//etc/passwd",
            "/page/.",
            "/page/%00",
            "/page/app.js%00.css",
            "/..",
            "/%2e%2e/%2e%2e/etc/passwd",
            "//etc/passwd",
            "/v1/models/..%2f..%2fetc%2fpasswd",
            "/v1/models/%00",
            "/v1/models/../models/../../x",
            "/docs",
            "/redoc",
            "/openapi.json",
            "/v1/",
            "/v2/embed",
            "/metrics/..",
            "/page/style.css/x",
            "/" + "a" * 30_000,
            "/\xff\xfe",
            "/%ff%fe",
            "*",
            "http://127.0.0.1:1/v1/models",
            "/v1/embed;x=1",
            "/.git/config",
            "/.env",
        )
    ):
        yield case(f"path-{i}", path, method="GET", allowed={*FINE, NO_ANSWER, 307})
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "POST" * 500):
        yield case(f"method-{method[:8]}", method=method, allowed={*CLIENTS_FAULT, NO_ANSWER})


def broken(good: bytes) -> Iterator[Case]:
    """Requests that are not HTTP, or whose lengths are wrong."""
    http = frozenset({*CLIENTS_FAULT, NO_ANSWER})
    for length in ("-1", "abc", "1e3", "0x10", "99999999999999999999", "+5", " 5 5", "5, 6"):
        yield case(f"length-{length}", body=good, length=length, allowed=http, hang_up=True)
    yield case("length-too-long", body=good, length=len(good) + 1000, allowed=http, hang_up=True)
    yield case("length-4-GB", body=good, length=2**32, allowed=http, hang_up=True)
    yield case("length-too-short", body=good, length=1000, allowed={*FINE, NO_ANSWER})
    yield case("length-missing", body=good, length="", allowed={*FINE, NO_ANSWER})
    yield case("length-twice", body=good, headers=[f"Content-Length: {len(good) - 1}"], allowed=http, hang_up=True)
    yield case(
        "length-and-chunks",
        body=b"5\r\nhello\r\n0\r\n\r\n",
        headers=["Transfer-Encoding: chunked"],
        allowed={*FINE, NO_ANSWER},
    )
    chunked = ["Transfer-Encoding: chunked"]
    for name, body in {
        "size": b"zz\r\nhello",
        "negative": b"-5\r\nhello",
        "huge": b"ffffffffffffffffffff\r\nhello",
        "no-end": b"5\r\nhello\r\n",
        "extension": b"5;" + b"x" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
        "trailers": b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        "empty": b"0\r\n\r\n",
        "ones": b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n",
    }.items():
        yield case(f"chunk-{name}", body=body, headers=chunked, length="", allowed=http, hang_up=True)
    yield case(
        "encoding-odd", body=good, headers=["Transfer-Encoding: gzip, chunked"], length="", allowed=http, hang_up=True
    )
    for name, data in {
        "noise": np.random.default_rng(3).bytes(5000),
        "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "nothing": b"",
        "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "http09": b"GET /\r\n\r\n",
        "version": request(version="9.9"),
        "line": b"A" * 300_000,
        "nul": b"\0" * 1000,
        "newlines": b"\r\n" * 5000,
        "bare-lf": b"GET /v1/models HTTP/1.1\nHost: x\n\n",
        "two-hosts": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "no-host": b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n",
        "head-cut": request(body=good)[:60],
        "folded": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: a\r\n  b\r\nConnection: close\r\n\r\n",
    }.items():
        yield Case(f"raw-{name}", lambda data=data: [data], frozenset({*FINE, NO_ANSWER, 505}), hang_up=True)
    yield Case("cut-in-the-body", lambda: [request(body=good)[:-500]], http, hang_up=True)


def slow(good: bytes, slow_s: float) -> Iterator[Case]:
    """Clients that send without end, or hardly at all: they are to be ended."""
    whole, ended = request(body=good), frozenset({*CLIENTS_FAULT, NO_ANSWER})
    limit_s = 2 * slow_s + 15

    def endless() -> Iterator[bytes]:
        yield request(headers=["Transfer-Encoding: chunked"], length="")
        yield b"8000\r\n" + good[:44] + bytes(0x8000 - 44) + b"\r\n"
        while True:
            yield b"8000\r\n" + bytes(0x8000) + b"\r\n"

    def drip(data: bytes, at_once: int) -> Iterator[bytes | float]:
        yield data[:at_once]
        while True:  # never done: a byte now and then
            yield PAUSE_S
            yield b"0"

    def silent(data: bytes) -> Iterator[bytes | float]:
        yield data
        yield limit_s

    def later(data: bytes) -> Iterator[bytes | float]:
        """Slow, but in time."""
        for at in range(0, len(data), 1 + len(data) // 5):
            yield data[at : at + 1 + len(data) // 5]
            yield PAUSE_S

    unfinished = request(body=good, length=10**6)
    yield Case("endless-chunks", endless, ended, 120)
    yield Case("drip-header", lambda: drip(b"POST /v1/embed HTTP/1.1\r\nHost: a\r\nX-A: ", 100), ended, limit_s)
    yield Case("drip-body", lambda: drip(unfinished, len(unfinished) - len(good) + 50), ended, limit_s)
    yield Case("silent-in-header", lambda: silent(whole[:40]), ended, limit_s)
    yield Case("silent-in-body", lambda: silent(whole[:-100]), ended, limit_s)
    yield Case(
        "silent-in-chunks",
        lambda: silent(request(headers=["Transfer-Encoding: chunked"], length="") + b"5\r\nhel"),
        ended,
        limit_s,
    )
    yield Case("in-five-pieces", lambda: later(whole), frozenset({200}))
