"""A service under load: 64 clients on this machine, every answer compared with the local model.

    python scripts/load_service.py [FOLDER] [--clients 64] [--seconds 120] [--batching on,off] [--sigterm]
                                   [--kill-every S] [--clips 600] [--lengths 0.3 30] [--seed 0] [--serve OPTION...]

Clips of 0.3 to 30 s (evenly on a logarithmic scale; a third each WAV, FLAC and Ogg Vorbis) are cut from the recordings
of FOLDER, or made. The same run measures `l3embed extract` on those files, then starts `l3embed serve`, and has each
client ask for one clip after the other. Prints: seconds of sound per second beside `extract`, latency, answers that are
missing or not what the local model gives, 429s (asked again after Retry-After), peak memory of the service and its
children, and which share of the processors the load itself took (it is on the same machine, so the service could do
more). `--batching on,off` does so twice, without batches across requests the second time. `--sigterm` ends the service
in the middle: what it had accepted must still be answered (taken for accepted: what was sent half a second before).
`--kill-every S` kills a decoding process (kill -9) every S seconds: one request may fail for each, with 502, and no
other. The exit code is 1 if anything was lost or wrong.
"""

import argparse
import asyncio
import os
import random
import resource
import signal
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import service_process
from load_clips import Clip, extract, make_clips

import l3embed

GIVES_UP_S = 120  # a client waits this long for an answer
TAKEN_S = 0.5  # after which a request that was sent is taken for accepted; before, it may still lie in the socket
REFUSED, KILLED = "refused while stopping", "decoder killed"


# --- clients: sockets and bytes, because what they take the service lacks


class Connection:
    """One that is kept, and opened again when the other side has closed it."""

    def __init__(self, port: int):
        self.port, self.reader, self.writer = port, None, None

    async def send(self, request: bytes) -> None:
        if self.writer is None or self.writer.is_closing() or self.reader.at_eof():
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        self.writer.write(request)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return int(head[0].split()[1]), headers, body

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body

    def close(self) -> None:
        if self.writer:
            self.writer.close()
        self.writer = None


@dataclass
class Load:
    """What many clients ask, and what came of it."""

    clips: list[Clip]
    port: int
    outcomes: Counter = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)  # of the try that was answered
    waits_s: list[float] = field(default_factory=list)  # with all tries before
    sound_s: float = 0.0
    under_way: dict = field(default_factory=dict)  # request -> when it was sent
    accepted: frozenset = frozenset()  # requests that the service had accepted when it was told to stop
    stopping: bool = False
    kills: int = 0

    async def client(self, seed: int, until: float) -> None:
        order, connection = random.Random(seed), Connection(self.port)
        while time.perf_counter() < until and await self.ask(connection, order.choice(self.clips)) != REFUSED:
            pass
        connection.close()

    async def ask(self, connection: Connection, clip: Clip) -> str:
        """Ask for a clip until it is answered; what came of it."""
        first = time.perf_counter()
        while True:
            ticket, started = object(), time.perf_counter()
            try:
                await connection.send(clip.request)
                self.under_way[ticket] = time.perf_counter()
                status, headers, body = await asyncio.wait_for(connection.answer(), GIVES_UP_S)
            except (OSError, EOFError, TimeoutError) as error:
                connection.close()
                return self.note("no answer", ticket, f"{clip.path.name}: {type(error).__name__} {error}")
            finally:
                self.under_way.pop(ticket, None)
            if status != 429:
                break
            self.outcomes["429"] += 1
            await asyncio.sleep(float(headers.get("retry-after", 1)))
        if status == 502 and b"decoder_died" in body and self.outcomes[KILLED] < self.kills:
            return self.note(KILLED, ticket, clip.path.name)
        if status != 200:
            return self.note(f"status {status}", ticket, f"{clip.path.name}: {status} {body[:200]!r}")
        now = time.perf_counter()
        self.latencies_s.append(now - started)
        self.waits_s.append(now - first)
        self.sound_s += clip.seconds
        return self.note(clip.verdict(body), ticket, clip.path.name)

    def note(self, outcome: str, ticket: object, what: str) -> str:
        if self.stopping and ticket not in self.accepted and outcome in ("no answer", "status 503"):
            outcome = REFUSED
        self.outcomes[outcome] += 1
        if outcome not in ("equal", "near", REFUSED, KILLED):
            self.bad.append(f"{outcome}: {what}")
        return outcome

    async def killer(self, pid: int, every_s: float) -> None:
        order = random.Random(0)
        while True:
            await asyncio.sleep(every_s)
            if found := service_process.decoders(pid):
                self.kills += 1
                os.kill(order.choice(found), signal.SIGKILL)

    async def run(self, arguments, process: subprocess.Popen) -> float:
        """Seconds that it took."""
        started, seconds = time.perf_counter(), arguments.seconds
        tasks = [asyncio.create_task(self.client(i, started + seconds)) for i in range(arguments.clients)]
        killer = asyncio.create_task(self.killer(process.pid, arguments.kill_every)) if arguments.kill_every else None
        if arguments.sigterm:
            await asyncio.sleep(seconds / 2)
            taken = time.perf_counter() - TAKEN_S
            self.accepted = frozenset(ticket for ticket, sent in self.under_way.items() if sent < taken)
            self.stopping = True
            process.send_signal(signal.SIGTERM)
        await asyncio.gather(*tasks)
        if killer:
            killer.cancel()
        return time.perf_counter() - started


# --- the run


def measured(clips: list[Clip], arguments, log: Path, *options: str) -> tuple[Load, dict]:
    """Load one service, started with further options."""
    with service_process.running(log, *options) as (address, process), service_process.Watch(process.pid) as watch:
        load = Load(clips, int(address.rpartition(":")[2]))
        idle = service_process.memory_mb(process.pid)
        own, served = resource.getrusage(resource.RUSAGE_SELF), service_process.cpu_s(process.pid)
        elapsed_s = asyncio.run(load.run(arguments, process))
        used = resource.getrusage(resource.RUSAGE_SELF)
        figures = {
            "elapsed_s": elapsed_s, "rate": load.sound_s / elapsed_s, "idle": idle, "peak": watch.peak,
            "own_cpus": (used.ru_utime + used.ru_stime - own.ru_utime - own.ru_stime) / elapsed_s,
            "served_cpus": (service_process.cpu_s(process.pid) - served) / elapsed_s if not arguments.sigterm else None,
        }  # fmt: skip
        if arguments.sigterm:
            stopping = time.perf_counter()
            figures["status"] = process.wait(service_process.STOPS_WITHIN_S)
            figures["stopped_s"] = time.perf_counter() - stopping
    return load, figures


def report(name: str, load: Load, figures: dict, extract_rate: float, clients: int) -> None:
    quantiles = [f"{1000 * q:.0f}" for q in np.quantile(load.latencies_s or [np.nan], [0.5, 0.95, 0.99])]
    waits = [f"{1000 * q:.0f}" for q in np.quantile(load.waits_s or [np.nan], [0.5, 0.95, 0.99])]
    print(f"\n## {name}: {clients} clients, {figures['elapsed_s']:.0f} s")
    print(f"seconds of sound per second: {figures['rate']:.0f}, {figures['rate'] / extract_rate:.0%} of extract's")
    print(f"requests answered: {len(load.latencies_s)}; {dict(load.outcomes)}")
    print(f"latency p50, p95, p99: {', '.join(quantiles)} ms; with what 429s cost: {', '.join(waits)} ms")
    idle, peak = figures["idle"], figures["peak"]
    memory = [f"{when} rss {mb['rss']:.0f}, pss {mb['pss']:.0f}" for when, mb in (("peak", peak), ("idle", idle))]
    print(f"memory, MB: {'; '.join(memory)}")
    if figures["served_cpus"] is not None:
        shares = f"the service {figures['served_cpus']:.2f}, the load {figures['own_cpus']:.2f}"
        print(f"processors: {shares} of {os.cpu_count()}")
    if load.kills:
        print(f"decoders killed: {load.kills}, requests that failed with 502 for it: {load.outcomes[KILLED]}")
    if load.stopping:
        unanswered = sum(line.startswith(("no answer", "status")) for line in load.bad)
        print(f"accepted before SIGTERM: {len(load.accepted)}, of those not answered: {unanswered}; "
              f"exit code {figures['status']}, {figures['stopped_s']:.1f} s after the last answer")  # fmt: skip
    for line in load.bad[:10]:
        print(f"BAD {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--lengths", type=float, nargs=2, default=(0.3, 30.0), help="of clips, in seconds")
    parser.add_argument("--batching", default="on", help="on, off, or on,off")
    parser.add_argument("--sigterm", action="store_true")
    parser.add_argument("--kill-every", type=float, metavar="S")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="options of l3embed serve")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)  # some clips are silent
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does: threads that wait actively cost speed
    with tempfile.TemporaryDirectory() as scratch:
        sounds = Path(scratch) / "sounds"
        sounds.mkdir()
        made = make_clips(sounds, arguments.folder, arguments.clips, arguments.lengths, arguments.seed)
        rate, whole = extract(sounds, Path(scratch) / "embeddings")
        print(f"{len(made)} clips, {sum(s for _, s in made):.0f} s; extract: {rate:.0f} s of sound per second "
              f"({whole:.0f} with start-up)", flush=True)  # fmt: skip
        vectors = l3embed.load().each(path for path, _ in made)
        clips = [Clip(path, seconds, embedding) for (path, seconds), (embedding, _) in zip(made, vectors, strict=True)]
        rates, bad = {}, 0
        for batching in arguments.batching.split(","):
            options = [*arguments.serve, *(["--no-batching"] if batching == "off" else [])]
            load, figures = measured(clips, arguments, Path(scratch) / f"log-{batching}", *options)
            report(f"batching {batching}", load, figures, rate, arguments.clients)
            rates[batching], bad = figures["rate"], bad + len(load.bad)
    if len(rates) == 2:
        print(f"\nbatching on / off: {rates['on'] / rates['off']:.2f} x the seconds of sound per second")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
