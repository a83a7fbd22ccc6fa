"""A benchmark's record: what was measured, where, and with which versions, as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from paretext_models import host

_PACKAGES = (
    "paretext", "onnxruntime", "tokenizers", "fastapi", "uvicorn", "torch", "transformers",
    "scikit-learn", "numpy",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """The host and the versions. Call it first: the load average tells whether others were busy."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": host.cpu_model(),
        "instruction_sets": list(host.instruction_sets()),
        "cores": host.cores(),
        "load_average_before": load,
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> dict[str, Any]:
    """Ours over theirs, measured in turns: the ratio of the medians, and that of each pair."""
    first, second = list(ours), list(theirs)
    return {
        "ratio": quotient(median(first), median(second)),
        "pairs": [quotient(a, b) for a, b in zip(first, second, strict=True)],
    }


def quotient(a: float, b: float) -> float | None:
    """a / b to four digits; None where b is 0, that is, where nothing was answered."""
    return float(f"{a / b:.4g}") if b else None


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a record, its floats cut to five digits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(_short(content), indent=1) + "\n", encoding="utf-8")
    print(f"written: {file}")


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
