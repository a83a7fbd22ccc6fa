"""One contract for every method: it is documented, pure, and gives a result that can be used."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import onnx
import pytest
from pydantic.fields import FieldInfo
from torch import Tensor

from paretext_compression import schema
from paretext_compression.export import export, fuse, missing_fusions, parity
from paretext_compression.method import Method, TrainingData
from paretext_compression.network import Network
from paretext_models.manifest import Problem
from paretext_models.recipe import parse
from paretext_models.runner import SingleRunner
from tiny_models import (
    ARCHITECTURES,
    MAX_TOKENS,
    QUICK,
    Architecture,
    drawn_data,
    tiny_classifier,
    tiny_context,
)

METHODS = schema.find_methods()
PROBLEMS: tuple[Problem, ...] = ("single_label", "multi_label", "regression")

every = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
of_networks = pytest.mark.parametrize(
    "method", [m for m in METHODS if m.network], ids=lambda method: method.name
)
of_graphs = pytest.mark.parametrize(
    "method", [m for m in METHODS if m.graph], ids=lambda method: method.name
)


def documentation(method: Method) -> str:
    module = importlib.import_module(f"paretext_compression.methods.{method.name}")
    return module.__doc__ or ""


def quick(method: Method) -> Any:
    names = {field.name for field in dataclasses.fields(method.parameters)}
    return method.parameters(**{name: value for name, value in QUICK.items() if name in names})


def weights(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.module.state_dict().items()}


def same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].shape == second[name].shape and bool((first[name] == second[name]).all())
        for name in first
    )


def frozen(data: TrainingData) -> Any:
    return copy.deepcopy(
        [(part.encoded, part.targets.tolist()) for part in (data.train, data.tune)]
    )


def data_of(problem: Problem, architecture: Architecture, labels: int) -> TrainingData:
    return drawn_data(problem=problem, labels=labels, pad_id=int(architecture == "roberta"))


@cache
def fp32_graph(architecture: Architecture) -> tuple[Network, onnx.ModelProto]:
    network = tiny_classifier(architecture)
    return network, fuse(export(network), network)


@every
def test_it_is_documented(method: Method) -> None:
    text = documentation(method)
    assert text.splitlines()[0].endswith(".")
    assert re.search(r"\\\[.+\\\]|\\\(.+\\\)", text, re.DOTALL), "no equation"
    assert re.search(r"^Reference: .*\d{4}", text, re.MULTILINE)
    assert method.parameters.__doc__


@every
def test_its_example_is_a_recipe_that_uses_it(method: Method) -> None:
    found = re.search(r"^Example:\n((?:    .*\n|\n)+)", documentation(method), re.MULTILINE)
    assert found, "no example"
    recipe = parse(f'name = "example"\n{textwrap.dedent(found[1])}')
    assert method.name in [step.method for step in recipe.steps]


@every
def test_its_parameters_are_frozen_with_defaults_and_ranges(method: Method) -> None:
    made = method.parameters()
    hints = get_type_hints(method.parameters, include_extras=True)
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, getattr(made, field.name))
        annotation = hints[field.name]
        (info,) = [one for one in annotation.__metadata__ if isinstance(one, FieldInfo)]
        assert info.description
        if annotation.__origin__ in (int, float):
            bounds = {type(one).__name__ for one in info.metadata}
            assert bounds & {"Ge", "Gt"}, f"{field.name} has no lower bound"
            assert bounds & {"Le", "Lt"}, f"{field.name} has no upper bound"


@of_networks
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_network_step_is_pure(method: Method, problem: Problem) -> None:
    labels = 1 if problem == "regression" else 3
    network, teacher = tiny_classifier("bert", labels), tiny_classifier("bert", labels, seed=1)
    data, context = data_of(problem, "bert", labels), tiny_context(teacher, problem)
    before = weights(network), weights(teacher), frozen(data)
    assert method.network is not None
    first = method.network(quick(method), network, data, context)
    second = method.network(quick(method), network, data, context)
    assert same_weights(weights(first), weights(second)), "same arguments, other result"
    assert same_weights(weights(network), before[0]), "it changed the network it was given"
    assert same_weights(weights(teacher), before[1]), "it changed the teacher"
    assert frozen(data) == before[2], "it changed the data"
    assert not network.module.training
    assert not any(module._forward_pre_hooks for module in network.module.modules())


@of_networks
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_a_network_step_makes_runs_and_exports(
    method: Method, architecture: Architecture
) -> None:
    network = tiny_classifier(architecture)
    data = data_of("single_label", architecture, 3)
    assert method.network is not None
    made = method.network(quick(method), network, data, tiny_context(network))
    assert made.architecture == (method.about.makes or architecture)
    graph = fuse(export(made), made)
    found = parity(made, graph, data.train, MAX_TOKENS)
    assert found.logit_spread > 0
    assert missing_fusions(graph, made) == []


@of_graphs
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_graph_step_is_pure_and_its_result_runs(
    method: Method, architecture: Architecture, tmp_path: Path
) -> None:
    network, graph = fp32_graph(architecture)
    before, context = graph.SerializeToString(deterministic=True), tiny_context(network)
    assert method.graph is not None
    first = method.graph(quick(method), graph, context)
    second = method.graph(quick(method), graph, context)
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )
    assert graph.SerializeToString(deterministic=True) == before, "it changed what it was given"
    onnx.save(first, tmp_path / "model.onnx")
    rows = data_of("single_label", architecture, 3).train
    logits = SingleRunner(tmp_path / "model.onnx", network.inputs, rows.pad_id).logits(rows.encoded)
    assert logits.shape == (len(rows), 3)
    assert np.isfinite(logits).all()
