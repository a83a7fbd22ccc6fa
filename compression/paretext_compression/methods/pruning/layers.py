r"""Drop whole encoder layers.

Of \(L\) layers \(k = \max(1, \mathrm{round}((1-f)L))\) stay: spread evenly from the first to the
last, or the first \(k\), or the last \(k\). The layers that stay keep their weights, which makes a
good start for `distillation.transformer`; without it the drop in accuracy is large.

Example:
    [[steps]]
    method = "pruning.layers"
    fraction = 0.5

Reference: Sajjad et al. 2023, "On the Effect of Dropping Layers of Pre-trained Transformer Models",
section 3 (symmetric, top and bottom dropping).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from paretext_compression.architecture import encoder_layers, keep_layers
from paretext_compression.method import About, Context, TrainingData
from paretext_compression.network import Network

ABOUT = About(
    helps={
        "disk": "smaller, but for the embeddings",
        "cpu latency": "faster, in proportion to the layers removed",
        "gpu latency": "faster, in proportion to the layers removed, at any batch size",
    },
    needs="transformer",
)


@dataclass(frozen=True)
class Parameters:
    """How many layers go, and which."""

    fraction: Annotated[float, Field(gt=0, lt=1, description="share of the layers to drop")] = 0.5
    keep: Annotated[
        Literal["even", "first", "last"],
        Field(description="which layers stay: evenly spread with both ends, the first, the last"),
    ] = "even"


def network(
    parameters: Parameters, network: Network, data: TrainingData, context: Context
) -> Network:
    """Drop layers; nothing is trained."""
    network = network.copy()
    kept = choose(len(encoder_layers(network.transformer)), parameters)
    keep_layers(network.transformer, kept)
    return network


def choose(layers: int, parameters: Parameters) -> list[int]:
    """The layers (from 0) that stay."""
    count = max(1, round(layers * (1 - parameters.fraction)))
    if parameters.keep == "last":
        return list(range(layers - count, layers))
    if parameters.keep == "first" or count == 1:
        return list(range(count))
    return [int(place) for place in np.linspace(0, layers - 1, count).round()]
