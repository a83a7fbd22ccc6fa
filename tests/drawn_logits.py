"""Random logits and targets of the three problems."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretext_models.manifest import Problem, Task

Array = NDArray[Any]
PROBLEMS: tuple[Problem, ...] = ("single_label", "multi_label", "regression")


def task_of(problem: Problem, labels: int = 4) -> Task:
    names = ("score",) if problem == "regression" else tuple(f"l{i}" for i in range(labels))
    return Task(problem=problem, labels=names)


def draw(problem: Problem, n: int, seed: int = 0, noise: float = 1.0) -> tuple[Array, Array]:
    """Logits and targets of a model that is right the more often, the less noise there is."""
    rng = np.random.default_rng(seed)
    if problem == "single_label":
        targets = rng.integers(0, 4, n)
        logits = np.eye(4)[targets] + noise * rng.normal(size=(n, 4))
    elif problem == "multi_label":
        targets = (rng.random((n, 4)) < (0.5, 0.3, 0.2, 0.4)).astype(np.float32)
        logits = 2 * targets - 1 + noise * rng.normal(size=(n, 4))
    else:
        targets = rng.normal(3.0, 2.0, n).astype(np.float32)
        logits = (targets + noise * rng.normal(size=n))[:, None]
    return logits.astype(np.float32), targets


def others(logits: Array, noise: float, seed: int = 9) -> Array:
    drawn = np.random.default_rng(seed).normal(size=logits.shape)
    return (logits + noise * drawn).astype(np.float32)
