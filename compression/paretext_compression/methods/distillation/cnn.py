r"""Distil the teacher into a convolutional network: the fastest kind of student.

The student (`CnnClassifier`) starts from the teacher's token embeddings, projected onto their
\(d\) leading principal directions, and learns the teacher's answers on train and on many altered
copies of it,

\[ L = h\,L_\mathrm{label} + (1-h)\,T^2\,\mathrm{KL}(p_t^T \| p_s^T) , \]

where altered copies have no label term.

Example:
    [[steps]]
    method = "distillation.cnn"
    channels = 128

Reference: Chen et al. 2020, "AdaBERT", and Tang et al. 2019, "Distilling Task-Specific Knowledge
from BERT into Simple Neural Networks", section 3 (augmentation); the network is Kim's (2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from paretext_compression.architecture import word_embeddings
from paretext_compression.distil import Distillation, distil
from paretext_compression.method import About, Context, TrainingData
from paretext_compression.network import Network
from paretext_models.networks.cnn import CnnClassifier, CnnConfig

ABOUT = About(
    helps={
        "disk": "much smaller; what is left is nearly all embeddings, which int8 quarters",
        "cpu latency": "the fastest student: tens of times",
        "gpu latency": "faster; launching it costs more than running it",
    },
    needs="transformer",
    makes="cnn",
)


@dataclass(frozen=True)
class Parameters:
    """The student's shape, and how it is taught."""

    embedding: Annotated[int, Field(ge=1, le=4096, description="size of token vectors")] = 128
    channels: Annotated[int, Field(ge=1, le=4096, description="filters of each width")] = 128
    widths: Annotated[
        tuple[Literal[1, 3, 5, 7, 9, 11, 13, 15], ...],
        Field(min_length=1, max_length=8, description="numbers of tokens a filter spans, odd"),
    ] = (1, 3, 5)
    dropout: Annotated[float, Field(ge=0, lt=1, description="while training")] = 0.3
    epochs: Annotated[
        int, Field(ge=0, le=1000, description="passes over train; 0: for about 250 steps")
    ] = 10
    batch_size: Annotated[int, Field(ge=1, le=4096, description="texts a step")] = 64
    learning_rate: Annotated[float, Field(gt=0, le=1, description="peak learning rate")] = 1e-3
    temperature: Annotated[float, Field(ge=0.1, le=100, description="T, softens the answers")] = 2.0
    hard: Annotated[
        float, Field(ge=0, le=1, description="h, weight of the labels against the teacher")
    ] = 0.3
    copies: Annotated[
        int, Field(ge=0, le=100, description="altered copies of each text for the teacher to label")
    ] = 5
    patience: Annotated[
        int, Field(ge=1, le=1000, description="epochs without a gain on tune before it stops")
    ] = 4


def network(
    parameters: Parameters, network: Network, data: TrainingData, context: Context
) -> Network:
    """A CNN that answers like the teacher."""
    torch.manual_seed(context.seed)
    table = word_embeddings(network.transformer).weight.detach()
    student = CnnClassifier(
        CnnConfig(
            vocabulary=len(table),
            labels=len(context.task.labels),
            embedding=parameters.embedding,
            channels=parameters.channels,
            widths=parameters.widths,
            dropout=parameters.dropout,
            pad_id=context.tokenizer.pad_id,
        )
    )
    with torch.no_grad():
        student.embeddings.weight.copy_(principal(table.cpu(), parameters.embedding))
        student.embeddings.weight[context.tokenizer.pad_id] = 0
    untaught = Network(student, "cnn", ("input_ids", "attention_mask"))
    return distil(untaught, data, context, Distillation.of(parameters))


def principal(table: Tensor, size: int) -> Tensor:
    """A table (vocabulary, hidden) on its leading principal directions: (vocabulary, size).

    Scaled to unit variance over all entries. Beyond the table's own width, columns are zero.
    """
    centred = (table - table.mean(dim=0)).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    leading = vectors.flip(dims=(1,))[:, :size]
    # An eigenvector's sign is arbitrary; fixing it keeps builds equal across machines.
    signs = torch.sign(leading.gather(0, leading.abs().argmax(dim=0, keepdim=True)))
    projected = centred @ (leading * signs)
    projected = projected / projected.std()
    return torch.nn.functional.pad(projected, (0, size - projected.shape[1])).float()
