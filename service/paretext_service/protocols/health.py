"""Probes for whoever runs the server, and its metrics."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from paretext_service.catalogue import ServedModel
from paretext_service.errors import Problem, ProblemError
from paretext_service.service import Service


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class RefusedVariant(BaseModel):
    """A variant of the store that is not served, and why."""

    model: str
    variant: str
    reason: str


class Ready(BaseModel):
    """Requests are answered."""

    status: Literal["ready"] = "ready"
    variants: int = Field(description="how many are served")
    refused: list[RefusedVariant] = Field(description="variants of the store that cannot be used")


def health_routes(service: Service) -> APIRouter:
    """`/health/live`, `/health/ready` and `/metrics`."""
    routes = APIRouter(tags=["operation"])

    @routes.get("/health/live", summary="Is the process alive?")
    async def live() -> Live:
        return Live()

    @routes.get("/health/ready", summary="Are requests answered?")
    async def ready() -> Ready:
        models = service.catalogue.models.values()
        refused = [one for model in models for one in refused_variants(model)]
        if not service.ready:
            raise _not_ready(service, refused)
        count = sum(len(model.variants) for model in models)
        return Ready(variants=count, refused=refused)

    @routes.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics(request: Request) -> Response:
        content, kind = service.metrics.exposition(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": kind})

    return routes


def refused_variants(model: ServedModel) -> list[RefusedVariant]:
    """What of a model cannot be used."""
    return [
        RefusedVariant(model=one.model, variant=one.variant, reason=one.reason)
        for one in model.refused
    ]


def _not_ready(service: Service, refused: list[RefusedVariant]) -> ProblemError:
    fields: dict[str, Any] = {"refused": [one.model_dump() for one in refused]}
    if service.draining:
        return ProblemError(Problem.DRAINING, "the server is shutting down", fields=fields)
    detail = "no variant is loaded" if service.catalogue.loaded else "the store is being read"
    return ProblemError(Problem.NOT_READY, detail, fields=fields)
