"""A service in a process of its own, for tests of what is outside of it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from conftest import environment

STARTS_WITHIN_S = 60


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def running(log: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """(its address, its process) of `l3embed serve ARGUMENTS`; ends it with SIGTERM and wants that to go well."""
    port = free_port()
    command = [sys.executable, "-m", "l3embed", "serve", "--port", str(port), *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment(), stdout=out, stderr=out)
        address = f"http://127.0.0.1:{port}"
        try:
            _wait(address, process, log)
            yield address, process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(STARTS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
    assert status in (0, -signal.SIGTERM), log.read_text(errors="replace")


def _wait(address: str, process: subprocess.Popen, log: Path) -> None:
    over = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < over and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
            return
        time.sleep(0.05)
    raise AssertionError(f"the service does not start: {log.read_text(errors='replace')}")


def chromium() -> str | None:
    """Where a Chromium is, None where there is none."""
    import shutil

    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
