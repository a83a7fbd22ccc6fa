"""Rows to padded tensors, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretext_compression.data import Rows
from paretext_models.tokenizer import Encoded, TextTokenizer

Batch = dict[str, Tensor]
# Batches are drawn from windows of this many: sorted inside one, shuffled among them, so that
# little is padded and yet no two epochs see the same batches.
_WINDOW = 16


@dataclass(frozen=True)
class Examples:
    """Encoded rows with their targets.

    Attributes:
        targets: int64 (n,) classes; float32 (n, labels) of 0 and 1; or float32 (n,) values.
    """

    encoded: tuple[Encoded, ...]
    targets: NDArray[np.int64] | NDArray[np.float32]
    pad_id: int

    def __len__(self) -> int:
        return len(self.encoded)

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """The rows at `indices` as tensors, padded to the longest; `index` holds their places."""
        rows = [self.encoded[index] for index in indices]
        shape = (len(rows), max(map(len, rows)))
        ids = np.full(shape, self.pad_id, np.int64)
        mask = np.zeros(shape, np.int64)
        types = np.zeros(shape, np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row.ids
            mask[place, : len(row)] = 1
            types[place, : len(row)] = row.type_ids
        arrays = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": types,
            "targets": self.targets[list(indices)],
            "index": np.asarray(indices, np.int64),
        }
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def encode(rows: Rows, tokenizer: TextTokenizer, pad_id: int) -> Examples:
    """Encode every row; texts that are too long are cut, as they are when served."""
    pairs: Sequence[str | None] = rows.pairs or [None] * len(rows)
    encoded = tuple(
        tokenizer.encode(text, pair) for text, pair in zip(rows.texts, pairs, strict=True)
    )
    return Examples(encoded, rows.targets, pad_id)


def training_batches(examples: Examples, size: int, seed: int, epoch: int) -> list[list[int]]:
    """Row indices of one epoch's batches; a function of the seed and the epoch alone."""
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(examples))
    lengths = np.array([len(row) for row in examples.encoded])
    batches: list[list[int]] = []
    for start in range(0, len(order), size * _WINDOW):
        window = order[start : start + size * _WINDOW]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[i : i + size].tolist() for i in range(0, len(window), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def sorted_batches(
    examples: Examples, device: torch.device, size: int = 64
) -> Iterator[tuple[list[int], Batch]]:
    """All rows once, by length, with their indices: for evaluation."""
    order = sorted(range(len(examples)), key=lambda i: len(examples.encoded[i]))
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        yield indices, examples.batch(indices, device)
