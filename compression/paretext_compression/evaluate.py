"""Logits of a torch network over many rows, and its score on those that choose."""

from __future__ import annotations

import numpy as np
import torch

from paretext_compression.batches import Examples, sorted_batches
from paretext_compression.fit import Score, autocast
from paretext_compression.losses import label_loss
from paretext_compression.metrics import primary_value
from paretext_compression.network import Network
from paretext_models.manifest import Task
from paretext_models.scores import Floats


@torch.inference_mode()
def predict(
    network: Network, examples: Examples, device: torch.device, *, exact: bool = True
) -> Floats:
    """Logits (rows, labels) in the order of the rows.

    Args:
        exact: in float32; else in the training precision, which is faster.
    """
    was_training = network.module.training
    network.module.to(device).eval()
    rows: list[tuple[list[int], Floats]] = []
    for indices, batch in sorted_batches(examples, device):
        with torch.autocast(device.type, enabled=False) if exact else autocast(device):
            rows.append((indices, network.logits(batch).float().cpu().numpy()))
    network.module.train(was_training)
    logits = np.zeros((len(examples), rows[0][1].shape[1]), np.float32)
    for indices, values in rows:
        logits[indices] = values
    return logits


def tune_score(tune: Examples, task: Task, device: torch.device) -> Score:
    """A score for `fit`: the primary metric on `tune`, and among equals the lower loss."""

    def score(network: Network) -> tuple[float, ...]:
        logits = predict(network, tune, device, exact=False)
        loss = label_loss(torch.from_numpy(logits), torch.from_numpy(tune.targets), task.problem)
        return primary_value(logits, tune.targets, task), -float(loss.mean())

    return score
