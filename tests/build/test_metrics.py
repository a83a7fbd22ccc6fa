"""Quality figures against scikit-learn, scipy and naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from drawn_logits import PROBLEMS, Array, draw, others, task_of
from paretext_compression import metrics
from paretext_models.manifest import Estimate, Problem
from paretext_models.scores import sigmoid, softmax


def named(found: tuple[Estimate, ...]) -> dict[str, float]:
    return {each.name: each.value for each in found}


# Values


@pytest.mark.parametrize("seed", range(5))
def test_single_label_values_equal_scikit_learns(seed: int) -> None:
    logits, targets = draw("single_label", 300, seed)
    answers = logits.argmax(axis=1)
    found = metrics.estimates(logits, targets, task_of("single_label"), "test")
    assert named(found) == {
        "accuracy": pytest.approx(sklearn_metrics.accuracy_score(targets, answers)),
        "macro_f1": pytest.approx(sklearn_metrics.f1_score(targets, answers, average="macro")),
    }
    assert {(each.split, each.n) for each in found} == {("test", 300)}


@pytest.mark.parametrize("seed", range(5))
def test_multi_label_values_equal_scikit_learns(seed: int) -> None:
    logits, targets = draw("multi_label", 300, seed)
    found = metrics.estimates(logits, targets, task_of("multi_label"), "test")
    assert named(found) == {
        f"{kind}_f1": pytest.approx(sklearn_metrics.f1_score(targets, logits >= 0, average=kind))
        for kind in ("micro", "macro")
    }


def test_multi_label_answers_follow_the_tasks_threshold() -> None:
    logits, targets = draw("multi_label", 300)
    task = task_of("multi_label").model_copy(update={"threshold": 0.8})
    expected = sklearn_metrics.f1_score(targets, logits >= np.log(4.0), average="micro")
    assert metrics.primary_value(logits, targets, task) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e20])
@pytest.mark.parametrize("seed", range(3))
def test_regression_values_equal_scipys_at_any_scale(seed: int, scale: float) -> None:
    logits, targets = draw("regression", 200, seed)
    logits, targets = (logits * np.float32(scale)).round(11), targets * np.float32(scale)
    found = metrics.estimates(logits, targets, task_of("regression"), "test")
    x, y = logits[:, 0].astype(float) / scale, targets.astype(float) / scale
    assert named(found) == {
        "pearson": pytest.approx(stats.pearsonr(x, y).statistic),
        "spearman": pytest.approx(stats.spearmanr(x, y).statistic),
    }


def test_an_offset_costs_no_digits() -> None:
    x = np.arange(50, dtype=np.float32)
    shifted = (x + np.float32(2**23))[:, None]
    assert metrics.primary_value(shifted, x, task_of("regression")) == pytest.approx(1.0)
    assert metrics.primary_value(shifted, x, task_of("regression")) <= 1.0


def test_macro_f1_leaves_out_labels_that_never_occur() -> None:
    logits, targets = draw("single_label", 300)
    logits = np.pad(logits, ((0, 0), (0, 1)), constant_values=-99)
    found = named(metrics.estimates(logits, targets, task_of("single_label", 5), "test"))
    answers = logits.argmax(axis=1)
    expected = sklearn_metrics.f1_score(targets, answers, average="macro")
    assert found["macro_f1"] == pytest.approx(expected)


# Calibration, recall and agreement


def naive_calibration_error(confidence: Array, right: Array) -> float:
    total = 0.0
    for b in range(15):
        low, high = b / 15, (b + 1) / 15
        inside = (confidence >= low) & ((confidence < high) | ((b == 14) & (confidence <= high)))
        if inside.any():
            gap = abs(float(right[inside].mean()) - float(confidence[inside].mean()))
            total += gap * inside.sum() / len(confidence)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_equals_a_naive_loop(seed: int) -> None:
    logits, targets = draw("single_label", 400, seed)
    probabilities = softmax(3 * logits)
    expected = naive_calibration_error(
        probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    )
    found = metrics.calibration_error(3 * logits, targets, task_of("single_label"))
    assert found == pytest.approx(expected, abs=1e-6)
    logits, targets = draw("multi_label", 400, seed)
    chance = sigmoid(logits).ravel()
    expected = naive_calibration_error(
        np.maximum(chance, 1 - chance), (chance >= 0.5) == (targets.ravel() == 1)
    )
    found = metrics.calibration_error(logits, targets, task_of("multi_label"))
    assert found == pytest.approx(expected, abs=1e-6)


def test_calibration_error_at_its_ends() -> None:
    sure = np.array([[100.0, 0, 0, 0]] * 5, np.float32)
    task = task_of("single_label")
    assert metrics.calibration_error(sure, np.zeros(5, int), task) == 0.0
    assert metrics.calibration_error(sure, np.ones(5, int), task) == 1.0
    assert metrics.calibration_error(sure[:, :1], np.ones(5), task_of("regression")) is None


def test_recall_per_class_equals_scikit_learns() -> None:
    logits, targets = draw("single_label", 300)
    recall = metrics.per_class_recall(logits, targets, task_of("single_label"))
    expected = sklearn_metrics.recall_score(targets, logits.argmax(axis=1), average=None)
    assert list(recall) == ["l0", "l1", "l2", "l3"]
    assert list(recall.values()) == pytest.approx(expected.tolist())
    logits, targets = draw("multi_label", 300)
    recall = metrics.per_class_recall(logits, targets, task_of("multi_label"))
    expected = sklearn_metrics.recall_score(targets, logits >= 0, average=None)
    assert list(recall.values()) == pytest.approx(expected.tolist())


def test_recall_names_only_classes_that_occur() -> None:
    logits, targets = draw("single_label", 100)
    seen = targets != 2
    recall = metrics.per_class_recall(logits[seen], targets[seen], task_of("single_label"))
    assert set(recall) == {"l0", "l1", "l3"}
    assert metrics.per_class_recall(*draw("regression", 9), task_of("regression")) == {}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_agreement_with_itself_is_complete(problem: Problem) -> None:
    logits, _ = draw(problem, 100)
    found = metrics.agreement(logits, logits, task_of(problem), "test")
    assert found.value == pytest.approx(1.0)
    assert found.name == ("pearson" if problem == "regression" else "agreement")


def test_agreement_is_of_whole_answers() -> None:
    ours = np.array([[1, -1, 1, 1], [1, 1, 1, 1], [-1, -1, -1, -1]], np.float32)
    theirs = np.array([[1, -1, 1, 1], [1, 1, 1, -1], [-2, -2, -1, -1]], np.float32)
    found = metrics.agreement(ours, theirs, task_of("multi_label"), "test")
    assert found.value == pytest.approx(2 / 3)
    assert found.ci95 == metrics.wilson(2, 3)
    found = metrics.agreement(ours, theirs, task_of("single_label"), "validation")
    assert found.value == pytest.approx(2 / 3)
    assert (found.split, found.n) == ("validation", 3)
    x, y = draw("regression", 60)
    found = metrics.agreement(x, y[:, None], task_of("regression"), "test")
    assert found.value == pytest.approx(stats.pearsonr(x[:, 0], y).statistic)


# Small and odd data


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_one_or_two_rows_are_measured_and_prove_nothing(problem: Problem, n: int) -> None:
    logits, targets = draw(problem, n)
    reference, task = others(logits, 5.0), task_of(problem)
    for each in metrics.estimates(logits, targets, task, "test"):
        assert each.ci95[0] <= each.value <= each.ci95[1]
    test = metrics.paired_test(logits, reference, targets, task)
    assert test.p_value >= 0.5
    found = metrics.agreement(logits, reference, task, "test")
    assert found.ci95[0] <= found.value <= found.ci95[1]
    metrics.calibration_error(logits, targets, task)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e30])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_model_that_always_answers_the_same_has_figures(
    problem: Problem, constant: float
) -> None:
    _, targets = draw(problem, 50)
    task = task_of(problem)
    logits = np.full((50, len(task.labels)), constant, np.float32)
    found = metrics.estimates(logits, targets, task, "test")
    assert all(np.isfinite([each.value, *each.ci95]).all() for each in found)
    if problem == "regression":
        assert [(each.value, each.ci95) for each in found] == [(0.0, (0.0, 0.0))] * 2
    assert metrics.agreement(logits, logits, task, "test").n == 50


def test_no_label_in_answers_and_truth_gives_zero() -> None:
    logits, targets = np.full((9, 4), -5, np.float32), np.zeros((9, 4), np.float32)
    found = metrics.estimates(logits, targets, task_of("multi_label"), "test")
    assert named(found) == {"micro_f1": 0.0, "macro_f1": 0.0}
    assert metrics.per_class_recall(logits, targets, task_of("multi_label")) == {}
