"""What the headers of a request ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paretext_models.errors import Fault
from paretext_service.router import Conditions

_MAX_DEADLINE_MS = 24 * 3600 * 1000.0
_ONCE = {
    b"x-variant": "X-Variant",
    b"x-device": "X-Device",
    b"x-min-accuracy": "X-Min-Accuracy",
    b"x-deadline-ms": "X-Deadline-Ms",
}
_NOT_YET = {
    b"x-latency-target-ms": "X-Latency-Target-Ms",
    b"x-max-disagreement": "X-Max-Disagreement",
}
_NOTHING_ASKED = Conditions()


@dataclass(frozen=True, slots=True)
class Asked:
    """The conditions and the deadline of a request, and every wrong header."""

    conditions: Conditions = _NOTHING_ASKED
    deadline_ms: float | None = None
    faults: tuple[Fault, ...] = ()


_NOTHING = Asked()


def read_conditions(
    headers: Mapping[bytes, bytes], raw: Iterable[tuple[bytes, bytes]] = ()
) -> Asked:
    """The conditions in a request's headers.

    Args:
        headers: lower-case name -> value.
        raw: the headers as they were sent; a condition that stands there twice is a fault.
    """
    if not (b"prefer" in headers or headers.keys() & (_ONCE.keys() | _NOT_YET.keys())):
        return _NOTHING
    faults = [
        Fault(name, headers[key].decode("latin-1"), "not to be sent: this version cannot do it")
        for key, name in _NOT_YET.items()
        if key in headers
    ]
    faults += _repeated(raw)
    floor, lower = _min_accuracy(headers.get(b"x-min-accuracy"), faults)
    deadline = _deadline(headers.get(b"x-deadline-ms"), faults)
    conditions = Conditions(
        variant=_text(headers.get(b"x-variant")),
        device=_text(headers.get(b"x-device")),
        min_accuracy=floor,
        lower_bound=lower,
        strict=_is_strict(headers.get(b"prefer", b"")),
    )
    return Asked(conditions, deadline, tuple(faults))


def _repeated(raw: Iterable[tuple[bytes, bytes]]) -> list[Fault]:
    names = [name for name, _ in raw if name in _ONCE]
    return [
        Fault(_ONCE[name], f"{names.count(name)} times", "to be sent once")
        for name in _ONCE
        if names.count(name) > 1
    ]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1").strip()


def _min_accuracy(value: bytes | None, faults: list[Fault]) -> tuple[float | None, bool]:
    if value is None:
        return None, False
    text = value.decode("latin-1")
    number, _, parameter = text.partition(";")
    floor = _number(number)
    bound = parameter.replace(" ", "").lower()
    if floor is not None and 0 <= floor <= 1 and bound in ("", "bound=lower"):
        return floor, bound != ""
    expected = "a number from 0 to 1, optionally followed by ;bound=lower"
    faults.append(Fault("X-Min-Accuracy", text, expected))
    return None, False


def _deadline(value: bytes | None, faults: list[Fault]) -> float | None:
    if value is None:
        return None
    text = value.decode("latin-1")
    number = _number(text)
    if number is not None and 0 < number <= _MAX_DEADLINE_MS:
        return number
    expected = f"milliseconds, above 0 and at most {_MAX_DEADLINE_MS:.0f}"
    faults.append(Fault("X-Deadline-Ms", text, expected))
    return None


def _number(text: str) -> float | None:
    """A finite number, or None. float() also takes underscores and other scripts' digits."""
    if not text.isascii() or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_strict(value: bytes) -> bool:
    """Other preferences are ignored, as RFC 7240 has it."""
    preferences = value.decode("latin-1").lower().split(",")
    return any(one.partition(";")[0].replace(" ", "") == "handling=strict" for one in preferences)
