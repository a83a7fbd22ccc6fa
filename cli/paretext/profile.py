"""Measure the variants of a store on this host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from paretext.report import check_models
from paretext_models.errors import InputError
from paretext_models.profile import profile
from paretext_models.runner import available_devices
from paretext_models.settings import cache_folder
from paretext_models.store import Store

NAME = "profile"


def run(
    store: Annotated[Path, typer.Argument(help="The folder that variants are published in.")],
    model: Annotated[str | None, typer.Option(help="One model; by default all.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda:N.")] = "cpu",
    refresh: Annotated[bool, typer.Option(help="Measure again what was measured.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print profiles as JSON.")] = False,
) -> None:
    """Latency at 16, 64 and 128 tokens, load time and memory of every variant; about 6 s each."""
    if device not in available_devices():
        known = ", ".join(available_devices())
        raise InputError(f"--device: got {device!r}, expected one of {known}")
    failed = False
    for name in check_models(store, model):
        loaded, refused = Store(store).load_all(name)
        for refusal in refused:
            typer.echo(f"refused: {refusal.reason}", err=True)
        failed = failed or bool(refused)
        for stored in loaded:
            measured = profile(stored, cache_folder(), device=device, refresh=refresh)
            variant = f"{name}/{stored.manifest.variant}"
            if as_json:
                typer.echo(json.dumps({"variant": variant, **measured.model_dump(mode="json")}))
                continue
            times = ", ".join(
                f"{bucket.p50_ms:.2f} / {bucket.p95_ms:.2f} ms at {bucket.tokens}"
                for bucket in measured.buckets
            )
            memory = measured.resident_bytes / 1e6
            typer.echo(f"{variant}: p50 / p95 {times} tokens; {memory:.0f} MB resident")
    if failed:
        raise typer.Exit(1)
