"""Many requests at once: shared batches, turns, a full queue, clients that leave, and an end in order."""

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import tone, write
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import ask, embed, eventually, form, metric, problem, process, running

from l3embed.embed import EmbeddingModel, Job
from l3embed.engine import Batch, PlaceholderEngine, run
from l3embed.service.admission import Admission
from l3embed.service.batching import Batcher, Gone
from l3embed.service.problems import Problem

NPY = "application/x-npy"


class Slow(PlaceholderEngine):
    """Takes its time, or waits until it is let go."""

    seconds, gate = 0.0, threading.Event()

    def finish(self, under_way):
        time.sleep(self.seconds)
        self.gate.wait(60)
        return super().finish(under_way)


@pytest.fixture
def slow(placeholder):
    """A model whose engine is let go at the end of the test."""
    Slow.gate, Slow.seconds = threading.Event(), 0.0
    yield EmbeddingModel(placeholder.card, Slow, "f32")
    Slow.gate.set()


def samples(seconds, rate_hz=8000, seed=0):
    return json.dumps({"samples": np.round(tone(seconds, rate_hz, seed=seed), 4).tolist(), "sample_rate": rate_hz})


def in_threads(n, call):
    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(call, range(n)))


# --- the batcher alone


class _Collected(Job):
    def __init__(self):
        self.framing, self.vectors, self.over, self.error = None, [], threading.Event(), None

    def take(self, vectors, framing):
        self.vectors.append(vectors)

    def finish(self, front_end):
        self.over.set()

    def fail(self, error):
        self.error = error
        self.over.set()


@settings(max_examples=20)
@given(st.data())
def test_whatever_comes_in_whatever_order_each_gets_the_vectors_that_it_gets_alone(placeholder, data):
    """Rows of two shapes, in chunks, from several threads; against `engine.run` of one recording at a time."""
    engine = placeholder.engine
    widths = [placeholder.spec.front_end.shape[1], placeholder.spec.front_end.shape[1] + 56]  # of 1 and of 8 windows
    shared = data.draw(st.booleans())
    recordings = data.draw(st.lists(st.lists(st.tuples(st.sampled_from(widths), st.integers(1, 20)), max_size=3),
                                    min_size=1, max_size=6))  # fmt: skip
    rng = np.random.default_rng(0)
    chunks = [[rng.random((n, 64, w, 1), np.float32) for w, n in recording] for recording in recordings]
    jobs = [_Collected() for _ in chunks]
    batcher = Batcher(engine, shared)

    def bring(i):
        batcher.open(jobs[i])
        for rows in chunks[i]:
            batcher.put(jobs[i], rows)
        batcher.end(jobs[i])

    in_threads(len(jobs), bring)
    for job, mine in zip(jobs, chunks, strict=True):
        assert job.over.wait(30) and job.error is None
        wanted = [v for _, v in run(engine, ((None, rows) for rows in mine)) if v is not None]
        assert np.array_equal(np.concatenate([np.empty((0, 8)), *job.vectors]),
                              np.concatenate([np.empty((0, 8)), *wanted]))  # fmt: skip
    batcher.close()
    assert batcher.n_waiting == 0


def test_short_recordings_are_not_behind_a_long_one(slow):
    """While a long one's rows wait, a short one comes: it is done after a few batches, not after all."""
    done = []

    def observe(batch):
        done.append([owner for owner, rows in batch.plan if rows is not None])

    batcher = Batcher(slow.engine, observe=observe)
    long, short, shape = _Collected(), _Collected(), (32, *slow.spec.front_end.shape)
    batcher.open(long)
    bringing = threading.Thread(target=lambda: [batcher.put(long, np.zeros(shape, np.float32)) for _ in range(20)])
    bringing.start()
    eventually(lambda: batcher.n_waiting)
    batcher.open(short)
    batcher.put(short, np.zeros((2, *shape[1:]), np.float32))
    batcher.end(short)
    slow.engine.gate.set()
    assert short.over.wait(30)
    bringing.join()
    batcher.end(long)
    assert long.over.wait(30)
    batcher.close()
    first = next(i for i, owners in enumerate(done) if short in owners)
    assert first <= slow.engine.n_ahead + 1 and {id(o) for o in done[first]} == {id(long), id(short)}
    assert len(done) == 41  # of 16: 640 rows and 2


def test_an_engine_that_fails_fails_those_in_its_batch_and_goes_on(placeholder):
    class Broken(PlaceholderEngine):
        def start(self, rows):
            if rows.max() > 5:
                raise RuntimeError("broken")
            return super().start(rows)

    batcher = Batcher(Broken(placeholder.card))
    for value in (1, 9, 1):
        job = _Collected()
        batcher.open(job)
        batcher.put(job, np.full((1, *placeholder.spec.front_end.shape), value, np.float32))
        with contextlib.suppress(Gone):
            batcher.end(job)
        assert job.over.wait(30) and (job.error is None) == (value == 1)
    batcher.close()


def test_a_cancelled_recording_leaves_no_rows_and_stops_whoever_brings_them(slow):
    batcher, job = Batcher(slow.engine), _Collected()
    batcher.open(job)
    stopped = threading.Event()

    def bring():
        with contextlib.suppress(Gone):
            while True:
                batcher.put(job, np.zeros((64, *slow.spec.front_end.shape), np.float32))
        stopped.set()

    threading.Thread(target=bring).start()
    eventually(lambda: batcher.n_waiting >= 64)
    batcher.cancel(job)
    assert stopped.wait(30) and batcher.n_waiting == 0
    slow.engine.gate.set()
    batcher.close()


def test_a_batch_says_whose_rows_are_where(placeholder):
    batch = Batch(placeholder.engine)
    rows = np.ones((10, *placeholder.spec.front_end.shape), np.float32)
    assert batch.add("a", rows) == 10 and batch.add("b", rows) == 6 and batch.is_full
    batch.start()
    assert [(owner, len(vectors)) for owner, vectors in batch.finish()] == [("a", 10), ("b", 6)]


def test_admission_estimates_when_to_come_back(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("l3embed.service.admission.time.monotonic", lambda: now[0])
    admission = Admission(40)
    with contextlib.ExitStack() as stack:
        left = stack.enter_context(admission.answering(40))
        for _ in range(30):  # one every two seconds
            now[0] += 2
            left.computed()
        stack.enter_context(admission.answering(30))
        with pytest.raises(Problem) as refused:
            admission.check()
        assert refused.value.status == 429 and 30 <= int(refused.value.headers["Retry-After"]) <= 40  # 40 / 2 x 2 s
    assert admission.n == admission.n_open == 0
    admission.stopping = True
    with pytest.raises(Problem) as refused:
        admission.check()
    assert refused.value.status == 503


# --- the service


def test_clients_share_batches_and_none_gets_another_s_vectors(placeholder):
    """32 clips of one window each, while the engine is busy with the first: the others are two batches of 16."""
    bodies = [samples(0.5, seed=i) for i in range(32)]
    wanted = [placeholder.embed(np.array(json.loads(body)["samples"]), 8000, hop=2.0)[0] for body in bodies]
    assert len({w.tobytes() for w in wanted}) == 32
    n = {}
    for batching in (True, False):
        Slow.gate, Slow.seconds = threading.Event(), 0.0
        slow = EmbeddingModel(placeholder.card, Slow, "f32")
        with running([slow], batching=batching) as server, ThreadPoolExecutor(32) as threads:
            asked = [threads.submit(embed, server.url, body, NPY, "application/json", "?hop=2") for body in bodies]
            eventually(lambda server=server: server.desk.batchers["placeholder"].n_waiting >= 30)
            Slow.gate.set()
            for future, vectors in zip(asked, wanted, strict=True):
                status, _, body = future.result()
                assert status == 200 and np.array_equal(np.load(io.BytesIO(body)), vectors)
            n[batching] = metric(server.url, 'l3embed_batch_rows_count{model="placeholder"}')
            assert metric(server.url, 'l3embed_batch_rows_sum{model="placeholder"}') == 32
            assert metric(server.url, 'l3embed_batch_recordings_sum{model="placeholder"}') == 32
    assert n[False] == 32 and n[True] <= 4


def test_a_full_queue_says_when_to_try_again_and_loses_nothing(slow):
    with running([slow], max_queue=3) as server:
        with ThreadPoolExecutor(3) as threads:
            accepted = [threads.submit(embed, server.url, samples(1)) for _ in range(3)]
            eventually(lambda: server.desk.admission.n == 3)
            answer = embed(server.url, samples(1), kind="application/json")
            assert problem(answer, 429, "queue_full") and 1 <= int(answer[1]["Retry-After"]) <= 60
            body, kind = form([("a", "a", b"x"), ("b", "b", b"x")])
            problem(ask(server.url, "POST", "/v1/embed/batch", body, {"Content-Type": kind}), 429, "queue_full")
            assert metric(server.url, "l3embed_queue_recordings") == 3
            assert metric(server.url, 'l3embed_failures_total{reason="queue_full"}') == 2
            slow.engine.gate.set()
            assert [future.result()[0] for future in accepted] == [422, 422, 422]  # no JSON: raw bodies
        assert embed(server.url, samples(1), kind="application/json")[0] == 200


def test_a_client_that_leaves_frees_its_place_its_rows_and_its_decoder(slow, tmp_path):
    body = write(tmp_path / "a.wav", tone(600, 8000), 8000).read_bytes()
    with running([slow]) as server:
        parts = urllib.parse.urlsplit(server.url)
        for accept in (NPY, "application/x-ndjson"):
            with socket.create_connection((parts.hostname, parts.port)) as link:
                head = f"POST /v1/embed HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n"
                link.sendall(head.encode() + body)
                eventually(lambda: server.desk.batchers["placeholder"].n_waiting)
                assert server.desk.admission.n == 1
            eventually(lambda: not server.desk.admission.n_open)
            eventually(lambda: not server.desk.batchers["placeholder"].n_waiting)
        eventually(lambda: server.desk.decoders.n_dropped == 2)
        slow.engine.gate.set()
        assert embed(server.url, samples(1), kind="application/json")[0] == 200
        assert metric(server.url, 'l3embed_failures_total{reason="client_gone"}') == 2


def test_long_recordings_do_not_keep_short_ones_from_being_decoded(slow, tmp_path):
    """As many long ones as there are decoders, and more; a short one comes after them and is done before them."""
    Slow.gate.set()
    Slow.seconds = 0.01
    body = write(tmp_path / "a.wav", tone(200, 8000), 8000).read_bytes()
    with running([slow], jobs=1) as server, ThreadPoolExecutor(3) as threads:
        long = [threads.submit(embed, server.url, body, NPY) for _ in range(3)]
        eventually(lambda: server.desk.admission.n == 3)
        assert embed(server.url, samples(1), kind="application/json")[0] == 200
        assert not any(future.done() for future in long)
        sizes = {np.load(io.BytesIO(future.result()[2])).shape for future in long}
    assert sizes == {(1996, 8)}


def test_a_killed_decoder_is_the_end_of_one_request(slow, tmp_path):
    body = write(tmp_path / "a.wav", tone(600, 8000), 8000).read_bytes()
    with running([slow], jobs=1) as server, ThreadPoolExecutor(2) as threads:
        hit = threads.submit(embed, server.url, body, NPY)
        eventually(lambda: server.desk.batchers["placeholder"].n_waiting)
        (child,) = [c for c in server.desk.decoders.all if c.is_busy]
        other = threads.submit(embed, server.url, samples(1), NPY, "application/json")
        eventually(lambda: server.desk.admission.n == 2)
        os.kill(child.pid, signal.SIGKILL)
        slow.engine.gate.set()
        problem(hit.result(), 502, "decoder_died")
        assert other.result()[0] == 200 and embed(server.url, samples(1), NPY, "application/json")[0] == 200


def test_idle_decoders_that_die_are_replaced(placeholder):
    with running([placeholder], jobs=1) as server:
        for _ in range(3):
            assert embed(server.url, samples(1), NPY, "application/json")[0] == 200
            for child in server.desk.decoders.all:
                os.kill(child.pid, signal.SIGKILL)
                eventually(lambda child=child: not child.is_alive)


def test_sigterm_answers_what_was_accepted_and_refuses_the_rest(tmp_path):
    """The whole process, under load: each request is answered in full or refused as stopping; then it ends, well."""
    body = write(tmp_path / "a.wav", tone(60)).read_bytes()
    with process("--precision", "f32", "--max-queue", "12") as server:
        wanted = embed(server.url, body, NPY)[2]
        with ThreadPoolExecutor(13) as threads:
            accepted = [threads.submit(embed, server.url, body, NPY) for _ in range(12)]
            eventually(lambda: metric(server.url, "l3embed_queue_recordings") >= 8)
            server.send_signal(signal.SIGTERM)
            eventually(lambda: ask(server.url, "GET", "/readyz")[0] == 503)
            problem(ask(server.url, "GET", "/readyz"), 503, "stopping")
            problem(embed(server.url, body), 503, "stopping")
            assert ask(server.url, "GET", "/healthz")[0] == 200
            answers = [future.result() for future in accepted]
        assert sum(status == 200 for status, _, _ in answers) >= 8
        for status, headers, got in answers:
            if status == 200:
                assert got == wanted
            else:
                problem((status, headers, got), 503, "stopping")
        assert server.wait(30) == 0
    assert not any("Traceback" in line for line in server.log)


def test_a_second_signal_ends_it_at_once(tmp_path):
    body = write(tmp_path / "a.wav", tone(300)).read_bytes()
    with process("--precision", "f32") as server, ThreadPoolExecutor(1) as threads:
        lost = threads.submit(embed, server.url, body, NPY, query="?hop=0.003")
        eventually(lambda: metric(server.url, 'l3embed_queue_rows{model="l3-small-taught-1"}'))
        server.send_signal(signal.SIGTERM)
        eventually(lambda: ask(server.url, "GET", "/readyz")[0] == 503)
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 1
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert lost.result()[0] >= 500


def test_a_port_that_is_taken_is_told(placeholder):
    import subprocess
    import sys

    with running([placeholder]) as server:
        port = urllib.parse.urlsplit(server.url).port
        command = [sys.executable, "-m", "l3embed", "serve", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and f"port {port}" in done.stderr and "Traceback" not in done.stderr
