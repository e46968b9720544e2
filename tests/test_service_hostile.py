"""A sample of scripts/hostile_service.py: what is damaged or made to hurt is refused, and the service goes on."""

import random
from pathlib import Path

import hostile_files
import hostile_requests
import hostile_service
import pytest

pytest.importorskip("fastapi")

SAMPLE = 240
LONG = ("drip", "silent", "endless", "hour", "minutes")  # these wait for limits, or take long to be made: the script's


LINUX = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="looks at processes as on Linux")


@pytest.fixture
def quick(monkeypatch):
    """The files that take long to be made are left to the script."""
    monkeypatch.setattr(hostile_files, "long_silence", lambda kind, subtype, rate_hz, hours: b"fLaC")


@LINUX
def test_a_sample_of_the_corpus(quick, tmp_path):
    def sample(canary, port):
        cases = hostile_service.corpus(600, 7, canary, port)
        cases = [case for case in cases if not any(word in case.name for word in LONG)]
        return random.Random(7).sample(cases, SAMPLE)

    assert list(hostile_service.hostile(sample, 1, 8, tmp_path)) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", "status 500"),
        (b"HTTP/1.1 422 X\r\nContent-Type: application/problem+json\r\n\r\n"
         b'{"status": 422, "detail": "in /tmp/abc", "request_id": "1"}', "tells of the inside"),
        (b"HTTP/1.1 422 X\r\nContent-Type: application/problem+json\r\n\r\n{}", "incomplete"),
        (b"HTTP/1.1 422 X\r\nContent-Type: text/html\r\n\r\n<h1>no</h1>", "no problem+json"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "status 200"),
        (b"", "no answer"),
    ],
)  # fmt: skip
def test_what_is_complained_of(answer, said):
    case = hostile_requests.case("a", allowed=hostile_requests.CLIENTS_FAULT)
    assert said in hostile_service.complaint(case, answer)


def test_bait_notices_who_bites(tmp_path):
    import socket
    import time

    with hostile_service.Bait(tmp_path / "pipe") as bait:
        socket.create_connection(("127.0.0.1", bait.port)).close()
        assert (tmp_path / "pipe").read_bytes()[:4] == b"RIFF"
        for _ in range(100):
            if len(bait.bites) == 2:
                break
            time.sleep(0.05)
        assert bait.bites == {"a file was opened", "an address was connected to"}
