"""More rows for a student to ask its teacher about."""

from __future__ import annotations

import numpy as np

from paretext_compression.batches import Examples
from paretext_compression.method import Context
from paretext_models.tokenizer import Encoded

_MASKED = 0.1
_FRAGMENT = 0.25
_SHORTEST_FRAGMENT = 2


def augment(examples: Examples, context: Context, copies: int) -> Examples:
    """The rows, followed by `copies` altered ones of each.

    In each copy a token is hidden with probability 0.1, and with probability 0.25 only a contiguous
    fragment of the text is left. The labels of altered rows are their originals' and not to be
    trusted: they are there for the teacher to answer.

    Reference: Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural
    Networks", section 3.3 (without the part-of-speech replacement).
    """
    rng = np.random.default_rng((context.seed, 17))
    altered = [
        _alter(row, context.special_ids, context.mask_id, context.task.pair, rng)
        for _ in range(copies)
        for row in examples.encoded
    ]
    targets = np.concatenate([examples.targets] * (copies + 1))
    return Examples((*examples.encoded, *altered), targets, examples.pad_id)


def _alter(
    row: Encoded,
    special: frozenset[int],
    mask_id: int | None,
    pair: bool,
    rng: np.random.Generator,
) -> Encoded:
    ids = np.array(row.ids)
    free = np.flatnonzero(~np.isin(ids, list(special)))
    if mask_id is not None and len(free):
        ids[free[rng.random(len(free)) < _MASKED]] = mask_id
    keep = np.ones(len(ids), bool)
    # A fragment of a pair could lose one of its two texts altogether.
    if not pair and len(free) > _SHORTEST_FRAGMENT and rng.random() < _FRAGMENT:
        length = int(rng.integers(_SHORTEST_FRAGMENT, len(free) + 1))
        start = int(rng.integers(0, len(free) - length + 1))
        keep[free] = False
        keep[free[start : start + length]] = True
    types = np.array(row.type_ids)
    return Encoded(ids[keep].tolist(), types[keep].tolist(), row.truncated)
