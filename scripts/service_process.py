"""A running service and what it takes: for load_service.py, hostile_service.py and the tests. Linux for the figures."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

STARTS_WITHIN_S = STOPS_WITHIN_S = 60
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@contextlib.contextmanager
def running(log: Path, *arguments: str, env: dict | None = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """(its address, its process) of `l3embed serve ARGUMENTS`; ends it with SIGTERM and wants that to go well."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "l3embed", "serve", "--port", str(port), *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process, log)
        yield address, process
    finally:
        status = stop(process)
    if status not in (0, -signal.SIGTERM):
        raise AssertionError(f"the service ended with {status}: {log.read_text(errors='replace')[-4000:]}")


def stop(process: subprocess.Popen) -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _wait(address: str, process: subprocess.Popen, log: Path) -> None:
    over = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < over and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{address}/readyz", timeout=5).close()
            return
        time.sleep(0.05)
    raise AssertionError(f"the service does not start: {log.read_text(errors='replace')}")


# --- what a process and its children take


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int(_stat(int(folder.name))[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def decoders(pid: int) -> list[int]:
    """The processes of a service that decode: children of the one that forks them."""
    found = []
    for one in family(pid)[1:]:
        with contextlib.suppress(OSError):
            parent = int(_stat(one)[1])
            if parent != pid and int(_stat(parent)[1]) == pid:
                found.append(one)
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (proc(5), field 3)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and all its children, ended ones included."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            total += sum(map(int, _stat(one)[11:15]))  # own, and of children that have ended; user and system
    return total / TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """Of a process and its children: `rss`, pages that are shared counted for each, and `pss`, counted once."""
    total = {"Rss": 0.0, "Pss": 0.0}
    for one in family(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in total:
                    total[name] += int(value.split()[0]) / 1024
    return {"rss": total["Rss"], "pss": total["Pss"]}


def handles(pid: int) -> dict[str, int]:
    """How many processes, threads and open files a process and its children have."""
    total = {"processes": 0, "threads": 0, "files": 0}
    for one in family(pid):
        with contextlib.suppress(OSError):
            total["files"] += len(os.listdir(f"/proc/{one}/fd"))
            total["threads"] += len(os.listdir(f"/proc/{one}/task"))
            total["processes"] += 1
    return total


class Watch(threading.Thread):
    """Looks at a service's memory now and then: `peak` so far, and `course` of (seconds, MB of pss)."""

    def __init__(self, pid: int, every_s: float = 0.5):
        super().__init__(daemon=True)
        self.pid, self.every_s = pid, every_s
        self.peak, self.course = {"rss": 0.0, "pss": 0.0}, []
        self._over = threading.Event()

    def run(self) -> None:
        started = time.monotonic()
        while not self._over.wait(self.every_s):
            now = memory_mb(self.pid)
            self.peak = {name: max(value, now[name]) for name, value in self.peak.items()}
            self.course.append((time.monotonic() - started, now["pss"]))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc) -> None:
        self._over.set()
        self.join()
