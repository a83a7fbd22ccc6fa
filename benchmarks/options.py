"""What the scripts here share at their edge: checked options, and errors without a traceback."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

from paretext_models.errors import Fault, FaultsError, ParetextError
from paretext_models.store import Store, StoredVariant

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "tickets"
RESULTS = ROOT / "benchmarks" / "results"


def count(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number of at least 1")
    return int(text)


def amount(text: str) -> float:
    """A finite number above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0")
    return value


def amount_or_none(text: str) -> float:
    """A finite number of at least 0, for argparse."""
    return 0.0 if text.strip() in ("0", "0.0") else amount(text)


def words(text: str) -> tuple[str, ...]:
    """Names separated by commas, for argparse."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def counts(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 1, separated by commas, for argparse."""
    return tuple(count(word) for word in words(text))


def load_variant(store: Path, model: str, variant: str) -> StoredVariant:
    """A variant of a store, its files verified.

    Raises:
        FaultsError: the store, the model or the variant is not there; it names those there are.
        StoreError: the variant is damaged.
    """
    opened = Store(store)
    if model not in (there := opened.models()):
        _refuse("--model", model, there, store)
    if variant not in (there := tuple(sorted(opened.pointer(model).variants))):
        _refuse("--variant", variant, there, store)
    return opened.load(model, variant)


def ending_well(main: Callable[[], None]) -> None:
    """Run a script's `main`; errors become a message and the exit code 1 or 2."""
    try:
        main()
    except ParetextError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse(option: str, value: str, there: tuple[str, ...], store: Path) -> None:
    expected = f"one of {', '.join(there)}" if there else "a store that was built"
    raise FaultsError(str(store), [Fault(option, value, expected)])
