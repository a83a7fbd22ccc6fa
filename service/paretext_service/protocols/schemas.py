"""The shapes of `POST /v1/classify`, for its documentation. `inputs.py` and `classify.py` act."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from paretext_service.router import Reason


class TextInput(BaseModel):
    """A text, and for models of pairs the one beside it."""

    model_config = ConfigDict(extra="forbid")

    text: str
    text_pair: str = ""


class ClassifyRequest(BaseModel):
    """What is to be classified."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"inputs": ["a fine film", "slow and awful"], "top_k": 1},
        },
    )

    inputs: str | TextInput | list[str | TextInput] = Field(
        description="one input or a list of them"
    )
    model: str = Field("", description="the model; may be left out where one is served")
    top_k: int = Field(1, ge=1, description="how many labels, best first; all where left out")
    function: Literal["auto", "softmax", "sigmoid", "none"] = Field(
        "auto", description="from logits to scores; auto is the one of the task"
    )
    truncate: bool = Field(
        True, description="cut texts that are too long, and say so; false makes them errors"
    )


class Label(BaseModel):
    """A label and its score."""

    label: str
    score: float
    selected: bool = Field(
        False, description="multi-label only: whether the score reaches the threshold"
    )


class ItemError(BaseModel):
    """Why an item could not be classified."""

    code: str
    message: str


class Result(BaseModel):
    """The outcome of one input: labels, tokens and truncated, or error."""

    labels: list[Label] = Field([], description="best first")
    tokens: int = Field(0, description="tokens that were classified, special ones included")
    truncated: bool = Field(False, description="whether the text was cut to the variant's limit")
    error: ItemError | None = Field(
        None, description="in a list, in the place of an input that cannot be classified"
    )


class Route(BaseModel):
    """Why this variant answered, and what to expect of it."""

    reason: Reason
    accuracy: float = Field(description="primary metric as measured when it was built")
    accuracy_ci95: tuple[float, float] = Field(description="its 95 % confidence interval")
    predicted_ms: float = Field(0.0, description="only where this host was profiled")


_EXAMPLE: dict[str, Any] = {
    "model": "reviews",
    "variant": "int8",
    "revision": "3f9c0a1b2c3d",
    "device": "cpu",
    "results": [
        {"labels": [{"label": "positive", "score": 0.98}], "tokens": 5, "truncated": False},
        {"error": {"code": "empty_text", "message": "text is empty"}},
    ],
    "route": {"reason": "default", "accuracy": 0.912, "accuracy_ci95": [0.893, 0.931]},
}


class ClassifyResponse(BaseModel):
    """The answer. `results` is in the order of the inputs."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    model: str
    variant: str
    revision: str
    device: str
    results: list[Result]
    route: Route


class WrongValue(BaseModel):
    """One wrong value of a request."""

    field: str
    value: Any = Field(description="cut to 100 characters")
    expected: str


class ProblemDetails(BaseModel):
    """RFC 9457. Some problems have further members, as `retry_after_ms` or `figures`."""

    type: str
    title: str
    status: int
    code: str = Field(description="stable; to be matched by programs")
    detail: str
    request_id: str
    errors: list[WrongValue] = Field([], description="every wrong value, for a 422")


# Request headers of POST /v1/classify: name -> (JSON type, meaning).
REQUEST_HEADERS: dict[str, tuple[str, str]] = {
    "X-Variant": ("string", "Exactly this variant, never another."),
    "X-Device": ("string", "An execution target (cpu, cuda:0) or a class from the settings."),
    "X-Min-Accuracy": (
        "string",
        "The fastest variant of at least this measured accuracy, as 0.9; with ;bound=lower the "
        "lower end of its confidence interval counts.",
    ),
    "Prefer": ("string", "handling=strict: 412 where no variant meets the conditions."),
    "X-Deadline-Ms": ("number", "Drop the request, unexecuted, once it is this old: 504."),
    "X-Request-Id": ("string", "Sent back, and in the log; up to 128 printable ASCII characters."),
}
RESPONSE_HEADERS: dict[str, str] = {
    "X-Model": "The model that answered.",
    "X-Variant": "The variant that answered.",
    "X-Variant-Revision": "Its revision.",
    "X-Device": "Where it ran.",
    "X-Route-Reason": "Why it answered.",
    "X-Predicted-Latency-Ms": "95th percentile by this host's profile, queue included.",
    "X-Request-Id": "The request's id.",
    "Server-Timing": "tokenize, queue and inference, in milliseconds.",
}
