"""Recipes: which methods make a variant. Validated in full, without torch, before any work starts.

What methods there are, and what parameters they take, stands in `recipes.schema.json`. It is
generated from the methods' dataclasses (`python -m paretext_compression.schema`), so that a server
without the compression extra can check a recipe just as the command line does.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from paretext_models.errors import Fault, FaultsError, InputError
from paretext_models.manifest import NAME_PATTERN, is_name

Json = dict[str, Any]
ABOUT = "x-paretext"


@dataclass(frozen=True)
class Step:
    """One method with all its parameters, defaults filled in."""

    method: str
    parameters: Json

    def to_dict(self) -> Json:
        return {"method": self.method, **self.parameters}


@dataclass(frozen=True)
class Recipe:
    """A validated recipe. No steps: the teacher itself, exported and fused."""

    name: str
    description: str
    steps: tuple[Step, ...]

    def to_dict(self) -> Json:
        """The form that `validate` takes; recorded in manifests."""
        return {
            "name": self.name,
            "description": self.description,
            "steps": [step.to_dict() for step in self.steps],
        }


@cache
def schema() -> Json:
    """The JSON Schema of recipes; `$defs` holds one entry per method."""
    content = resources.files("paretext_models").joinpath("recipes.schema.json").read_text()
    loaded: Json = json.loads(content)
    return loaded


def methods() -> tuple[str, ...]:
    """The names of all methods, sorted."""
    return tuple(sorted(schema()["$defs"]))


def about(method: str) -> Json:
    """What a method says of itself: phases, architectures, what it needs, makes and helps."""
    found: Json = schema()["$defs"][method][ABOUT]
    return found


def parse(text: str, where: str = "recipe") -> Recipe:
    """Read and validate a recipe in TOML.

    Raises:
        InputError: it is not TOML, or not a valid recipe; every fault is named.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from None
    return validate(raw, where=where)


def validate(
    raw: Mapping[str, Any], *, architecture: str | None = None, where: str = "recipe"
) -> Recipe:
    """Check a recipe in full.

    Args:
        raw: `name`, `description` and `steps`, each with `method` and its parameters.
        architecture: of the model to compress, such as `bert`, where it is known.
        where: what to call the recipe in an error.

    Raises:
        FaultsError: with every fault, each naming what would have been right.
    """
    faults = [
        Fault(key, raw[key], "one of name, description, steps")
        for key in raw
        if key not in ("name", "description", "steps")
    ]
    name, description = raw.get("name"), raw.get("description", "")
    if not isinstance(name, str) or not is_name(name):
        faults.append(Fault("name", name, f"a name matching {NAME_PATTERN}"))
    if not isinstance(description, str):
        faults.append(Fault("description", description, "a line of text"))
    raw_steps = raw.get("steps", [])
    if not isinstance(raw_steps, list):
        faults.append(Fault("steps", raw_steps, "a list of steps"))
        raw_steps = []
    steps = [_step(step, f"steps[{place}]", faults) for place, step in enumerate(raw_steps)]
    valid = [step for step in steps if step is not None]
    if len(valid) == len(steps):
        faults += _composition(valid, architecture)
    if faults:
        raise FaultsError(where, faults)
    return Recipe(str(name), str(description), tuple(valid))


def _step(raw: object, at: str, faults: list[Fault]) -> Step | None:
    if not isinstance(raw, dict):
        faults.append(Fault(at, raw, "a table with a method"))
        return None
    method = raw.get("method")
    if method not in schema()["$defs"]:
        faults.append(Fault(f"{at}.method", method, f"one of {', '.join(methods())}"))
        return None
    properties = schema()["$defs"][method]["properties"]
    validator = Draft202012Validator(schema()["$defs"][method])
    found = [_fault(error, at, properties) for error in validator.iter_errors(raw)]
    faults += found
    if found:
        return None
    defaults = {key: value["default"] for key, value in properties.items() if "default" in value}
    given = {key: value for key, value in raw.items() if key != "method"}
    return Step(method, {**defaults, **given})


def _fault(error: ValidationError, at: str, properties: Json) -> Fault:
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    if error.validator == "additionalProperties":
        unknown = sorted(set(error.instance) - set(properties))
        known = ", ".join(name for name in properties if name != "method")
        return Fault(f"{at}.{unknown[0]}", error.instance[unknown[0]], f"one of {known}")
    return Fault(f"{at}{path}", error.instance, _expected(error))


def _expected(error: ValidationError) -> str:
    bound = error.validator_value
    words = {
        "type": f"of type {bound}",
        "enum": f"one of {', '.join(map(str, bound)) if isinstance(bound, list) else bound}",
        "minimum": f"at least {bound}",
        "maximum": f"at most {bound}",
        "exclusiveMinimum": f"above {bound}",
        "exclusiveMaximum": f"below {bound}",
        "multipleOf": f"a multiple of {bound}",
    }
    return words.get(str(error.validator), error.message)


def _composition(steps: list[Step], architecture: str | None) -> list[Fault]:
    """What is wrong with the steps together: repeated, out of place, or on the wrong model."""
    faults: list[Fault] = []
    seen: set[str] = set()
    taken: dict[str, str] = {}
    kind, maker = "transformer", "the teacher"
    for place, step in enumerate(steps):
        at, facts = f"steps[{place}].method", about(step.method)
        if step.method in seen:
            faults.append(Fault(at, step.method, "each method once"))
        seen.add(step.method)
        if facts["needs"] not in (kind, "any"):
            faults.append(
                Fault(at, step.method, f"a step that takes a {kind}, which {maker} makes")
            )
        if architecture and kind == "transformer" and architecture not in facts["architectures"]:
            faults.append(Fault(at, architecture, f"one of {', '.join(facts['architectures'])}"))
        if facts["makes"]:
            kind, maker = facts["makes"], step.method
        phase = facts["graph_phase"]
        if phase and phase in taken:
            faults.append(Fault(at, step.method, f"one {phase} step; {taken[phase]} is one"))
        if phase:
            taken[phase] = step.method
    return faults
