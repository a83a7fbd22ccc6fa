"""A text through a variant: what runs on the worker threads, whatever the protocol."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretext_models.scores import FUNCTION_OF, Floats, Function, scores
from paretext_service.catalogue import Served


@dataclass(frozen=True, slots=True)
class Text:
    """One input: a text, or a pair of texts."""

    text: str
    pair: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a request wants to know of each text. `function` None: the one of the task."""

    top_k: int | None = None
    function: Function | None = None
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The labels of one text, best first, and what it took (seconds)."""

    labels: list[dict[str, Any]]
    tokens: int
    truncated: bool
    tokenize_seconds: float
    inference_seconds: float


def classify(served: Served, options: Options, text: Text) -> Answer:
    """Tokenize and run one text.

    Raises:
        TextError: the text cannot be classified.
        ArithmeticError: the variant answered with something that is not a number.
    """
    start = time.perf_counter()
    encoded = served.tokenizer.encode(text.text, text.pair, truncate=options.truncate)
    tokenized = time.perf_counter()
    logits = served.runner.logits([encoded])[0]
    labels = _labels(served, options, logits)
    return Answer(
        labels,
        len(encoded),
        encoded.truncated,
        tokenized - start,
        time.perf_counter() - tokenized,
    )


def _labels(served: Served, options: Options, logits: Floats) -> list[dict[str, Any]]:
    task = served.manifest.task
    values = scores(logits, options.function or FUNCTION_OF[task.problem])
    if not np.isfinite(values).all():
        raise ArithmeticError("a score is not a finite number")
    listed = values.tolist()
    if task.problem == "regression":
        return [{"label": "score", "score": listed[0]}]
    # Stable: equal scores stay in the order of the labels.
    order = sorted(range(len(listed)), key=listed.__getitem__, reverse=True)[: options.top_k]
    if task.problem == "single_label":
        return [{"label": task.labels[i], "score": listed[i]} for i in order]
    chosen = (scores(logits, "sigmoid") >= task.threshold).tolist()
    return [{"label": task.labels[i], "score": listed[i], "selected": chosen[i]} for i in order]
