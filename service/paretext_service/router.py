"""Which variant answers. Pure: the same conditions and candidates give the same decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from paretext_service.settings import DeviceClass

Reason = Literal["pinned", "default", "min_accuracy", "best_effort"]
REASONS: tuple[Reason, ...] = ("pinned", "default", "min_accuracy", "best_effort")
MB = 1e6


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a request asks of the variant that answers it; None where it asks nothing."""

    variant: str | None = None
    device: str | None = None
    min_accuracy: float | None = None
    lower_bound: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant on a device, as far as routing looks at it."""

    variant: str
    device: str
    accuracy: float
    accuracy_ci95: tuple[float, float]
    file_bytes: int
    macs: int
    p50_ms: float | None = None  # at 64 tokens, where this host was profiled
    memory_bytes: int | None = None  # likewise

    def figures(self) -> dict[str, Any]:
        """What a client needs to know to ask for less."""
        return {
            "variant": self.variant,
            "device": self.device,
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "file_mb": self.file_bytes / MB,
            "memory_mb": None if self.memory_bytes is None else self.memory_bytes / MB,
            "p50_ms": self.p50_ms,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """The candidate that answers, and why it."""

    candidate: Candidate
    reason: Reason


@dataclass(frozen=True, slots=True)
class Unroutable:
    """No candidate may answer. `known` are the names there are, where one was unknown."""

    kind: Literal["unknown_variant", "unknown_device", "conditions_not_met"]
    detail: str
    known: tuple[str, ...] = ()


def route(
    conditions: Conditions,
    candidates: Sequence[Candidate],
    default: str | None,
    classes: Mapping[str, DeviceClass],
) -> Decision | Unroutable:
    """Choose among the candidates of one model.

    The conditions filter in the order variant, device, accuracy. A named variant or device that is
    not there is never replaced. Only the accuracy floor gives way, and only without `strict`.

    Args:
        candidates: at least one.
        default: the variant that answers where nothing is asked.
        classes: what `X-Device` may name besides execution targets.
    """
    left = list(candidates)
    if conditions.variant is not None:
        left = [one for one in left if one.variant == conditions.variant]
        if not left:
            return _unknown_variant(conditions.variant, candidates)
    if conditions.device is not None:
        fitting = [one for one in left if on_device(one, conditions.device, classes)]
        if not fitting:
            return _device_fits_none(conditions, conditions.device, candidates, classes)
        left = fitting
    if conditions.min_accuracy is None:
        return _decide_freely(conditions, left, default)
    return _decide_by_accuracy(conditions, conditions.min_accuracy, left)


def on_device(candidate: Candidate, device: str, classes: Mapping[str, DeviceClass]) -> bool:
    """Whether a candidate runs on an execution target, or within the limits of a class.

    A limit that cannot be checked, as memory without a profile, counts as not met.
    """
    limits = classes.get(device)
    if limits is None:
        return candidate.device == device
    if candidate.device != limits.target:
        return False
    if limits.max_file_mb is not None and candidate.file_bytes > limits.max_file_mb * MB:
        return False
    if limits.max_memory_mb is None:
        return True
    return (
        candidate.memory_bytes is not None and candidate.memory_bytes <= limits.max_memory_mb * MB
    )


def devices(candidates: Sequence[Candidate], classes: Mapping[str, DeviceClass]) -> tuple[str, ...]:
    """The names that `X-Device` may have here: targets and classes that some candidate fits."""
    names = dict.fromkeys([*(one.device for one in candidates), *classes])
    return tuple(name for name in names if any(on_device(one, name, classes) for one in candidates))


def _decide_freely(
    conditions: Conditions, left: Sequence[Candidate], default: str | None
) -> Decision:
    if conditions.variant is not None:
        return Decision(left[0], "pinned")
    for one in left:
        if one.variant == default:
            return Decision(one, "default")
    # The default is damaged, or does not fit the device: what comes nearest to the full model.
    nearest = min(left, key=lambda one: (-one.accuracy, *_cost(one)))
    return Decision(nearest, "best_effort" if conditions.device is None else "default")


def _decide_by_accuracy(
    conditions: Conditions, floor: float, left: Sequence[Candidate]
) -> Decision | Unroutable:
    meeting = [one for one in left if _judged(one, conditions) >= floor]
    if meeting:
        reason: Reason = "min_accuracy" if conditions.variant is None else "pinned"
        return Decision(_fastest(meeting), reason)
    if conditions.strict or conditions.variant is not None:
        bound = "the lower bound of its accuracy" if conditions.lower_bound else "an accuracy"
        names = ", ".join(sorted(one.variant for one in left))
        return Unroutable(
            "conditions_not_met", f"no variant has {bound} of at least {floor} (of: {names})"
        )
    nearest = min(left, key=lambda one: (-_judged(one, conditions), *_cost(one)))
    return Decision(nearest, "best_effort")


def _judged(candidate: Candidate, conditions: Conditions) -> float:
    return candidate.accuracy_ci95[0] if conditions.lower_bound else candidate.accuracy


def _fastest(candidates: Sequence[Candidate]) -> Candidate:
    """By measured latency where every candidate has one, else by multiply-accumulates."""
    if any(one.p50_ms is None for one in candidates):
        return min(candidates, key=lambda one: (one.macs, one.variant))
    return min(candidates, key=_cost)


def _cost(candidate: Candidate) -> tuple[float, int, str]:
    """Breaks ties of accuracy: the fastest first, and never by the order they came in."""
    p50 = float("inf") if candidate.p50_ms is None else candidate.p50_ms
    return p50, candidate.macs, candidate.variant


def _unknown_variant(variant: str, candidates: Sequence[Candidate]) -> Unroutable:
    known = tuple(sorted({one.variant for one in candidates}))
    return Unroutable(
        "unknown_variant", f"no variant {variant!r}; there are: {', '.join(known)}", known
    )


def _device_fits_none(
    conditions: Conditions,
    device: str,
    candidates: Sequence[Candidate],
    classes: Mapping[str, DeviceClass],
) -> Unroutable:
    known = devices(candidates, classes)
    if device in known:  # others fit it: it is the pinned variant that does not
        return Unroutable(
            "conditions_not_met", f"variant {conditions.variant} does not fit device {device!r}"
        )
    what = "no variant is known to fit" if device in classes else "no"
    return Unroutable(
        "unknown_device", f"{what} device {device!r}; there are: {', '.join(known)}", known
    )
