"""Recipes: which methods make a variant. Validated in full, without torch, before any work starts.

What methods there are, and what parameters they take, stands in `recipes.schema.json`. It is
generated from the methods' dataclasses (`python -m paretext_compression.schema`), so that a server
without the compression extra can check a recipe just as the command line does.
"""

from __future__ import annotations

import copy
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator

from paretext_models.errors import Fault, FaultsError, InputError
from paretext_models.manifest import NAME_PATTERN, is_name
from paretext_models.store import POINTER

Json = dict[str, Any]
ABOUT = "x-paretext"
_KEYS = ("name", "description", "steps")
_LONGEST_DESCRIPTION = 500
_SURROGATE = re.compile("[\ud800-\udfff]")
# No parameter is nested deeper or larger; Python could not even print some that are.
_DEEPEST, _LARGEST = 8, 2**63


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
    except (ValueError, RecursionError) as error:  # also: 5,000 digits, 5,000 brackets
        raise InputError(f"{where}: not valid TOML: {error}") from None
    return validate(raw, where=where)


def validate(raw: object, *, architecture: str | None = None, where: str = "recipe") -> Recipe:
    """Check a recipe in full.

    Args:
        raw: a mapping of `name`, `description` and `steps`, each a mapping of `method` and its
            parameters.
        architecture: of the model to compress, such as `bert`, where it is known.
        where: what to call the recipe in an error.

    Raises:
        FaultsError: with every fault, each naming what would have been right.
    """
    if not isinstance(raw, Mapping):
        raise FaultsError(where, [_fault("recipe", raw, f"a table of {', '.join(_KEYS)}")])
    faults = [
        _fault(_key(key), raw[key], f"one of {', '.join(_KEYS)}") for key in raw if key not in _KEYS
    ]
    name, description = raw.get("name"), raw.get("description", "")
    if not isinstance(name, str) or not is_name(name):
        faults.append(_fault("name", name, f"a name matching {NAME_PATTERN}"))
    elif name == POINTER:  # the folder of a variant, named after its recipe, lies beside that file
        faults.append(_fault("name", name, "a name that the store does not use itself"))
    if not isinstance(description, str) or not _is_line(description):
        expected = f"one line of at most {_LONGEST_DESCRIPTION} characters"
        faults.append(_fault("description", description, expected))
    raw_steps = raw.get("steps", [])
    if not isinstance(raw_steps, list):
        faults.append(_fault("steps", raw_steps, "a list of steps"))
        raw_steps = []
    steps = [_step(step, f"steps[{place}]", faults) for place, step in enumerate(raw_steps)]
    valid = [step for step in steps if step is not None]
    if len(valid) == len(steps):
        faults += _composition(valid, architecture)
    if faults:
        raise FaultsError(where, faults)
    return Recipe(str(name), str(description), tuple(valid))


def _step(raw: object, at: str, faults: list[Fault]) -> Step | None:
    """The step with all its parameters, or None and its faults appended."""
    if not isinstance(raw, dict):
        faults.append(_fault(at, raw, "a table with a method"))
        return None
    method = raw.get("method")
    if not isinstance(method, str) or method not in schema()["$defs"]:
        faults.append(_fault(f"{at}.method", method, f"one of {', '.join(methods())}"))
        return None
    definition = schema()["$defs"][method]
    found = list(_unreadable(raw, at)) or list(_step_faults(raw, at, definition))
    faults += found
    if found:
        return None
    return Step(method, _parameters(raw, definition["properties"]))


def _parameters(raw: Json, properties: Json) -> Json:
    """What was given, and the defaults of the others."""
    return {
        key: _canonical(raw[key] if key in raw else copy.deepcopy(property_["default"]), property_)
        for key, property_ in properties.items()
        if key != "method"
    }


def _step_faults(raw: Json, at: str, definition: Json) -> Iterator[Fault]:
    properties = {key: value for key, value in definition["properties"].items() if key != "method"}
    for key in raw:
        if key not in properties and key != "method":
            yield _fault(f"{at}.{_key(key)}", raw[key], f"one of {', '.join(properties)}")
    for key, property_ in properties.items():
        if key not in raw:
            if "default" not in property_:
                yield Fault(f"{at}.{key}", None, _expected(property_))
            continue
        seen: set[str] = set()
        for error in Draft202012Validator(property_).iter_errors(raw[key]):
            place = "".join(f"[{index}]" for index in error.absolute_path)
            if place not in seen and isinstance(error.schema, dict):  # one fault for each value
                yield _fault(f"{at}.{key}{place}", error.instance, _expected(error.schema))
            seen.add(place)


def _unreadable(value: object, at: str, depth: int = 0) -> Iterator[Fault]:
    """Values that no parameter can have, and that a schema does not exclude or cannot print."""
    if depth > _DEEPEST:
        yield Fault(at, "...", f"at most {_DEEPEST} levels of lists and tables")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _unreadable(inner, f"{at}.{_key(key)}", depth + 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _unreadable(inner, f"{at}[{place}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Fault(at, value, "a finite number")
    elif isinstance(value, int) and abs(value) >= _LARGEST:
        yield Fault(
            at,
            f"{'-' * (value < 0)}2**{value.bit_length() - 1} or more",
            "a number of 64 bits at most",
        )


def _canonical(value: Any, property_: Json) -> Any:
    """2 for 2.0 where a whole number is asked for, and the reverse: equal recipes look equal."""
    if property_.get("type") == "array":
        return [_canonical(one, property_.get("items", {})) for one in value]
    if property_.get("type") == "integer":
        return int(value)
    return float(value) if property_.get("type") == "number" else value


def _expected(property_: Json) -> str:
    """What a property's schema allows, in words."""
    if "anyOf" in property_:
        return " or ".join(map(_expected, property_["anyOf"]))
    if choices := property_.get("enum", [property_["const"]] if "const" in property_ else []):
        return f"one of {', '.join(map(str, choices))}"
    if property_.get("type") == "array":
        low, high = property_.get("minItems", 0), property_.get("maxItems", "any number")
        return f"a list of {low} to {high} values, each {_expected(property_['items'])}"
    words = {"boolean": "true or false", "string": "a string", "null": "nothing"}
    words |= {"integer": "a whole number", "number": "a number"}
    bounds = {"minimum": "at least", "exclusiveMinimum": "above"}
    bounds |= {"maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {property_[key]}" for key, word in bounds.items() if key in property_]
    return (
        f"{words.get(str(property_.get('type')), 'another value')} {' and '.join(limits)}".rstrip()
    )


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
            continue
        seen.add(step.method)
        if facts["needs"] not in (kind, "any"):
            fitting = [name for name in methods() if about(name)["needs"] in (kind, "any")]
            expected = f"a step that takes the {kind} that {maker} makes: {', '.join(fitting)}"
            faults.append(Fault(at, step.method, expected))
        if architecture and kind == "transformer" and architecture not in facts["architectures"]:
            expected = f"one of {', '.join(facts['architectures'])}, for {step.method}"
            faults.append(_fault("architecture", architecture, expected))
        if facts["makes"]:
            kind, maker = facts["makes"], step.method
        phase = facts["graph_phase"]
        if phase and taken.setdefault(phase, step.method) != step.method:
            faults.append(Fault(at, step.method, f"one {phase} step; {taken[phase]} is one"))
    return faults


def _fault(field: str, value: object, expected: str) -> Fault:
    """A fault with a value that can be printed: cut if it is long, named if it is unreadable."""
    if unreadable := next(_unreadable(value, field), None):
        return Fault(field, unreadable.value, expected)
    shown = repr(value)
    return Fault(field, value if len(shown) <= 100 else f"{shown[:80]}...", expected)


def _key(key: object) -> str:
    """A key as part of a field's name; whatever a terminal could not show is escaped."""
    plain = isinstance(key, str) and key.isascii() and key.isprintable() and 0 < len(key) <= 64
    return str(key) if plain else ascii(key)[:80]


def _is_line(text: str) -> bool:
    """Whether it is one line, not too long, that can be written as UTF-8."""
    one = len(text.splitlines()) <= 1 and not text.endswith("\n")
    return one and len(text) <= _LONGEST_DESCRIPTION and not _SURROGATE.search(text)
