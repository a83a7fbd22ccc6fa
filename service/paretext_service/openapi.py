"""The OpenAPI document: FastAPI's, the bare ASGI endpoint, and the problems.

It is version 3.0.3: the Swagger UI that ships with the server renders no later one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from paretext_service.errors import PROBLEM_JSON
from paretext_service.gate import CLASSIFY_PATH
from paretext_service.protocols.schemas import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    ClassifyRequest,
    ClassifyResponse,
    ProblemDetails,
)

VERSION = "3.0.3"
_REF = "#/components/schemas/"
_CLASSIFY_PROBLEMS = (400, 401, 404, 408, 412, 413, 415, 422, 429, 500, 503, 504)
_OTHER_PROBLEMS = {
    "/health/ready": (503,),
    "/v1/models": (401, 503),
    "/v1/models/{model}/variants": (401, 404, 503),
    "/v1/models/{model}/variants/{variant}": (401, 404, 503),
    "/metrics": (401,),
}


def document(app: FastAPI, *, keys: bool) -> Callable[[], dict[str, Any]]:
    """A function for `app.openapi`. `keys`: whether the API asks for one."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app, keys=keys)
        return app.openapi_schema

    return openapi


def _build(app: FastAPI, *, keys: bool) -> dict[str, Any]:
    content = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=VERSION,
        description=app.description,
        routes=app.routes,
    )
    _, definitions = models_json_schema(
        [(one, "validation") for one in (ClassifyRequest, ClassifyResponse, ProblemDetails)],
        ref_template=_REF + "{model}",
    )
    paths, components = content["paths"], content.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.update(definitions["$defs"])
    content["paths"] = {CLASSIFY_PATH: {"post": _classify()}, **paths}
    for path, statuses in _OTHER_PROBLEMS.items():
        # FastAPI documents its own 422 for a path parameter; there is no value it could refuse.
        responses = {key: one for key, one in paths[path]["get"]["responses"].items()
                     if key != "422"}  # fmt: skip
        paths[path]["get"]["responses"] = responses | _problems(statuses)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        content["security"] = [{"key": []}]
    adapted: dict[str, Any] = _to_3_0(content)
    return adapted


def _classify() -> dict[str, Any]:
    response = {
        "description": "One result for each input, in their order",
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in RESPONSE_HEADERS.items()
        },
        "content": _json(ClassifyResponse.__name__),
    }
    return {
        "tags": ["classify"],
        "operationId": "classify",
        "summary": "Classify one text or a list of texts",
        "parameters": [
            {"name": name, "in": "header", "description": text, "schema": {"type": kind}}
            for name, (kind, text) in REQUEST_HEADERS.items()
        ],
        "requestBody": {"required": True, "content": _json(ClassifyRequest.__name__)},
        "responses": {"200": response, **_problems(_CLASSIFY_PROBLEMS)},
    }


def _problems(statuses: tuple[int, ...]) -> dict[str, Any]:
    content = {PROBLEM_JSON: {"schema": {"$ref": _REF + ProblemDetails.__name__}}}
    return {str(status): {"description": "Problem", "content": content} for status in statuses}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF + schema}}}


def _to_3_0(node: Any) -> Any:
    """The same document in the words of JSON Schema that OpenAPI 3.0 has."""
    if isinstance(node, list):
        return [_to_3_0(one) for one in node]
    if not isinstance(node, dict):
        return node
    node = {key: _to_3_0(value) for key, value in node.items()}
    if isinstance(node.get("const"), str | int):
        node["enum"] = [node.pop("const")]
    for bound in ("Minimum", "Maximum"):
        limit = node.get(f"exclusive{bound}")
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            node[bound.lower()] = limit
            node[f"exclusive{bound}"] = True
    if isinstance(node.get("prefixItems"), list):
        node["items"] = node.pop("prefixItems")[0]
    options = node.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        left = [one for one in options if one != {"type": "null"}]
        node = {key: value for key, value in node.items() if key != "anyOf"}
        node |= {"nullable": True, "anyOf": left}
    for key in ("propertyNames", "$defs"):
        node.pop(key, None)
    return node
