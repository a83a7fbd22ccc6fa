"""Exported graphs answer like their torch networks, and the check that says so can fail."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from paretext_compression.architecture import encoder_layers
from paretext_compression.batches import Examples
from paretext_compression.export import export, fuse, missing_fusions, operators, parity
from paretext_compression.network import Network
from paretext_models.errors import ParetextError
from paretext_models.manifest import Parity
from paretext_models.networks.cnn import CnnClassifier, CnnConfig, Output
from paretext_models.tokenizer import Encoded
from tiny_models import ARCHITECTURES, MAX_TOKENS, Architecture, drawn_examples, tiny_classifier

Make = Callable[[Architecture], Network]
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def rows_of(network: Network) -> Examples:
    return drawn_examples(30, pad_id=int(network.architecture == "roberta"))


def fused(network: Network) -> onnx.ModelProto:
    return fuse(export(network), network)


@cache
def exported(make: Make, architecture: Architecture) -> tuple[Network, onnx.ModelProto]:
    """A network and its fused graph; not to be changed."""
    network = make(architecture)
    return network, fused(network)


def checked(network: Network, graph: onnx.ModelProto) -> Parity:
    return parity(network, graph, rows_of(network), MAX_TOKENS)


def assert_refused(network: Network, graph: onnx.ModelProto) -> None:
    with pytest.raises(ParetextError, match="parity: the ONNX graph differs"):
        checked(network, graph)


def pruned(architecture: Architecture) -> Network:
    """Layers of 3 heads and 1, of 40 neurons and 7."""
    network = tiny_classifier(architecture)
    first, second = encoder_layers(network.transformer)
    first.keep_heads([0, 2, 3])
    second.keep_heads([1])
    first.keep_neurons(torch.arange(40))
    second.keep_neurons(torch.tensor([0, 3, 5, 20, 30, 60, 95]))
    return network


def with_mask_of_ones(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its mask replaced by ones, as a wrong export might have it."""
    edited = copy.deepcopy(graph)
    for node in edited.graph.node:
        node.input[:] = ["ones" if name == "attention_mask" else name for name in node.input]
    edited.graph.initializer.append(numpy_helper.from_array(np.array(1, np.int64), "one"))
    zeros = helper.make_node("Sub", ["attention_mask", "attention_mask"], ["zeros"])
    edited.graph.node.insert(0, helper.make_node("Add", ["zeros", "one"], ["ones"]))
    edited.graph.node.insert(0, zeros)
    return edited


class IgnoresMask(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, attention_mask: Tensor, **others: Tensor) -> Output:
        logits: Tensor = self.module(attention_mask=torch.ones_like(attention_mask), **others)[0]
        return Output(logits)


@architectures
@pytest.mark.parametrize("make", [tiny_classifier, pruned])
def test_a_fused_graph_answers_like_its_network(architecture: Architecture, make: Make) -> None:
    network, graph = exported(make, architecture)
    found = checked(network, graph)
    assert found.logit_spread > 0.5, "too narrow for any check to fail"
    assert found.max_abs_difference <= 1e-4 * found.logit_spread
    assert found.inputs == 15


@architectures
@pytest.mark.parametrize("make", [tiny_classifier, pruned])
def test_all_that_can_be_fused_is(architecture: Architecture, make: Make) -> None:
    network, graph = exported(make, architecture)
    counts = operators(graph)
    assert missing_fusions(graph, network) == []
    assert (counts["Attention"], counts["SkipLayerNormalization"], counts["BiasGelu"]) == (2, 4, 2)
    # RoBERTa reckons positions from the token ids, which the fused operator cannot.
    assert counts.get("EmbedLayerNormalization", 0) == (architecture != "roberta")
    heads = [
        helper.get_node_attr_value(node, "num_heads")
        for node in graph.graph.node
        if node.op_type == "Attention"
    ]
    assert heads == [layer.heads for layer in encoder_layers(network.transformer)]


@architectures
def test_exporting_leaves_the_network_as_it_was(architecture: Architecture) -> None:
    network = tiny_classifier(architecture)
    before = network.transformer.config.to_dict()
    export(network)
    assert network.transformer.config.to_dict() == before


def test_what_was_not_fused_is_named() -> None:
    network = tiny_classifier("bert")
    missing = ["Attention: 0 of 2", "SkipLayerNormalization: 0 of 4", "BiasGelu: 0 of 2"]
    assert missing_fusions(export(network), network) == missing


@architectures
def test_a_graph_that_ignores_the_mask_is_refused(architecture: Architecture) -> None:
    network, graph = exported(tiny_classifier, architecture)
    assert_refused(network, with_mask_of_ones(export(network)))
    assert_refused(network, with_mask_of_ones(graph))


@architectures
def test_a_network_that_ignores_the_mask_is_refused(architecture: Architecture) -> None:
    network, graph = exported(tiny_classifier, architecture)
    careless = Network(IgnoresMask(network.module), architecture, network.inputs)
    assert_refused(careless, graph)


@architectures
@pytest.mark.parametrize("place", range(4), ids=["query", "key", "value", "output"])
def test_a_lost_projection_is_noticed(architecture: Architecture, place: int) -> None:
    network, graph = exported(tiny_classifier, architecture)
    damaged = network.copy()
    layer = encoder_layers(damaged.transformer)[1]
    projection = (*layer.projections, layer.attention_output)[place]
    with torch.no_grad():
        projection.weight.zero_()
    assert_refused(damaged, graph)
    assert_refused(network, fused(damaged))


@architectures
def test_a_lost_matrix_of_the_graph_is_noticed(architecture: Architecture) -> None:
    network, graph = exported(tiny_classifier, architecture)
    graph = copy.deepcopy(graph)
    names = {node.input[1] for node in graph.graph.node if node.op_type == "Attention"}
    for tensor in graph.graph.initializer:
        if tensor.name in names:
            zeros = np.zeros_like(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
            break
    assert_refused(network, graph)


def test_lost_segments_are_noticed_where_the_rows_have_them() -> None:
    network, graph = exported(tiny_classifier, "bert")
    blind = network.copy()
    with torch.no_grad():
        blind.transformer.get_parameter("bert.embeddings.token_type_embeddings.weight")[1] = 0
    pair = Encoded([2, 10, 3, 11, 12, 3], [0, 0, 0, 1, 1, 1], False)
    rows = Examples((pair, pair), np.zeros(2, np.int64), 0)
    parity(network, graph, rows, MAX_TOKENS)
    with pytest.raises(ParetextError, match="parity"):
        parity(blind, graph, rows, MAX_TOKENS)


@pytest.mark.parametrize("place", ["torch", "graph", "both"])
def test_a_network_that_answers_with_nan_is_refused(place: str) -> None:
    network = tiny_classifier("bert")
    broken = network.copy()
    with torch.no_grad():
        broken.transformer.get_parameter("classifier.bias")[0] = float("nan")
    first = network if place == "graph" else broken
    second = network if place == "torch" else broken
    assert_refused(first, fused(second))


def cnn(pad_id: int = 0) -> Network:
    torch.manual_seed(1)
    module = CnnClassifier(CnnConfig(300, 3, 16, 8, pad_id=pad_id)).eval()
    return Network(module, "cnn", ("input_ids", "attention_mask"))


def cnn_logits(network: Network, rows: Sequence[Encoded], indices: Sequence[int]) -> Tensor:
    examples = Examples(tuple(rows), np.zeros(len(rows), np.int64), 0)
    with torch.inference_mode():
        return network.logits(examples.batch(indices, torch.device("cpu")))


def test_a_convolutional_graph_answers_like_its_network() -> None:
    network = cnn()
    graph = fused(network)
    found = checked(network, graph)
    assert found.max_abs_difference <= 1e-4 * found.logit_spread
    assert missing_fusions(graph, network) == []
    assert_refused(network, with_mask_of_ones(graph))


def test_padding_does_not_change_a_convolutional_answer() -> None:
    network, rows = cnn(), drawn_examples(12).encoded
    together = cnn_logits(network, rows, range(12))
    alone = torch.cat([cnn_logits(network, rows, [i]) for i in range(12)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
