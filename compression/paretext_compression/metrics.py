"""Quality on labelled rows, with its uncertainty.

Every metric here is a function of sums over rows. That makes the bootstrap a matrix product: the
sums of a resample are the rows' statistics weighted by how often each row was drawn. Rows with
equal statistics, which most are in a classification, are drawn together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paretext_models.manifest import Estimate, PairedTest, Problem, Task
from paretext_models.scores import Floats, decisions, sigmoid, softmax

Targets = NDArray[Any]
MetricName = Literal["accuracy", "macro_f1", "micro_f1", "pearson", "spearman"]

# The first one of each problem is its primary metric.
METRICS: dict[Problem, tuple[MetricName, ...]] = {
    "single_label": ("accuracy", "macro_f1"),
    "multi_label": ("micro_f1", "macro_f1"),
    "regression": ("pearson", "spearman"),
}
_RESAMPLES = 2000
_CALIBRATION_BINS = 15


@dataclass(frozen=True)
class _Statistics:
    """A metric's statistics of each row, (n, k); `value` turns sums of rows into the metric."""

    name: MetricName
    rows: NDArray[np.float64]

    def value(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The metric from sums of shape (..., k): shape (...)."""
        if self.name == "accuracy":
            return sums[..., 1] / sums[..., 0]
        if self.name in ("micro_f1", "macro_f1"):
            return _f1(sums, macro=self.name == "macro_f1")
        return _correlation(sums)

    def of_all(self) -> float:
        return float(self.value(self.rows.sum(axis=0)))

    def of_resamples(self, seed: int) -> NDArray[np.float64]:
        """The metric of each bootstrap resample."""
        return np.concatenate([self.value(sums) for sums in _resampled(self.rows, seed)])


def primary_value(logits: Floats, targets: Targets, task: Task) -> float:
    """The primary metric of the task's problem."""
    return _statistics(METRICS[task.problem][0], logits, targets, task).of_all()


def estimates(
    logits: Floats, targets: Targets, task: Task, split: str, seed: int = 0
) -> tuple[Estimate, ...]:
    """Every metric with its 95 % interval: Wilson's for accuracy, else a percentile bootstrap.

    Args:
        logits: (n, labels).
        targets: (n,) classes, (n, labels) of 0 and 1, or (n,) values.
    """
    result = []
    for name in METRICS[task.problem]:
        statistics = _statistics(name, logits, targets, task)
        value = statistics.of_all()
        if name == "accuracy":
            interval = wilson(round(value * len(targets)), len(targets))
        else:
            interval = _middle95(statistics.of_resamples(seed))
        result.append(Estimate(name=name, value=value, ci95=interval, split=split, n=len(targets)))
    return tuple(result)


def agreement(logits: Floats, reference: Floats, task: Task, split: str) -> Estimate:
    """The share of rows answered as the reference does; for a regression, Pearson's r with it."""
    ours, theirs = decisions(logits, task), decisions(reference, task)
    if task.problem == "regression":
        statistics = _statistics("pearson", logits, theirs, task)
        value, interval = statistics.of_all(), _middle95(statistics.of_resamples(0))
        return Estimate(name="pearson", value=value, ci95=interval, split=split, n=len(ours))
    same = ours == theirs if ours.ndim == 1 else (ours == theirs).all(axis=1)
    interval = wilson(int(same.sum()), len(same))
    return Estimate(
        name="agreement", value=float(same.mean()), ci95=interval, split=split, n=len(same)
    )


def paired_test(
    logits: Floats, reference: Floats, targets: Targets, task: Task, seed: int = 0
) -> PairedTest:
    """Whether a variant is better or worse than its reference on the same rows.

    The interval of the difference is a paired percentile bootstrap (Efron & Tibshirani 1993,
    chapter 16). The p-value is McNemar's exact one (McNemar 1947) for single labels, from the rows
    that one answers rightly and the other wrongly; elsewhere the bootstrap's, and never less than a
    sign test could give for so many differing rows.
    """
    name = METRICS[task.problem][0]
    ours = _statistics(name, logits, targets, task)
    theirs = _statistics(name, reference, targets, task)
    differences = _paired_differences(ours, theirs, seed)
    if task.problem == "single_label":
        p_value = _mcnemar(
            decisions(logits, task) == targets, decisions(reference, task) == targets
        )
    else:
        differing = int((ours.rows != theirs.rows).any(axis=1).sum())
        p_value = max(_bootstrap_p(differences), min(1.0, 2.0 ** (1 - differing)))
    return PairedTest(
        method="mcnemar_exact" if task.problem == "single_label" else "paired_bootstrap",
        difference=ours.of_all() - theirs.of_all(),
        ci95=_middle95(differences),
        p_value=p_value,
    )


def calibration_error(logits: Floats, targets: Targets, task: Task) -> float | None:
    """Expected calibration error over 15 equal-width bins of confidence; None for a regression.

    Reference: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    if task.problem == "regression":
        return None
    if task.problem == "single_label":
        probabilities = softmax(logits)
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == targets
    else:
        probability = sigmoid(logits).ravel()
        confidence = np.maximum(probability, 1 - probability)
        right = (probability >= 0.5) == (targets.ravel() > 0.5)
    bins = np.minimum((confidence * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    members = [bins == b for b in np.unique(bins)]
    return float(sum(abs(right[m].mean() - confidence[m].mean()) * m.mean() for m in members))


def per_class_recall(logits: Floats, targets: Targets, task: Task) -> dict[str, float]:
    """Recall of every label that occurs in `targets`; empty for a regression."""
    if task.problem == "regression":
        return {}
    answers, truth = _indicators(decisions(logits, task), task), _indicators(targets, task)
    counts = truth.sum(axis=0)
    hits = (answers * truth).sum(axis=0)
    return {
        label: float(hit / count)
        for label, hit, count in zip(task.labels, hits, counts, strict=True)
        if count
    }


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion."""
    interval = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _statistics(name: MetricName, logits: Floats, targets: Targets, task: Task) -> _Statistics:
    answers = decisions(logits, task)
    if name == "accuracy":
        return _Statistics(name, np.stack([np.ones(len(answers)), answers == targets], axis=1))
    if name in ("micro_f1", "macro_f1"):
        ours, truth = _indicators(answers, task), _indicators(targets, task)
        counts = [ours * truth, ours * (1 - truth), (1 - ours) * truth]
        if name == "micro_f1":
            counts = [count.sum(axis=1, keepdims=True) for count in counts]
        return _Statistics(name, np.concatenate(counts, axis=1))
    x, y = np.asarray(answers, np.float64), np.asarray(targets, np.float64)
    if name == "spearman":  # the ranks are those within all rows, also in a resample
        x, y = stats.rankdata(x), stats.rankdata(y)
    x, y = _standardised(x), _standardised(y)
    return _Statistics(name, np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1))


def _f1(sums: NDArray[np.float64], *, macro: bool) -> NDArray[np.float64]:
    """F1 from true positives, false positives and false negatives, a third of the columns each.

    Macro: the mean over the labels that occur in the answers or in the truth.
    """
    hits, false, missed = np.split(sums, 3, axis=-1)
    total = 2 * hits + false + missed
    each = np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0)
    if not macro:
        return each[..., 0]
    return each.sum(axis=-1) / np.maximum((total > 0).sum(axis=-1), 1)


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To mean 0 and variance 1, or the sums of squares would lose digits; constants become 0."""
    if np.ptp(values) == 0:
        return np.zeros_like(values)
    scaled = values / np.abs(values).max()  # the squares of small or large values must be floats
    return np.asarray((scaled - scaled.mean()) / scaled.std(), np.float64)


def _correlation(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's r from the sums of 1, x, y, xx, yy and xy; 0 where x or y does not vary."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    covariance = xy / n - x / n * (y / n)
    variances = (xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2)
    root = np.sqrt(np.maximum(variances, 0.0))
    found = np.divide(covariance, root, out=np.zeros_like(root), where=root > 1e-12)
    return np.clip(found, -1.0, 1.0)


def _indicators(answers: Targets, task: Task) -> NDArray[np.float64]:
    """(n, labels) of 0 and 1, from such or from class indices."""
    if answers.ndim == 1:
        return np.eye(len(task.labels))[answers]
    return np.asarray(answers, np.float64)


def _mcnemar(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    gained, lost = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue)


def _paired_differences(ours: _Statistics, theirs: _Statistics, seed: int) -> NDArray[np.float64]:
    """Ours minus theirs on each resample, the same rows for both."""
    width = ours.rows.shape[1]
    both = np.concatenate([ours.rows, theirs.rows], axis=1)
    parts = [
        ours.value(sums[:, :width]) - theirs.value(sums[:, width:])
        for sums in _resampled(both, seed)
    ]
    return np.concatenate(parts)


def _bootstrap_p(differences: NDArray[np.float64]) -> float:
    """Two-sided; the added one keeps it from being zero (Davison & Hinkley 1997, equation 4.11)."""
    crossed = min((differences <= 0).sum(), (differences >= 0).sum())
    return min(1.0, 2 * float(crossed + 1) / (len(differences) + 1))


def _resampled(rows: NDArray[np.float64], seed: int) -> Iterator[NDArray[np.float64]]:
    """The sums of each resample of the rows, (resamples, k), in blocks of bounded size."""
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    block = max(1, min(_RESAMPLES, 4_000_000 // len(distinct)))
    for start in range(0, _RESAMPLES, block):
        size = min(block, _RESAMPLES - start)
        drawn = rng.multinomial(len(rows), counts / len(rows), size=size)
        yield drawn.astype(np.float64) @ distinct


def _middle95(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
