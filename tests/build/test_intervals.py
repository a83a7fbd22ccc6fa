"""Intervals and paired tests against closed formulas, scipy and naive loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from drawn_logits import PROBLEMS, Array, draw, others, task_of
from paretext_compression import metrics
from paretext_models.manifest import Problem


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (1, 1), (0, 1), (37, 50), (950, 1000)])
def test_wilson_equals_its_formula(hits: int, n: int) -> None:
    z, p = stats.norm.ppf(0.975), hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = metrics.wilson(hits, n)
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-9)
    assert 0 <= low <= p <= high <= 1


def naive_interval(
    value: Callable[[Array, Array], float], logits: Array, targets: Array, resamples: int = 2000
) -> tuple[float, float]:
    """A percentile bootstrap, one resample at a time."""
    rng = np.random.default_rng(123)
    values = []
    for _ in range(resamples):
        rows = rng.integers(0, len(targets), len(targets))
        values.append(value(logits[rows], targets[rows]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def naive_f1(answers: Array, targets: Array) -> float:
    hits = (answers * targets).sum()
    return float(2 * hits / (answers.sum() + targets.sum()))


@pytest.mark.parametrize(
    ("problem", "value"),
    [
        ("multi_label", lambda logits, targets: naive_f1(logits >= 0, targets)),
        ("regression", lambda logits, targets: np.corrcoef(logits[:, 0], targets)[0, 1]),
    ],
)
def test_bootstrap_intervals_equal_a_naive_loops(
    problem: Problem, value: Callable[[Array, Array], float]
) -> None:
    logits, targets = draw(problem, 150)
    found, _ = metrics.estimates(logits, targets, task_of(problem), "test")
    low, high = naive_interval(value, logits, targets)
    assert found.ci95 == pytest.approx((low, high), abs=0.08 * (high - low))


def test_the_difference_has_the_interval_of_a_naive_paired_loop() -> None:
    logits, targets = draw("single_label", 200)
    reference = others(logits, 0.5)
    both = np.concatenate([logits, reference], axis=1)

    def difference(rows: Array, truth: Array) -> float:
        right = [(part.argmax(axis=1) == truth).mean() for part in (rows[:, :4], rows[:, 4:])]
        return float(right[0] - right[1])

    test = metrics.paired_test(logits, reference, targets, task_of("single_label"))
    low, high = naive_interval(difference, both, targets)
    assert test.difference == pytest.approx(difference(both, targets))
    assert test.ci95 == pytest.approx((low, high), abs=0.08 * (high - low))


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Targets of deviation 2 with noise of 1.5 correlate by 2 / sqrt(2**2 + 1.5**2) = 0.8."""
    covered = {"accuracy": 0, "pearson": 0}
    rng = np.random.default_rng(5)
    for seed in range(60):
        right = rng.random(80) < 0.8
        logits = np.eye(4)[np.where(right, 1, 2)].astype(np.float32)
        single = metrics.estimates(logits, np.full(80, 1), task_of("single_label"), "test")
        value = metrics.estimates(*draw("regression", 80, seed, 1.5), task_of("regression"), "test")
        for (found, *_), truth in ((single, 0.8), (value, 0.8)):
            covered[found.name] += found.ci95[0] <= truth <= found.ci95[1]
    assert all(52 <= times <= 60 for times in covered.values()), covered


def test_equal_seeds_give_equal_intervals() -> None:
    logits, targets = draw("multi_label", 60)
    first, again, other = (
        metrics.estimates(logits, targets, task_of("multi_label"), "test", seed)
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


# The test against the teacher


def answering(right: Array) -> Array:
    """Logits that answer class 0 where right, else class 1."""
    return np.where(np.asarray(right, bool)[:, None], [[1.0, 0, 0, 0]], [[0, 1.0, 0, 0]]).astype(
        np.float32
    )


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (3, 12), (10, 10), (0, 20)])
def test_mcnemar_counts_the_rows_that_only_one_answers_rightly(gained: int, lost: int) -> None:
    ours = [1] * 30 + [0] * 10 + [1] * gained + [0] * lost
    theirs = [1] * 30 + [0] * 10 + [0] * gained + [1] * lost
    zeros = np.zeros(len(ours), int)
    test = metrics.paired_test(
        answering(np.array(ours)), answering(np.array(theirs)), zeros, task_of("single_label")
    )
    n = gained + lost
    expected = stats.binomtest(gained, n).pvalue if n else 1.0
    assert test.method == "mcnemar_exact"
    assert test.p_value == pytest.approx(expected)
    assert test.difference == pytest.approx((gained - lost) / len(ours))
    assert test.shows_loss == (lost > 10)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_clearly_worse_model_is_told_and_an_equal_one_is_not(problem: Problem) -> None:
    logits, targets = draw(problem, 400, noise=0.5)
    worse = metrics.paired_test(others(logits, 3.0), logits, targets, task_of(problem))
    assert worse.shows_loss
    assert 0 < worse.p_value < 0.01
    assert worse.ci95[0] < worse.difference < worse.ci95[1] < 0
    better = metrics.paired_test(logits, others(logits, 3.0), targets, task_of(problem))
    assert better.p_value < 0.01
    assert better.difference == pytest.approx(-worse.difference)
    same = metrics.paired_test(logits, logits, targets, task_of(problem))
    assert (same.p_value, same.difference, same.ci95) == (1.0, 0.0, (0.0, 0.0))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_models_that_are_equally_good_seldom_differ_significantly(problem: Problem) -> None:
    significant = 0
    for seed in range(40):
        logits, targets = draw(problem, 80, seed, noise=0.1)
        ours, theirs = others(logits, 1.0, 2 * seed), others(logits, 1.0, 2 * seed + 1)
        test = metrics.paired_test(ours, theirs, targets, task_of(problem))
        significant += test.p_value < 0.05
    assert significant <= 6


def test_few_differing_rows_prove_nothing() -> None:
    """Every resample of three rows that all got worse is worse, yet a coin does that in 1 of 4."""
    targets = np.ones((3, 4), np.float32)
    ours, theirs = np.full((3, 4), -1, np.float32), np.ones((3, 4), np.float32)
    assert metrics.paired_test(ours, theirs, targets, task_of("multi_label")).p_value == 0.25
