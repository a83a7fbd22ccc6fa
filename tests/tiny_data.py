"""Small labelled data sets, written to a folder, and what `load` says of faulty ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from paretext_compression.data import load
from paretext_models.errors import InputError

Row = dict[str, Any]


def write_jsonl(folder: Path, **parts: Sequence[Row]) -> str:
    for part, rows in parts.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{part}.jsonl").write_bytes(text.encode())
    return str(folder)


def numbered(count: int, labels: Sequence[Any] = ("no", "yes"), start: int = 0) -> list[Row]:
    return [{"text": f"text {start + i}", "label": labels[i % len(labels)]} for i in range(count)]


def message(source: str, **options: Any) -> str:
    with pytest.raises(InputError) as raised:
        load(source, **options)
    return str(raised.value)
