"""Stored probes pass on the variant they were made with, and fail on one that was damaged."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from paretext_compression.export import export, fuse
from paretext_compression.methods.quantization import dynamic
from paretext_compression.network import Network
from paretext_models.errors import StoreError
from paretext_models.manifest import TokenizerSpec
from paretext_models.probes import check_probes, probe_inputs, write_probes
from paretext_models.runner import SingleRunner
from tiny_models import ARCHITECTURES, Architecture, tiny_classifier, tiny_context

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


@cache
def graphs(architecture: Architecture) -> tuple[Network, dict[str, onnx.ModelProto]]:
    network = tiny_classifier(architecture)
    graph = fuse(export(network), network)
    int8 = dynamic.graph(dynamic.Parameters(), graph, tiny_context(network))
    return network, {"fp32": graph, "int8": int8}


def spec(architecture: Architecture) -> TokenizerSpec:
    return TokenizerSpec(max_tokens=64, pad_id=int(architecture == "roberta"))


def opened(file: Path, graph: onnx.ModelProto, architecture: Architecture) -> SingleRunner:
    onnx.save(graph, file)
    return SingleRunner(file, graphs(architecture)[0].inputs, spec(architecture).pad_id)


def zeroed(graph: onnx.ModelProto, place: int) -> onnx.ModelProto:
    """The graph with one of its matrices zeroed."""
    damaged = onnx.ModelProto()
    damaged.CopyFrom(graph)
    matrices = [
        one
        for one in damaged.graph.initializer
        if len(one.dims) == 2 and "embeddings" not in one.name
    ]
    matrix = matrices[place % len(matrices)]
    zeros = np.zeros_like(numpy_helper.to_array(matrix))
    matrix.CopyFrom(numpy_helper.from_array(zeros, matrix.name))
    return damaged


@architectures
@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_they_pass_where_they_were_made(
    architecture: Architecture, kind: str, tmp_path: Path
) -> None:
    runner = opened(tmp_path / "a.onnx", graphs(architecture)[1][kind], architecture)
    write_probes(tmp_path / "probes.json", runner, spec(architecture), integer=kind == "int8")
    assert check_probes(tmp_path / "probes.json", runner) == 0.0


@architectures
@pytest.mark.parametrize("kind", ["fp32", "int8"])
@pytest.mark.parametrize("place", range(9))
def test_a_damaged_matrix_fails_them(
    architecture: Architecture, kind: str, place: int, tmp_path: Path
) -> None:
    graph = graphs(architecture)[1][kind]
    runner = opened(tmp_path / "a.onnx", graph, architecture)
    write_probes(tmp_path / "probes.json", runner, spec(architecture), integer=kind == "int8")
    damaged = opened(tmp_path / "b.onnx", zeroed(graph, place), architecture)
    with pytest.raises(StoreError, match=r"answers are off by [0-9.]+% of their spread"):
        check_probes(tmp_path / "probes.json", damaged)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"[]", b"{}", b'{"tolerance": 1, "ids": [[1]], "logits": [["a"]]}', b"\xff"],
)
def test_damaged_probes_are_refused(tmp_path: Path, content: bytes | None) -> None:
    runner = opened(tmp_path / "a.onnx", graphs("bert")[1]["fp32"], "bert")
    if content is not None:
        (tmp_path / "probes.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"probes\.json: cannot be read"):
        check_probes(tmp_path / "probes.json", runner)


def test_answers_that_are_not_numbers_fail(tmp_path: Path) -> None:
    runner = opened(tmp_path / "a.onnx", graphs("bert")[1]["fp32"], "bert")
    write_probes(tmp_path / "probes.json", runner, spec("bert"), integer=False)
    content = json.loads((tmp_path / "probes.json").read_text())
    content["logits"][0][0] = float("nan")
    (tmp_path / "probes.json").write_text(json.dumps(content))
    with pytest.raises(StoreError):
        check_probes(tmp_path / "probes.json", runner)


@pytest.mark.parametrize(("longest", "lengths"), [(2, [2]), (10, [2, 3, 7, 10]), (512, 6)])
def test_they_have_several_lengths(longest: int, lengths: list[int] | int) -> None:
    rows = probe_inputs(TokenizerSpec(max_tokens=longest, pad_id=1))
    found = [len(row) for row in rows]
    assert found == lengths if isinstance(lengths, list) else len(found) == lengths
    assert not any(1 in row.ids for row in rows), "padding is not a token of a text"
