"""What the service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BATCHES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1)
LATENCIES_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """One for a process."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self._requests = self._make(Counter, "requests", "Requests answered.", ["route", "status"])
        self._latency = self._make(
            Histogram, "request_seconds", "From the head of a request to its last byte.", ["route"], buckets=LATENCIES_S
        )
        self._failures = self._make(Counter, "failures", "Requests and recordings that failed.", ["reason"])
        self._rows = self._make(
            Histogram, "batch_rows", "Rows in a batch of the engine that were somebody's.", ["model"],
            buckets=(1, 2, 4, 8, 12, 16, 32, 64, 128, 256),
        )  # fmt: skip
        self._fill = self._make(Histogram, "batch_fill", "The same, of all rows.", ["model"], buckets=BATCHES)
        self._sharing = self._make(
            Histogram, "batch_recordings", "Recordings that share a batch.", ["model"], buckets=(1, 2, 4, 8, 16)
        )
        self._seconds = self._make(Counter, "audio_seconds", "Seconds of sound embedded.", ["model"])
        self._windows = self._make(Counter, "windows", "Vectors computed.", ["model"])

    def _make(self, kind, name: str, text: str, labels: list[str], **how):
        return kind(f"l3embed_{name}", text, labels, registry=self.registry, **how)

    def watch(self, desk) -> None:
        """What is looked up when it is asked for."""
        for name, text, look in (
            ("queue_recordings", "Recordings accepted and not yet computed.", lambda: desk.admission.n),
            ("open_recordings", "Recordings accepted and not yet answered.", lambda: desk.admission.n_open),
            ("decoders_dropped", "Decoders that died, or were killed with a recording.",
             lambda: desk.decoders.n_dropped),
            ("stopping", "Whether the service is stopping.", lambda: desk.admission.stopping),
        ):  # fmt: skip
            Gauge(f"l3embed_{name}", text, registry=self.registry).set_function(look)
        rows = self._make(Gauge, "queue_rows", "Rows that wait for the engine.", ["model"])
        for name, batcher in desk.batchers.items():
            rows.labels(name).set_function(lambda batcher=batcher: batcher.n_waiting)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def failure(self, reason: str) -> None:
        self._failures.labels(reason).inc()

    def batch(self, model: str, batch) -> None:
        """A batch that was computed."""
        self._rows.labels(model).observe(batch.used)
        self._fill.labels(model).observe(batch.used / batch.size)
        self._sharing.labels(model).observe(len({id(owner) for owner, rows in batch.plan if rows is not None}))

    def recording(self, work) -> None:
        """A recording that is over."""
        if not work.error:
            self._seconds.labels(work.model.name).inc(work.seconds)
            self._windows.labels(work.model.name).inc(len(work.rows))

    def text(self) -> bytes:
        return generate_latest(self.registry)
