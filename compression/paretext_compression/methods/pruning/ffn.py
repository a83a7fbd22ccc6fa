r"""Prune feed-forward neurons that the loss barely notices.

To first order, removing neuron \(j\) of a layer changes the loss by the product of its weights and
their gradients; its importance is

\[ I_j = \Bigl|\sum_i W^{in}_{ji}\,\partial_{W^{in}_{ji}}L + b^{in}_j\,\partial_{b^{in}_j}L\Bigr|
       + \Bigl|\sum_i W^{out}_{ij}\,\partial_{W^{out}_{ij}}L\Bigr| , \]

summed over batches of train and normalised to unit L2 length within each layer. Both matrices
really shrink, to a multiple that matrix kernels like.

Example:
    [[steps]]
    method = "pruning.ffn"
    fraction = 0.5

Reference: Hou et al. 2020, "DynaBERT", section 2.1.1 (neuron importance, from Molchanov et al.
2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from paretext_compression.architecture import EncoderLayer, encoder_layers
from paretext_compression.importance import in_rounds, losses, normalised
from paretext_compression.method import About, Context, TrainingData
from paretext_compression.network import Network

ABOUT = About(
    helps={
        "disk": "smaller: two thirds of the encoder lie in these matrices",
        "cpu latency": "faster, in proportion to the neurons removed",
        "gpu latency": "faster on long texts and large batches",
    },
    needs="transformer",
)


@dataclass(frozen=True)
class Parameters:
    """How many neurons go, and how."""

    fraction: Annotated[float, Field(gt=0, lt=1, description="share of all neurons to remove")] = (
        0.5
    )
    scope: Annotated[
        Literal["global", "layer"],
        Field(description="rank the neurons of all layers together, or of each layer apart"),
    ] = "layer"
    multiple: Annotated[
        int, Field(ge=1, le=256, description="each layer keeps a multiple of this many")
    ] = 32
    rounds: Annotated[int, Field(ge=1, le=64, description="cut in this many rounds")] = 2
    recovery_epochs: Annotated[
        int, Field(ge=0, le=100, description="epochs of distillation between two rounds")
    ] = 1


def network(
    parameters: Parameters, network: Network, data: TrainingData, context: Context
) -> Network:
    """Remove feed-forward neurons."""
    before = [layer.neurons for layer in encoder_layers(network.transformer)]

    def prune(current: Network, share: float) -> Network:
        keep = 1 - parameters.fraction * share
        current = current.copy()
        importance = neuron_importance(current, data, context)
        kept = choose(importance, keep * sum(before), parameters.scope, parameters.multiple)
        for layer, neurons in zip(encoder_layers(current.transformer), kept, strict=True):
            layer.keep_neurons(torch.from_numpy(neurons))
        return current

    return in_rounds(prune, network, data, context, parameters.rounds, parameters.recovery_epochs)


def neuron_importance(
    network: Network, data: TrainingData, context: Context
) -> list[NDArray[np.float64]]:
    """Importance of each neuron, one array (neurons,) of unit L2 length per layer."""
    layers = encoder_layers(network.transformer)
    sums = [np.zeros(layer.neurons) for layer in layers]
    weights = [tensor for layer in layers for tensor in _tensors(layer)]
    for loss in losses(network, data.train, context, weights):
        gradients = iter(torch.autograd.grad(loss, weights))
        for total, layer in zip(sums, layers, strict=True):
            total += _first_order(layer, next(gradients), next(gradients), next(gradients))
    return [normalised(total) for total in sums]


def choose(
    importance: list[NDArray[np.float64]],
    keep: float,
    scope: Literal["global", "layer"],
    multiple: int,
) -> list[NDArray[np.int64]]:
    """The neurons to keep in each layer, ascending; about `keep` in all."""
    sizes = np.array([len(layer) for layer in importance])
    if scope == "layer":
        counts = sizes * (keep / sizes.sum())
    else:
        everything = np.sort(np.concatenate(importance))[::-1]
        threshold = everything[max(0, min(round(keep), len(everything)) - 1)]
        counts = np.array([(layer >= threshold).sum() for layer in importance])
    result = []
    for layer, count in zip(importance, counts, strict=True):
        rounded = max(multiple, round(count / multiple) * multiple)
        best = np.argsort(-layer, kind="stable")[: min(rounded, len(layer))]
        result.append(np.sort(best))
    return result


def _tensors(layer: EncoderLayer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return layer.ffn_in.weight, layer.ffn_in.bias, layer.ffn_out.weight


def _first_order(
    layer: EncoderLayer, d_in: torch.Tensor, d_bias: torch.Tensor, d_out: torch.Tensor
) -> NDArray[np.float64]:
    """The two terms of the equation above for one batch: (neurons,)."""
    weight_in, bias, weight_out = (tensor.detach() for tensor in _tensors(layer))
    incoming = (weight_in * d_in).sum(dim=1) + bias * d_bias
    outgoing = (weight_out * d_out).sum(dim=0)
    return (incoming.abs() + outgoing.abs()).double().cpu().numpy()
