"""A convolutional text classifier: the fastest kind of student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Output(NamedTuple):
    """What a classifier returns; `transformers` models return an object with the same field."""

    logits: Tensor


@dataclass(frozen=True)
class CnnConfig:
    """The shape of a `CnnClassifier`."""

    vocabulary: int
    labels: int
    embedding: int = 128
    channels: int = 128
    widths: tuple[int, ...] = (1, 3, 5)
    dropout: float = 0.3
    pad_id: int = 0


class CnnClassifier(nn.Module):
    r"""Convolutions of several widths over token embeddings, each max-pooled over time.

    For a text \(x_1 \dots x_n\) and each width \(w\),
    \(c^w = \max_t \mathrm{ReLU}(W^w x_{t-w/2 : t+w/2} + b^w)\), and the logits are a linear map of
    all \(c^w\) side by side. Padding changes nothing: padded positions are zero, as they are beyond
    the ends of a text, and take no part in the maximum.

    Reference: Kim 2014, "Convolutional Neural Networks for Sentence Classification", section 2.
    """

    def __init__(self, config: CnnConfig) -> None:
        super().__init__()
        if any(width % 2 == 0 for width in config.widths):
            raise ValueError(f"widths: got {config.widths}, expected odd numbers")
        self.config = config
        self.embeddings = nn.Embedding(config.vocabulary, config.embedding, config.pad_id)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding, config.channels, width, padding=width // 2)
            for width in config.widths
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.channels * len(config.widths), config.labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Output:
        """Logits (batch, labels) of token ids (batch, tokens) and their mask of 0 and 1."""
        mask = attention_mask.unsqueeze(-1).to(self.embeddings.weight.dtype)
        embedded = self.dropout(self.embeddings(input_ids) * mask).transpose(1, 2)
        # After the ReLU nothing is below zero, so zero is a neutral element of the maximum.
        pooled = [
            (torch.relu(convolution(embedded)) * mask.transpose(1, 2)).amax(dim=-1)
            for convolution in self.convolutions
        ]
        return Output(self.classifier(self.dropout(torch.cat(pooled, dim=-1))))
