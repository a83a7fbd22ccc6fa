"""Dynamic quantization: its weights against naive rounding, its operators, size and answers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from paretext_compression.export import export, fuse, operators
from paretext_compression.methods.quantization import dynamic
from paretext_compression.network import Network
from paretext_models.runner import SingleRunner
from paretext_models.scores import Floats
from paretext_models.tokenizer import Encoded
from tiny_models import ARCHITECTURES, Architecture, drawn_rows, tiny_classifier, tiny_context

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)
TEXTS = drawn_rows(40)


@cache
def graphs(architecture: Architecture) -> tuple[Network, onnx.ModelProto, onnx.ModelProto]:
    """A network, its fused graph, and that quantized; not to be changed."""
    network = tiny_classifier(architecture)
    graph = fuse(export(network), network)
    return network, graph, quantized(graph, network)


def quantized(graph: onnx.ModelProto, network: Network, **options: bool) -> onnx.ModelProto:
    return dynamic.graph(dynamic.Parameters(**options), graph, tiny_context(network))


def arrays(graph: onnx.ModelProto) -> dict[str, NDArray[np.float64]]:
    return {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}


def runner(folder: Path, name: str, graph: onnx.ModelProto, network: Network) -> SingleRunner:
    onnx.save(graph, folder / name)
    return SingleRunner(folder / name, network.inputs, int(network.architecture == "roberta"))


def alone(running: SingleRunner) -> Floats:
    return np.concatenate([running.logits([text]) for text in TEXTS])


def is_matrix(name: str, before: dict[str, NDArray[np.float64]]) -> bool:
    return name in before and before[name].ndim == 2 and "embeddings" not in name


@architectures
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("reduce_range", "largest"), [(False, 127), (True, 64)])
def test_weights_are_rounded_column_by_column(
    architecture: Architecture, per_channel: bool, reduce_range: bool, largest: int
) -> None:
    network, graph, _ = graphs(architecture)
    made = arrays(quantized(graph, network, per_channel=per_channel, reduce_range=reduce_range))
    before = arrays(graph)
    names = [name.removesuffix("_quantized") for name in made if name.endswith("_quantized")]
    matrices = [name for name in names if is_matrix(name, before)]
    transposed = {node.input[1] for node in graph.graph.node if node.op_type == "Gemm"}
    assert len(matrices) == 2 * 4 + len(transposed)
    for name in matrices:
        weight = before[name].T if name in transposed else before[name]
        stored = made[f"{name}_quantized"]
        assert stored.dtype == np.int8
        assert not made[f"{name}_zero_point"].any()
        scale = np.abs(weight).max(axis=0 if per_channel else None) / largest
        np.testing.assert_allclose(made[f"{name}_scale"], scale, rtol=1e-5)
        # A value half-way between two steps may go either way.
        assert np.abs(stored - weight / scale).max() <= 0.5 + 1e-3


@architectures
def test_everything_that_multiplies_is_quantized(architecture: Architecture) -> None:
    _, graph, made = graphs(architecture)
    before, after = operators(graph), operators(made)
    assert after["QAttention"] == before["Attention"] == 2
    assert after["MatMulInteger"] == before["MatMul"] + before["Gemm"]
    assert not {"MatMul", "Gemm", "Attention", "EmbedLayerNormalization"} & after.keys()
    embeddings = after.get("QEmbedLayerNormalization", 0)
    assert embeddings == before.get("EmbedLayerNormalization", 0) == (architecture != "roberta")
    tables = [name for name in arrays(made) if name.endswith("word_embeddings.weight")]
    assert tables == [], "the float embeddings are still there"


@architectures
def test_it_answers_nearly_like_the_float_graph(architecture: Architecture, tmp_path: Path) -> None:
    network, graph, made = graphs(architecture)
    full = alone(runner(tmp_path, "fp32.onnx", graph, network))
    ours = alone(runner(tmp_path, "int8.onnx", made, network))
    spread = float(np.ptp(full, axis=0).max())
    assert 0 < np.abs(ours - full).mean() < 0.03 * spread
    assert (ours.argmax(axis=1) == full.argmax(axis=1)).mean() >= 0.9


@architectures
def test_padding_is_still_masked(architecture: Architecture, tmp_path: Path) -> None:
    """A batch's one scale changes answers a little; reading the padding would do so a lot."""
    network, _, made = graphs(architecture)
    running = runner(tmp_path, "int8.onnx", made, network)
    unpadded = alone(running)
    longest = Encoded([2, *range(5, 65)][:60], [0] * 60, False)
    padded = np.concatenate([running.logits([text, longest])[:1] for text in TEXTS])
    assert np.abs(padded - unpadded).mean() < 0.03 * np.ptp(unpadded, axis=0).max()


@architectures
def test_it_is_about_a_quarter_of_the_size(architecture: Architecture) -> None:
    wide = {"dim": 128, "hidden_dim": 512} if architecture == "distilbert" else {}
    wide = wide or {"hidden_size": 128, "intermediate_size": 512}
    network = tiny_classifier(architecture, vocab_size=2000, **wide)
    graph = fuse(export(network), network)
    assert quantized(graph, network).ByteSize() <= 0.3 * graph.ByteSize()
