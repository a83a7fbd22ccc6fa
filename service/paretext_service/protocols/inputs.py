"""The body of a request: read within limits, and checked item by item."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive

from paretext_models.errors import Fault
from paretext_service.classification import Options, Text
from paretext_service.errors import Problem, ProblemError
from paretext_service.exchange import ClientGoneError
from paretext_service.settings import Settings

_FUNCTIONS = ("auto", "softmax", "sigmoid", "none")
_FIELDS = ("inputs", "model", "top_k", "function", "truncate")
_SHAPE = "a text, or an object of text and text_pair"


@dataclass(frozen=True, slots=True)
class ItemFault:
    """Why one input cannot be classified; the others of its list can."""

    problem: Problem
    message: str
    value: object = None


@dataclass(frozen=True, slots=True)
class Body:
    """A body whose fields have been checked. `single`: one input stood there without a list."""

    inputs: list[Any]
    single: bool
    model: str | None
    options: Options


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], settings: Settings) -> bytes:
    """The whole body.

    Raises:
        ProblemError: it is too large, of another type than JSON, or arrives too slowly.
        ClientGoneError: the client left before the end.
    """
    limit = settings.max_body_bytes
    _check_head(headers, limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_timeout_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise ProblemError(
            Problem.REQUEST_TIMEOUT,
            f"the body did not arrive within {settings.body_timeout_seconds:g} s",
            headers={"Connection": "close"},
        ) from None


def parse_body(body: bytes, settings: Settings) -> tuple[Body, list[Fault]]:
    """The fields of a body, to be used where there are no faults, and every wrong one of them.

    Raises:
        ProblemError: it is not JSON, or has too many texts.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ProblemError(Problem.NOT_JSON, detail) from None
    if not isinstance(content, dict):
        return _nothing(), [Fault("body", content, "a JSON object with the field inputs")]
    faults = [
        Fault(name, content[name], f"not to be there; the fields are {', '.join(_FIELDS)}")
        for name in content
        if name not in _FIELDS
    ]
    inputs = content.get("inputs")
    items = inputs if isinstance(inputs, list) else [inputs]
    if "inputs" not in content or not items:
        expected = f"{_SHAPE}, or a list of at least one of these"
        faults.append(Fault("inputs", inputs, expected))
    if len(items) > settings.max_texts:
        raise ProblemError(
            Problem.TOO_MANY_TEXTS,
            f"{len(items)} texts; at most {settings.max_texts} fit in one request",
        )
    options = _options(content, faults)
    model = content.get("model")
    if model is not None and not isinstance(model, str):
        faults.append(Fault("model", model, "the name of a model"))
    return Body(items, inputs is not items, model, options), faults


def read_item(item: object, *, pair: bool, max_chars: int) -> Text | ItemFault:
    """One input. `pair`: whether the model takes pairs of texts."""
    text, second = item, None
    if isinstance(item, dict):
        if not item.keys() <= {"text", "text_pair"}:
            return ItemFault(Problem.INVALID_ITEM, f"unknown fields; expected {_SHAPE}", item)
        text, second = item.get("text"), item.get("text_pair")
    if not isinstance(text, str) or not (second is None or isinstance(second, str)):
        return ItemFault(Problem.INVALID_ITEM, f"expected {_SHAPE}", item)
    longest = max(len(text), len(second or ""))
    if longest > max_chars:
        message = f"the text has {longest} characters; at most {max_chars} are taken"
        return ItemFault(Problem.TEXT_TOO_LARGE, message, text)
    if pair != (second is not None):
        expected = "a text_pair beside its text" if pair else "a text without a text_pair"
        return ItemFault(Problem.PAIR_MISMATCH, f"the model takes {expected}", item)
    return Text(text, second)


def _check_head(headers: Mapping[bytes, bytes], limit: int) -> None:
    kind = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise ProblemError(
            Problem.UNSUPPORTED_MEDIA_TYPE, f"got {kind.decode('latin-1')!r}; send application/json"
        )
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> ProblemError:
    return ProblemError(Problem.BODY_TOO_LARGE, f"a body may have at most {limit} bytes")


def _options(content: dict[str, Any], faults: list[Fault]) -> Options:
    top_k, function = content.get("top_k"), content.get("function", "auto")
    truncate = content.get("truncate", True)
    # A boolean is an int in Python, and is none in JSON.
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        faults.append(Fault("top_k", top_k, "a whole number of at least 1"))
    if not isinstance(function, str) or function not in _FUNCTIONS:
        faults.append(Fault("function", function, f"one of {', '.join(_FUNCTIONS)}"))
    if type(truncate) is not bool:
        faults.append(Fault("truncate", truncate, "true or false"))
    if faults:
        return Options()
    return Options(top_k, None if function == "auto" else function, truncate)


def _nothing() -> Body:
    return Body([], True, None, Options())
