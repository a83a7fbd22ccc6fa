"""Pruning against naive references: importance by finite differences, cutting by masking."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretext_compression.architecture import EncoderLayer, encoder_layers
from paretext_compression.batches import Batch, Examples
from paretext_compression.importance import normalised
from paretext_compression.losses import label_loss
from paretext_compression.method import TrainingData
from paretext_compression.methods.pruning import ffn, heads, layers
from paretext_compression.network import Network
from paretext_models.manifest import Problem
from tiny_models import ARCHITECTURES, Architecture, drawn_examples, tiny_classifier, tiny_context

Array = NDArray[np.float64]
CPU = torch.device("cpu")
STEP = 1e-4
# Few enough for one batch: the importance of neurons is summed over batches.
ROWS = 12

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def double(architecture: Architecture, labels: int = 3) -> Network:
    network = tiny_classifier(architecture, labels)
    network.module.double()
    return network


def loss_of(network: Network, batch: Batch, problem: Problem) -> float:
    targets = batch["targets"]
    with torch.inference_mode():
        logits = network.logits(batch)
        exact = targets.to(logits.dtype) if targets.is_floating_point() else targets
        return float(label_loss(logits, exact, problem).sum())


def rows_for(network: Network, problem: Problem = "single_label") -> Examples:
    return drawn_examples(
        ROWS,
        problem,
        labels=int(network.transformer.config.num_labels),
        pad_id=int(network.architecture == "roberta"),
        longest=10,
    )


@contextmanager
def scaled_head(layer: EncoderLayer, head: int, factor: float) -> Iterator[None]:
    """The network with one head's output multiplied."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (context,) = inputs
        scale = torch.ones(context.shape[-1], dtype=context.dtype)
        scale[head * layer.head_size : (head + 1) * layer.head_size] = factor
        return (context * scale,)

    handle = layer.attention_output.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def scaled_neuron(layer: EncoderLayer, neuron: int, incoming: float, out: float) -> Iterator[None]:
    """The network with one neuron's weights multiplied."""
    tensors = layer.ffn_in.weight, layer.ffn_in.bias, layer.ffn_out.weight
    saved = [tensor.detach().clone() for tensor in tensors]
    with torch.no_grad():
        tensors[0][neuron] *= incoming
        tensors[1][neuron] *= incoming
        tensors[2][:, neuron] *= out
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, old in zip(tensors, saved, strict=True):
                tensor.copy_(old)


def head_slope(
    network: Network, layer: EncoderLayer, head: int, batch: Batch, problem: Problem
) -> float:
    """The derivative of the loss by a head's gate."""
    values = []
    for factor in (1 + STEP, 1 - STEP):
        with scaled_head(layer, head, factor):
            values.append(loss_of(network, batch, problem))
    return (values[0] - values[1]) / (2 * STEP)


def neuron_slope(
    network: Network, layer: EncoderLayer, neuron: int, batch: Batch, side: str
) -> float:
    """The derivative of the loss by a factor of a neuron's weights on one side."""
    values = []
    for factor in (1 + STEP, 1 - STEP):
        pair = (factor, 1.0) if side == "in" else (1.0, factor)
        with scaled_neuron(layer, neuron, *pair):
            values.append(loss_of(network, batch, "single_label"))
    return (values[0] - values[1]) / (2 * STEP)


def naive_head_importance(network: Network, rows: Examples, problem: Problem) -> list[Array]:
    """Text by text and head by head."""
    found = []
    for layer in encoder_layers(network.transformer):
        totals = np.zeros(layer.heads)
        for head, row in itertools.product(range(layer.heads), range(len(rows))):
            totals[head] += abs(head_slope(network, layer, head, rows.batch([row], CPU), problem))
        found.append(totals / np.sqrt((totals**2).sum()))
    return found


@architectures
def test_importance_of_heads_is_the_mean_slope_of_each_texts_loss(
    architecture: Architecture,
) -> None:
    network = double(architecture)
    data = TrainingData(rows_for(network), rows_for(network))
    expected = naive_head_importance(network, data.train, "single_label")
    single = tiny_classifier(architecture)
    found = heads.head_importance(single, data, tiny_context(single))
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=2e-3, atol=1e-4)


def test_every_text_counts_the_same_whatever_batch_it_is_in() -> None:
    network, single = double("bert"), tiny_classifier("bert")
    rows = drawn_examples(70, longest=6)  # a full batch and a small one
    expected = naive_head_importance(network, rows, "single_label")
    found = heads.head_importance(single, TrainingData(rows, rows), tiny_context(single))
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("problem", ["multi_label", "regression"])
def test_importance_of_heads_follows_the_problems_loss(problem: Problem) -> None:
    labels = 1 if problem == "regression" else 3
    network, single = double("bert", labels), tiny_classifier("bert", labels)
    data = TrainingData(rows_for(network, problem), rows_for(network, problem))
    expected = naive_head_importance(network, data.train, problem)
    found = heads.head_importance(single, data, tiny_context(single, problem))
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=2e-3, atol=1e-4)


@architectures
def test_importance_of_neurons_is_the_slope_by_their_weights(architecture: Architecture) -> None:
    network, single = double(architecture), tiny_classifier(architecture)
    rows = rows_for(network)
    batch = rows.batch(range(ROWS), CPU)
    found = ffn.neuron_importance(single, TrainingData(rows, rows), tiny_context(single))
    for layer, importance in zip(encoder_layers(network.transformer), found, strict=True):
        expected = np.zeros(layer.neurons)
        for neuron, side in itertools.product(range(layer.neurons), ("in", "out")):
            expected[neuron] += abs(neuron_slope(network, layer, neuron, batch, side))
        np.testing.assert_allclose(importance, normalised(expected), rtol=2e-3, atol=1e-4)


@architectures
def test_a_network_without_heads_equals_one_that_masks_them(architecture: Architecture) -> None:
    network = double(architecture)
    batch = rows_for(network).batch(range(ROWS), CPU)
    pruned = network.copy()
    kept = [[0, 3], [2]]
    importance = [np.array([4.0, 1, 2, 3]), np.array([0.5, 0, 5, 0])]
    heads.cut(pruned, importance, 3, "global")
    before, after = encoder_layers(network.transformer), encoder_layers(pruned.transformer)
    assert [layer.heads for layer in after] == [2, 1]
    assert after[1].attention_output.in_features == before[1].head_size
    with torch.no_grad():
        for layer, stay in zip(before, kept, strict=True):
            gone = [head for head in range(4) if head not in stay]
            weight = layer.attention_output.weight.view(-1, 4, layer.head_size)
            weight[:, gone] = 0
        torch.testing.assert_close(pruned.logits(batch), network.logits(batch), rtol=0, atol=1e-11)


@architectures
def test_a_network_without_neurons_equals_one_that_masks_them(architecture: Architecture) -> None:
    network = double(architecture)
    batch = rows_for(network).batch(range(ROWS), CPU)
    pruned, kept = network.copy(), torch.tensor([1, 5, 6, 40])
    for layer in encoder_layers(pruned.transformer):
        layer.keep_neurons(kept)
        assert layer.neurons == 4
    with torch.no_grad():
        for layer in encoder_layers(network.transformer):
            mask = torch.zeros(layer.neurons, dtype=torch.double)
            mask[kept] = 1
            layer.ffn_out.weight *= mask
        torch.testing.assert_close(pruned.logits(batch), network.logits(batch), rtol=0, atol=1e-11)


IMPORTANCE = [np.array([0.9, 0.1, 0.4, 0.2]), np.array([0.05, 0.3, 0.02, 0.01])]


@pytest.mark.parametrize(
    ("keep", "scope", "expected"),
    [
        (4, "global", [[0, 2, 3], [1]]),
        (5, "global", [[0, 1, 2, 3], [1]]),
        (2, "global", [[0], [1]]),  # every layer keeps one, however weak
        (1, "global", [[0], [1]]),
        (8, "global", [[0, 1, 2, 3], [0, 1, 2, 3]]),
        (4, "layer", [[0, 2], [0, 1]]),
        (6, "layer", [[0, 2, 3], [0, 1, 2]]),
        (1, "layer", [[0], [1]]),
    ],
)
def test_which_heads_stay(keep: int, scope: str, expected: list[list[int]]) -> None:
    assert heads.choose(IMPORTANCE, keep, scope) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keep", "scope", "multiple", "expected"),
    [
        (4, "global", 1, [[0, 2, 3], [1]]),
        (4, "layer", 1, [[0, 2], [0, 1]]),
        (4, "global", 2, [[0, 1, 2, 3], [0, 1]]),  # 3 and 1, to the nearest 2
        (3, "layer", 2, [[0, 2], [0, 1]]),
        (1, "global", 4, [[0, 1, 2, 3], [0, 1, 2, 3]]),  # a multiple is the least
        (1, "layer", 64, [[0, 1, 2, 3], [0, 1, 2, 3]]),
    ],
)
def test_which_neurons_stay(
    keep: int, scope: str, multiple: int, expected: list[list[int]]
) -> None:
    found = ffn.choose(IMPORTANCE, keep, scope, multiple)  # type: ignore[arg-type]
    assert [kept.tolist() for kept in found] == expected


@pytest.mark.parametrize(
    ("count", "fraction", "keep", "expected"),
    [
        (12, 0.5, "even", [0, 2, 4, 7, 9, 11]),
        (6, 0.5, "even", [0, 2, 5]),
        (6, 0.5, "first", [0, 1, 2]),
        (6, 0.5, "last", [3, 4, 5]),
        (12, 0.75, "even", [0, 6, 11]),
        (2, 0.5, "even", [0]),
        (2, 0.9, "last", [1]),
        (1, 0.9, "even", [0]),
        (4, 0.01, "even", [0, 1, 2, 3]),
    ],
)
def test_which_layers_stay(count: int, fraction: float, keep: str, expected: list[int]) -> None:
    parameters = layers.Parameters(fraction=fraction, keep=keep)  # type: ignore[arg-type]
    assert layers.choose(count, parameters) == expected


@architectures
def test_dropping_a_layer_leaves_the_others_as_they_were(architecture: Architecture) -> None:
    network = tiny_classifier(architecture, **deep(architecture))
    rows = rows_for(network)
    data, context = TrainingData(rows, rows), tiny_context(network)
    made = layers.network(layers.Parameters(0.5), network, data, context)
    before, after = encoder_layers(network.transformer), encoder_layers(made.transformer)
    for old, new in zip((before[0], before[3]), after, strict=True):
        assert new.module is not old.module
        for name, tensor in old.module.state_dict().items():
            assert torch.equal(tensor, new.module.state_dict()[name])


def deep(architecture: Architecture) -> dict[str, int]:
    return {"n_layers" if architecture == "distilbert" else "num_hidden_layers": 4}


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("rounds", [1, 3])
def test_as_many_go_as_were_asked_for(fraction: float, rounds: int) -> None:
    network = tiny_classifier("bert")
    rows = rows_for(network)
    data, context = TrainingData(rows, rows), tiny_context(network)
    some = heads.Parameters(fraction, rounds=rounds, recovery_epochs=0)
    made = heads.network(some, network, data, context)
    left = sum(layer.heads for layer in encoder_layers(made.transformer))
    assert left == max(2, round(8 * (1 - fraction)))
    most = ffn.Parameters(fraction, multiple=1, rounds=rounds, recovery_epochs=0)
    made = ffn.network(most, network, data, context)
    neurons = [layer.neurons for layer in encoder_layers(made.transformer)]
    assert neurons == [round(96 * (1 - fraction))] * 2


def test_zeros_have_no_direction() -> None:
    assert normalised(np.zeros(3)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(normalised(np.array([3.0, 4.0])), [0.6, 0.8])
