"""The router is a pure function: plain candidates in, a decision out."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from paretext_service.router import (
    Candidate,
    Conditions,
    Decision,
    Unroutable,
    devices,
    on_device,
    route,
)
from paretext_service.settings import DeviceClass


def candidate(variant: str, accuracy: float, p50_ms: float | None, megabytes: float) -> Candidate:
    return Candidate(
        variant=variant,
        device="cpu",
        accuracy=accuracy,
        accuracy_ci95=(accuracy - 0.02, accuracy + 0.02),
        file_bytes=int(megabytes * 1e6),
        macs=int(megabytes * 1e6),
        p50_ms=p50_ms,
        memory_bytes=int(megabytes * 2e6) if p50_ms else None,
    )


FULL = candidate("fp32", 0.92, 10.0, 90)
INT8 = candidate("int8", 0.91, 3.0, 23)
TINY = candidate("tiny", 0.85, 0.1, 2)
ALL = (FULL, INT8, TINY)
CLASSES = {
    "edge": DeviceClass(max_file_mb=30),
    "small": DeviceClass(max_file_mb=30, max_memory_mb=10),
    "speck": DeviceClass(max_file_mb=0.001),
    "gpu": DeviceClass(target="cuda:0"),
}


def decide(default: str | None = "int8", **conditions: object) -> tuple[str, str]:
    decision = route(Conditions(**conditions), ALL, default, CLASSES)  # type: ignore[arg-type]
    if isinstance(decision, Unroutable):
        return decision.kind, ", ".join(decision.known)
    return decision.candidate.variant, decision.reason


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, ("int8", "default")),
        ({"variant": "tiny"}, ("tiny", "pinned")),
        ({"variant": "gone"}, ("unknown_variant", "fp32, int8, tiny")),
        ({"variant": ""}, ("unknown_variant", "fp32, int8, tiny")),
        ({"device": "cpu"}, ("int8", "default")),
        ({"device": "edge"}, ("int8", "default")),
        ({"device": "small"}, ("tiny", "default")),
        ({"device": "speck"}, ("unknown_device", "cpu, edge, small")),
        ({"device": "gpu"}, ("unknown_device", "cpu, edge, small")),
        ({"device": "toaster"}, ("unknown_device", "cpu, edge, small")),
        ({"min_accuracy": 0.8}, ("tiny", "min_accuracy")),
        ({"min_accuracy": 0.91}, ("int8", "min_accuracy")),
        ({"min_accuracy": 0.9, "lower_bound": True}, ("fp32", "min_accuracy")),
        ({"min_accuracy": 0.95}, ("fp32", "best_effort")),
        ({"min_accuracy": 0.95, "strict": True}, ("conditions_not_met", "")),
        ({"min_accuracy": 0.92, "device": "edge"}, ("int8", "best_effort")),
        ({"variant": "int8", "min_accuracy": 0.9}, ("int8", "pinned")),
        ({"variant": "tiny", "min_accuracy": 0.9}, ("conditions_not_met", "")),
        ({"variant": "fp32", "device": "edge"}, ("conditions_not_met", "")),
        ({"variant": "fp32", "device": "toaster"}, ("unknown_device", "cpu, edge, small")),
    ],
)
def test_choice(conditions: dict[str, object], expected: tuple[str, str]) -> None:
    assert decide(**conditions) == expected


def test_default_that_is_not_there() -> None:
    assert decide(default="damaged") == ("fp32", "best_effort")
    assert decide(default=None) == ("fp32", "best_effort")


def test_without_profiles_fewest_operations_count() -> None:
    unprofiled = [replace(one, p50_ms=None) for one in ALL]
    decision = route(Conditions(min_accuracy=0.9), unprofiled, "fp32", {})
    assert isinstance(decision, Decision)
    assert decision.candidate.variant == "int8"


def test_memory_that_is_not_known_does_not_fit() -> None:
    unknown = replace(TINY, memory_bytes=None)
    assert not on_device(unknown, "small", CLASSES)
    assert on_device(unknown, "edge", CLASSES)
    assert devices(ALL, CLASSES) == ("cpu", "edge", "small")


def random_case(chooser: random.Random) -> tuple[Conditions, list[Candidate]]:
    asked = Conditions(
        variant=chooser.choice([None, None, "a", "z"]),
        device=chooser.choice([None, "cpu", "edge", "small", "x"]),
        min_accuracy=chooser.choice([None, chooser.uniform(0.4, 1)]),
        lower_bound=chooser.random() < 0.5,
        strict=chooser.random() < 0.5,
    )
    candidates = [
        candidate(
            variant,
            chooser.choice([0.8, chooser.uniform(0.5, 1)]),
            chooser.choice([None, 1.0, chooser.uniform(0.1, 50)]),
            chooser.choice([5.0, chooser.uniform(0.1, 100)]),
        )
        for variant in chooser.sample(["a", "b", "c", "d"], chooser.randint(1, 4))
    ]
    return asked, candidates


@pytest.mark.parametrize("seed", range(5))
def test_what_is_promised(seed: int) -> None:
    chooser = random.Random(seed)
    for _ in range(400):
        check_promises(*random_case(chooser))


def check_promises(asked: Conditions, candidates: list[Candidate]) -> None:
    decision = route(asked, candidates, "a", CLASSES)
    assert decision == route(asked, candidates[::-1], "a", CLASSES)
    if isinstance(decision, Unroutable):
        assert asked.variant or asked.device or asked.strict
        return
    chosen = decision.candidate
    assert chosen in candidates
    assert asked.variant in (None, chosen.variant)
    assert asked.device is None or on_device(chosen, asked.device, CLASSES)
    if asked.min_accuracy is not None and decision.reason != "best_effort":
        judged = chosen.accuracy_ci95[0] if asked.lower_bound else chosen.accuracy
        assert judged >= asked.min_accuracy
    if asked.strict and asked.min_accuracy is not None:
        assert decision.reason != "best_effort"
