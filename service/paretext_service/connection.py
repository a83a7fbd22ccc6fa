"""One HTTP connection, as uvicorn has it, with the limits that uvicorn lacks.

A client that trickles in its head, never ends its body or never takes its answer would hold a
connection for ever; so would one that opens thousands.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from paretext_service.errors import PROBLEM_JSON, Problem, ProblemError, problem_json
from paretext_service.settings import Settings

MAX_HEAD_BYTES = 64 * 1024
# Past the body's own timeout, which is answered with a problem.
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Limits:
    """What one connection may take of the server."""

    connections: int
    header_seconds: float
    body_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            settings.max_connections,
            settings.header_timeout_seconds,
            settings.body_timeout_seconds,
        )


def limited_protocol(limits: Limits) -> type[HttpToolsProtocol]:
    """The class of connections with these limits; uvicorn makes one for each client."""

    class Limited(LimitedProtocol):
        pass

    Limited.limits = limits
    return Limited


class LimitedProtocol(HttpToolsProtocol):
    """Cuts clients that are too slow, and heads that are too large."""

    limits: Limits
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(Problem.TOO_MANY_CONNECTIONS, "try again", "Retry-After: 1\r\n")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                detail = f"the head of a request may have at most {MAX_HEAD_BYTES} bytes"
                self._refuse(Problem.HEADERS_TOO_LARGE, detail)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if self._timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        self._stop_timer()
        whole = self.limits.body_seconds + _GRACE_SECONDS
        self._timer = self.loop.call_later(whole, self._cut)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.limits.body_seconds, self._cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        # A client that has not taken its answer by now would keep close() waiting for ever.
        if self.transport.get_write_buffer_size():
            self._cut()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem.MALFORMED_HTTP, msg)

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.limits.header_seconds, self._head_timed_out)

    def _head_timed_out(self) -> None:
        self._timer = None
        if self._in_head:
            detail = f"the head did not arrive within {self.limits.header_seconds:g} s"
            self._refuse(Problem.REQUEST_TIMEOUT, detail)
        else:  # nothing was ever sent
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        self._timer = self._write_timer = None
        self.transport.abort()

    def _refuse(self, problem: Problem, detail: str, header: str = "") -> None:
        """Answer outside of the application, and close."""
        if self.transport.is_closing():
            return
        body = problem_json(ProblemError(problem, detail), uuid.uuid4().hex)
        head = (
            f"Content-Type: {PROBLEM_JSON}\r\nContent-Length: {len(body)}\r\n"
            f"{header}Connection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[problem.status] + head.encode("ascii") + body)
        self.transport.close()


def config_limits(settings: Settings) -> dict[str, Any]:
    """The part of uvicorn's configuration that limits connections."""
    return {
        "http": limited_protocol(Limits.of(settings)),
        "timeout_keep_alive": max(1, round(settings.keepalive_seconds)),
    }
