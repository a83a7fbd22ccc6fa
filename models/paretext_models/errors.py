"""The errors a user can cause. Every entry point turns them into a message, never a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ParetextError(Exception):
    """Something failed for a reason that the message states in full."""

    exit_code = 1


class InputError(ParetextError):
    """What the user gave is wrong: data, model, recipe or option."""

    exit_code = 2


class StoreError(ParetextError):
    """A variant on disk is missing, damaged, or of a kind this version does not know."""


class TextError(ParetextError):
    """One text cannot be classified; the others of its request can.

    `code` is stable and part of the HTTP interface: `empty_text`, `text_too_long`, `invalid_text`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class MissingExtraError(ParetextError):
    """A command needs an optional part of the distribution that is not installed."""

    exit_code = 2

    def __init__(self, extra: str, missing: str | None = None) -> None:
        found = f"{missing} is not installed; " if missing else ""
        super().__init__(f"{found}install it with: pip install 'paretext[{extra}]'")


@dataclass(frozen=True)
class Fault:
    """One wrong value: where it stands, what it was, and what would have been right."""

    field: str
    value: object
    expected: str

    def __str__(self) -> str:
        return f"{self.field}: got {self.value!r}, expected {self.expected}"


class FaultsError(InputError):
    """Several wrong values, all of them named at once."""

    def __init__(self, what: str, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join([f"{what}:", *(f"  {fault}" for fault in self.faults)]))
