"""The command `paretext`: its subcommands, and what becomes of their errors."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import typer

from paretext import build, demo, profile, recipes, report, serve, train, verify
from paretext_models import __version__
from paretext_models.errors import ParetextError

INTERRUPTED = 130

app = typer.Typer(
    name="paretext",
    help="Pare a fine-tuned text classifier down to its Pareto frontier, and serve it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"paretext {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def _interruptible(run: Callable[..., None]) -> Callable[..., None]:
    """Typer would end without a word."""

    @functools.wraps(run)
    def interruptible(**options: Any) -> None:
        try:
            run(**options)
        except KeyboardInterrupt:
            typer.echo("paretext: interrupted; the same command goes on from here", err=True)
            raise typer.Exit(INTERRUPTED) from None

    return interruptible


for _command in (demo, train, build, profile, report, verify, recipes, serve):
    app.command(_command.NAME, help=_command.__doc__)(_interruptible(_command.run))


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage or input."""
    try:
        app(prog_name="paretext")  # also as `python -m paretext`
    except ParetextError as error:
        typer.echo(f"paretext: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # Where the reason is a file that the user named, this says it all.
        typer.echo(f"paretext: {error.filename or 'failed'}: {error.strerror or error}", err=True)
        sys.exit(2 if error.filename else 1)
