"""The metrics after requests that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from paretext_service.metrics import edges

VARIANT = {"model": "tiny", "variant": "fp32"}
CLASSIFY = {"protocol": "classify"}


def test_edges() -> None:
    assert 0.0033 in edges(0.0033)
    assert edges(0.0033)[0] == 1e-4
    assert list(edges(0.0033)) == sorted(set(edges(0.0033)))
    assert len(edges(1e-4)) == 18


def test_series_are_there_before_the_first_request(serve: Callable[..., Any]) -> None:
    running = serve()
    assert running.metric(
        "paretext_requests_total", **VARIANT, **CLASSIFY, reason="default", code="200"
    ) == 0  # fmt: skip
    assert running.metric("paretext_request_duration_seconds_count", **VARIANT) == 0
    assert running.metric("paretext_variant_accuracy", **VARIANT) == 0.92
    assert running.metric("paretext_teacher_agreement_ratio", **VARIANT) == 0.95
    assert running.metric("paretext_variant_loaded", **VARIANT) == 1
    size = running.metric("paretext_variant_size_bytes", **VARIANT)
    assert size is not None
    assert size > 50_000


def test_after_known_requests(serve: Callable[..., Any]) -> None:
    running = serve(latency_target_ms=7.5)
    running.classify({"inputs": ["good", "good film", ""]})  # 3 + 4 tokens
    running.classify({"inputs": "good " * 100})  # 32 tokens, cut
    running.classify({"inputs": "bad"}, X_Variant="int8")
    running.classify({"inputs": ""})
    running.classify({"inputs": "a", "model": "made up"})
    running.classify({"inputs": "a"}, X_Variant="made-up")

    def requests(variant: str, reason: str, code: str) -> float | None:
        model = "tiny" if variant else ""
        return running.metric(
            "paretext_requests_total",
            model=model, variant=variant, reason=reason, code=code, **CLASSIFY,
        )  # fmt: skip

    assert requests("fp32", "default", "200") == 2
    assert requests("int8", "pinned", "200") == 1
    assert requests("fp32", "default", "422") == 1
    assert requests("", "", "404") == 2
    assert running.metric("paretext_tokens_total", **VARIANT) == 39
    assert running.metric("paretext_truncated_total", **VARIANT) == 1
    assert running.metric("paretext_request_duration_seconds_count", **VARIANT) == 2
    for stage in ("tokenize", "queue", "inference"):
        name = "paretext_stage_duration_seconds_count"
        assert running.metric(name, **VARIANT, stage=stage) == 2
    name = "paretext_request_duration_seconds_bucket"
    assert running.metric(name, **VARIANT, le="0.0075") is not None
    assert running.metric("paretext_queue_depth") == 0
    assert running.metric("paretext_inflight_requests") == 0


def test_exposition(serve: Callable[..., Any]) -> None:
    running = serve()
    for n in range(50):  # names that a client makes up never become labels
        running.classify({"inputs": "a", "model": f"made-up-{n}"}, X_Variant=f"made-up-{n}")
    response = running.client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert "made-up" not in response.text
    families = {family.name for family in text_string_to_metric_families(response.text)}
    assert "paretext_requests" in families
    assert "process_resident_memory_bytes" in families
    openmetrics = running.client.get(
        "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert openmetrics.text.endswith("# EOF\n")


def test_two_servers_do_not_mix(serve: Callable[..., Any]) -> None:
    first, second = serve(), serve()
    first.classify({"inputs": "good"})
    name = "paretext_request_duration_seconds_count"
    assert (first.metric(name, **VARIANT), second.metric(name, **VARIANT)) == (1, 0)
