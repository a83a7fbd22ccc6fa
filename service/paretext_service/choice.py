"""The model and the variant that answer a request, or the problem that tells why none does."""

from __future__ import annotations

from typing import Any

from paretext_models.errors import Fault
from paretext_service.catalogue import Served, ServedModel
from paretext_service.conditions import Asked
from paretext_service.errors import Problem, ProblemError, invalid_request
from paretext_service.router import Decision, Unroutable, route
from paretext_service.service import Service


def find_model(service: Service, name: str | None) -> ServedModel:
    """The model that a request names, or the only one.

    Raises:
        ProblemError: it is not there, none is, or one of several has to be named.
    """
    models = service.catalogue.models
    if not service.catalogue.loaded or not service.catalogue.usable:
        detail = "no variant is loaded" if service.catalogue.loaded else "the store is being read"
        raise ProblemError(Problem.NOT_READY, detail, headers={"Retry-After": "1"})
    names = ", ".join(models)
    if name is None and len(models) > 1:
        raise invalid_request([Fault("model", None, f"one of {names}")])
    model = models.get(name) if name is not None else next(iter(models.values()))
    if model is None:
        raise ProblemError(
            Problem.UNKNOWN_MODEL,
            f"no model {name!r}; there are: {names}",
            fields={"models": list(models)},
        )
    if not model.variants:
        detail = f"model {model.name} has no usable variant"
        raise ProblemError(Problem.NOT_READY, detail, headers={"Retry-After": "1"})
    return model


def choose(service: Service, model: ServedModel, asked: Asked) -> tuple[Served, Decision]:
    """The variant that answers.

    Raises:
        ProblemError: none may.
    """
    classes = service.settings.device_classes
    candidates = model.candidates
    decision = route(asked.conditions, candidates, model.default, classes)
    if isinstance(decision, Decision):
        return model.variants[decision.candidate.variant], decision
    problem = Problem[decision.kind.upper()]
    fields: dict[str, Any] = {"figures": [one.figures() for one in candidates]}
    if problem is not Problem.CONDITIONS_NOT_MET:
        kind = "variants" if problem is Problem.UNKNOWN_VARIANT else "devices"
        fields = {kind: list(decision.known)}
    raise ProblemError(problem, _with_refusal(decision, model, asked), fields=fields)


def _with_refusal(unroutable: Unroutable, model: ServedModel, asked: Asked) -> str:
    """The detail, and where the named variant is in the store but damaged, that."""
    for refusal in model.refused:
        if refusal.variant == asked.conditions.variant:
            return f"{unroutable.detail} (refused: {refusal.reason})"
    return unroutable.detail
