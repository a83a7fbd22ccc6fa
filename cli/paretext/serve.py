"""Serve a store over HTTP."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from paretext_models.errors import InputError
from paretext_service.settings import Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

NAME = "serve"
_SIMPLE = (bool, int, float, str, Path)


def run(**options: Any) -> None:
    """Serve until SIGTERM or Ctrl-C. Every option is also an environment variable, PARETEXT_*."""
    serve({key: value for key, value in options.items() if value is not None})


def serve(options: dict[str, Any], ready: Callable[[str], None] | None = None) -> None:
    """Serve with these settings; those not given come from the environment.

    Raises:
        InputError: a setting is wrong; it is named with what was expected.
    """
    from paretext_service import server

    try:
        settings = Settings(**_parsed(options))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise InputError("\n".join(["settings:", *map(_line, faults)])) from None
    except SettingsError as error:
        # Only a variable that holds a structure is parsed as JSON, and there is one such.
        raise InputError(
            f"settings: PARETEXT_DEVICE_CLASSES (device_classes): not JSON: {error.__cause__};"
            ' expected such as {"edge": {"target": "cpu", "max_file_mb": 10}}'
        ) from None
    code = server.run(settings, ready=ready)
    if code:
        raise typer.Exit(code)


def _line(fault: ErrorDetails) -> str:
    """One wrong setting. Keys are secret, and what no field names would be all settings at once."""
    where = ".".join(map(str, fault["loc"]))
    secret = not where or where.startswith(("api_keys", "admin_keys"))
    got = "" if secret else f"got {fault['input']!r}: "
    return f"  {where or 'together'}: {got}{fault['msg']}"


def _parsed(options: dict[str, Any]) -> dict[str, Any]:
    """Options that are structures come as JSON."""
    result = dict(options)
    if isinstance(options.get("device_classes"), str):
        try:
            result["device_classes"] = json.loads(options["device_classes"])
        except ValueError as error:
            raise InputError(f"--device-classes: not JSON: {error}") from None
    return result


def _signature() -> inspect.Signature:
    """One option per setting, in the order of the settings; the store comes as an argument."""
    parameters = []
    for name, field in Settings.model_fields.items():
        text = f"{field.description or ''} [env: PARETEXT_{name.upper()}]"
        kind = _kind(field.annotation)
        if name == "store":
            info: Any = typer.Argument(help=text, show_default=False)
        elif kind is bool:
            flag = name.replace("_", "-")
            info = typer.Option(f"--{flag}/--no-{flag}", help=text, show_default=False)
        else:
            info = typer.Option(f"--{name.replace('_', '-')}", help=text, show_default=False)
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, info],
            )
        )
    return inspect.Signature(parameters)


def _kind(annotation: Any) -> type[Any]:
    """The type an option is read as: a simple one, or text that the settings parse."""
    candidates = [annotation, *get_args(annotation)]
    for kind in _SIMPLE:
        if kind in candidates:
            return kind
    return str


run.__signature__ = _signature()  # type: ignore[attr-defined]
