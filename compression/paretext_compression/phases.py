"""A recipe's steps in the order of their phases: network, export, fuse, arithmetic, storage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from functools import cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from pydantic import TypeAdapter

from paretext_compression.export import export, fuse
from paretext_compression.method import GRAPH_PHASES, Context, Method, TrainingData, load_method
from paretext_compression.network import Network, load, save
from paretext_compression.progress import Event
from paretext_models import __version__
from paretext_models.recipe import Recipe, Step

if TYPE_CHECKING:
    import onnx


def network_steps(
    recipe: Recipe,
    network: Network,
    data: TrainingData,
    context: Context,
    work: Path,
    key: str,
) -> Network:
    """The network after all the recipe's steps that work on it.

    A step whose result lies in `work` is not done again, whichever recipe it was done for.

    Args:
        key: everything the result depends on beside the steps.
    """
    steps = [(step, load_method(step.method)) for step in recipe.steps]
    done: list[dict[str, Any]] = []
    for step, method in steps:
        if method.network is None:
            continue
        done.append(step.to_dict())
        digest = _digest(key, done)
        folder = work / f"{step.method}-{digest}"
        # Another build may be at the same step: the second one waits and takes the result.
        with FileLock(work / f".{folder.name}.lock"):
            if not folder.exists():
                here = dataclasses.replace(
                    context,
                    step=f"{recipe.name}: {step.method}",
                    checkpoint=work / f"checkpoint-{digest}",
                )
                _keep(_run(method, step, network, data, here), folder)
                for checkpoint in work.glob(f"checkpoint-{digest}*"):
                    shutil.rmtree(checkpoint, ignore_errors=True)
            else:
                context.report(Event(f"{recipe.name}: {step.method}", 1.0, 0.0))
        # Always the one from disk: a resumed build and an uninterrupted one go on from the same.
        network = load(folder)
    return network


def exported(network: Network) -> onnx.ModelProto:
    """The network as a fused graph."""
    return fuse(export(network), network)


def arithmetic_and_storage(
    recipe: Recipe, model: onnx.ModelProto, context: Context
) -> onnx.ModelProto:
    """The graph after the recipe's graph steps, arithmetic first."""
    steps = [(step, load_method(step.method)) for step in recipe.steps]
    ordered = [
        (step, method)
        for phase in GRAPH_PHASES
        for step, method in steps
        if method.about.graph_phase == phase
    ]

    def apply(graph: onnx.ModelProto, item: tuple[Step, Method]) -> onnx.ModelProto:
        step, method = item
        assert method.graph is not None
        context.report(Event(f"{recipe.name}: {step.method}", 0.0))
        return method.graph(typed(method, step), graph, context)

    return reduce(apply, ordered, model)


def typed(method: Method, step: Step) -> Any:
    """A step's parameters as the method's dataclass."""
    return TypeAdapter(method.parameters).validate_python(step.parameters)


def _run(
    method: Method, step: Step, network: Network, data: TrainingData, context: Context
) -> Network:
    assert method.network is not None
    return method.network(typed(method, step), network, data, context)


def _keep(network: Network, folder: Path) -> None:
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    network.module.cpu()
    save(network, aside)
    os.replace(aside, folder)


def _digest(key: str, steps: list[dict[str, Any]]) -> str:
    content = json.dumps([__version__, _code(), key, steps], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@cache
def _code() -> str:
    """A hash of this package's source: results of other code are not taken over."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
