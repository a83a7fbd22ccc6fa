"""TF-IDF with logistic regression on the example data, against the fine-tuned teacher.

The baselines learn from all of train; the teacher had a tenth less, its calibration part. C is
chosen on validation, and test is looked at once.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline

from options import EXAMPLES, RESULTS, ending_well, load_variant
from paretext_compression.data import LabelledData, Rows, load
from paretext_compression.metrics import estimates, paired_test
from paretext_models.errors import Fault, FaultsError
from paretext_models.runner import open_runner
from paretext_models.scores import Floats
from paretext_models.store import StoredVariant
from paretext_models.tokenizer import TextTokenizer
from record import environment, write
from tables import print_table

_C = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass(frozen=True)
class Baseline:
    """A classifier with C as chosen on validation."""

    c: float
    validation_accuracy: float
    logits: Floats


def measure(stored: StoredVariant, data: LabelledData) -> dict[str, Any]:
    """Everything, as the record that is written."""
    teacher = _teacher_logits(stored, data.report.texts)
    return {
        "environment": environment(),
        "rows": {"train": len(data.train) + len(data.calibration), "test": len(data.report)},
        "teacher": {
            "revision": stored.revision,
            "manifest_accuracy": stored.manifest.measured.primary.value,
            **_figures(teacher, data),
        },
        "baselines": {
            name: _against(fit_baseline(features, data), teacher, data)
            for name, features in _features().items()
        },
    }


def fit_baseline(features: Any, data: LabelledData) -> Baseline:
    """Fit at each C, keep the best on validation (the smallest of equals), and answer test."""
    texts = (*data.train.texts, *data.calibration.texts)
    targets = np.concatenate([data.train.targets, data.calibration.targets])
    known = features.fit_transform(texts)
    tried = []
    for c in _C:
        model = LogisticRegression(C=c, max_iter=2000).fit(known, targets)
        right = model.predict(features.transform(data.tune.texts)) == data.tune.targets
        tried.append((float(right.mean()), -c, model))
    accuracy, minus_c, model = max(tried, key=lambda one: one[:2])
    scores = model.decision_function(features.transform(data.report.texts))
    return Baseline(-minus_c, accuracy, _by_class(scores, model.classes_, len(data.task.labels)))


def _features() -> dict[str, Any]:
    words = {"ngram_range": (1, 2), "sublinear_tf": True}
    characters = {"analyzer": "char_wb", "ngram_range": (2, 5), "sublinear_tf": True}
    both = [("words", TfidfVectorizer(**words)), ("characters", TfidfVectorizer(**characters))]
    return {
        "words 1-2": Pipeline([("words", TfidfVectorizer(**words))]),
        "words 1-2, characters 2-5": FeatureUnion(both),
    }


def _by_class(scores: NDArray[Any], classes: NDArray[Any], labels: int) -> Floats:
    """Scores (rows, labels) in label order; a label that train lacks is never the answer."""
    logits = np.full((len(scores), labels), -1e9, np.float32)
    logits[:, classes] = scores
    return logits


def _teacher_logits(stored: StoredVariant, texts: tuple[str, ...]) -> Floats:
    spec = stored.manifest.tokenizer
    tokenizer = TextTokenizer(stored.folder / spec.file, spec.max_tokens)
    runner = open_runner(stored.folder, stored.manifest)
    return np.concatenate([runner.logits([tokenizer.encode(text)]) for text in texts])


def _figures(logits: Floats, data: LabelledData) -> dict[str, Any]:
    found = estimates(logits, data.report.targets, data.task, data.report_split)
    return {one.name: {"value": one.value, "ci95": one.ci95} for one in found}


def _against(baseline: Baseline, teacher: Floats, data: LabelledData) -> dict[str, Any]:
    test = paired_test(teacher, baseline.logits, data.report.targets, data.task)
    return {
        "c": baseline.c,
        "validation_accuracy": baseline.validation_accuracy,
        **_figures(baseline.logits, data),
        "teacher_minus_baseline": test.model_dump(),
    }


def _check(stored: StoredVariant, rows: Rows) -> None:
    """The variant must have been measured on these very rows, or the pairs would not be pairs."""
    measured, here = stored.manifest.lineage.data["report"].sha256, rows.fingerprint().sha256
    if measured != here:
        fault = Fault("test", here[:12], f"the rows that fp32 was measured on, {measured[:12]}")
        raise FaultsError("the data differ from those the store was built with", [fault])


def _print(record: dict[str, Any]) -> None:
    rows = [("teacher (fp32)", record["teacher"], None)]
    rows += [
        (name, one, one["teacher_minus_baseline"]) for name, one in record["baselines"].items()
    ]
    print_table(
        f"accuracy on the {record['rows']['test']} rows of test",
        ("classifier", "accuracy", "95 % interval", "teacher ahead by", "McNemar p"),
        [
            (
                name,
                f"{one['accuracy']['value']:.3f}",
                "{:.3f} to {:.3f}".format(*one["accuracy"]["ci95"]),
                f"{test['difference']:+.3f}" if test else "",
                f"{test['p_value']:.2g}" if test else "",
            )
            for name, one, test in rows
        ],
    )


def main() -> None:
    """Measure, print a table, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("demo-store"))
    parser.add_argument("--model", default="tickets")
    parser.add_argument("--data", type=Path, default=EXAMPLES)
    parser.add_argument("--out", type=Path, default=RESULTS / "tickets.json")
    given = parser.parse_args()
    stored = load_variant(given.store, given.model, "fp32")
    data = load(str(given.data), labels=stored.manifest.task.labels)
    _check(stored, data.report)
    record = measure(stored, data)
    _print(record)
    write(given.out, record)


if __name__ == "__main__":
    ending_well(main)
