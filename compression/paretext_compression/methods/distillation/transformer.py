r"""Teach a transformer student with the teacher's answers and hidden states.

\[ L = h\,L_\mathrm{label} + (1-h)\,T^2\,\mathrm{KL}(p_t^T \| p_s^T)
     + \beta\,\frac{1}{L_s}\sum_l
       \Bigl\| \frac{s_l}{\|s_l\|} - \frac{t_{m(l)}}{\|t_{m(l)}\|} \Bigr\|^2 \]

with \(p^T = \mathrm{softmax}(z/T)\), the mean over all tokens in the last term, and the student's
layers matched evenly to the teacher's, last to last. The student is whatever the steps before have
left of the teacher: with fewer heads, neurons or layers. Without such a step it trains the teacher
on itself.

Example:
    [[steps]]
    method = "pruning.layers"
    [[steps]]
    method = "distillation.transformer"
    temperature = 2.0

Reference: Hinton et al. 2015, section 2; Sun et al. 2019 ("Patient Knowledge Distillation"),
equation 7, here over all tokens; Jiao et al. 2020 ("TinyBERT"), section 3.1, uniform mapping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from paretext_compression.distil import Distillation, distil
from paretext_compression.method import About, Context, TrainingData
from paretext_compression.network import Network

ABOUT = About(
    helps={
        "accuracy": "wins back what pruning lost; combines with every other method",
        "disk": "nothing by itself",
        "latency": "nothing by itself",
    },
    needs="transformer",
)


@dataclass(frozen=True)
class Parameters:
    """How the student is taught."""

    epochs: Annotated[
        int, Field(ge=0, le=1000, description="passes over train; 0: for about 250 steps")
    ] = 0
    batch_size: Annotated[int, Field(ge=1, le=4096, description="texts a step")] = 32
    learning_rate: Annotated[float, Field(gt=0, le=1, description="peak learning rate")] = 2e-4
    temperature: Annotated[float, Field(ge=0.1, le=100, description="T, softens the answers")] = 2.0
    hard: Annotated[
        float, Field(ge=0, le=1, description="h, weight of the labels against the teacher")
    ] = 0.3
    hidden: Annotated[
        float, Field(ge=0, le=1000, description="beta, weight of the hidden states")
    ] = 1.0
    copies: Annotated[
        int, Field(ge=0, le=100, description="altered copies of each text for the teacher to label")
    ] = 0
    patience: Annotated[
        int, Field(ge=1, le=1000, description="epochs without a gain on tune before it stops")
    ] = 4


def network(
    parameters: Parameters, network: Network, data: TrainingData, context: Context
) -> Network:
    """Train a copy of the network; its best epoch on `tune` is returned."""
    return distil(network, data, context, Distillation.of(parameters))
