"""The training losses against naive numpy, and the limits that the theory gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretext_compression.losses import label_loss, soft_loss
from paretext_models.manifest import Problem

Array = NDArray[np.float64]
PROBLEMS: tuple[Problem, ...] = ("single_label", "multi_label", "regression")


def logits(seed: int, scale: float = 2.0, labels: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(7, labels, generator=generator, dtype=torch.float64)


def softmax(z: Array) -> Array:
    exponentials = np.exp(z)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def sigmoid(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-z)))


def close(found: Tensor, expected: Any) -> None:
    assert found.shape == (7,)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_single_label_is_the_scaled_divergence(temperature: float) -> None:
    student, teacher = logits(0), logits(1)
    p, q = softmax(teacher.numpy() / temperature), softmax(student.numpy() / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1)
    close(soft_loss(student, teacher, "single_label", temperature), expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_multi_label_is_the_mean_divergence_of_each_labels_coin(temperature: float) -> None:
    student, teacher = logits(0), logits(1)
    p, q = sigmoid(teacher.numpy() / temperature), sigmoid(student.numpy() / temperature)
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    close(soft_loss(student, teacher, "multi_label", temperature), temperature**2 * each.mean(1))


def test_regression_is_the_squared_difference_at_any_temperature() -> None:
    student, teacher = logits(0, labels=1), logits(1, labels=1)
    expected = (student - teacher)[:, 0].numpy() ** 2
    for temperature in (1.0, 7.0):
        close(soft_loss(student, teacher, "regression", temperature), expected)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_perfect_student_has_no_loss_and_no_gradient(problem: Problem) -> None:
    student = logits(3).requires_grad_()
    loss = soft_loss(student, student.detach().clone(), problem, 2.0)
    close(loss.detach(), np.zeros(7))
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    np.testing.assert_allclose(gradient.numpy(), 0, atol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_any_other_student_has_a_positive_loss(problem: Problem) -> None:
    assert (soft_loss(logits(0), logits(1), problem, 2.0) > 0).all()


def test_at_high_temperature_the_gradient_is_that_of_centred_logits() -> None:
    """Hinton et al. 2015, equation 4: (z - v) / N for logits of mean zero."""
    student, teacher = logits(0).requires_grad_(), logits(1)
    loss = soft_loss(student, teacher, "single_label", 1e4)
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    difference = student.detach() - teacher
    expected = (difference - difference.mean(dim=1, keepdim=True)) / 5
    np.testing.assert_allclose(gradient.numpy(), expected.numpy(), atol=1e-3)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_extreme_logits_stay_finite(problem: Problem) -> None:
    student = torch.tensor([[500.0, -500.0, 0.0]], requires_grad=True)
    loss = soft_loss(student, -student.detach(), problem, 1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()


def test_label_losses_equal_their_definitions() -> None:
    z = logits(4)
    classes = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    p = softmax(z.numpy())[np.arange(7), classes.numpy()]
    close(label_loss(z, classes, "single_label"), -np.log(p))
    marks = (logits(5) > 0).double()
    q = np.where(marks.numpy() == 1, sigmoid(z.numpy()), 1 - sigmoid(z.numpy()))
    close(label_loss(z, marks, "multi_label"), -np.log(q).mean(axis=1))
    values = logits(6)[:, 0]
    close(label_loss(z[:, :1], values, "regression"), (z[:, 0] - values).numpy() ** 2)
