"""One request and what became of it: feeds the log line and the metrics."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass, field
from typing import Any

from paretext_service.metrics import Timings

# The key in an ASGI scope.
EXCHANGE = "paretext.exchange"
CLIENT_GONE = 499
_REQUEST_ID = re.compile(rb"[\x20-\x7e]{1,128}")


class ClientGoneError(Exception):
    """The client closed its connection; there is nobody to answer."""


@dataclass(slots=True)
class Exchange:
    """Filled in on the way of a request through the server."""

    request_id: str
    headers: dict[bytes, bytes]
    received: float = field(default_factory=time.perf_counter)
    body_read: float | None = None
    status: int = CLIENT_GONE
    model: str = ""
    variant: str = ""
    reason: str = ""
    texts: int = 0
    tokens: int = 0
    timings: Timings = field(default_factory=Timings)

    @classmethod
    def of(cls, scope: Any) -> Exchange:
        """The exchange of an HTTP scope that has just begun."""
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        # Anything else could not be sent back, or would break the log.
        usable = _REQUEST_ID.fullmatch(given) is not None
        return cls(given.decode("ascii") if usable else _new_id(), headers)

    @property
    def age(self) -> float:
        """Seconds since the head of the request was read."""
        return time.perf_counter() - self.received

    def body_arrived(self) -> None:
        """Latencies count from here."""
        self.body_read = time.perf_counter()

    def answered(self) -> None:
        """Take the time: the response is handed over."""
        self.timings.total = time.perf_counter() - (self.body_read or self.received)


def _new_id() -> str:
    """128 random bits. Not from the system: that call lets go of the interpreter lock, and waiting
    for it again took longer than all else that is done for a request before its body is read."""
    return f"{random.getrandbits(128):032x}"
