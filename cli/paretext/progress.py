"""Shows how far long work is: a bar on a terminal, plain lines elsewhere, or JSON lines."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from paretext_compression.progress import Event

_PLAIN_SECONDS = 10.0


@contextlib.contextmanager
def reporting(*, as_json: bool) -> Iterator[Callable[[Event], None]]:
    """A report function for `train` and `build`. Everything but JSON goes to standard error."""
    if as_json:
        yield _json_line
    elif sys.stderr.isatty():
        with _bar() as progress:
            yield _Bar(progress).show
    else:
        yield _Plain().show


def _json_line(event: Event) -> None:
    fields = {k: v for k, v in dataclasses.asdict(event).items() if v is not None}
    typer.echo(json.dumps(fields))


class _Plain:
    """A line when a step begins and ends, and every ten seconds between."""

    def __init__(self) -> None:
        self._step, self._shown, self._ended = "", 0.0, ""

    def show(self, event: Event) -> None:
        if event.message or event.gate:
            self._print(event.message or f"{event.step}: {event.gate}")
            return
        ended = event.progress == 1.0
        new = event.step != self._step
        if (ended and self._ended == event.step) or not (new or ended or self._due()):
            return
        self._step, self._ended = event.step, event.step if ended else ""
        self._print(_line(event))

    def _due(self) -> bool:
        return time.monotonic() - self._shown > _PLAIN_SECONDS

    def _print(self, line: str) -> None:
        self._shown = time.monotonic()
        typer.echo(line, err=True)


class _Bar:
    """One bar, of the step that is going on; messages scroll by above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=1.0, eta="", loss="")

    def show(self, event: Event) -> None:
        if event.message or event.gate:
            self._progress.console.print(
                event.message or f"{event.step}: {event.gate}", markup=False, highlight=False
            )
        if event.progress is not None and not event.message:
            self._progress.update(
                self._task,
                description=event.step,
                completed=event.progress,
                eta=_eta(event.eta_s),
                loss="" if event.loss is None else f"loss {event.loss:.3f}",
            )


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[eta]}", markup=False),
        TextColumn("{task.fields[loss]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )


def _line(event: Event) -> str:
    if event.progress is None:
        return event.step
    parts = [f"{event.step}: {event.progress:.0%}", _eta(event.eta_s)]
    if event.loss is not None:
        parts.append(f"loss {event.loss:.3f}")
    return ", ".join(part for part in parts if part)


def _eta(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s left" if minutes else f"{rest} s left"
