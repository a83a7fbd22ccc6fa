"""Build variants of a fine-tuned classifier into a store."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paretext.extras import require
from paretext.progress import reporting
from paretext.report import print_table
from paretext.train import check_device
from paretext_models.errors import InputError
from paretext_models.manifest import NAME_PATTERN, is_name
from paretext_models.profile import HostProfile, profile
from paretext_models.settings import cache_folder
from paretext_models.store import Store

if TYPE_CHECKING:
    from paretext_compression.build import Built
    from paretext_compression.progress import Report

NAME = "build"


def run(
    model: Annotated[str, typer.Argument(help="A classifier: a model folder or a hub name.")],
    data: Annotated[str, typer.Option(help="A folder with train, validation, test; or hub:NAME.")],
    store: Annotated[Path, typer.Option(help="The folder that variants are published in.")],
    name: Annotated[str, typer.Option(help="The model's name in the store.")] = "",
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="A recipe's name or .toml file; several: repeat. Default: recommended."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 42,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default the best.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder of finished steps; by default in the cache.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Build again what the store has.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON event a line.")] = False,
) -> None:
    """Build, measure and publish variants; what is already built is kept."""
    require("compression")
    with reporting(as_json=as_json) as report:
        built = build_variants(
            model,
            data,
            store,
            name or name_from(model),
            recipe or [],
            report,
            seed=seed,
            device=device,
            work=work or cache_folder() / "work",
            force=force,
        )
    for item in built if as_json else ():
        typer.echo(json.dumps({"variant": item.manifest.variant, "revision": item.revision}))
    if not as_json:
        print_table(store, name or name_from(model))
        typer.echo(f"next: paretext serve {store}")


def build_variants(
    model: str,
    data: str,
    store: Path,
    name: str,
    recipes: Sequence[str],
    report: Report,
    *,
    work: Path,
    seed: int = 42,
    device: str | None = None,
    force: bool = False,
) -> list[Built]:
    """Build, profile, and choose the default where the model has none yet."""
    from paretext_compression.build import BuildOptions, build
    from paretext_compression.recipes import RECOMMENDED, find

    if not is_name(name):
        raise InputError(f"--name: got {name!r}, expected a name matching {NAME_PATTERN}")
    _check_folder(store)
    options = BuildOptions(
        model=model,
        data=data,
        store=store,
        name=name,
        recipes=tuple(find(recipe) for recipe in recipes or RECOMMENDED),
        work=work,
        seed=seed,
        device=check_device(device),
        force=force,
    )
    built = build(options, report)
    _profile_and_choose(Store(store), name, report)
    return built


def _check_folder(store: Path) -> None:
    """Now, and not when the first variant is published, which may be hours from here.

    Raises:
        InputError: the store is not a folder, or cannot be written.
    """
    there = next(path for path in (store, *store.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"--store: got {str(store)!r}, expected a folder that can be written")


def _profile_and_choose(store: Store, name: str, report: Report) -> None:
    from paretext_compression.build import choose_default
    from paretext_compression.progress import Event

    loaded, _ = store.load_all(name)
    speeds: dict[str, HostProfile] = {}
    for place, stored in enumerate(loaded):
        variant = stored.manifest.variant
        report(Event(f"profile {variant}", place / len(loaded)))
        speeds[variant] = profile(stored, cache_folder())
    if store.pointer(name).default is None:
        cost = {variant: speed.predicted_ms(64) for variant, speed in speeds.items()}
        store.set_default(name, choose_default([item.manifest for item in loaded], cost))


def name_from(model: str) -> str:
    """A model's name in the store, from its folder or hub name."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", model.rstrip("/").rsplit("/", 1)[-1].lower())
    return slug.strip("._-")[:64] or "model"
