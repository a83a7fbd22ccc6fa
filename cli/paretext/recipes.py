"""List methods and recipes, or show one in full."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from paretext_models.errors import InputError

NAME = "recipes"


def run(
    name: Annotated[str, typer.Argument(help="A recipe or a method; by default all.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List methods and recipes with their parameters, defaults, and what each helps."""
    from paretext_compression.recipes import RECOMMENDED, find, names
    from paretext_models.recipe import methods, schema

    if name and name not in methods() and name not in names() and not name.endswith(".toml"):
        known = ", ".join((*names(), *methods()))
        raise InputError(f"recipes: got {name!r}, expected one of {known}")
    if as_json:
        typer.echo(json.dumps(_everything(name)))
    elif name in methods():
        typer.echo(_method(name))
    elif name:
        typer.echo(json.dumps(find(name).to_dict(), indent=2))
    else:
        typer.echo("Recipes (* recommended: built where none is named)")
        for recipe in names():
            mark = "*" if recipe in RECOMMENDED else " "
            typer.echo(f"  {mark} {recipe:18} {find(recipe).description}")
        typer.echo("\nMethods (paretext recipes METHOD shows parameters)")
        for method in methods():
            typer.echo(f"    {method:24} {schema()['$defs'][method]['description']}")


def _method(name: str) -> str:
    from paretext_models.recipe import ABOUT, schema

    definition = schema()["$defs"][name]
    about = definition[ABOUT]
    lines = [f"{name}: {definition['description']}", "", "Helps:"]
    lines += [f"  {what:12} {how}" for what, how in about["helps"].items()]
    lines += ["", f"Architectures: {', '.join(about['architectures'])}", "", "Parameters:"]
    for parameter, facts in definition["properties"].items():
        if parameter != "method":
            default = json.dumps(facts.get("default"))
            lines.append(f"  {parameter:16} {facts.get('description', '')} [default: {default}]")
    return "\n".join(lines)


def _everything(name: str) -> dict[str, Any]:
    from paretext_compression.recipes import find, names
    from paretext_models.recipe import methods, schema

    definitions = schema()["$defs"]
    wanted = [name] if name else names()
    shown = [find(one) for one in wanted if one not in methods()]
    return {
        "recipes": {recipe.name: recipe.to_dict() for recipe in shown},
        "methods": {m: definitions[m] for m in methods() if name in ("", m)},
    }
