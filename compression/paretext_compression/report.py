"""What was measured, for people: the tables of a report in the terminal and in Markdown.

Pure functions of manifests and host profiles. A speed that was not measured is never shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from rich.table import Table
from rich.text import Text

from paretext_compression import pareto
from paretext_compression.figures import (
    CORRELATIONS,
    NOT_MEASURED,
    figure,
    file_size,
    joined,
    md,
    milliseconds,
    si,
    with_interval,
)
from paretext_compression.row import Row
from paretext_models.manifest import Manifest
from paretext_models.profile import HostProfile

__all__ = ["Cell", "Column", "Row", "caption", "columns", "markdown", "rows", "terminal_table"]

REFERENCE = "fp32"
_TERMINAL = 100
# A variant is called smaller or faster from these shares of the reference's size and p50 down.
_SMALLER, _FASTER = 0.99, 0.95

# What a cell shows, what stands below it, and what it sorts by.
Cell = tuple[str, str, float | str | None]
_NONE: Cell = ("–", "", None)
_UNKNOWN: Cell = (NOT_MEASURED, "", None)


@dataclass(frozen=True)
class Column:
    """One column of a table: its heading, what stands below that, and its cells."""

    heading: str
    below: str
    cell: Callable[[Row], Cell]


def rows(
    variants: Sequence[tuple[Manifest, HostProfile | None]], default: str | None = None
) -> list[Row]:
    """The rows of one model's report: the reference first, then from costly to cheap.

    Args:
        variants: the manifests of one model, each with its profile on this host if there is one.
        default: the variant that answers where a request names none.
    """
    plain = [Row(*pair, is_default=pair[0].variant == default) for pair in variants]
    against = next((row for row in plain if row.variant == REFERENCE), None)
    timed = any(row.speed for row in plain)
    known = [row for row in plain if row.cost(timed=timed)]
    best = pareto.frontier([(row.cost(timed=timed), row.measured.primary.value) for row in known])
    chosen = {known[i].variant for i in best}
    return sorted(
        (
            replace(row, label=_label(row, against), on_frontier=row.variant in chosen)
            for row in plain
        ),
        key=lambda row: (row.variant != REFERENCE, -row.cost(timed=timed), row.variant),
    )


def _label(row: Row, against: Row | None) -> str:
    """What a variant helps on this host."""
    if against is None:
        return f"no {REFERENCE} to compare with"
    if row.variant == REFERENCE:
        return "baseline"
    smaller = row.measured.bytes_on_disk < _SMALLER * against.measured.bytes_on_disk
    mine, its = row.speed, against.speed
    if mine is None or its is None or row.host != against.host or mine.tokens != its.tokens:
        return f"{'smaller' if smaller else 'not smaller'}; speed {NOT_MEASURED}"
    if mine.p50_ms <= _FASTER * its.p50_ms:
        return "faster and smaller" if smaller else "faster, not smaller"
    return "smaller, not faster" if smaller else "neither smaller nor faster"


def terminal_table(shown: Sequence[Row]) -> Table:
    """One model's table, readable at 100 columns."""
    title = shown[0].manifest.model if shown else None
    table = Table(title=title, caption=caption(shown), box=None, padding=(0, 1, 0, 0))
    used = columns(shown)
    for column, width in zip(used, _widths(used, shown), strict=True):
        heading = f"{column.heading}\n{column.below}".rstrip()
        table.add_column(heading, overflow="fold", width=width)
    for row in shown:
        table.add_row(*(_terminal_cell(column.cell(row)) for column in used))
    return table


def _widths(used: Sequence[Column], shown: Sequence[Row]) -> list[int | None]:
    """Figures keep to one line; names get what 100 columns leave; the last column wraps freely."""
    middle = []
    for column in used[1:-1]:
        lines = [*column.heading.split(), column.below]
        for row in shown:
            lines += column.cell(row)[:2]
        middle.append(max(len(line.replace("not ", "")) for line in lines))
    left = _TERMINAL - sum(middle) - len(used) - len("smaller,")
    return [max(8, min(left, max((len(row.variant) for row in shown), default=8))), *middle, None]


def _terminal_cell(cell: Cell) -> Text:
    """A `Text` is taken as it is; a bare string would be read as rich's markup."""
    return Text.assemble(cell[0], (f"\n{cell[1]}" if cell[1] else "", "dim"))


def markdown(shown: Sequence[Row]) -> str:
    """The tables of one or several models."""
    parts = []
    for model, group in groupby(shown, key=lambda row: row.manifest.model):
        of_model = list(group)
        used = columns(of_model, full=True)
        lines = [[joined(column.heading, column.below) for column in used], ["---"] * len(used)]
        lines += [[md(joined(*column.cell(row)[:2])) for column in used] for row in of_model]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"## {md(model)}\n\n{table}\n\n{md(caption(of_model))}\n")
    return "\n".join(parts)


def columns(shown: Sequence[Row], *, full: bool = False) -> list[Column]:
    """The columns for one model's rows: a latency for each length that was measured."""
    lengths = sorted({b.tokens for row in shown if row.profile for b in row.profile.buckets})
    speeds = [Column(f"ms @ {tokens}", "p50/p95", _latency_at(tokens)) for tokens in lengths]
    speeds += [Column("texts/s", "", _throughput)]
    work = [Column("parameters", "", _parameters), Column("MACs", "", _macs)]
    metric = shown[0].measured.primary.name if shown else "accuracy"
    return [
        Column("variant", "", _name),
        Column(metric, "95 % CI", _primary),
        Column("vs teacher", "paired p", _difference),
        Column("agreement", "95 % CI", _agreement),
        Column("size", "", _size),
        *(speeds if lengths else [Column("latency", "", lambda _: _UNKNOWN)]),
        Column(f"beside {REFERENCE}", "", lambda row: (row.label, "", row.label)),
        *(work if full else []),
    ]


def _name(row: Row) -> Cell:
    notes = ["frontier"] * row.on_frontier + ["default"] * row.is_default
    return row.variant, ", ".join(notes), row.variant


def _primary(row: Row) -> Cell:
    return *with_interval(row.measured.primary), row.measured.primary.value


def _agreement(row: Row) -> Cell:
    agreement = row.measured.agreement
    return (*with_interval(agreement), agreement.value) if agreement else _NONE


def _difference(row: Row) -> Cell:
    paired = row.measured.paired
    if paired is None:
        return _NONE
    shown = figure(row.measured.primary.name, paired.difference, "+")
    return shown, f"{paired.p_value:.2g}", paired.difference


def _size(row: Row) -> Cell:
    return file_size(row.measured.bytes_on_disk), "", row.measured.bytes_on_disk


def _parameters(row: Row) -> Cell:
    return si(row.measured.parameters), "", row.measured.parameters


def _macs(row: Row) -> Cell:
    return si(row.measured.macs), f"{row.measured.macs_tokens} tokens", row.measured.macs


def _latency_at(tokens: int) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        found = row.at(tokens)
        return (
            (milliseconds(found.p50_ms), milliseconds(found.p95_ms), found.p50_ms)
            if found
            else _UNKNOWN
        )

    return cell


def _throughput(row: Row) -> Cell:
    if row.speed is None:
        return _UNKNOWN
    return f"{row.speed.texts_per_second:,.0f}", "", row.speed.texts_per_second


def caption(shown: Sequence[Row]) -> str:
    """What the figures were measured on: the rows of the data, and this host."""
    primaries = [row.measured.primary for row in shown]
    parts = sorted({f"{each.split} (n = {each.n:,})" for each in primaries})
    unit = "" if any(each.name in CORRELATIONS for each in primaries) else ", in percent"
    hosts = sorted({row.host for row in shown if row.profile})
    lengths = sorted({row.speed.tokens for row in shown if row.speed})
    tokens = f" at {', '.join(map(str, lengths))} tokens"
    speed = f"{NOT_MEASURED} on this host"
    if hosts:
        speed = f"one text per run and core on {'; '.join(hosts)}; texts/s on all cores{tokens}"
    axis = f"p50{tokens}" if lengths else "multiply-accumulates"
    return (
        f"Measured on {', '.join(parts)}{unit}. Latency: {speed}. "
        f"Frontier: point estimates against {axis}."
    )
