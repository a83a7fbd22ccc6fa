"""Writes docs/reference.md from the code: `python docs/reference.py`.

A test checks that the file is current.
"""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticUndefined

from paretext_models.recipe import ABOUT, methods, schema
from paretext_service.errors import Problem
from paretext_service.metrics import Metrics
from paretext_service.settings import Settings

FILE = Path(__file__).with_suffix(".md")

HEADERS = {
    "X-Variant": "exactly this variant, never another; unknown: 404 naming those there are",
    "X-Device": "a device the server knows: an execution target (`cpu`, `cuda:0`) or a class from"
    " `PARETEXT_DEVICE_CLASSES`; unknown, or no variant fits it: 404 naming the others",
    "X-Min-Accuracy": "never below this measured accuracy, 0 to 1; `0.9;bound=lower` counts the"
    " lower end of the 95 % interval",
    "Prefer": "`handling=strict`: 412 with each variant's figures where none meets the conditions;"
    " without it the nearest one answers, with reason `best_effort`",
    "X-Deadline-Ms": "drop the request, unexecuted, if it still waits at this age: 504; what runs"
    " already is answered",
    "X-Request-Id": "echoed, and in the log; made where absent",
    "Authorization": "`Bearer KEY`, where keys are configured",
}
ANSWERS = {
    "X-Model": "the model that answered",
    "X-Variant": "the variant that answered",
    "X-Variant-Revision": "its revision in the store",
    "X-Device": "the execution target it ran on",
    "X-Route-Reason": "`pinned`, `default`, `min_accuracy` or `best_effort`",
    "X-Predicted-Latency-Ms": "the profile's p95 at this length and the queue ahead, where this"
    " host was profiled",
    "X-Request-Id": "the request's id",
    "Server-Timing": "milliseconds: to `tokenize`, in the `queue` (of a list, between its texts"
    " too), and of `inference`; the texts of a list add up",
}
ENDPOINTS = {
    "POST /v1/classify": "classify one input or a list",
    "GET /v1/models": "the models, their tasks and defaults, and variants that were refused",
    "GET /v1/models/{model}/variants": "manifest, host profile and live state of every variant",
    "GET /v1/models/{model}/variants/{variant}": "the same of one variant",
    "GET /health/live": "200 while the process works",
    "GET /health/ready": "200 once something is served; 503 before, and while draining",
    "GET /metrics": "Prometheus metrics",
    "GET /docs": "interactive API documentation, without any asset from elsewhere",
    "GET /": "a page for people: what is served, and a form to try it",
}


def reference() -> str:
    """The whole page."""
    parts = [
        "# Reference",
        "Generated from the code by `python docs/reference.py`.",
        "## HTTP endpoints",
        table(("endpoint", "what it does"), [(f"`{k}`", v) for k, v in ENDPOINTS.items()]),
        "## Request headers of `/v1/classify`",
        table(("header", "meaning"), [(f"`{k}`", v) for k, v in HEADERS.items()]),
        "The conditions filter in this order. `X-Latency-Target-Ms` and `X-Max-Disagreement` are"
        " not implemented yet and answered with 422, never ignored.",
        "## Answer headers of `/v1/classify`",
        table(("header", "meaning"), [(f"`{k}`", v) for k, v in ANSWERS.items()]),
        "## Errors",
        "Errors are `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail`,"
        " `code`, `request_id`, and for wrong values `errors`: a list of `field`, `value` and"
        " `expected`. The `code` is stable.",
        table(
            ("code", "status", "title"), [(f"`{p.code}`", str(p.status), p.title) for p in Problem]
        ),
        "## Settings",
        "Each is an option of `paretext serve` and a variable in the environment.",
        table(("variable", "default", "meaning"), settings()),
        "## Metrics",
        table(("metric", "type", "labels", "meaning"), metrics()),
        "## Methods",
        *(method(name) for name in methods()),
    ]
    return "\n\n".join(parts) + "\n"


def settings() -> list[tuple[str, str, str]]:
    """A row for each setting."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default
        if field.default_factory is not None:
            default = "of this host"
        elif default is PydanticUndefined:
            default = "required"
        elif default in ((), {}, None):
            default = "none"
        rows.append((f"`PARETEXT_{name.upper()}`", str(default), field.description or ""))
    return rows


def metrics() -> list[tuple[str, str, str, str]]:
    """A row for each metric."""
    rows = []
    for collector in dict.fromkeys(Metrics(10.0).registry._collector_to_names):
        for family in getattr(collector, "describe", list)():
            labels = ", ".join(f"`{label}`" for label in getattr(collector, "_labelnames", ()))
            suffix = "_total" if family.type == "counter" else ""
            name = f"`{family.name}{suffix}`"
            rows.append((name, family.type, labels, family.documentation))
    return [row for row in rows if row[0].startswith("`paretext_")]


def method(name: str) -> str:
    """A section on one compression method."""
    definition = schema()["$defs"][name]
    about = definition[ABOUT]
    rows = [
        (f"`{parameter}`", f"`{facts.get('default')}`", facts.get("description", ""))
        for parameter, facts in definition["properties"].items()
        if parameter != "method"
    ]
    helps = "; ".join(f"{what}: {how}" for what, how in about["helps"].items())
    return "\n\n".join(
        [
            f"### {name}",
            definition["description"],
            f"Helps: {helps}. Architectures: {', '.join(about['architectures'])}.",
            table(("parameter", "default", "meaning"), rows),
        ]
    )


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *escaped]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
