"""Services that tests ask: in a thread of the test, or as a process of its own."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

from conftest import ROOT, environment


@contextlib.contextmanager
def running(models, jobs=2, batching=True, keys=None, **limits):
    """A server in a thread; `url` and `desk` are set."""
    from l3embed.service.server import make_server
    from l3embed.service.settings import Limits, Settings

    ready = threading.Event()

    def on_ready(url):
        server.url = url
        ready.set()

    settings = Settings(Limits(**limits), jobs, batching, keys)
    server = make_server(models, settings, "127.0.0.1", 0, on_ready)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert ready.wait(60)
    try:
        yield server
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(60)
        assert not thread.is_alive()


@contextlib.contextmanager
def process(*arguments):
    """`l3embed serve` itself; `url` is set; standard error in `log`."""
    command = [sys.executable, "-m", "l3embed", "serve", "--port", "0", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                             env=environment())  # fmt: skip
    log = []
    reader = threading.Thread(target=lambda: log.extend(child.stderr))
    reader.start()
    try:
        line = child.stdout.readline()
        assert "serving" in line, log
        child.url, child.log = line.split()[-1], log
        yield child
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise
        finally:
            reader.join()
            child.stdout.close()
            child.stderr.close()


def ask(url, method, path, body=None, headers=None):
    """(status, headers, body) of one request."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have heard enough
            connection.request(method, path, body, headers or {})
        with connection.getresponse() as response:
            return response.status, response.headers, response.read()
    finally:
        connection.close()


def embed(url, body, accept="application/json", kind="application/octet-stream", query="", **headers):
    """(status, headers, body) of POST /v1/embed."""
    return ask(url, "POST", f"/v1/embed{query}", body, {"Content-Type": kind, "Accept": accept, **headers})


def form(files, fields=()):
    """(body, content type) of a multipart form: files are (field, name, bytes), fields (name, text)."""
    lines = [(f'name="{field}"; filename="{name}"', data) for field, name, data in files]
    lines += [(f'name="{name}"', text.encode()) for name, text in fields]
    body = b"".join(
        b"--xyz\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in lines
    )
    return body + b"--xyz--\r\n", "multipart/form-data; boundary=xyz"


def problem(answer, status, reason):
    """The problem of an answer, after checking that it is the one."""
    got, headers, body = answer
    assert got == status, (got, body)
    assert headers["Content-Type"] == "application/problem+json"
    table = json.loads(body)
    assert table["reason"] == reason and table["status"] == status, table
    assert table["request_id"] == headers["X-Request-ID"] and table["detail"] and table["type"] == "about:blank"
    text = body.decode()
    assert "Traceback" not in text and "/tmp" not in text and str(ROOT) not in text and os.sep + "opt" not in text
    return table


def metric(url, name):
    """The value of a line of /metrics, named with its labels; 0 where there is none."""
    text = ask(url, "GET", "/metrics")[2].decode()
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + " ")), 0.0)


def eventually(holds, within_s=60):
    """Wait until something holds: what a server does after its answer takes a moment."""
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
