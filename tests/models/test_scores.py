from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from paretext_models.manifest import Task
from paretext_models.scores import FUNCTION_OF, Floats, decisions, scores, sigmoid, softmax

HUGE = np.array([[1e30, -1e30, 0.0], [1e38, 1e38, -1e38]], np.float32)
SINGLE = Task(problem="single_label", labels=("a", "b", "c"))
MULTI = Task(problem="multi_label", labels=("a", "b", "c"), threshold=0.6)
REGRESSION = Task(problem="regression", labels=("score",))


def test_softmax_and_sigmoid_equal_their_definitions() -> None:
    logits = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32) * 5
    exact = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(
        softmax(logits), exact / exact.sum(axis=-1, keepdims=True), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(sigmoid(logits), exact / (1 + exact), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("function", [softmax, sigmoid])
def test_huge_logits_stay_finite(function: Callable[[Floats], Floats]) -> None:
    result = function(HUGE)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert ((result >= 0) & (result <= 1)).all()


def test_softmax_ignores_a_shift() -> None:
    logits = np.array([[1.0, 2.0, 4.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), softmax(logits + 64), rtol=1e-6)


def test_scores_by_function() -> None:
    logits = np.array([[0.0, 1.0, -1.0]], np.float32)
    np.testing.assert_array_equal(scores(logits, "softmax"), softmax(logits))
    np.testing.assert_array_equal(scores(logits, "sigmoid"), sigmoid(logits))
    assert scores(logits, "none") is logits
    assert FUNCTION_OF == {
        "single_label": "softmax", "multi_label": "sigmoid", "regression": "none",
    }  # fmt: skip


def test_decisions_of_each_problem() -> None:
    logits = np.array([[0.0, 1.0, -1.0], [2.0, 0.3, 0.5]], np.float32)
    assert decisions(logits, SINGLE).tolist() == [1, 0]
    assert decisions(logits, MULTI).tolist() == [[0, 1, 0], [1, 0, 1]]
    assert decisions(logits[:, :1], REGRESSION).tolist() == [0.0, 2.0]


def test_a_tie_goes_to_the_first_label() -> None:
    assert decisions(np.zeros((2, 3), np.float32), SINGLE).tolist() == [0, 0]
