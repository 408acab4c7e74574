"""Prometheus metrics of a server, in a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one server; names start with `timesformer_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "timesformer_requests_total", "Requests by route and status.", ("route", "code"), registry=self.registry
        )
        self.inflight = Gauge(
            "timesformer_inflight", "Requests between their arrival and their answer.", registry=self.registry
        )
        self.queue_seconds = Histogram(
            "timesformer_queue_seconds",
            "Time that decoded clips wait for their forward pass, in seconds.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "timesformer_batch_size", "Clips in a forward pass.", buckets=_BATCHES, registry=self.registry
        )
        self.dispatches = Counter(
            "timesformer_batch_dispatch_total",
            "Batches by the reason for which they left the queue.",
            ("reason",),
            registry=self.registry,
        )
        self.decode_seconds = Histogram(
            "timesformer_decode_seconds",
            "Time to decode the clips of a video, in seconds.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decode_failures = Counter(
            "timesformer_decode_failures_total",
            "Videos that were not decoded, by reason.",
            ("reason",),
            registry=self.registry,
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)
