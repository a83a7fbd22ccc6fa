"""What can go wrong with a request, and how it is told: RFC 9457 problem details."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from paretext_models.errors import Fault

PROBLEM_JSON = "application/problem+json"
_VALUE_CHARS = 100


class Problem(Enum):
    """Every kind of problem: its HTTP status and title. Its lower-case name is the stable code."""

    NOT_JSON = 400, "The body is not JSON"
    MALFORMED_HTTP = 400, "The request is not valid HTTP"
    UNAUTHORIZED = 401, "A valid API key is needed"
    NOT_FOUND = 404, "There is nothing at this path"
    UNKNOWN_MODEL = 404, "There is no such model"
    UNKNOWN_VARIANT = 404, "There is no such variant"
    UNKNOWN_DEVICE = 404, "There is no such device, or no variant fits it"
    METHOD_NOT_ALLOWED = 405, "The path does not take this method"
    REQUEST_TIMEOUT = 408, "The request arrived too slowly"
    CONDITIONS_NOT_MET = 412, "No variant meets the conditions"
    BODY_TOO_LARGE = 413, "The body is too large"
    TOO_MANY_TEXTS = 413, "The request has too many texts"
    UNSUPPORTED_MEDIA_TYPE = 415, "The body must be application/json"
    INVALID_REQUEST = 422, "The request has wrong values"
    INVALID_ITEM = 422, "The input is neither a text nor a pair of texts"
    EMPTY_TEXT = 422, "The text is empty"
    INVALID_TEXT = 422, "The text is not valid Unicode"
    TEXT_TOO_LONG = 422, "The text has too many tokens"
    TEXT_TOO_LARGE = 422, "The text has too many characters"
    PAIR_MISMATCH = 422, "The model takes single texts, or pairs, and got the other"
    QUEUE_FULL = 429, "Too many texts are waiting"
    HEADERS_TOO_LARGE = 431, "The head of the request is too large"
    INTERNAL_ERROR = 500, "The server failed"
    INFERENCE_FAILED = 500, "The variant failed on this input"
    NOT_READY = 503, "The server has nothing to serve yet"
    DRAINING = 503, "The server is shutting down"
    TOO_MANY_CONNECTIONS = 503, "Too many connections are open"
    DEADLINE_EXCEEDED = 504, "The deadline passed before the request could run"

    def __init__(self, status: int, title: str) -> None:
        self.status = status
        self.title = title

    @property
    def code(self) -> str:
        return self.name.lower()


class ProblemError(Exception):
    """A request ends with a problem.

    Args:
        detail: what went wrong this time.
        faults: every wrong value, for a 422.
        headers: further response headers.
        fields: further members of the problem object.
    """

    def __init__(
        self,
        problem: Problem,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})
        self.fields = dict(fields or {})


def problem_json(error: ProblemError, request_id: str) -> bytes:
    """The body of a problem response."""
    problem = error.problem
    content: dict[str, Any] = {
        "type": f"urn:paretext:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": error.detail,
        "request_id": request_id,
        **error.fields,
    }
    if error.faults:
        content["errors"] = [fault_object(fault) for fault in error.faults]
    # ASCII only: a lone surrogate of the request can be named, and stays valid JSON.
    return json.dumps(content).encode("ascii")


def fault_object(fault: Fault) -> dict[str, Any]:
    """One entry of a problem's `errors`; a long value is cut."""
    return {
        "field": fault.field,
        "value": shown(fault.value),
        "expected": fault.expected,
    }


def shown(value: object) -> object:
    """A value as an error shows it: itself where it is small, else its beginning."""
    if value is None or isinstance(value, bool | int | float):
        # An integer of a request may have thousands of digits.
        return value if len(str(value)) <= _VALUE_CHARS else str(value)[:_VALUE_CHARS]
    text = value if isinstance(value, str) else _beginning(value)
    return text if len(text) <= _VALUE_CHARS else text[:_VALUE_CHARS] + "…"


def invalid_request(faults: Sequence[Fault]) -> ProblemError:
    """The 422 that names every wrong value."""
    fields = ", ".join(dict.fromkeys(fault.field[:_VALUE_CHARS] for fault in faults))
    return ProblemError(Problem.INVALID_REQUEST, f"wrong values: {fields}", faults=faults)


def _beginning(value: object) -> str:
    """The beginning of a list or object, without writing all of it out."""
    if isinstance(value, list):
        value = value[:_VALUE_CHARS]
    elif isinstance(value, dict):
        value = dict(list(value.items())[:_VALUE_CHARS])
    return json.dumps(value, default=str)
