"""A request's texts through the scheduler, seen from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import Receive

from paretext_service.classification import Text
from paretext_service.errors import Problem, ProblemError
from paretext_service.exchange import ClientGoneError, Exchange
from paretext_service.scheduler import End, QueueFullError, Scheduler, Ticket


async def execute(
    scheduler: Scheduler,
    exchange: Exchange,
    receive: Receive,
    texts: Sequence[Text],
    run: Callable[[Text], Any],
    deadline_ms: float | None,
) -> list[Any]:
    """Run every text, and wait for all of them. The loop is woken once, not once per text.

    Args:
        run: called on worker threads; what it raises stands in the result.
        deadline_ms: age at which the request is dropped if it has not run.

    Returns: what `run` gave for each text, in their order.

    Raises:
        ProblemError: the queue is full, the deadline passed, or the server is shutting down.
        ClientGoneError: the client left; what had not run yet never will.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    ticket = _submit(scheduler, texts, run, done)
    timer = None
    if deadline_ms is not None:
        left = max(0.0, deadline_ms / 1e3 - exchange.age)
        timer = loop.call_later(left, scheduler.expire, ticket)
    watch = loop.create_task(_watch(receive, scheduler, ticket))
    try:
        await done
    finally:
        watch.cancel()
        if timer is not None:
            timer.cancel()
        scheduler.cancel(ticket)  # matters only where this task itself was cancelled
    exchange.timings.queue = ticket.queue_seconds
    _check_end(ticket.end, deadline_ms)
    return ticket.results


def _submit(
    scheduler: Scheduler,
    texts: Sequence[Text],
    run: Callable[[Text], Any],
    done: asyncio.Future[None],
) -> Ticket:
    """Queue the texts; `done` is set once they have ended."""
    loop = done.get_loop()

    def ended() -> None:
        loop.call_soon_threadsafe(_set, done)

    ticket = Ticket(texts, run, ended)
    try:
        scheduler.submit(ticket)
    except QueueFullError as error:
        raise _queue_full(error) from None
    return ticket


async def _watch(receive: Receive, scheduler: Scheduler, ticket: Ticket) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scheduler.cancel(ticket)


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _queue_full(error: QueueFullError) -> ProblemError:
    return ProblemError(
        Problem.QUEUE_FULL,
        str(error),
        headers={"Retry-After": str(error.retry_after)},
        fields={"retry_after_ms": error.retry_ms},
    )


def _check_end(end: End | None, deadline_ms: float | None) -> None:
    if end is End.CANCELLED:
        raise ClientGoneError
    if end is End.EXPIRED:
        raise ProblemError(Problem.DEADLINE_EXCEEDED, f"the request is older than {deadline_ms} ms")
    if end is End.DRAINED:
        raise ProblemError(Problem.DRAINING, "the time for the shutdown ran out")
