"""What is measured of a variant: batch-mates, flips, multiply-accumulates, finite answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from paretext_compression.batches import Examples
from paretext_compression.export import export, fuse
from paretext_compression.measure import batch_independent, flips, macs, served_logits
from paretext_compression.methods.pruning import layers
from paretext_compression.methods.quantization import dynamic
from paretext_compression.network import Network
from paretext_compression.progress import Event, silent
from paretext_models import host
from paretext_models.errors import ParetextError
from paretext_models.manifest import Task
from paretext_models.networks.cnn import CnnClassifier, CnnConfig
from paretext_models.runner import SingleRunner
from paretext_models.scores import Floats
from paretext_models.tokenizer import Encoded
from tiny_models import (
    ARCHITECTURES,
    MAX_TOKENS,
    Architecture,
    drawn_data,
    drawn_examples,
    tiny_classifier,
    tiny_context,
)

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def runner(folder: Path, graph: onnx.ModelProto, network: Network) -> SingleRunner:
    onnx.save(graph, folder / "model.onnx")
    return SingleRunner(
        folder / "model.onnx", network.inputs, int(network.architecture == "roberta")
    )


@architectures
def test_float_answers_do_not_depend_on_batch_mates(
    architecture: Architecture, tmp_path: Path
) -> None:
    network = tiny_classifier(architecture)
    graph = fuse(export(network), network)
    assert batch_independent(runner(tmp_path, graph, network), MAX_TOKENS)


@architectures
def test_quantized_answers_do(architecture: Architecture, tmp_path: Path) -> None:
    network = tiny_classifier(architecture)
    graph = dynamic.graph(
        dynamic.Parameters(), fuse(export(network), network), tiny_context(network)
    )
    assert not batch_independent(runner(tmp_path, graph, network), MAX_TOKENS)


class Scripted:
    """Answers with the sum of a text's tokens; `leak` adds something of its batch-mates."""

    def __init__(self, at_length: int = 0, at_size: int = 0, unequal_only: bool = False) -> None:
        self.at_length, self.at_size, self.unequal_only = at_length, at_size, unequal_only

    def logits(self, batch: Sequence[Encoded]) -> Floats:
        own = np.array([[sum(row.ids)] for row in batch], np.float32)
        lengths = {len(row) for row in batch}
        leaks = len(batch) > 1 and (
            max(lengths) == self.at_length
            or len(batch) == self.at_size
            or (self.unequal_only and len(lengths) > 1)
        )
        return np.asarray(own * (1 + 1e-6 * leaks), np.float32)


def test_a_leak_is_found_wherever_it_is() -> None:
    assert batch_independent(Scripted(), 64)
    for size in (2, 8, 16):
        assert not batch_independent(Scripted(at_size=size), 64)
    for length in (4, 17, 64):
        assert not batch_independent(Scripted(at_length=length), 64)
    assert not batch_independent(Scripted(unequal_only=True), 64)


@pytest.mark.parametrize("longest", [2, 4, 9, 64])
def test_no_text_is_longer_than_the_variant_takes(longest: int) -> None:
    seen: set[int] = set()

    class Watching(Scripted):
        def logits(self, batch: Sequence[Encoded]) -> Floats:
            seen.update(map(len, batch))
            return super().logits(batch)

    assert batch_independent(Watching(), longest)
    assert max(seen) <= longest


def linear(tokens: int, inputs: int, outputs: int) -> int:
    return tokens * inputs * outputs


def attention(tokens: int, heads: int) -> int:
    """Scores and weighted sums: each head, each pair of tokens, 8 numbers."""
    return 2 * heads * tokens * tokens * 8


def layer_macs(tokens: int, heads: int, neurons: int) -> int:
    projections = 3 * linear(tokens, 32, heads * 8) + linear(tokens, heads * 8, 32)
    return projections + attention(tokens, heads) + 2 * linear(tokens, 32, neurons)


@pytest.mark.parametrize("tokens", [1, 16, 64])
def test_multiply_accumulates_are_those_counted_by_hand(tokens: int) -> None:
    network = tiny_classifier("bert")
    # Two layers, then pooler and classifier on the first token.
    expected = 2 * layer_macs(tokens, 4, 96) + linear(1, 32, 32) + linear(1, 32, 3)
    assert macs(network, tokens) == expected


def test_pruned_parts_do_not_count() -> None:
    network = tiny_classifier("bert")
    made = layers.network(layers.Parameters(0.5), network, drawn_data(), tiny_context(network))
    expected = layer_macs(10, 4, 96) + linear(1, 32, 32) + linear(1, 32, 3)
    assert macs(made, 10) == expected


def test_convolutions_count() -> None:
    module = CnnClassifier(CnnConfig(300, 3, 8, 6, (1, 5))).eval()
    network = Network(module, "cnn", ("input_ids", "attention_mask"))
    assert macs(network, 10) == 10 * 8 * 6 * (1 + 5) + 12 * 3


TASK = Task(problem="single_label", labels=("a", "b", "c"))


def test_flips_are_the_rows_answered_differently() -> None:
    ours = np.array([[3, 1, 2], [1, 3, 2], [1, 2, 3], [3, 2, 1]], np.float32)
    theirs = np.array([[9, 1, 2], [5, 3, 2], [1, 2, 3], [1, 2, 1]], np.float32)
    found = flips(ours, theirs, np.array([0, 0, 1, 2]), TASK)
    words = [(flip.row, flip.label, flip.teacher, flip.variant) for flip in found]
    assert words == [(1, "a", "a", "b"), (3, "c", "b", "a")]


def test_flips_of_several_labels_name_them_all() -> None:
    task = Task(problem="multi_label", labels=("a", "b", "c"))
    ours = np.array([[1, 1, -1], [-1, -1, -1], [1, 1, 1]], np.float32)
    theirs = np.array([[1, 1, 1], [1, -1, -1], [2, 2, 2]], np.float32)
    targets = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 1]], np.float32)
    found = flips(ours, theirs, targets, task)
    words = [(flip.row, flip.label, flip.teacher, flip.variant) for flip in found]
    assert words == [(0, "none", "a, b, c", "a, b"), (1, "a", "a", "none")]


def test_a_regression_has_no_flips() -> None:
    task = Task(problem="regression", labels=("score",))
    values = np.array([[1.0], [2.0]], np.float32)
    assert flips(values, values + 1, np.array([1.0, 2.0]), task) == ()


class Broken:
    def __init__(self, value: float) -> None:
        self.value = value

    def logits(self, batch: Sequence[Encoded]) -> Floats:
        odd = any(len(row) % 2 for row in batch)
        return np.full((len(batch), 3), self.value if odd else 1.0, np.float32)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_answers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ParetextError, match=r"cnn: measure: .* infinities or NaN; not published"):
        served_logits(Broken(value), drawn_examples(20), silent, "cnn: measure")


@pytest.mark.parametrize("cores", [1, 3])
def test_answers_come_in_the_order_of_the_rows(
    cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "cores", lambda: cores)
    network, rows = tiny_classifier("bert"), drawn_examples(40)
    running = runner(tmp_path, fuse(export(network), network), network)
    events: list[Event] = []
    found = served_logits(running, rows, events.append, "measure")
    expected = np.concatenate([running.logits([row]) for row in rows.encoded])
    np.testing.assert_array_equal(found, expected)
    assert events[-1].progress == 1


def test_served_answers_are_the_networks(tmp_path: Path) -> None:
    network, rows = tiny_classifier("distilbert"), drawn_examples(20)
    running = runner(tmp_path, fuse(export(network), network), network)
    found = served_logits(running, rows, silent, "measure")
    examples = Examples(rows.encoded, rows.targets, 0)
    with torch.inference_mode():
        expected = network.logits(examples.batch(range(20), torch.device("cpu"))).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))
