"""A light load generator: keep-alive HTTP/1.1 connections, each with one request in flight.

Requests are bytes made beforehand, sent in the order of the texts, round and round; answers are
read by their Content-Length and not parsed. It runs in a process of its own, because it must not
share the interpreter with what it measures, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from options import EXAMPLES, amount, amount_or_none, count, ending_well
from paretext_models.errors import Fault, FaultsError, InputError

# How long a request that is under way at the end may still take.
_GRACE_SECONDS = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class LoadResult:
    """What came of a run. Latencies in milliseconds, of the answers with status 200."""

    connections: int
    requests: int
    seconds: float
    throughput: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: dict[str, int]
    generator_cpu_seconds: float


@dataclass
class _Run:
    """What the connections of a run share.

    Attributes:
        samples: (moment of the answer, seconds it took) of each answer with status 200.
    """

    requests: Iterator[bytes]
    left: int | None
    done: asyncio.Future[None]
    open: int = 0
    stopped: bool = False
    samples: list[tuple[float, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def next_request(self) -> bytes | None:
        if self.stopped or self.left == 0:
            return None
        if self.left is not None:
            self.left -= 1
        return next(self.requests)

    def answered(self, status: int, started: float) -> None:
        if status == 200:
            now = time.perf_counter()
            self.samples.append((now, now - started))
        else:
            self.errors[f"status {status}"] += 1

    def closed(self) -> None:
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)

    def stop(self) -> None:
        self.stopped = True


class _Connection(asyncio.Protocol):
    """Sends a request, reads its answer, sends the next."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = b""
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(_HEAD_END)
        if head < 0:
            return
        length = _LENGTH.search(self._received, 0, head)
        if length is None:
            self._run.errors["no Content-Length"] += 1
            self._waiting = False
            self._transport.close()
        elif len(self._received) >= head + len(_HEAD_END) + int(length[1]):
            self._run.answered(int(self._received[9:12]), self._started)
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting:
            self._run.errors["connection lost"] += 1
        self._run.closed()

    def _send(self) -> None:
        request = self._run.next_request()
        self._received = b""
        self._waiting = request is not None
        if request is None:
            self._transport.close()
            return
        self._started = time.perf_counter()
        self._transport.write(request)


def read_texts(file: Path) -> list[str]:
    """The texts of a JSON-lines file, in its order.

    Raises:
        InputError: there is no such file, or a line is not an object with a `text`.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
        texts = [json.loads(line)["text"] for line in lines if line.strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--texts: {file}: expected lines of {{'text': ...}}: {error!r}") from None
    if not texts:
        raise FaultsError(str(file), [Fault("--texts", "no lines", "at least one")])
    return texts


def request_bytes(
    text: str, path: str, headers: Sequence[str] = (), host: str = "127.0.0.1"
) -> bytes:
    """One POST request that classifies a text."""
    body = json.dumps({"inputs": text}).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def run_load(
    address: tuple[str, int],
    requests: Sequence[bytes],
    connections: int,
    *,
    seconds: float,
    warmup: float = 0.0,
    limit: int | None = None,
    offset: int = 0,
) -> LoadResult:
    """Load a server for some seconds, or until so many requests are sent.

    Args:
        address: host and port.
        warmup: seconds before those that count.
        limit: the most requests to send; those of the warm-up are among them.
        offset: how many requests of the first round to leave out.
    """
    loop = asyncio.get_running_loop()
    turn = itertools.islice(itertools.cycle(requests), offset % len(requests), None)
    run = _Run(turn, limit, loop.create_future(), open=connections)
    cpu, begin = time.process_time(), time.perf_counter() + warmup
    timer = loop.call_later(warmup + seconds, run.stop)
    opened = await asyncio.gather(
        *(loop.create_connection(lambda: _Connection(run), *address) for _ in range(connections)),
        return_exceptions=True,
    )
    for _ in filter(lambda one: isinstance(one, BaseException), opened):
        run.errors["not connected"] += 1
        run.closed()
    try:
        await asyncio.wait_for(run.done, warmup + seconds + _GRACE_SECONDS)
    except TimeoutError:
        run.errors["not answered"] += run.open
    timer.cancel()
    return _result(run, connections, begin, seconds, time.process_time() - cpu)


def _result(
    run: _Run, connections: int, begin: float, seconds: float, cpu_seconds: float
) -> LoadResult:
    until = begin + seconds
    if not run.stopped and run.samples:  # the requests ended before the time did
        until = max(moment for moment, _ in run.samples)
    times = sorted(took for moment, took in run.samples if begin <= moment <= until)
    span = max(until - begin, 1e-9)
    p50, p95, p99 = (_percentile(times, share) * 1e3 for share in (0.50, 0.95, 0.99))
    return LoadResult(
        connections=connections,
        requests=len(times),
        seconds=span,
        throughput=len(times) / span,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        errors=dict(run.errors),
        generator_cpu_seconds=cpu_seconds,
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed; 0 where there is none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=count, required=True)
    parser.add_argument("--path", default="/v1/classify")
    parser.add_argument("--header", action="append", default=[], help="such as 'X-Variant: int8'")
    parser.add_argument("--texts", type=Path, default=EXAMPLES / "test.jsonl")
    parser.add_argument("--connections", type=count, default=8)
    parser.add_argument("--seconds", type=amount, default=8.0, help="the most it takes")
    parser.add_argument(
        "--warmup", type=amount_or_none, default=0.0, help="seconds that do not count"
    )
    parser.add_argument("--requests", type=count, help="end after so many")
    parser.add_argument("--offset", type=int, default=0, help="texts of the first round to skip")
    return parser.parse_args()


def main() -> None:
    """Load a server and print what came of it as JSON."""
    given = _options()
    texts = read_texts(given.texts)
    requests = [request_bytes(text, given.path, given.header, given.host) for text in texts]
    running = run_load(
        (given.host, given.port),
        requests,
        given.connections,
        seconds=given.seconds,
        warmup=given.warmup,
        limit=given.requests,
        offset=given.offset,
    )
    with asyncio.Runner(loop_factory=_fast_loop) as runner:
        result = runner.run(running)
    print(json.dumps(dataclasses.asdict(result)))


def _fast_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed: it leaves more of the machine to the server."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    ending_well(main)
