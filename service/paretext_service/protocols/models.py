"""What is served: models, their variants, and what is known of each."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from paretext_models.manifest import Manifest
from paretext_models.profile import HostProfile
from paretext_service.catalogue import Served, ServedModel
from paretext_service.errors import Problem, ProblemError
from paretext_service.protocols.health import RefusedVariant, refused_variants
from paretext_service.service import Service


class ModelSummary(BaseModel):
    """A model in brief."""

    model: str
    default: str | None = Field(description="the variant that answers where a request names none")
    generation: int = Field(description="how often the model's pointer has moved")
    problem: Literal["single_label", "multi_label", "regression"] | None
    labels: list[str]
    pair: bool = Field(description="whether inputs are pairs of texts")
    variants: list[str]
    refused: list[RefusedVariant]


class Models(BaseModel):
    """Every model."""

    models: list[ModelSummary]


class VariantState(BaseModel):
    """A variant as it is served now."""

    model: str
    variant: str
    revision: str
    device: str
    default: bool
    state: Literal["loaded"] = "loaded"
    file_bytes: int = Field(description="bytes of the model file")
    manifest: Manifest
    profile: HostProfile | None = Field(description="measured on this host; null: not yet")


class Variants(BaseModel):
    """Every variant of a model, those that cannot be used apart."""

    model: str
    variants: list[VariantState]
    refused: list[RefusedVariant]


def model_routes(service: Service) -> APIRouter:
    """`/v1/models` and what lies under it."""
    routes = APIRouter(prefix="/v1/models", tags=["models"])

    @routes.get("", summary="The models that are served")
    async def models() -> Models:
        return Models(models=[_summary(one) for one in service.catalogue.models.values()])

    @routes.get("/{model}/variants", summary="The variants of a model")
    async def variants(model: str) -> Variants:
        found = _model(service, model)
        states = [_state(found, one) for one in found.variants.values()]
        return Variants(model=found.name, variants=states, refused=refused_variants(found))

    @routes.get("/{model}/variants/{variant}", summary="One variant")
    async def one_variant(model: str, variant: str) -> VariantState:
        found = _model(service, model)
        served = found.variants.get(variant)
        if served is None:
            raise _unknown_variant(found, variant)
        return _state(found, served)

    return routes


def _model(service: Service, name: str) -> ServedModel:
    models = service.catalogue.models
    if name not in models:
        raise ProblemError(
            Problem.UNKNOWN_MODEL,
            f"no model {name!r}; there are: {', '.join(models) or 'none'}",
            fields={"models": list(models)},
        )
    return models[name]


def _unknown_variant(model: ServedModel, name: str) -> ProblemError:
    known = list(model.variants)
    reasons = [one.reason for one in model.refused if one.variant == name]
    detail = f"no variant {name!r}; there are: {', '.join(known) or 'none'}"
    refused = f" (refused: {reasons[0]})" if reasons else ""
    return ProblemError(Problem.UNKNOWN_VARIANT, detail + refused, fields={"variants": known})


def _summary(model: ServedModel) -> ModelSummary:
    tasks = [served.manifest.task for served in model.variants.values()]
    return ModelSummary(
        model=model.name,
        default=model.default,
        generation=model.generation,
        problem=tasks[0].problem if tasks else None,
        labels=list(tasks[0].labels) if tasks else [],
        pair=any(task.pair for task in tasks),
        variants=list(model.variants),
        refused=refused_variants(model),
    )


def _state(model: ServedModel, served: Served) -> VariantState:
    return VariantState(
        model=model.name,
        variant=served.variant,
        revision=served.revision,
        device=served.device,
        default=served.variant == model.default,
        file_bytes=served.candidate.file_bytes,
        manifest=served.manifest,
        profile=served.profile,
    )
