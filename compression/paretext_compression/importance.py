"""What structured pruning methods share: gradients of the loss, and cutting in rounds."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretext_compression.batches import Examples, sorted_batches
from paretext_compression.distil import Distillation, distil
from paretext_compression.fit import autocast
from paretext_compression.losses import label_loss
from paretext_compression.method import Context, TrainingData
from paretext_compression.network import Network
from paretext_compression.progress import Steps

# Importance is an average; more rows than this do not change the order of heads or neurons.
_ROWS = 1024


def losses(
    network: Network, examples: Examples, context: Context, wanted: Sequence[Tensor] = ()
) -> Iterator[Tensor]:
    """The label loss of one batch after the other, summed over its texts, ready for gradients.

    At most 1,024 rows of train are used. The network is in evaluation mode: no dropout.

    Args:
        wanted: the parameters whose gradients will be asked for; those of the others are not
            computed, which saves a third of the time.
    """
    rng = np.random.default_rng((context.seed, 29))
    rows = rng.permutation(len(examples))[:_ROWS]
    chosen = Examples(
        tuple(examples.encoded[i] for i in rows), examples.targets[rows], examples.pad_id
    )
    network.module.to(context.device).eval()
    progress = Steps(context.report, f"{context.step}: importance", len(chosen))
    with torch.enable_grad(), _gradients_only_of(network.module, wanted):
        for indices, batch in sorted_batches(chosen, context.device):
            with autocast(context.device):
                logits = network.logits(batch)
            yield label_loss(logits.float(), batch["targets"], context.task.problem).sum()
            progress.advance(len(indices))


@contextlib.contextmanager
def _gradients_only_of(module: nn.Module, wanted: Sequence[Tensor]) -> Iterator[None]:
    kept = {id(tensor) for tensor in wanted}
    before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(id(parameter) in kept)
    try:
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def normalised(importance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scaled to unit L2 length, so that layers can be compared; zeros stay zeros."""
    length = float(np.linalg.norm(importance))
    return importance / length if length else importance


def in_rounds(
    prune: Callable[[Network, float], Network],
    network: Network,
    data: TrainingData,
    context: Context,
    rounds: int,
    recovery_epochs: int,
) -> Network:
    """Prune a bit more each round, and let the network recover between two rounds.

    Args:
        prune: gives a network pruned to this share (0 to 1) of the whole cut.
    """
    for done in range(1, rounds + 1):
        network = prune(network, done / rounds)
        if done < rounds and recovery_epochs:
            network = distil(
                network, data, _of_round(context, done, rounds), _recovery(recovery_epochs)
            )
    return network


def _recovery(epochs: int) -> Distillation:
    return Distillation(
        epochs=epochs, batch_size=32, learning_rate=1e-4, temperature=2.0, hard=0.3, hidden=1.0
    )


def _of_round(context: Context, done: int, rounds: int) -> Context:
    checkpoint = context.checkpoint and context.checkpoint.with_name(
        f"{context.checkpoint.name}-round{done}"
    )
    step = f"{context.step}: recovery {done} of {rounds - 1}"
    return dataclasses.replace(context, checkpoint=checkpoint, step=step)
