"""Cutting parts from labelled rows: stratified by label, and decided by a hash of the text."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretext_models.errors import Fault, FaultsError


@dataclass(frozen=True)
class _Group:
    """Rows with the same text, which stay together: a text never stands in two parts.

    `stratum` and `digest` are those of the row whose digest is the smallest. `labels` are of all
    rows, one entry for each time.
    """

    digest: bytes
    stratum: int
    rows: tuple[int, ...]
    labels: tuple[int, ...]


def cut(
    where: str,
    inputs: Sequence[tuple[str, str]],
    targets: NDArray[Any],
    wanted: Mapping[str, int],
) -> tuple[dict[str, list[int]], list[int]]:
    """Which rows go to parts of the wanted sizes, and which are the `rest`.

    Membership follows from the texts and labels alone, not from the order of the rows.

    Args:
        where: what to call the rows in an error.
        inputs: each row's text and second text.
        targets: as in `Rows`.

    Returns: the indices of each part's rows, ascending; the labels that are only in the rest.

    Raises:
        FaultsError: there are too few rows for a part.
    """
    groups = _grouped(inputs, targets)
    left = Counter(label for group in groups for label in group.labels)
    whole = left.copy()
    parts = {}
    for name, count in wanted.items():
        taken, groups = _taken(groups, max(1, count), left)
        if not taken:
            raise FaultsError(where, [Fault("rows", len(inputs), f"more rows, to cut {name} from")])
        parts[name] = sorted(i for group in taken for i in group.rows)
    parts["rest"] = sorted(i for group in groups for i in group.rows)
    return parts, [label for label in sorted(whole) if wanted and left[label] == whole[label]]


def _taken(
    groups: Sequence[_Group], wanted: int, left: Counter[int]
) -> tuple[list[_Group], list[_Group]]:
    """Groups of about `wanted` rows in total, in proportion to the strata, and the others.

    A second round takes from any stratum, where one had no group small enough. `left`, the rows
    of each label among the others, is kept up to date; no label is taken whole.
    """
    quotas = _quotas(groups, wanted)
    chosen: set[int] = set()
    for proportional in (True, False):
        for i, group in enumerate(groups):
            size = len(group.rows)
            room = min(wanted, quotas[group.stratum]) if proportional else wanted
            if size > room or i in chosen or not _may_go(group, left):
                continue
            chosen.add(i)
            wanted -= size
            quotas[group.stratum] -= size
            left.subtract(group.labels)
    others = [group for i, group in enumerate(groups) if i not in chosen]
    return [groups[i] for i in sorted(chosen)], others


def _may_go(group: _Group, left: Counter[int]) -> bool:
    """Whether each of its labels keeps a row elsewhere."""
    return all(left[label] > times for label, times in Counter(group.labels).items())


def _quotas(groups: Sequence[_Group], wanted: int) -> dict[int, int]:
    """Rows to take of each stratum: its share, rounded so that they add up (largest remainder)."""
    sizes: Counter[int] = Counter()
    for group in groups:
        sizes[group.stratum] += len(group.rows)
    shares = {stratum: divmod(wanted * size, sizes.total()) for stratum, size in sizes.items()}
    quotas = {stratum: whole for stratum, (whole, _) in shares.items()}
    by_remainder = sorted(shares, key=lambda stratum: (-shares[stratum][1], stratum))
    for stratum in by_remainder[: wanted - sum(quotas.values())]:
        quotas[stratum] += 1
    return quotas


def _grouped(inputs: Sequence[tuple[str, str]], targets: NDArray[Any]) -> list[_Group]:
    """The groups in the order of their digests."""
    labels = _labels_of(targets)
    strata = _strata(targets, labels)
    same: dict[str, list[tuple[bytes, int, int]]] = {}
    for i, (text, pair) in enumerate(inputs):
        digest = hashlib.sha256(f"{text}\x1f{pair}".encode()).digest()
        same.setdefault(text, []).append((digest, strata[i], i))
    groups = [
        _Group(
            *min(members)[:2],
            tuple(i for *_, i in members),
            tuple(one for *_, i in members for one in labels[i]),
        )
        for members in same.values()
    ]
    return sorted(groups, key=lambda group: group.digest)


def _labels_of(targets: NDArray[Any]) -> list[tuple[int, ...]]:
    """Each row's class indices; a regression is one class."""
    if targets.ndim == 2:
        return [tuple(np.flatnonzero(row).tolist()) for row in targets]
    classes = targets if targets.dtype == np.int64 else np.zeros(len(targets), np.int64)
    return [(label,) for label in classes.tolist()]


def _strata(targets: NDArray[Any], labels: Sequence[tuple[int, ...]]) -> list[int]:
    """Each row's class; the rarest of several, -1 for none; a regression's quartile."""
    if targets.dtype != np.int64 and targets.ndim == 1:
        quartiles = np.quantile(targets, (0.25, 0.5, 0.75))
        return np.searchsorted(quartiles, targets, side="right").tolist()
    rows = Counter(label for row in labels for label in row)
    return [min(row, key=lambda label: (rows[label], label), default=-1) for row in labels]
