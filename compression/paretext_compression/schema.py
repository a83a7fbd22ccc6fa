"""The schema of recipes, from the methods' dataclasses.

`python -m paretext_compression.schema` writes it; a test holds the file against the code.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import paretext_compression.methods
import paretext_models
from paretext_compression.method import Method, from_module
from paretext_models.manifest import NAME_PATTERN
from paretext_models.recipe import ABOUT

FILE = Path(paretext_models.__file__).with_name("recipes.schema.json")


def build_schema() -> dict[str, Any]:
    """The JSON Schema of recipes, with one definition per method."""
    found = sorted(find_methods(), key=lambda method: method.name)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Paretext recipe",
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": f"^{NAME_PATTERN}$"},
            "description": {"type": "string"},
            "steps": {
                "type": "array",
                "items": {"oneOf": [{"$ref": f"#/$defs/{method.name}"} for method in found]},
            },
        },
        "$defs": {method.name: _definition(method) for method in found},
    }


def find_methods() -> list[Method]:
    """Every method in the package. For generating and testing; recipes import by name."""
    package = paretext_compression.methods
    prefix = f"{package.__name__}."
    found = []
    for info in pkgutil.walk_packages(package.__path__, prefix):
        module = importlib.import_module(info.name)
        if hasattr(module, "Parameters"):
            found.append(from_module(info.name.removeprefix(prefix), module))
    return found


def _definition(method: Method) -> dict[str, Any]:
    parameters = TypeAdapter(method.parameters).json_schema()
    properties = {"method": {"const": method.name}}
    for name, property_ in parameters["properties"].items():
        properties[name] = {key: value for key, value in property_.items() if key != "title"}
    about = dataclasses.asdict(method.about)
    phases = [*(["network"] if method.network else []), *(["graph"] if method.graph else [])]
    return {
        "type": "object",
        "description": _summary(method),
        "required": ["method"],
        "additionalProperties": False,
        "properties": properties,
        ABOUT: {**about, "architectures": list(about["architectures"]), "works_on": phases},
    }


def _summary(method: Method) -> str:
    module = importlib.import_module(f"paretext_compression.methods.{method.name}")
    return (module.__doc__ or "").strip().splitlines()[0]


def to_text() -> str:
    """The file's content."""
    return json.dumps(build_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(to_text())
