"""From logits to scores, and from scores to an answer."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretext_models.manifest import Problem, Task

Floats = NDArray[np.float32]
Function = Literal["softmax", "sigmoid", "none"]

FUNCTION_OF: dict[Problem, Function] = {
    "single_label": "softmax",
    "multi_label": "sigmoid",
    "regression": "none",
}


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis; finite for every finite input."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), np.float32)


def sigmoid(logits: Floats) -> Floats:
    """Logistic function; computed through tanh, which cannot overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), np.float32)


def scores(logits: Floats, function: Function) -> Floats:
    """Scores of shape (..., labels) from logits of the same shape."""
    if function == "softmax":
        return softmax(logits)
    if function == "sigmoid":
        return sigmoid(logits)
    return logits


def decisions(logits: Floats, task: Task) -> NDArray[np.float32] | NDArray[np.int64]:
    """What the model answers, in the form that two models can be compared in.

    Returns: (rows,) class indices; (rows, labels) 0/1 for multi-label; (rows,) values for a
    regression.
    """
    if task.problem == "single_label":
        return np.asarray(logits.argmax(axis=-1), np.int64)
    if task.problem == "multi_label":
        return np.asarray(sigmoid(logits) >= task.threshold, np.int64)
    return np.asarray(logits[:, 0], np.float32)
