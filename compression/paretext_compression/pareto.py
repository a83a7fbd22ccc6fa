"""The Pareto frontier of a model's variants, and its chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paretext_compression import chart
from paretext_compression.figures import (
    CORRELATIONS,
    NOT_MEASURED,
    file_size,
    milliseconds,
    si,
    with_interval,
)
from paretext_compression.row import Row
from paretext_models.errors import InputError


def frontier(points: Sequence[tuple[float, float]]) -> frozenset[int]:
    """The indices of the points (cost, value) that no other one dominates.

    One point dominates another if it costs no more and scores no less, and differs in one of them.
    Equal points stand or fall together.
    """
    kept: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not kept or points[i][1] > points[kept[-1]][1] or points[i] == points[kept[-1]]:
            kept.append(i)
    return frozenset(kept)


def svg(shown: Sequence[Row]) -> str:
    """One model's chart as an SVG element in the colours of its page."""
    return chart.svg(*_scatter(shown))


def png(shown: Sequence[Row], file: Path) -> None:
    """One model's chart as a picture of 1200 x 750 pixels.

    Raises:
        InputError: there is nothing to draw.
    """
    if not shown:
        raise InputError(f"{file.name}: no variants to draw")
    chart.png(*_scatter(shown), file)


def _scatter(shown: Sequence[Row]) -> tuple[list[chart.Point], chart.Texts]:
    timed = any(row.speed for row in shown)
    points = [_point(row, cost) for row in shown if (cost := row.cost(timed=timed))]
    left_out = [row.variant for row in shown if not row.cost(timed=timed)]
    metric, model = shown[0].measured.primary.name, shown[0].manifest.model
    hosts = sorted({row.host for row in shown if row.profile})
    lengths = sorted({row.speed.tokens for row in shown if row.speed})
    x = f"p50 latency, ms at {', '.join(map(str, lengths))} tokens, one text on one core"
    if not timed:
        x = f"multiply-accumulates per text of {shown[0].measured.macs_tokens} tokens"
    missing = f"   ·   {NOT_MEASURED}: {', '.join(left_out)}" if left_out else ""
    percent = "" if metric in CORRELATIONS else ", %"
    return points, chart.Texts(
        title=f"{model}: {metric} against {'latency' if timed else 'computation'}",
        subtitle=("; ".join(hosts) if timed else f"speed {NOT_MEASURED}") + missing,
        x=f"{x} (log scale)",
        y=f"{metric} on {shown[0].measured.primary.split}{percent}",
    )


def _point(row: Row, cost: float) -> chart.Point:
    primary, size = row.measured.primary, row.measured.bytes_on_disk
    scale = 1.0 if primary.name in CORRELATIONS else 100.0
    speed = f"p50 {milliseconds(cost)} ms" if row.speed else f"{si(cost)} MACs"
    interval = with_interval(primary)
    return chart.Point(
        name=row.variant,
        cost=cost,
        value=primary.value * scale,
        low=min(primary.ci95) * scale,
        high=max(primary.ci95) * scale,
        size=size,
        on_frontier=row.on_frontier,
        title=f"{row.variant}: {primary.name} {interval[0]} ({interval[1]}), {speed}, "
        f"{file_size(size)}, {row.label}",
    )
