"""The description of the service, and whether the service is as it is described: schemathesis asks it everything."""

import json
import re
import subprocess
import sys

import pytest
from serving import ask, embed, form, metric, running
from test_service_load import samples

from l3embed.service.problems import REASONS


@pytest.fixture(scope="module")
def server(placeholder):
    with running([placeholder], max_seconds=20, max_bytes=1_000_000, max_windows=300, silent_s=10) as server:
        yield server


@pytest.fixture(scope="module")
def described(server):
    return json.loads(ask(server.url, "GET", "/openapi.json")[2])


def test_every_route_is_described_with_its_answers_and_problems(described):
    assert set(described["paths"]) == {
        "/v1/embed", "/v1/embed/batch", "/v1/similarity", "/v1/models", "/v1/models/{name}", "/healthz", "/readyz",
        "/metrics",
    }  # fmt: skip
    for path in ("/v1/embed", "/v1/embed/batch", "/v1/similarity"):
        post = described["paths"][path]["post"]
        assert post["requestBody"]["required"] and post["summary"]
        for status, answer in post["responses"].items():
            if status != "200":
                (kind,) = answer["content"]
                assert kind == "application/problem+json"
        for kind, content in post["responses"]["200"]["content"].items():
            assert "example" in content, (path, kind)
        assert {"401", "406", "408", "413", "415", "422", "429", "500", "502", "503"} <= set(post["responses"])


def test_examples_are_of_the_form_that_is_described(described):
    jsonschema = pytest.importorskip("jsonschema_rs")  # schemathesis brings it
    for path in ("/v1/embed", "/v1/embed/batch", "/v1/similarity"):
        content = described["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
        jsonschema.validate({**content["schema"], "components": described["components"]}, content["example"])


def test_the_service_is_as_it_is_described(server, tmp_path):
    """Good and bad requests made from the description: no defect, no status, type or form that it does not name.

    Not asked: that what the description allows is always taken, for no description says what is a recording.
    """
    pytest.importorskip("schemathesis")
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--max-examples", "8", "--seed",
        "1", "--exclude-checks", "positive_data_acceptance", "--no-color", "--request-timeout", "60",
        "--generation-database", "none",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    tested = re.search(r"Test cases:\n  (\d+) generated, (\d+) passed", done.stdout)
    assert tested and int(tested[1]) > 300, done.stdout[-2000:]
    assert embed(server.url, samples(1), kind="application/json")[0] == 200


def test_what_was_counted(placeholder):
    with running([placeholder]) as server:
        for _ in range(3):
            assert embed(server.url, samples(2), kind="application/json")[0] == 200
        body, kind = form([("f", "a", b"x"), ("f", "b", b"y")])
        ask(server.url, "POST", "/v1/embed/batch", body, {"Content-Type": kind})
        ask(server.url, "GET", "/v1/models/x")
        assert metric(server.url, 'l3embed_requests_total{route="/v1/embed",status="200"}') == 3
        assert metric(server.url, 'l3embed_request_seconds_count{route="/v1/embed"}') == 3
        assert metric(server.url, 'l3embed_requests_total{route="/v1/models/{name}",status="404"}') == 1
        assert metric(server.url, 'l3embed_failures_total{reason="bad_audio"}') == 2
        assert metric(server.url, 'l3embed_failures_total{reason="unknown_model"}') == 1
        assert metric(server.url, 'l3embed_audio_seconds_total{model="placeholder"}') == 6
        windows = metric(server.url, 'l3embed_windows_total{model="placeholder"}')
        assert windows == metric(server.url, 'l3embed_batch_rows_sum{model="placeholder"}') == 3 * 16
        assert metric(server.url, 'l3embed_batch_fill_sum{model="placeholder"}') == 3
        assert metric(server.url, "l3embed_open_recordings") == 0 == metric(server.url, "l3embed_stopping")


def test_the_page_and_its_files_are_there_and_nothing_else(server):
    status, headers, body = ask(server.url, "GET", "/")
    assert status == 200 and headers["Content-Type"].startswith("text/html") and b"<html" in body
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and headers["X-Content-Type-Options"] == "nosniff"
    assert ask(server.url, "GET", "/", headers={"If-None-Match": headers["ETag"]})[0] == 304
    for name in ("..%2fapp.py", "../app.py", "%2e%2e/app.py", "app.py", "index.html%00", ""):
        assert ask(server.url, "GET", f"/page/{name}")[0] in (404, 405)


def test_every_reason_that_is_given_is_described():
    from conftest import ROOT

    given = set()
    for path in (ROOT / "l3embed" / "service").glob("*.py"):
        given |= set(re.findall(r'Problem\(\s*\d+, "(\w+)"', path.read_text()))
    assert given and given <= set(REASONS)
