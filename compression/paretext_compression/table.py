"""One part of the data as it was read, and what is wrong with its rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from paretext_models.errors import Fault, FaultsError

LARGEST = 3.4e38  # what float32, and so a regression's target, can hold
_SHOWN = 10
_SURROGATE = re.compile("[\ud800-\udfff]")


class RowFaultsError(FaultsError):
    """Faulty rows of one part: the first ten, and how many more there are."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        super().__init__(source, faults[:_SHOWN])
        self.more = len(faults) - len(self.faults)

    def __str__(self) -> str:
        return super().__str__() + (f"\n  and {self.more} more" if self.more else "")


@dataclass(frozen=True)
class Table:
    """One part as it was read; None where a row has no value.

    `labels` holds each row's labels, a single one too (`column` says which it was). `numbers` are
    the rows' numbers for people, from 1: lines of a text file (`unit`), else rows.
    """

    source: str
    texts: list[Any]
    pairs: list[Any] | None
    labels: list[Any]
    column: str
    numbers: Sequence[int]
    unit: str

    def fault(self, row: int, column: str, value: object, expected: str) -> Fault:
        """A fault in a row (index from 0); a long value is cut."""
        shown = value if len(repr(value)) < 100 else f"{repr(value)[:80]}..."
        return Fault(f"{self.unit} {self.numbers[row]}, {column}", shown, expected)


def row_faults(table: Table) -> Iterator[Fault]:
    """Every value that is missing, of a wrong type, or out of range."""
    for name, column in (("text", table.texts), ("text_pair", table.pairs or [])):
        for row, value in enumerate(column):
            if expected := _text_wrong(value):
                yield table.fault(row, name, value, expected)
    known = [one for row in table.labels if isinstance(row, list) for one in row if one is not None]
    strings = 2 * sum(isinstance(label, str) for label in known) >= len(known)
    for row, labels in enumerate(table.labels):
        if not isinstance(labels, list):
            yield table.fault(row, "labels", labels, "a list of strings or whole numbers")
            continue
        for label in labels:
            if expected := _text_wrong(label) if strings else _number_wrong(label, table.column):
                one = "; a column `labels` may hold lists" if isinstance(label, list) else ""
                yield table.fault(row, table.column, label, expected + one)


def _text_wrong(value: object) -> str:
    """What was expected instead; empty where nothing is wrong."""
    if not isinstance(value, str):
        return "a string, in every row"
    if not value or value.isspace():
        return "a text that is not empty"
    return "valid Unicode, no lone surrogates" if _SURROGATE.search(value) else ""


def _number_wrong(value: Any, column: str) -> str:
    """What was expected instead; empty where nothing is wrong."""
    # A list of floats is a row of zeros and ones more often than a list of labels.
    kind = "finite" if column == "label" else "whole"
    number = isinstance(value, int if kind == "whole" else int | float)
    if number and not isinstance(value, bool) and abs(value) <= LARGEST:
        return ""
    return f"a {kind} number, in every row"
