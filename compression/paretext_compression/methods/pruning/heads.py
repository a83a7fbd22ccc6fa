r"""Prune attention heads that the loss barely notices.

Each head's output is multiplied by a gate \(\xi_h = 1\), and the head's importance is the expected
sensitivity of the loss to that gate,

\[ I_h = \mathbb{E}_x \left| \frac{\partial L(x)}{\partial \xi_h} \right| , \]

normalised to unit L2 length within each layer. The least important heads are cut out of the query,
key, value and output matrices, in several rounds, with a little distillation after each but the
last. No mask stays behind: the matrices shrink. Every layer keeps at least one head.

Example:
    [[steps]]
    method = "pruning.heads"
    fraction = 0.5

Reference: Michel et al. 2019, "Are Sixteen Heads Really Better than One?", section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from paretext_compression.architecture import EncoderLayer, encoder_layers
from paretext_compression.importance import in_rounds, losses, normalised
from paretext_compression.method import About, Context, TrainingData
from paretext_compression.network import Network

Hook = Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]

ABOUT = About(
    helps={
        "disk": "smaller: a quarter to a third of the encoder lies in the heads",
        "cpu latency": "faster, in proportion to the heads removed",
        "gpu latency": "faster on long texts and large batches",
    },
    needs="transformer",
)


@dataclass(frozen=True)
class Parameters:
    """How many heads go, and how."""

    fraction: Annotated[float, Field(gt=0, lt=1, description="share of all heads to remove")] = 0.5
    scope: Annotated[
        Literal["global", "layer"],
        Field(description="rank the heads of all layers together, or of each layer apart"),
    ] = "global"
    rounds: Annotated[int, Field(ge=1, le=64, description="cut in this many rounds")] = 2
    recovery_epochs: Annotated[
        int, Field(ge=0, le=100, description="epochs of distillation between two rounds")
    ] = 1


def network(
    parameters: Parameters, network: Network, data: TrainingData, context: Context
) -> Network:
    """Remove heads."""
    total = sum(layer.heads for layer in encoder_layers(network.transformer))
    layers = len(encoder_layers(network.transformer))
    final = max(layers, round(total * (1 - parameters.fraction)))

    def prune(current: Network, share: float) -> Network:
        keep = round(total - (total - final) * share)
        current = current.copy()
        cut(current, head_importance(current, data, context), keep, parameters.scope)
        return current

    return in_rounds(prune, network, data, context, parameters.rounds, parameters.recovery_epochs)


def head_importance(
    network: Network, data: TrainingData, context: Context
) -> list[NDArray[np.float64]]:
    """Importance of each head, one array (heads,) of unit L2 length per layer."""
    layers = encoder_layers(network.transformer)
    sums = [np.zeros(layer.heads) for layer in layers]
    gates: list[Tensor] = []
    hooks = [
        layer.attention_output.register_forward_pre_hook(_gate(layer, gates)) for layer in layers
    ]
    try:
        for loss in losses(network, data.train, context):
            # The batch's losses are summed, so each row of a gate's gradient is that text's own.
            gradients = torch.autograd.grad(loss, gates)
            for total, gradient in zip(sums, gradients, strict=True):
                total += gradient.abs().sum(dim=0).double().cpu().numpy()
            gates.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return [normalised(total) for total in sums]


def cut(
    network: Network,
    importance: list[NDArray[np.float64]],
    keep: int,
    scope: Literal["global", "layer"],
) -> None:
    """Cut heads in place until `keep` are left in all, at least one in each layer."""
    layers = encoder_layers(network.transformer)
    for layer, kept in zip(layers, choose(importance, keep, scope), strict=True):
        layer.keep_heads(kept)


def choose(
    importance: list[NDArray[np.float64]], keep: int, scope: Literal["global", "layer"]
) -> list[list[int]]:
    """The heads to keep in each layer, ascending."""
    if scope == "layer":
        share = keep / sum(len(layer) for layer in importance)
        counts = [max(1, round(len(layer) * share)) for layer in importance]
        best = [np.argsort(-layer, kind="stable") for layer in importance]
        return [sorted(order[:n].tolist()) for order, n in zip(best, counts, strict=True)]
    kept = [{int(layer.argmax())} for layer in importance]
    ranked = sorted(
        (
            (value, place, head)
            for place, layer in enumerate(importance)
            for head, value in enumerate(layer)
        ),
        key=lambda item: (-item[0], item[1], item[2]),
    )
    for _, place, head in ranked:
        if sum(map(len, kept)) >= keep:
            break
        kept[place].add(head)
    return [sorted(heads) for heads in kept]


def _gate(layer: EncoderLayer, gates: list[Tensor]) -> Hook:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (context_layer,) = inputs
        gate = torch.ones(len(context_layer), layer.heads, device=context_layer.device)
        gates.append(gate.requires_grad_())
        return (context_layer * gate.repeat_interleave(layer.head_size, dim=1).unsqueeze(1),)

    return hook
