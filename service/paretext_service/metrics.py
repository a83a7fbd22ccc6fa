"""The Prometheus metrics of one server. Seconds and bytes; every set of labels is bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from paretext_service.catalogue import Served, ServedModel
from paretext_service.router import REASONS

PROTOCOLS = ("classify",)
STAGES = ("tokenize", "queue", "inference")
_VARIANT = ("model", "variant")
_FIRST_EDGE = 1e-4
_EDGES = 18


@dataclass(slots=True)
class Timings:
    """Where a request's time went, in seconds. Feeds metrics, headers and the log line."""

    tokenize: float = 0.0
    queue: float = 0.0
    inference: float = 0.0
    total: float = 0.0

    def server_timing(self) -> str:
        """The value of the Server-Timing header, in milliseconds."""
        return (
            f"tokenize;dur={self.tokenize * 1e3:.3f}, queue;dur={self.queue * 1e3:.3f}, "
            f"inference;dur={self.inference * 1e3:.3f}"
        )


def edges(target_seconds: float) -> tuple[float, ...]:
    """Histogram edges doubling from 0.1 ms to 13 s, with the target as one of them."""
    return tuple(sorted({*(_FIRST_EDGE * 2**i for i in range(_EDGES)), target_seconds}))


class Metrics:
    """All metrics, in a registry of their own: two servers in one process do not mix.

    Args:
        target_ms: the latency target, an exact edge of the latency histograms.
    """

    def __init__(self, target_ms: float) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        buckets = edges(target_ms / 1e3)

        def counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
            return Counter(f"paretext_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, labels: tuple[str, ...]) -> Histogram:
            return Histogram(f"paretext_{name}", text, labels, registry=registry, buckets=buckets)

        self.requests = counter(
            "requests_total",
            "Requests by HTTP status; model and variant are empty where none was reached.",
            (*_VARIANT, "protocol", "reason", "code"),
        )
        self.duration = histogram(
            "request_duration_seconds",
            "From the last byte of the body read to the answer handed over.",
            _VARIANT,
        )
        self.stages = histogram(
            "stage_duration_seconds",
            "Time of a request in each stage; the texts of a list add up.",
            (*_VARIANT, "stage"),
        )
        self.tokens = counter("tokens_total", "Tokens classified.", _VARIANT)
        self.truncated = counter("truncated_total", "Texts cut to the variant's limit.", _VARIANT)
        self._add_gauges()
        self._gauges: dict[tuple[str, str], tuple[str, str]] = {}

    def _add_gauges(self) -> None:
        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"paretext_{name}", text, labels, registry=self.registry)

        self.info = gauge(
            "variant_info", "1 for each variant served.", (*_VARIANT, "revision", "device")
        )
        self.accuracy = gauge(
            "variant_accuracy", "Primary metric as measured when the variant was built.", _VARIANT
        )
        self.size = gauge("variant_size_bytes", "Bytes of the variant on disk.", _VARIANT)
        self.loaded = gauge("variant_loaded", "1 if served, 0 if it was refused.", _VARIANT)
        self.agreement = gauge(
            "teacher_agreement_ratio",
            "Share of equal answers with the teacher, as measured when it was built.",
            _VARIANT,
        )
        self.queue_depth = gauge("queue_depth", "Texts that wait for a worker.")
        self.inflight = gauge("inflight_requests", "Requests accepted and not yet answered.")

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        self.queue_depth.set_function(waiting)

    def show(self, models: Mapping[str, ServedModel]) -> None:
        """Bring the gauges in line with what is served; forget variants that are gone."""
        self.info.clear()
        gone = set(self._gauges)
        for model in models.values():
            for served in model.variants.values():
                self._show_served(model.name, served)
                gone.discard((model.name, served.variant))
            for refusal in model.refused:
                if refusal.variant and refusal.variant not in model.variants:
                    self.loaded.labels(model.name, refusal.variant).set(0)
                    self._gauges[model.name, refusal.variant] = (model.name, refusal.variant)
                    gone.discard((model.name, refusal.variant))
        for names in gone:
            for family in (self.accuracy, self.size, self.loaded, self.agreement):
                family.remove_by_labels(dict(zip(_VARIANT, names, strict=True)))
            del self._gauges[names]

    def count(self, model: str, variant: str, reason: str, status: int) -> None:
        """Count a request that has ended."""
        self.requests.labels(model, variant, "classify", reason, str(status)).inc()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that the Accept header asks for, and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type

    def _show_served(self, model: str, served: Served) -> None:
        names = model, served.variant
        self._gauges[names] = names
        measured = served.manifest.measured
        self.info.labels(*names, served.revision, served.device).set(1)
        self.accuracy.labels(*names).set(measured.primary.value)
        self.size.labels(*names).set(measured.bytes_on_disk)
        self.loaded.labels(*names).set(1)
        if measured.agreement is not None:
            self.agreement.labels(*names).set(measured.agreement.value)
        # Series that exist before the first request make rates and alerts right from the start.
        for protocol in PROTOCOLS:
            for reason in REASONS:
                self.requests.labels(*names, protocol, reason, "200")
        for stage in STAGES:
            self.stages.labels(*names, stage)
        for family in (self.duration, self.tokens, self.truncated):
            family.labels(*names)
