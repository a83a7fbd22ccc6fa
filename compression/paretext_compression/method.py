"""What a compression method is.

A method is one file under `methods/<family>/`, named `<family>.<method>`, with

* `ABOUT`: an `About`, what the method needs, makes and helps;
* `Parameters`: a frozen dataclass, its fields annotated with their ranges and descriptions;
* `network(parameters, network, data, context) -> Network`, if it works on the torch module;
* `graph(parameters, model, context) -> ModelProto`, if it works on the exported graph.

Both functions are pure: they change nothing they were given, and the same arguments give the same
result. Steps compose because every one returns what it takes. The file name is the registry.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from paretext_compression.architecture import TRANSFORMERS
from paretext_compression.batches import Examples
from paretext_compression.network import Network
from paretext_compression.progress import Report
from paretext_models.manifest import Task, TokenizerSpec
from paretext_models.recipe import methods

if TYPE_CHECKING:
    import onnx

GraphPhase = Literal["arithmetic", "storage"]
GRAPH_PHASES: tuple[GraphPhase, ...] = ("arithmetic", "storage")


@dataclass(frozen=True)
class About:
    """What a method says of itself; shown by `paretext recipes` and kept in the schema.

    Attributes:
        helps: what gets smaller or faster, and on which device; what does not is said as well.
        needs: the kind of network it takes.
        makes: the kind of network it leaves, where that is another.
        graph_phase: when its graph part runs, if it has one.
        architectures: the teachers it handles.
    """

    helps: Mapping[str, str]
    needs: Literal["transformer", "any"] = "any"
    makes: str | None = None
    graph_phase: GraphPhase | None = None
    architectures: tuple[str, ...] = TRANSFORMERS


@dataclass(frozen=True)
class TrainingData:
    """The rows that a method may see: never those that calibrate or report.

    `train` trains and gives importance scores; `tune` stops early and chooses.
    """

    train: Examples
    tune: Examples


@dataclass(frozen=True)
class Context:
    """What surrounds a method.

    Attributes:
        teacher: the fine-tuned network, in evaluation mode; not to be changed.
        special_ids: token ids that frame a text, such as [CLS], [SEP] and padding.
        mask_id: the token that stands for a hidden one, where the tokenizer has it.
        checkpoint: a folder that belongs to this step, for resuming it.
        step: what to call this step in progress reports.
    """

    task: Task
    teacher: Network
    tokenizer: TokenizerSpec
    special_ids: frozenset[int]
    mask_id: int | None
    device: torch.device
    seed: int
    report: Report
    checkpoint: Path | None = None
    step: str = ""


NetworkFunction = Callable[[Any, Network, TrainingData, Context], Network]
GraphFunction = Callable[[Any, "onnx.ModelProto", Context], "onnx.ModelProto"]


@dataclass(frozen=True)
class Method:
    """A loaded method."""

    name: str
    about: About
    parameters: type[Any]
    network: NetworkFunction | None
    graph: GraphFunction | None


def load_method(name: str) -> Method:
    """Import a method by name, from this package only.

    Raises:
        KeyError: there is no such method; recipes are validated before, so this is a defect.
    """
    if name not in methods():
        raise KeyError(name)
    return from_module(name, importlib.import_module(f"paretext_compression.methods.{name}"))


def from_module(name: str, module: ModuleType) -> Method:
    """The method that a module holds."""
    return Method(
        name=name,
        about=cast(About, module.ABOUT),
        parameters=module.Parameters,
        network=getattr(module, "network", None),
        graph=getattr(module, "graph", None),
    )
