"""The tables that the benchmarks print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_serving(record: dict[str, Any]) -> None:
    """Throughputs with their ratios, then starts and memory."""
    rows = [
        _serving_row(variant, connections, cell)
        for variant, found in record["variants"].items()
        for connections, cell in found["connections"].items()
    ]
    print_table(
        "requests a second; ratios are ours over theirs",
        ("variant", "connections", "served", "p50 ms", "p99 ms", "loop", "ratio",
         "pipeline", "ratio", "errors"),
        rows,
    )  # fmt: skip
    servers = {**record["variants"], **({"pipeline": p} if (p := record.get("pipeline")) else {})}
    print_table(
        "start to first answer, and memory",
        ("server", "seconds", "idle MB"),
        [
            (name, f"{one['first_answer_seconds']:.2f}", megabytes(one["idle_resident_bytes"]))
            for name, one in servers.items()
        ],
    )


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; all columns but the first are aligned right."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)


def megabytes(size: float) -> str:
    """Bytes as MB of 1,000,000."""
    return f"{size / 1e6:.0f}"


def _serving_row(variant: str, connections: str, cell: dict[str, Any]) -> tuple[str, ...]:
    served, loop, pipeline = cell["served"], cell["loop"], cell.get("pipeline")
    errors = sum(served["errors"].values())
    theirs = sum(pipeline["errors"].values()) if pipeline else 0
    return (
        variant,
        connections,
        f"{served['throughput']:.1f}",
        f"{served['p50_ms']:.1f}",
        f"{served['p99_ms']:.1f}",
        f"{loop['texts_per_second']:.1f}",
        _ratio(loop["ratio"]),
        f"{pipeline['throughput']:.1f}" if pipeline else "-",
        _ratio(pipeline["ratio"]) if pipeline else "-",
        f"{errors} / {theirs}",
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
