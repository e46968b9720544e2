"""A service against files and requests that are damaged, made to hurt, or not what they say.

    python scripts/hostile_service.py [--cases 2400] [--passes 3] [--seed 0] [--at-once 8] [--only TEXT] [--keep FOLDER]

Sends each case of a corpus that the seed decides on (see hostile_files.py and hostile_requests.py), several at a time,
to a service of its own with small limits, `--passes` times. Wanted, of each: an answer within the case's time, with a
status that says whose fault it is (never 5xx, except that a decoder died), as problem+json with a request id, without a
path or a traceback; vectors, where there are any, are finite. Wanted of the service: it goes on, gives good answers in
between, has opened neither the file nor the address that playlists name, ends with no more memory than after the
first pass, as many children, no files left. The exit code is 1 if anything of this is not so. `--keep` writes the
cases that went wrong.
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import os
import re
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hostile_files
import hostile_requests
import numpy as np
import service_process
from hostile_requests import CLIENTS_FAULT, NO_ANSWER, Case

MAX_SECONDS, MAX_BYTES = 120, 16 * 2**20
SLOW_S = 20  # after which the service ends a client that does not send (service/settings.py, service/server.py)
LEAKS = re.compile(
    rb'Traceback|File "|site-packages|\.py\b|/(tmp|home|root|usr|opt|work|proc|etc|var|lib)/|0x[0-9a-f]{8}'
)
ANSWERS = ["application/x-npy"] * 3 + ["application/x-ndjson", "application/json", "application/x-npz"]
BETWEEN = 40  # cases after which a good recording comes
# Between the end of the first pass and of the last: what an allocator keeps, and idle decoders, vary by less.
GROWTH = {"MB": 60, "processes": 2, "threads": 20, "files": 20}


# --- the corpus


def corpus(n: int, seed: int, canary: Path, port: int) -> list[Case]:
    """At least n cases: all crafted ones, and mutated files up to n."""
    good = hostile_files.written(hostile_files.sound())
    cases = list(hostile_requests.requests(good, SLOW_S))
    cases += [hostile_requests.of_file(f"file-{name}", data) for name, data in hostile_files.crafted()]
    for name, data in hostile_files.playlists(canary, port):
        inside = name.startswith("mov-")  # these have bytes of their own that may pass for sound
        allowed = hostile_requests.FINE if inside else CLIENTS_FAULT
        cases.append(hostile_requests.of_file(f"playlist-{name}", data, allowed=allowed))
    rng, seeds = np.random.default_rng(seed), hostile_files.seeds()
    for i in range(max(0, n - len(cases))):
        name, data = hostile_files.mutated(rng, seeds)
        cases.append(hostile_requests.of_file(f"mutated-{i}-{name}", data, accept=ANSWERS[i % len(ANSWERS)]))
    return cases


class Bait:
    """A file that nobody may open, and an address at which nobody may knock: `bites` tells who did.

    The file is a named pipe that holds a sound, so that whoever opens it is noticed, and gets it.
    """

    def __init__(self, path: Path):
        self.path, self.bites = path, set()

    def __enter__(self):
        os.mkfifo(self.path)
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        for wait in (self._accept, self._receive, self._opened):
            threading.Thread(target=wait, daemon=True).start()
        return self

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._tcp.accept()[0].close()
                self.bites.add("an address was connected to")

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while self._udp.recv(100):
                self.bites.add("an address was sent to")

    def _opened(self) -> None:
        sound = hostile_files.written(hostile_files.sound(3, seed=9))
        while True:
            with contextlib.suppress(OSError), self.path.open("wb", buffering=0) as pipe:
                self.bites.add("a file was opened")
                pipe.write(sound)
                time.sleep(0.1)  # else whoever is still there would be taken for the next one

    def __exit__(self, *exc) -> None:
        for one in (self._tcp, self._udp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


# --- one case


async def send(case: Case, port: int) -> bytes:
    """All that comes back until the connection is closed. The service may answer before everything is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    receiving = asyncio.ensure_future(_received(reader))
    try:
        with contextlib.suppress(ConnectionError):
            for piece in case.pieces():
                if receiving.done():
                    break
                if isinstance(piece, float | int):
                    await asyncio.wait([receiving], timeout=piece)
                else:
                    writer.write(piece)
                    await writer.drain()
            if case.hang_up and not receiving.done():
                writer.write_eof()
        return await receiving
    finally:
        receiving.cancel()
        writer.transport.abort()


async def _received(reader: asyncio.StreamReader) -> bytes:
    answer = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            answer += data
    return bytes(answer)


def complaint(case: Case, answer: bytes) -> str | None:
    """What is wrong with an answer, if anything is."""
    if not answer:
        return None if NO_ANSWER in case.allowed else "no answer"
    while answer.startswith(b"HTTP/1.1 100"):
        answer = answer.partition(b"\r\n\r\n")[2]
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if not found:
        return f"is not HTTP: {answer[:60]!r}"
    status = int(found[1])
    if leak := LEAKS.search(head if status == 200 else answer):
        return f"tells of the inside: {leak[0]!r} in {body[:200]!r}"
    if status == 200:
        return _unfit(case, head, body) if 200 in case.allowed else "status 200"
    problem = _problem(body) if b"application/problem+json" in head.lower() else None
    died = status == 502 and problem and problem.get("reason") == "decoder_died"
    if status not in case.allowed and not (died and case.may_kill):
        return f"status {status}: {body[:200]!r}"
    if problem is None:
        return None if _below_http(status, body) else f"status {status} is no problem+json: {answer[:300]!r}"
    whole = problem.get("detail") and problem.get("request_id") and problem.get("status") == status
    return None if whole else f"the problem is incomplete: {problem}"


def _below_http(status: int, body: bytes) -> bool:
    """What the HTTP layer answers before there is a request."""
    return status in (304, 307) or b"Invalid HTTP request" in body or not body


def _problem(body: bytes) -> dict | None:
    with contextlib.suppress(ValueError):
        return json.loads(body)
    return None


def _unfit(case: Case, head: bytes, body: bytes) -> str | None:
    """What is wrong with vectors."""
    if case.expected not in (None, body):
        return f"another answer than before: {body[:100]!r}"
    if b"application/x-ndjson" in head:
        last = json.loads(_unchunked(body).splitlines()[-1])
        if "n_windows" in last or (last.get("error", {}).get("detail") and not LEAKS.search(str(last).encode())):
            return None
        return f"ends with {last}"
    if b"application/x-npy" in head:
        vectors = np.load(io.BytesIO(body))
        if not len(vectors) or not np.isfinite(vectors).all():
            return f"vectors of shape {vectors.shape} are not finite"
    return None


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body and (size := int(body.partition(b"\r\n")[0], 16)):
        body = body.partition(b"\r\n")[2]
        whole, body = whole + body[:size], body[size + 2 :]
    return whole


# --- all cases


class Run:
    """Sends cases, a few at a time, and keeps what went wrong."""

    def __init__(self, port: int, at_once: int, keep: Path | None):
        self.port, self.at_once, self.outcomes, self.bad, self.slowest = port, at_once, Counter(), [], (0.0, "")
        self.died, self.keep = [], keep

    async def all(self, cases: list[Case]) -> None:
        waiting = asyncio.Queue()
        for case in cases:
            waiting.put_nowait(case)

        async def worker() -> None:
            while not waiting.empty():
                await self.one(waiting.get_nowait())

        await asyncio.gather(*(worker() for _ in range(self.at_once)))

    async def one(self, case: Case) -> None:
        started = time.monotonic()
        try:
            answer = await asyncio.wait_for(send(case, self.port), case.limit_s)
        except TimeoutError:
            wrong, outcome = f"hangs for more than {case.limit_s:.0f} s", "hang"
        except OSError as error:
            wrong, outcome = f"cannot connect: {error}", "refused"
        else:
            wrong = complaint(case, answer)
            outcome = answer[9:12].decode("latin-1") if answer else "closed"
        self.slowest = max(self.slowest, (time.monotonic() - started, case.name))
        self.outcomes[outcome] += 1
        if outcome == "502":
            self.died.append(case.name)
        if wrong:
            self.bad.append(f"{case.name}: {wrong}")
            self._keep(case)

    def _keep(self, case: Case) -> None:
        if self.keep:
            self.keep.mkdir(parents=True, exist_ok=True)
            pieces = itertools.islice((p for p in case.pieces() if isinstance(p, bytes)), 100)
            (self.keep / re.sub(r"[^\w.=-]", "_", case.name)[:200]).write_bytes(b"".join(pieces))


def good(port: int) -> Case:
    """A good recording, whose answer must stay what it is now."""
    case = hostile_requests.of_file("good", hostile_files.written(hostile_files.sound()), allowed={200})
    answer = asyncio.run(asyncio.wait_for(send(case, port), 30)).partition(b"\r\n\r\n")[2]
    if not answer.startswith(b"\x93NUMPY"):
        raise AssertionError(f"a good recording is refused: {answer[:200]!r}")
    return replace(case, expected=answer)


def settled(pid: int) -> dict[str, float]:
    """What the service holds when nothing is under way."""
    time.sleep(2)
    return {"MB": service_process.memory_mb(pid)["pss"], **service_process.handles(pid)}


def one_pass(run: Run, cases: list[Case], pid: int) -> dict[str, float]:
    """Send all cases; what the service holds afterwards."""
    started = time.monotonic()
    asyncio.run(run.all(cases))
    took_s, held = time.monotonic() - started, settled(pid)
    holds = ", ".join(f"{value:.0f} {name}" for name, value in held.items())
    print(f"{len(cases)} cases in {took_s:.0f} s; then {holds}", flush=True)
    return held


def hostile(cases_of, passes: int, at_once: int, scratch: Path, keep: Path | None = None) -> Iterator[str]:
    """Run a corpus, made by `cases_of(canary, port)`; yields what is wrong, a line each, and prints what was."""
    temporary = scratch / "tmp"
    temporary.mkdir()
    options = ["--max-seconds", str(MAX_SECONDS), "--max-bytes", str(MAX_BYTES)]
    log = scratch / "log"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with (
        Bait(scratch / "canary.wav") as bait,
        service_process.running(log, *options, env=environment) as (address, process),
    ):
        port = int(address.rpartition(":")[2])
        run, fine = Run(port, at_once, keep), good(port)
        cases = cases_of(bait.path, bait.port)
        cases = [x for i, case in enumerate(cases) for x in ((case, fine) if i % BETWEEN == 0 else (case,))]
        held = [one_pass(run, cases, process.pid) for _ in range(passes)]
        print(f"answers: {dict(run.outcomes)}; slowest {run.slowest[0]:.1f} s: {run.slowest[1]}")
        print(f"decoders that died: {Counter(run.died)}")
        yield from run.bad
        yield from bait.bites
        for name, most in GROWTH.items():
            if held[-1][name] - held[0][name] > most:
                yield f"{name} grow from pass to pass: {[round(one[name]) for one in held]}"
        if left := [p.name for p in temporary.rglob("*") if p.is_file()]:
            yield f"files are left: {left[:5]}"
    text = log.read_text(errors="replace")
    if "Traceback" in text:
        yield f"the log has a traceback: {text[text.index('Traceback') :][:2000]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2400)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--keep", type=Path, help="folder for what was sent in cases that went wrong")
    arguments = parser.parse_args()

    def cases(canary: Path, port: int) -> list[Case]:
        made = corpus(arguments.cases, arguments.seed, canary, port)
        return [case for case in made if arguments.only in case.name]

    with tempfile.TemporaryDirectory() as scratch:
        wrong = list(hostile(cases, arguments.passes, arguments.at_once, Path(scratch), arguments.keep))
    for line in wrong:
        print(f"BAD {line}")
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
