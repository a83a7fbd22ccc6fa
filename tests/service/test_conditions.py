"""Headers to conditions."""

from __future__ import annotations

import pytest

from paretext_service.conditions import Asked, read_conditions
from paretext_service.router import Conditions


def read(**headers: str) -> Asked:
    return read_conditions(
        {name.replace("_", "-").lower().encode(): value.encode() for name, value in headers.items()}
    )


def test_nothing_asked() -> None:
    assert read() == Asked()
    assert read(Accept="*/*", User_Agent="curl") == Asked()


@pytest.mark.parametrize(
    ("value", "floor", "lower"),
    [
        ("0.9", 0.9, False),
        (" 0.9 ", 0.9, False),
        ("0.9;bound=lower", 0.9, True),
        ("0.9 ; bound=lower", 0.9, True),
        ("0", 0.0, False),
        ("1", 1.0, False),
    ],
)
def test_min_accuracy(value: str, floor: float, lower: bool) -> None:
    asked = read(X_Min_Accuracy=value)
    assert not asked.faults
    assert asked.conditions == Conditions(min_accuracy=floor, lower_bound=lower)


@pytest.mark.parametrize("value", ["", "1.01", "-0.1", "0_9", "0.9;", "0.9;x", "٠.٩", "inf", "nan"])
def test_wrong_min_accuracy(value: str) -> None:
    asked = read(X_Min_Accuracy=value)
    # A lone semicolon says nothing wrong.
    assert bool(asked.faults) == (value != "0.9;")


@pytest.mark.parametrize(
    ("value", "strict"),
    [
        ("handling=strict", True),
        ("respond-async, Handling = Strict", True),
        ("handling=strict; x=1", True),
        ("handling=lenient", False),
        ("wait=10", False),
        ("", False),
    ],
)
def test_prefer(value: str, strict: bool) -> None:
    assert read(Prefer=value).conditions.strict is strict


def test_deadline() -> None:
    assert read(X_Deadline_Ms="250.5").deadline_ms == 250.5
    assert read(X_Deadline_Ms="99999999999").faults[0].field == "X-Deadline-Ms"


def test_headers_that_are_not_built_yet_are_named() -> None:
    asked = read(X_Latency_Target_Ms="5", X_Max_Disagreement="0.01", X_Variant="int8")
    assert {fault.field for fault in asked.faults} == {"X-Latency-Target-Ms", "X-Max-Disagreement"}
