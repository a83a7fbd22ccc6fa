"""How long work tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something to show: what is being done, how far it is, and what was found.

    Attributes:
        step: what is going on, such as `pruned: distillation.transformer`.
        progress: the share done, 0 to 1; None for a plain message.
        eta_s: seconds left in this step, once there is something to reckon it from.
        loss: the training loss, where there is one.
        gate: the outcome of a check, such as a parity test.
        message: one line for people.
    """

    step: str
    progress: float | None = None
    eta_s: float | None = None
    loss: float | None = None
    gate: str | None = None
    message: str | None = None


Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """Report to nobody."""


class Steps:
    """Counts the units of one step and reports them with an ETA, at most a few times a second.

    Args:
        done: units that an earlier, interrupted run has finished; they do not count for the ETA.
    """

    def __init__(self, report: Report, step: str, total: int, done: int = 0) -> None:
        self._report, self._step, self._total = report, step, max(total, 1)
        self._start, self._first, self._done = time.monotonic(), done, done
        self._shown = 0.0
        report(Event(step, done / self._total))

    def advance(self, units: int = 1, loss: float | None = None) -> None:
        """Count units as done."""
        self._done += units
        now = time.monotonic()
        if now - self._shown < 0.25 and self._done < self._total:
            return
        self._shown = now
        worked = max(self._done - self._first, 1)
        eta = (now - self._start) / worked * max(self._total - self._done, 0)
        self._report(Event(self._step, min(self._done / self._total, 1.0), eta, loss))

    def finish(self) -> None:
        """Report the step as done, also where it ended early."""
        self._report(Event(self._step, 1.0, 0.0))
