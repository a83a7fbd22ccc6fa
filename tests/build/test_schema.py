"""The schema of recipes follows from the methods, and what it lets pass their dataclasses take."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from paretext_compression import schema
from paretext_compression.method import GRAPH_PHASES, Method
from paretext_models.recipe import about, methods, validate

METHODS = schema.find_methods()


def test_the_file_is_what_the_methods_say() -> None:
    assert schema.FILE.read_text() == schema.to_text(), "run python -m paretext_compression.schema"


def test_it_is_a_schema_of_every_method() -> None:
    built = schema.build_schema()
    Draft202012Validator.check_schema(built)
    assert tuple(built["$defs"]) == methods() == tuple(sorted(m.name for m in METHODS))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_says_what_it_does(method: Method) -> None:
    assert method.network or method.graph
    assert (method.graph is None) == (method.about.graph_phase is None)
    assert method.about.graph_phase in (None, *GRAPH_PHASES)
    assert method.about.helps
    assert about(method.name)["works_on"]
    definition = schema.build_schema()["$defs"][method.name]
    assert definition["description"]
    for name, property_ in definition["properties"].items():
        assert name == "method" or property_["description"], name


def edges(property_: dict[str, Any]) -> list[Any]:
    """The values at a property's bounds, or all of its choices."""
    if "enum" in property_:
        return list(property_["enum"])
    if property_["type"] == "boolean":
        return [True, False]
    if property_["type"] == "array":
        inner = edges(property_["items"])
        return [[one] * n for one in inner for n in (property_["minItems"], property_["maxItems"])]
    tiny = 1 if property_["type"] == "integer" else 1e-9
    bounds = {"minimum": 0, "exclusiveMinimum": tiny, "maximum": 0, "exclusiveMaximum": -tiny}
    return [property_[key] + inside for key, inside in bounds.items() if key in property_]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_parameters_that_are_valid_make_the_methods_dataclass(method: Method) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(method.parameters)
    properties = schema.build_schema()["$defs"][method.name]["properties"]
    for name, property_ in properties.items():
        for value in edges(property_) if name != "method" else []:
            step = {"method": method.name, name: value}
            (valid,) = validate({"name": "a", "steps": [step]}).steps
            made = adapter.validate_python(valid.parameters)
            found = getattr(made, name)
            assert (list(found) if isinstance(found, tuple) else found) == value
