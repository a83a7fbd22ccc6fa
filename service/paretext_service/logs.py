"""Log lines: one a request, as text or JSON. No text of a user is ever in one."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from paretext_service.exchange import Exchange
from paretext_service.settings import Settings

_requests = logging.getLogger("paretext.request")
_QUIET_PATHS = ("/health/live", "/health/ready", "/metrics")
_PATH_CHARS = 200


def configure_logging(settings: Settings) -> None:
    """Send this process's log to the standard error stream."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if settings.log_json else _Text())
    for name, level in (("paretext", settings.log_level.upper()), ("uvicorn", "WARNING")):
        named = logging.getLogger(name)
        named.handlers[:] = [handler]
        named.propagate = False
        named.setLevel(level)


def log_request(path: str, exchange: Exchange) -> None:
    """The line of a request that has ended; of probes and scrapes only at debug."""
    level = logging.DEBUG if path in _QUIET_PATHS else logging.INFO
    if not _requests.isEnabledFor(level):
        return
    timings = exchange.timings
    _requests.log(
        level,
        "request",
        extra={
            "fields": {
                "request_id": exchange.request_id,
                "path": path[:_PATH_CHARS],
                "status": exchange.status,
                "model": exchange.model,
                "variant": exchange.variant,
                "reason": exchange.reason,
                "texts": exchange.texts,
                "tokens": exchange.tokens,
                "tokenize_ms": round(timings.tokenize * 1e3, 3),
                "queue_ms": round(timings.queue * 1e3, 3),
                "inference_ms": round(timings.inference * 1e3, 3),
                "total_ms": round(timings.total * 1e3, 3),
            }
        },
    )


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        if fields is None:
            line = super().format(record)
        else:
            # Escaped: a path or an id with a line break in it would forge a second line.
            line = " ".join(f"{key}={_word(value)}" for key, value in fields.items())
        return f"{_time(record)} {record.levelname.lower()} {line}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content)


def _word(value: object) -> str:
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)


def _time(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"
