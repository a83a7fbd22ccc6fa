"""The distillation loss against naive numpy, and what training on it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from paretext_compression import distil as module
from paretext_compression.distil import Distillation, automatic_epochs, distil, teacher_layer
from paretext_compression.evaluate import predict
from paretext_compression.fit import Loss
from paretext_compression.methods.pruning import layers
from paretext_compression.network import Network
from paretext_models.manifest import Problem
from tiny_models import drawn_data, tiny_classifier, tiny_context

Array = NDArray[np.float64]
CPU = torch.device("cpu")
PROBLEMS: tuple[Problem, ...] = ("single_label", "multi_label", "regression")


def how(**changes: Any) -> Distillation:
    settings: dict[str, Any] = {
        "epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "temperature": 2.0, "hard": 0.3,
    }  # fmt: skip
    return Distillation(**{**settings, **changes})


def captured_loss(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> tuple[Loss, Any]:
    """The loss that `distil` trains with, and the examples."""
    seen: list[Any] = []
    monkeypatch.setattr(
        module, "fit", lambda _, examples, loss, *a, **k: seen.extend([loss, examples])
    )
    distil(*arguments)
    return seen[0], seen[1]


def log_softmax(z: Array) -> Array:
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))


def bernoulli_divergence(p: Array, q: Array) -> Array:
    return np.asarray(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))


def naive_soft(student: Array, teacher: Array, problem: Problem, t: float) -> Array:
    if problem == "regression":
        return np.asarray((student[:, 0] - teacher[:, 0]) ** 2)
    if problem == "multi_label":
        p, q = (1 / (1 + np.exp(-z / t)) for z in (teacher, student))
        return np.asarray(t**2 * bernoulli_divergence(p, q).mean(axis=1))
    p, q = log_softmax(teacher / t), log_softmax(student / t)
    return np.asarray(t**2 * (np.exp(p) * (p - q)).sum(axis=1))


def naive_hard(student: Array, targets: Any, problem: Problem) -> Array:
    if problem == "regression":
        return np.asarray((student[:, 0] - targets) ** 2)
    if problem == "multi_label":
        p = 1 / (1 + np.exp(-student))
        return np.asarray(-(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(axis=1))
    return np.asarray(-log_softmax(student)[np.arange(len(student)), targets])


def answers(network: Network, batch: dict[str, torch.Tensor]) -> Array:
    with torch.inference_mode():
        return network.logits(batch).double().numpy()


def states(network: Network, batch: dict[str, torch.Tensor]) -> list[Array]:
    """Hidden states after each layer, (batch, tokens, hidden)."""
    inputs = {name: batch[name] for name in network.inputs}
    with torch.inference_mode():
        output = network.module(**inputs, output_hidden_states=True)
    return [state.double().numpy() for state in output.hidden_states[1:]]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("hard", "temperature"), [(0.0, 1.0), (0.3, 2.0), (1.0, 4.0)])
def test_the_answer_terms(
    monkeypatch: pytest.MonkeyPatch, problem: Problem, hard: float, temperature: float
) -> None:
    labels = 1 if problem == "regression" else 3
    student, teacher = (tiny_classifier("bert", labels, seed=seed) for seed in (0, 1))
    data, context = drawn_data(problem=problem, labels=labels), tiny_context(teacher, problem)
    settings = how(hard=hard, temperature=temperature, copies=1)
    loss, examples = captured_loss(monkeypatch, student, data, context, settings)
    labelled, altered = [0, 5, 39], [40, 79]
    batch = examples.batch(labelled + altered, CPU)
    ours, theirs = answers(student, batch), answers(teacher, batch)
    soft = naive_soft(ours, theirs, problem, temperature)
    label = naive_hard(ours, batch["targets"].numpy(), problem)
    label[len(labelled) :] = 0  # altered rows have no label of their own
    expected = (hard * label + (1 - hard) * soft).mean()
    with torch.inference_mode():
        assert float(loss(student, batch)) == pytest.approx(expected, rel=1e-4)


def test_the_hidden_term(monkeypatch: pytest.MonkeyPatch) -> None:
    student = tiny_classifier("bert")
    teacher = tiny_classifier("bert", seed=1, num_hidden_layers=4)
    data, context = drawn_data(), tiny_context(teacher)
    plain, _ = captured_loss(monkeypatch, student, data, context, how())
    full, examples = captured_loss(monkeypatch, student, data, context, how(hidden=0.7))
    batch = examples.batch(range(6), CPU)
    ours, theirs = states(student, batch), states(teacher, batch)
    total, tokens = 0.0, 0
    for row, length in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
        for place, imitated in ((0, 1), (1, 3)):  # the second and the last of the teacher's four
            for token in range(length):
                s, t = ours[place][row, token], theirs[imitated][row, token]
                total += ((s / np.linalg.norm(s) - t / np.linalg.norm(t)) ** 2).sum()
        tokens += length
    with torch.inference_mode():
        found = float(full(student, batch)) - float(plain(student, batch))
    assert found == pytest.approx(0.7 * total / tokens / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("layers", "teacher_layers", "expected"),
    [
        (6, 12, [1, 3, 5, 7, 9, 11]),
        (3, 12, [3, 7, 11]),
        (1, 12, [11]),
        (4, 6, [0, 2, 3, 5]),
        (6, 6, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_which_layer_is_imitated(layers: int, teacher_layers: int, expected: list[int]) -> None:
    assert [teacher_layer(i, layers, teacher_layers) for i in range(layers)] == expected


@pytest.mark.parametrize(
    ("rows", "batch_size", "expected"),
    [(10, 32, 15), (2_000, 32, 10), (100_000, 32, 3), (0, 32, 15), (1_281, 32, 15)],
)
def test_small_sets_are_gone_through_more_often(rows: int, batch_size: int, expected: int) -> None:
    assert automatic_epochs(rows, batch_size, 600) == expected


def test_a_student_comes_closer_to_its_teacher() -> None:
    teacher = tiny_classifier("bert")
    data, context = drawn_data(120), tiny_context(teacher)
    student = layers.network(layers.Parameters(0.5), teacher, data, context)
    before, theirs = (predict(one, data.train, CPU) for one in (student, teacher))
    after = predict(
        distil(student, data, context, how(epochs=8, hard=0.0, hidden=0.5)), data.train, CPU
    )
    assert np.abs(after - theirs).mean() < 0.7 * np.abs(before - theirs).mean()
