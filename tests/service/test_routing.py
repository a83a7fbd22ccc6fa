"""Routing over HTTP: conditions in, headers and problems out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretext_models.profile import BucketProfile, HostProfile
from paretext_models.store import StoredVariant
from paretext_service import catalogue
from paretext_service.settings import DeviceClass

LATENCIES = {"fp32": 4.0, "int8": 1.0, "small": 2.0}


@pytest.fixture
def profiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variant has a profile: the p95 is the p50 and the token count in microseconds."""

    def cached(stored: StoredVariant, _: Path, *, device: str) -> HostProfile:
        p50 = LATENCIES[stored.manifest.variant]
        buckets = tuple(
            BucketProfile(
                tokens=tokens,
                p50_ms=p50,
                p95_ms=p50 + tokens / 1000,
                p99_ms=p50 + 1,
                runs=10,
                texts_per_second=100,
            )
            for tokens in (16, 64)
        )
        size = {"fp32": 90, "int8": 30, "small": 8}[stored.manifest.variant] * 10**6
        return HostProfile(host={}, load_seconds=0.1, resident_bytes=size, buckets=buckets)

    monkeypatch.setattr(catalogue, "cached_profile", cached)


def answered(response: Any) -> tuple[str, str]:
    assert response.status_code == 200
    content = response.json()
    assert response.headers["X-Variant"] == content["variant"]
    assert response.headers["X-Route-Reason"] == content["route"]["reason"]
    return content["variant"], content["route"]["reason"]


def test_pinned(serve: Callable[..., Any]) -> None:
    running = serve()
    for variant in ("fp32", "int8", "small"):
        response = running.classify({"inputs": "good"}, X_Variant=variant)
        assert answered(response) == (variant, "pinned")


def test_unknown_variant_and_device(serve: Callable[..., Any]) -> None:
    running = serve(device_classes={"speck": DeviceClass(max_file_mb=0.001)})
    response = running.classify({"inputs": "good"}, X_Variant="int4")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_variant")
    assert response.json()["variants"] == ["fp32", "int8", "small"]
    for device in ("cuda:7", "speck", ""):
        response = running.classify({"inputs": "good"}, X_Device=device)
        assert (response.status_code, response.json()["code"]) == (404, "unknown_device")
        assert response.json()["devices"] == ["cpu"]


def test_device_classes(serve: Callable[..., Any], profiled: None) -> None:
    classes = {
        "edge": DeviceClass(max_file_mb=0.02),
        "watch": DeviceClass(max_memory_mb=10),
        "big": DeviceClass(max_file_mb=1000, max_memory_mb=1000),
    }
    running = serve(device_classes=classes)
    body = {"inputs": "good"}
    assert answered(running.classify(body, X_Device="cpu")) == ("fp32", "default")
    assert answered(running.classify(body, X_Device="big")) == ("fp32", "default")
    assert answered(running.classify(body, X_Device="edge")) == ("int8", "default")
    assert answered(running.classify(body, X_Device="watch")) == ("small", "default")
    pinned = running.classify(body, X_Device="watch", X_Variant="fp32")
    assert (pinned.status_code, pinned.json()["code"]) == (412, "conditions_not_met")
    assert running.classify(body, X_Device="watch").headers["X-Device"] == "cpu"


def test_accuracy_floor(serve: Callable[..., Any], profiled: None) -> None:
    running = serve()
    body = {"inputs": "good"}
    assert answered(running.classify(body, X_Min_Accuracy="0.7")) == ("int8", "min_accuracy")
    assert answered(running.classify(body, X_Min_Accuracy="0.91")) == ("fp32", "min_accuracy")
    lower = running.classify(body, X_Min_Accuracy="0.89;bound=lower")
    assert answered(lower) == ("fp32", "min_accuracy")
    assert answered(running.classify(body, X_Min_Accuracy="0.99")) == ("fp32", "best_effort")


def test_strict(serve: Callable[..., Any]) -> None:
    response = serve().classify({"inputs": "good"}, X_Min_Accuracy="0.99", Prefer="handling=strict")
    assert (response.status_code, response.json()["code"]) == (412, "conditions_not_met")
    figures = {one["variant"]: one for one in response.json()["figures"]}
    assert figures["int8"]["accuracy"] == 0.9
    assert figures["int8"]["accuracy_ci95"] == pytest.approx([0.88, 0.92])
    assert figures["int8"]["file_mb"] < figures["fp32"]["file_mb"]


def test_pinned_variant_below_the_floor(serve: Callable[..., Any]) -> None:
    response = serve().classify({"inputs": "good"}, X_Variant="small", X_Min_Accuracy="0.9")
    assert response.status_code == 412


def test_predicted_latency(serve: Callable[..., Any], profiled: None) -> None:
    running = serve()
    response = running.classify({"inputs": "good " * 22}, X_Variant="int8")  # 24 tokens
    predicted = response.json()["route"]["predicted_ms"]
    assert predicted == pytest.approx(1.024)
    assert float(response.headers["X-Predicted-Latency-Ms"]) == pytest.approx(predicted, abs=1e-3)
    many = running.classify({"inputs": ["good"] * 10 + [""]}, X_Variant="int8").json()
    # Ten texts of 3 tokens on two workers.
    assert many["route"]["predicted_ms"] == pytest.approx(5 * 1.016, abs=0.5)


def test_profiles_measured_later_are_taken_up(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    running = serve()
    assert "predicted_ms" not in running.classify({"inputs": "good"}).json()["route"]
    bucket = BucketProfile(tokens=16, p50_ms=1, p95_ms=2, p99_ms=3, runs=1, texts_per_second=1)
    profile = HostProfile(host={}, load_seconds=1, resident_bytes=1, buckets=(bucket,))
    monkeypatch.setattr(catalogue, "cached_profile", lambda *_, **__: profile)
    wait_until(lambda: "predicted_ms" in running.classify({"inputs": "good"}).json()["route"])
