"""Training losses for the three problems, from labels and from a teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from paretext_models.manifest import Problem


def label_loss(logits: Tensor, targets: Tensor, problem: Problem) -> Tensor:
    """The task's loss, per row: cross-entropy, mean binary cross-entropy, or squared error.

    Args:
        logits: (batch, labels).
        targets: (batch,) classes, (batch, labels) of 0 and 1, or (batch,) values.

    Returns: (batch,).
    """
    if problem == "single_label":
        return functional.cross_entropy(logits, targets, reduction="none")
    if problem == "multi_label":
        each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return each.mean(dim=-1)
    return (logits[:, 0] - targets) ** 2


def soft_loss(student: Tensor, teacher: Tensor, problem: Problem, temperature: float) -> Tensor:
    r"""How far a student's answers are from its teacher's, per row.

    Single-label: \(T^2\,\mathrm{KL}(p_t^T \| p_s^T)\) with \(p^T=\mathrm{softmax}(z/T)\); the
    factor keeps the gradient's size as the temperature changes. Multi-label: the same for each
    label's Bernoulli distribution, averaged. Regression: squared difference.

    Args:
        student: logits (batch, labels).
        teacher: logits (batch, labels).

    Returns: (batch,).

    Reference: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    if problem == "regression":
        return (student[:, 0] - teacher[:, 0]) ** 2
    if problem == "multi_label":
        target = torch.sigmoid(teacher / temperature)
        cross = functional.binary_cross_entropy_with_logits(
            student / temperature, target, reduction="none"
        )
        own = functional.binary_cross_entropy_with_logits(
            teacher / temperature, target, reduction="none"
        )
        return (cross - own).mean(dim=-1) * temperature**2
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=-1),
        functional.log_softmax(teacher / temperature, dim=-1),
        reduction="none",
        log_target=True,
    )
    return divergence.sum(dim=-1) * temperature**2
