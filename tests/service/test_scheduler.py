"""The scheduler, driven with plain functions."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paretext_service.scheduler import End, QueueFullError, Scheduler, Ticket


@pytest.fixture
def one_worker() -> Iterator[Scheduler]:
    scheduler = Scheduler(1, 100)
    scheduler.start()
    yield scheduler
    scheduler.close()


class Waiting:
    """A ticket that can be waited for."""

    def __init__(self, items: list[Any], run: Callable[[Any], Any]) -> None:
        self.event = threading.Event()
        self.ends = 0
        self.ticket = Ticket(items, run, self._ended)

    def _ended(self) -> None:
        self.ends += 1
        self.event.set()

    def wait(self) -> list[Any]:
        assert self.event.wait(10)
        return self.ticket.results


class Blocked:
    """Occupies a worker until it is released."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.release = threading.Event()
        self.running = threading.Event()
        self.waiting = Waiting([0], self._run)
        scheduler.submit(self.waiting.ticket)
        assert self.running.wait(10)

    def _run(self, _: Any) -> str:
        self.running.set()
        assert self.release.wait(10)
        return "released"


def test_results_in_order() -> None:
    scheduler = Scheduler(4, 1000)
    scheduler.start()
    lists = [Waiting(list(range(n, n + 50)), lambda x: x * x) for n in range(10)]
    for one in lists:
        scheduler.submit(one.ticket)
    for n, one in enumerate(lists):
        assert one.wait() == [x * x for x in range(n, n + 50)]
        assert one.ticket.end is End.DONE
        assert one.ends == 1
    assert scheduler.waiting == 0
    scheduler.close()


def test_a_long_list_does_not_starve_single_texts(one_worker: Scheduler) -> None:
    order: list[Any] = []
    blocked = Blocked(one_worker)
    long = Waiting([("long", i) for i in range(20)], order.append)
    singles = [Waiting([("single", i)], order.append) for i in range(3)]
    other = Waiting([("other", i) for i in range(3)], order.append)
    for one in (long, *singles, other):
        one_worker.submit(one.ticket)
    assert one_worker.waiting == 26
    blocked.release.set()
    long.wait()
    other.wait()
    assert [name for name, _ in order[:7]] == [
        "long", "single", "single", "single", "other", "long", "other",
    ]  # fmt: skip
    assert [i for name, i in order if name == "long"] == list(range(20))


def test_full_queue_is_refused_at_once(one_worker: Scheduler) -> None:
    Waited = Waiting([1], lambda _: threading.Event().wait(0.05))
    one_worker.submit(Waited.ticket)
    Waited.wait()  # a rate has been measured: 50 ms a text
    blocked = Blocked(one_worker)
    queued = Waiting([0] * 99, lambda x: x)
    one_worker.submit(queued.ticket)
    with pytest.raises(QueueFullError) as refusal:
        one_worker.submit(Waiting([0] * 2, lambda x: x).ticket)
    assert refusal.value.waiting == 99
    assert 99 * 40 < refusal.value.retry_ms < 99 * 500
    assert refusal.value.retry_after == -(-refusal.value.retry_ms // 1000)
    assert one_worker.waiting == 99
    one_worker.submit(Waiting([0], lambda x: x).ticket)  # there is room for one
    blocked.release.set()
    queued.wait()


def test_cancelled_texts_never_run(one_worker: Scheduler) -> None:
    ran: list[Any] = []
    blocked = Blocked(one_worker)
    gone, kept = Waiting([1, 2, 3], ran.append), Waiting([4], ran.append)
    one_worker.submit(gone.ticket)
    one_worker.submit(kept.ticket)
    one_worker.cancel(gone.ticket)
    assert one_worker.waiting == 1  # its room is free at once
    assert gone.ticket.end is End.CANCELLED
    blocked.release.set()
    kept.wait()
    assert ran == [4]
    one_worker.cancel(kept.ticket)
    assert (kept.ticket.end, kept.ends) == (End.DONE, 1)


def test_deadline_drops_what_has_not_run(one_worker: Scheduler) -> None:
    ran: list[Any] = []
    blocked = Blocked(one_worker)
    late = Waiting([1, 2], ran.append)
    one_worker.submit(late.ticket)
    one_worker.expire(blocked.waiting.ticket)  # it runs: it may end
    one_worker.expire(late.ticket)
    assert late.ticket.end is End.EXPIRED
    blocked.release.set()
    assert blocked.waiting.wait() == ["released"]
    assert ran == []


class Panic(BaseException):
    """What a native library may raise: not an Exception."""


@pytest.mark.parametrize("kind", [ValueError, MemoryError, Panic])
def test_a_failure_reaches_its_own_waiter_alone(
    one_worker: Scheduler, kind: type[BaseException]
) -> None:
    def run(item: int) -> int:
        if item == 2:
            raise kind("no")
        return item

    failing, other = Waiting([1, 2, 3], run), Waiting([7], run)
    one_worker.submit(failing.ticket)
    one_worker.submit(other.ticket)
    results = failing.wait()
    assert (results[0], results[2], other.wait()) == (1, 3, [7])
    assert isinstance(results[1], kind)


def test_a_fault_of_the_worker_itself_loses_nobody(
    one_worker: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = one_worker._finish

    def broken(*args: Any) -> None:
        monkeypatch.setattr(one_worker, "_finish", real)
        raise RuntimeError("a fault in the scheduler")

    monkeypatch.setattr(one_worker, "_finish", broken)
    lost, next_one = Waiting([1], lambda x: x), Waiting([2], lambda x: x)
    with caplog.at_level(logging.CRITICAL, "paretext.scheduler"):
        one_worker.submit(lost.ticket)
        lost.wait()
    assert lost.ticket.end is End.DRAINED
    one_worker.submit(next_one.ticket)
    assert next_one.wait() == [2]


def test_drain_ends_everything_that_is_open(one_worker: Scheduler) -> None:
    blocked = Blocked(one_worker)
    queued = [Waiting([1, 2], lambda x: x) for _ in range(5)]
    for one in queued:
        one_worker.submit(one.ticket)
    one_worker.drain()
    assert all(one.event.is_set() for one in (*queued, blocked.waiting))
    assert {one.ticket.end for one in queued} == {End.DRAINED}
    assert one_worker.waiting == 0
    blocked.release.set()


def test_after_closing_nothing_is_accepted() -> None:
    scheduler = Scheduler(2, 10)
    scheduler.start()
    scheduler.close()
    with pytest.raises(QueueFullError):
        scheduler.submit(Waiting([1], lambda x: x).ticket)


def test_a_closed_event_loop_does_not_stop_a_worker(one_worker: Scheduler) -> None:
    def closed() -> None:
        raise RuntimeError("Event loop is closed")

    one_worker.submit(Ticket([1], lambda x: x, closed))
    after = Waiting([2], lambda x: x)
    one_worker.submit(after.ticket)
    assert after.wait() == [2]


def test_a_list_counts_the_time_between_its_texts_as_queueing() -> None:
    scheduler = Scheduler(workers=1, max_waiting=100)
    ended = [threading.Event(), threading.Event()]
    texts = [
        Ticket([0.02] * 4, time.sleep, ended[0].set),
        Ticket([0.02] * 4, time.sleep, ended[1].set),
    ]
    for ticket in texts:
        scheduler.submit(ticket)
    scheduler.start()
    assert all(event.wait(10) for event in ended)
    scheduler.close()
    for ticket in texts:  # the two take turns: each waits while the other one runs
        assert ticket.queue_seconds >= 0.05
        assert ticket.queue_seconds <= ticket.finished - ticket.submitted
