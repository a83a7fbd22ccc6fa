"""Runs texts: one worker thread per core, a bounded queue, requests taking turns.

A `Ticket` is a request's texts. It stands in the queue once; a worker takes one text of it and puts
it back behind the others, so a long list never starves a single text. Every ticket that was
accepted ends exactly once, whatever happens to its texts, its client or a worker.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from queue import SimpleQueue
from typing import Any

logger = logging.getLogger("paretext.scheduler")

_MEAN_WEIGHT = 0.05
_JOIN_SECONDS = 5.0


class End(Enum):
    """How a ticket ended."""

    DONE = "done"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DRAINED = "drained"


class QueueFullError(Exception):
    """There is no room for a request's texts; `retry_ms` is when the queue will have run."""

    def __init__(self, waiting: int, retry_ms: int) -> None:
        super().__init__(f"{waiting} texts are waiting")
        self.waiting = waiting
        self.retry_ms = retry_ms

    @property
    def retry_after(self) -> int:
        """Whole seconds, at least one: the unit of the Retry-After header."""
        return max(1, math.ceil(self.retry_ms / 1000))


class Ticket:
    """A request's texts on their way.

    Args:
        items: at least one.
        run: item -> result; called on worker threads. What it raises becomes the item's result.
        ended: called once, from any thread, when the ticket has ended.
    """

    __slots__ = ("_left", "_taken", "end", "ended", "finished", "items", "results", "run",
                 "started", "submitted", "worked")  # fmt: skip

    def __init__(
        self, items: Sequence[Any], run: Callable[[Any], Any], ended: Callable[[], None]
    ) -> None:
        self.items = items
        self.run = run
        self.ended = ended
        self.end: End | None = None
        self.results: list[Any] = [None] * len(items)
        self.submitted = 0.0
        self.started = 0.0  # when the first text was taken
        self.finished = 0.0
        self.worked = 0.0  # seconds that its texts ran, added up
        self._taken = 0
        self._left = len(items)

    @property
    def untaken(self) -> int:
        return len(self.items) - self._taken

    @property
    def queue_seconds(self) -> float:
        """How long it waited: for its first text, and of a list between its texts as well.

        0 if none ever ran. Texts of a list that ran side by side hide some of the waiting.
        """
        first = max(0.0, self.started - self.submitted)
        return max(first, self.finished - self.submitted - self.worked) if self.started else 0.0


class Scheduler:
    """A bounded queue of texts and the threads that run them.

    Args:
        workers: texts that run at the same time.
        max_waiting: texts that may wait.
    """

    def __init__(self, workers: int, max_waiting: int) -> None:
        self._workers = workers
        self._max_waiting = max_waiting
        self._queue: SimpleQueue[Ticket | None] = SimpleQueue()
        self._lock = threading.Lock()  # guards everything below and the tickets' counts
        self._waiting = 0
        self._open: set[Ticket] = set()
        self._mean_seconds = 0.0
        self._closed = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for number in range(self._workers):
            thread = threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def waiting(self) -> int:
        """Texts that no worker has taken yet."""
        return self._waiting

    def predicted_wait_ms(self) -> float:
        """The time that the queue ahead of a new text needs, at the measured rate."""
        return self._waiting * self._mean_seconds / self._workers * 1e3

    def submit(self, ticket: Ticket) -> None:
        """Accept a ticket: from now on it will end.

        Raises:
            QueueFullError: there is no room for all of its texts, or the scheduler is closed.
        """
        count = len(ticket.items)
        ticket.submitted = time.perf_counter()
        with self._lock:
            if self._closed or self._waiting + count > self._max_waiting:
                raise QueueFullError(self._waiting, math.ceil(self.predicted_wait_ms()) or 1)
            self._waiting += count
            self._open.add(ticket)
        self._queue.put(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """End a ticket whose client is gone; texts that were not taken yet never run."""
        self._end(ticket, End.CANCELLED)

    def expire(self, ticket: Ticket) -> None:
        """End a ticket whose deadline has passed, unless all of it has been taken already."""
        if ticket.untaken:
            self._end(ticket, End.EXPIRED)

    def drain(self) -> None:
        """End every open ticket now. For when the time for a shutdown has run out."""
        for ticket in tuple(self._open):
            self._end(ticket, End.DRAINED)

    def close(self) -> None:
        """Stop the workers, after what they are running. Open tickets end as drained."""
        with self._lock:
            self._closed = True
        self.drain()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        self._threads.clear()

    def _work(self) -> None:
        while (ticket := self._queue.get()) is not None:
            try:
                self._run_one(ticket)
            except BaseException:  # a fault in this loop must lose neither ticket nor worker
                logger.exception("a worker failed outside of its text")
                self._end(ticket, End.DRAINED)

    def _run_one(self, ticket: Ticket) -> None:
        index = self._take(ticket)
        if index is None:
            return
        start = time.perf_counter()
        try:
            result = ticket.run(ticket.items[index])
        except BaseException as error:  # a panic of a native library too belongs to its waiter
            result = error
        self._finish(ticket, index, result, time.perf_counter() - start)

    def _take(self, ticket: Ticket) -> int | None:
        with self._lock:
            if ticket.end is not None:
                return None
            index = ticket._taken
            if index == 0:
                ticket.started = time.perf_counter()
            ticket._taken += 1
            self._waiting -= 1
            more = ticket.untaken > 0
        if more:
            self._queue.put(ticket)
        return index

    def _finish(self, ticket: Ticket, index: int, result: object, seconds: float) -> None:
        with self._lock:
            ticket.results[index] = result
            ticket._left -= 1
            ticket.worked += seconds
            last = ticket._left == 0
            weight = _MEAN_WEIGHT if self._mean_seconds else 1.0
            self._mean_seconds += weight * (seconds - self._mean_seconds)
        if last:
            self._end(ticket, End.DONE)

    def _end(self, ticket: Ticket, end: End) -> None:
        with self._lock:
            if ticket.end is not None:
                return
            ticket.end = end
            ticket.finished = time.perf_counter()
            self._waiting -= ticket.untaken
            self._open.discard(ticket)
        try:
            ticket.ended()
        except RuntimeError:  # the event loop is closed: nobody waits any more
            logger.debug("a ticket ended after its event loop")
