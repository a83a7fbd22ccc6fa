"""Show what a store holds: a table, and Pareto charts in Markdown, HTML and PNG."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paretext.extras import needing
from paretext_models.errors import InputError
from paretext_models.profile import cached_profile
from paretext_models.settings import cache_folder
from paretext_models.store import Store

if TYPE_CHECKING:
    from paretext_compression.report import Row

NAME = "report"
_WIDE_ENOUGH = 100


def run(
    store: Annotated[Path, typer.Argument(help="The folder that variants are published in.")],
    model: Annotated[str | None, typer.Option(help="One model; by default all.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table as Markdown.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write table and chart as one page.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the chart of one model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON.")] = False,
) -> None:
    """Report every variant's accuracy, size and, where it was profiled, speed."""
    with needing("compression"):
        from paretext_compression import page, pareto
        from paretext_compression import report as tables
    models = check_models(store, model)
    shown = {name: rows(store, name) for name in models}
    everything = [row for part in shown.values() for row in part]
    if png and len(models) > 1:
        raise InputError(f"--png: charts one model; name it with --model ({', '.join(models)})")
    if markdown:
        markdown.write_text(tables.markdown(everything), encoding="utf-8")
    if html:
        html.write_text(page.html(everything), encoding="utf-8")
    if png:
        with needing("compression"):
            pareto.png(everything, png)
    if as_json:
        typer.echo(json.dumps([_figures(row) for row in everything]))
        return
    for name in models:
        print_table(store, name)


def print_table(store: Path, model: str) -> None:
    """Print a model's table, at least 100 columns wide."""
    from rich.console import Console

    with needing("compression"):
        from paretext_compression.report import terminal_table
    width = max(_WIDE_ENOUGH, shutil.get_terminal_size().columns)
    Console(width=width).print(terminal_table(rows(store, model)))


def rows(store: Path, model: str) -> list[Row]:
    """A model's variants with their profiles on this host; refused ones are named on stderr."""
    from paretext_compression.report import rows as compared

    opened = Store(store)
    loaded, refused = opened.load_all(model)
    for refusal in refused:
        typer.echo(f"refused: {refusal.reason}", err=True)
    measured = [(item.manifest, cached_profile(item, cache_folder())) for item in loaded]
    return compared(measured, default=opened.pointer(model).default)


def check_models(store: Path, model: str | None) -> tuple[str, ...]:
    """The models to look at.

    Raises:
        InputError: the store is empty, or has no such model.
    """
    models = Store(store).models()
    if not models:
        raise InputError(f"store: {store} holds no models; `paretext build` makes them")
    if model is not None and model not in models:
        raise InputError(f"--model: got {model!r}, expected one of {', '.join(models)}")
    return models if model is None else (model,)


def _figures(row: Row) -> dict[str, object]:
    return {
        "model": row.manifest.model,
        "variant": row.variant,
        "default": row.is_default,
        "on_frontier": row.on_frontier,
        "label": row.label,
        "measured": row.measured.model_dump(mode="json", exclude={"flips"}),
        "profile": row.profile and row.profile.model_dump(mode="json"),
    }
