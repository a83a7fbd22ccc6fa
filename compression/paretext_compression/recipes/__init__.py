"""The recipes that ship: one per method at a recommended setting, and the good compounds."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from paretext_models.errors import InputError
from paretext_models.recipe import Recipe, parse

# Built where no recipe is named, in this order: the first is what others are compared with.
RECOMMENDED = ("fp32", "int8", "pruned-int8", "half-depth-int8", "cnn")


def names() -> tuple[str, ...]:
    """The names of all recipes that ship, sorted."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(file.name[:-5] for file in files if file.name.endswith(".toml")))


def find(name_or_file: str) -> Recipe:
    """A recipe by name, or from a .toml file.

    Raises:
        InputError: there is none of that name, or it is not valid.
    """
    if name_or_file.endswith(".toml"):
        try:
            return parse(Path(name_or_file).read_text(encoding="utf-8"), where=name_or_file)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"recipe: {name_or_file} cannot be read: {error}") from error
    if name_or_file not in names():
        raise InputError(
            f"recipe: got {name_or_file!r}, expected one of {', '.join(names())}, or a .toml file"
        )
    text = resources.files(__name__).joinpath(f"{name_or_file}.toml").read_text(encoding="utf-8")
    return parse(text, where=name_or_file)
