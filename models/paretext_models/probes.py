"""Inputs and answers stored with a variant, to tell on any machine whether it still works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from paretext_models.errors import StoreError
from paretext_models.manifest import TokenizerSpec
from paretext_models.runner import Runner
from paretext_models.scores import Floats
from paretext_models.tokenizer import Encoded

PROBES = "probes.json"
_LENGTHS = (2, 3, 7, 16, 33, 64)
# Of the answers' spread. Integer arithmetic differs a little between instruction sets, by more than
# float does; a damaged graph is off by its whole spread.
_FLOAT_TOLERANCE = 1e-3
_INTEGER_TOLERANCE = 0.15


def probe_inputs(tokenizer: TokenizerSpec) -> list[Encoded]:
    """Made-up inputs of several lengths: no text of a user is stored."""
    rng = np.random.default_rng(7)
    lengths = sorted({min(length, tokenizer.max_tokens) for length in _LENGTHS})
    rows = [rng.integers(0, 200, length) for length in lengths]
    rows = [np.where(row == tokenizer.pad_id, 3, row) for row in rows]
    return [Encoded(row.tolist(), [0] * len(row), truncated=False) for row in rows]


def write_probes(file: Path, runner: Runner, tokenizer: TokenizerSpec, *, integer: bool) -> None:
    """Store what the runner answers now."""
    rows = probe_inputs(tokenizer)
    content: dict[str, Any] = {
        "tolerance": _INTEGER_TOLERANCE if integer else _FLOAT_TOLERANCE,
        "ids": [row.ids for row in rows],
        "logits": [runner.logits([row])[0].tolist() for row in rows],
    }
    file.write_text(json.dumps(content))


def check_probes(file: Path, runner: Runner) -> float:
    """The largest deviation from the stored answers, as a share of their spread.

    Raises:
        StoreError: the file is damaged, or the deviation is above the stored tolerance.
    """
    try:
        content = json.loads(file.read_text())
        expected: Floats = np.array(content["logits"], np.float32)
        rows = [Encoded(ids, [0] * len(ids), truncated=False) for ids in content["ids"]]
        tolerance = float(content["tolerance"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file.name}: cannot be read: {error}") from error
    answers = np.concatenate([runner.logits([row]) for row in rows])
    spread = max(float(np.ptp(expected, axis=0).max()), 1e-6)
    deviation = float(np.abs(answers - expected).max()) / spread
    if not deviation <= tolerance:
        raise StoreError(
            f"{file.name}: answers are off by {deviation:.1%} of their spread;"
            f" at most {tolerance:.1%} was expected"
        )
    return deviation
