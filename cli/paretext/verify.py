"""Check every variant of a store: hashes, schema, and answers to stored probes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from paretext.report import check_models
from paretext_models.errors import StoreError
from paretext_models.probes import PROBES, check_probes
from paretext_models.runner import open_runner
from paretext_models.store import Store

NAME = "verify"


def run(
    store: Annotated[Path, typer.Argument(help="The folder that variants are published in.")],
    model: Annotated[str | None, typer.Option(help="One model; by default all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Verify hashes, schema, and parity on stored probes. Exit code 1 if any variant fails."""
    opened = Store(store)
    failed = False
    for name in check_models(store, model):
        for variant in sorted(opened.pointer(name).variants):
            problem, found = "", ""
            try:
                found = _check(opened, name, variant)
            except StoreError as error:
                problem, failed = str(error), True
            if as_json:
                result = {"model": name, "variant": variant, "ok": not problem}
                typer.echo(json.dumps({**result, "detail": problem or found}))
            else:
                typer.echo(f"{name}/{variant}: {'FAILED: ' + problem if problem else found}")
    if failed:
        raise typer.Exit(1)


def _check(store: Store, model: str, variant: str) -> str:
    """Raises: StoreError: saying what is wrong."""
    stored = store.load(model, variant)
    runner = open_runner(stored.folder, stored.manifest)
    probes = stored.folder / PROBES
    if not probes.is_file():
        return f"ok ({stored.revision}; it has no probes)"
    return f"ok ({stored.revision}; probes off by {check_probes(probes, runner):.1e} of spread)"
