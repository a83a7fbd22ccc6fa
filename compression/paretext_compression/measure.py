"""Everything that is measured of a variant for its manifest; through the served runner."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretext_compression.batches import Examples
from paretext_compression.metrics import (
    Targets,
    agreement,
    calibration_error,
    estimates,
    paired_test,
    per_class_recall,
)
from paretext_compression.network import Network
from paretext_compression.progress import Report, Steps
from paretext_compression.teacher import quiet
from paretext_models import host
from paretext_models.errors import ParetextError
from paretext_models.manifest import Flip, Measured, Parity, Task
from paretext_models.runner import Runner
from paretext_models.scores import Floats, decisions
from paretext_models.tokenizer import Encoded

MACS_TOKENS = 128
_LENGTHS = (4, 5, 8, 12, 17, 32, 64)
_BATCHES = (2, 3, 7, 8, 16)


def served_logits(runner: Runner, examples: Examples, report: Report, step: str) -> Floats:
    """Logits (rows, labels) as the service gives them: one text per run, a worker per core.

    Raises:
        ParetextError: a logit is not finite.
    """
    progress = Steps(report, step, len(examples))

    def run(row: Encoded) -> Floats:
        logits = runner.logits([row])
        progress.advance()
        return logits

    with ThreadPoolExecutor(host.cores()) as pool:
        rows = list(pool.map(run, examples.encoded))
    progress.finish()
    logits = np.concatenate(rows)
    if not np.isfinite(logits).all():
        raise ParetextError(f"{step}: the variant answers with infinities or NaN; not published")
    return logits


def measure(
    logits: Floats,
    teacher: Floats,
    targets: Targets,
    task: Task,
    split: str,
    *,
    network: Network,
    runner: Runner,
    files: Sequence[Path],
    parity: Parity,
    operators: dict[str, int],
    max_tokens: int,
) -> Measured:
    """Put a variant's figures together.

    Args:
        logits: of the variant on the reporting rows, (rows, labels).
        teacher: of the torch teacher on the same rows.
        files: the variant's ONNX files.
    """
    primary, *others = estimates(logits, targets, task, split)
    tokens = min(MACS_TOKENS, max_tokens)
    return Measured(
        primary=primary,
        others=tuple(others),
        paired=paired_test(logits, teacher, targets, task),
        agreement=agreement(logits, teacher, task, split),
        flips=flips(logits, teacher, targets, task),
        calibration_error=calibration_error(logits, targets, task),
        per_class_recall=per_class_recall(logits, targets, task),
        parameters=network.parameters,
        macs=macs(network, tokens),
        macs_tokens=tokens,
        bytes_on_disk=sum(file.stat().st_size for file in files),
        parity=parity,
        batch_independent=batch_independent(runner, max_tokens),
        operators=operators,
    )


def flips(logits: Floats, teacher: Floats, targets: Targets, task: Task) -> tuple[Flip, ...]:
    """The rows that variant and teacher answer differently; none for a regression."""
    if task.problem == "regression":
        return ()
    ours, theirs = decisions(logits, task), decisions(teacher, task)
    changed = ours != theirs if ours.ndim == 1 else (ours != theirs).any(axis=1)
    return tuple(
        Flip(
            row=int(row),
            label=_names(targets[row], task),
            teacher=_names(theirs[row], task),
            variant=_names(ours[row], task),
        )
        for row in np.flatnonzero(changed)
    )


def macs(network: Network, tokens: int) -> int:
    """Multiply-accumulates of one text of so many tokens, by torch's own count.

    That count knows matrix products, but not the CPU's fused attention: it is taken apart for it.
    """
    network.module.cpu().eval()
    ids = torch.full((1, tokens), 5)
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
    }
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter, quiet():
        network.logits(inputs)
    return int(counter.get_total_flops() // 2)


def batch_independent(runner: Runner, max_tokens: int) -> bool:
    """Whether texts answer alike, bit for bit, alone and in batches, of equal and mixed lengths.

    Tested over lengths 4 to 64 and batches of 2 to 16.
    """
    rng = np.random.default_rng(5)
    lengths = [length for length in _LENGTHS if length <= max_tokens] or [max_tokens]

    def text(length: int) -> Encoded:
        ids = rng.integers(4, 200, length).tolist()
        return Encoded(ids, [0] * length, truncated=False)

    for size in _BATCHES:
        batches = [[text(length) for _ in range(size)] for length in lengths]
        batches.append([text(lengths[i % len(lengths)]) for i in range(size)])
        for batch in batches:
            alone = np.concatenate([runner.logits([row]) for row in batch])
            if not np.array_equal(alone, runner.logits(batch)):
                return False
    return True


def _names(answer: np.ndarray, task: Task) -> str:
    if task.problem == "single_label":
        return task.labels[int(answer)]
    return ", ".join(task.labels[i] for i in np.flatnonzero(answer > 0.5)) or "none"
