"""A scatter chart as one scene, drawn as inline SVG or, by matplotlib, as PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from paretext_compression.figures import si

WIDTH, HEIGHT = 960, 600
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 936, 84, 512
_LARGEST_RADIUS = 24.0
# Colour roles, on light and on dark paper. The PNG is light.
PALETTE = {
    "paper": ("#ffffff", "#14171c"),
    "ink": ("#1b2330", "#e7eaf0"),
    "muted": ("#5b6675", "#9aa5b4"),
    "grid": ("#e4e8ee", "#2a303a"),
    "accent": ("#1f6fd6", "#63a6ff"),
    "other": ("#8a94a3", "#7d8796"),
}


@dataclass(frozen=True)
class Point:
    """One variant: what it costs, what it scores with its interval, and what it weighs (bytes)."""

    name: str
    cost: float
    value: float
    low: float
    high: float
    size: int
    on_frontier: bool
    title: str


@dataclass(frozen=True)
class Texts:
    """What is written around the chart."""

    title: str
    subtitle: str
    x: str
    y: str
    note: str = "marker area: size on disk   ·   bars: 95 % confidence   ·   line: Pareto frontier"


@dataclass(frozen=True)
class Line:
    points: tuple[tuple[float, float], ...]
    role: str
    width: float = 1.0
    dash: bool = False


@dataclass(frozen=True)
class Disc:
    x: float
    y: float
    radius: float
    role: str
    filled: bool
    title: str


@dataclass(frozen=True)
class Label:
    x: float
    y: float
    text: str
    role: str = "muted"
    size: float = 13.0
    anchor: str = "start"
    bold: bool = False
    upright: bool = False


Shape = Line | Disc | Label
Box = tuple[float, float, float, float]


def svg(points: Sequence[Point], texts: Texts) -> str:
    """The chart as an SVG element. Its colours are variables that the page sets."""
    shapes = "\n".join(_svg_shape(shape) for shape in _scene(points, texts))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(texts.title)}">\n'
        f"{shapes}\n</svg>"
    )


def png(points: Sequence[Point], texts: Texts, file: Path) -> None:
    """The chart as a picture of 1200 x 750 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A figure of its own, apart from pyplot: no global state, and no display is looked for.
    figure = Figure(figsize=(8, 5), dpi=150, facecolor=PALETTE["paper"][0])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.set_axis_off()
    for order, shape in enumerate(_scene(points, texts)):
        _draw(axes, shape, order)
    FigureCanvasAgg(figure).print_png(str(file))


def _scene(points: Sequence[Point], texts: Texts) -> Iterator[Shape]:
    """Everything in the chart, back to front, in units of a WIDTH x HEIGHT canvas, y downwards."""
    centre = (_LEFT + _RIGHT) / 2
    yield Label(_LEFT, 34, texts.title, "ink", 19, bold=True)
    yield Label(_LEFT, 58, texts.subtitle)
    yield Label(centre, _BOTTOM + 46, texts.x, "ink", 14, "middle")
    yield Label(34, (_TOP + _BOTTOM) / 2, texts.y, "ink", 14, "middle", upright=True)
    yield Label(centre, HEIGHT - 14, texts.note, size=12, anchor="middle")
    if not points:
        yield Label(centre, _TOP + 60, "nothing measured yet", "ink", 15, "middle")
        return
    logs = _widened([math.log10(point.cost) for point in points], 0.1, least=0.12)
    values = _widened([bound for point in points for bound in (point.low, point.high)], 0.08, 1e-3)
    x, y = _scale(*logs, _LEFT, _RIGHT), _scale(*values, _BOTTOM, _TOP)
    yield from _grid(logs, values, x, y)
    places = [(x(math.log10(point.cost)), y(point.value)) for point in points]
    edge = _steps([place for place, point in zip(places, points, strict=True) if point.on_frontier])
    yield Line(edge, "accent", 1.6)
    bars = [
        ((left, y(point.low)), (left, y(point.high)))
        for point, (left, _) in zip(points, places, strict=True)
    ]
    largest = max(point.size for point in points) or 1
    radii = [max(3.5, _LARGEST_RADIUS * math.sqrt(point.size / largest)) for point in points]
    for point, place, bar, radius in zip(points, places, bars, radii, strict=True):
        role = "accent" if point.on_frontier else "other"
        yield Line(bar, role, 1.2)
        yield Disc(*place, radius, role, point.on_frontier, point.title)
    taken = [
        (min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)
        for line in (*bars, edge)
        for a, b in pairwise(line)
    ]
    yield from _names(points, places, radii, taken)


def _widened(numbers: Sequence[float], share: float, least: float) -> tuple[float, float]:
    margin = max(share * (max(numbers) - min(numbers)), least)
    return min(numbers) - margin, max(numbers) + margin


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda number: start + (number - low) / (high - low) * (end - start)


def _grid(
    logs: tuple[float, float],
    values: tuple[float, float],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> Iterator[Shape]:
    for cost in log_ticks(10 ** logs[0], 10 ** logs[1]):
        left = x(math.log10(cost))
        yield Line(((left, _TOP), (left, _BOTTOM)), "grid")
        yield Label(left, _BOTTOM + 20, si(cost), anchor="middle")
    for value in ticks(*values):
        yield Line(((_LEFT, y(value)), (_RIGHT, y(value))), "grid")
        yield Label(_LEFT - 8, y(value) + 4.5, f"{value:.6g}", anchor="end")
    yield Line(((_LEFT, _TOP), (_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)), "muted")


def ticks(low: float, high: float) -> list[float]:
    """Four to nine round values between two bounds, low < high."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round values for a logarithmic axis, from 0 < low to high: 1-2-5, or closer where few fit."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        found = [float(f"{digit}e{power}") for power in powers for digit in digits]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 4:
            return found
    return [value for value in ticks(low, high) if value > 0]


def _steps(places: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The best value within each cost: level until the next point of the frontier."""
    line: list[tuple[float, float]] = []
    for x, y in sorted(places, key=lambda place: (place[0], -place[1])):
        if line:
            line.append((x, line[-1][1]))
        line.append((x, y))
    return (*line, (float(_RIGHT), line[-1][1])) if line else ()


def _names(
    points: Sequence[Point],
    places: Sequence[tuple[float, float]],
    radii: Sequence[float],
    taken: list[Box],
) -> Iterator[Shape]:
    """Names beside their markers, each where it covers least; far ones are tied by a line."""
    taken += [(x - r, y - r, x + r, y + r) for (x, y), r in zip(places, radii, strict=True)]
    # Variants on the frontier choose first.
    for i in sorted(range(len(points)), key=lambda i: not points[i].on_frontier):
        (x, y), name = places[i], points[i].name
        gap, box = min(
            _candidates(x, y, radii[i], 8.2 * len(name)),
            key=lambda candidate: candidate[0] + sum(_shared(candidate[1], box) for box in taken),
        )
        taken.append(box)
        if gap > 10:
            near = (min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3]))
            yield Line(((x, y), near), "muted", 0.8, dash=True)
        yield Label((box[0] + box[2]) / 2, box[3] - 4.5, name, "ink", anchor="middle", bold=True)


def _candidates(x: float, y: float, radius: float, width: float) -> list[tuple[float, Box]]:
    """Boxes around a marker with their distance: right, left, above, below, then corners."""
    found = []
    for gap in (4.0, 20.0, 40.0, 64.0, 90.0):
        for dx, dy in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)):
            reach = (radius + gap) * (0.75 if dx and dy else 1.0)
            cx, cy = x + dx * (reach + width / 2), y + dy * (reach + 8)
            box = (cx - width / 2, cy - 8, cx + width / 2, cy + 8)
            if box[0] > _LEFT and box[2] < WIDTH and _TOP < cy < _BOTTOM - 10:
                found.append((gap, box))
    return found or [(0.0, (x - width / 2, y - 8, x + width / 2, y + 8))]


def _shared(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _svg_shape(shape: Shape) -> str:
    colour = f"var(--{shape.role})"
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        stroke = f'stroke="{colour}" stroke-width="{shape.width}"'
        dash = ' stroke-dasharray="3 3"' if shape.dash else ""
        return f'<polyline points="{points}" fill="none" {stroke}{dash}/>'
    if isinstance(shape, Disc):
        fill = colour if shape.filled else "var(--paper)"
        return (
            f'<circle cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{shape.radius:.1f}" fill="{fill}" '
            f'fill-opacity=".35" stroke="{colour}" stroke-width="1.6">'
            f"<title>{escape(shape.title)}</title></circle>"
        )
    turn = f' transform="rotate(-90 {shape.x:.1f} {shape.y:.1f})"' if shape.upright else ""
    return (
        f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" fill="{colour}" font-size="{shape.size}" '
        f'text-anchor="{shape.anchor}" font-weight="{600 if shape.bold else 400}"{turn}>'
        f"{escape(shape.text)}</text>"
    )


def _draw(axes: Any, shape: Shape, order: int) -> None:
    """One shape on matplotlib axes that have the scene's units."""
    from matplotlib.patches import Circle

    colour = PALETTE[shape.role][0]
    if isinstance(shape, Line):
        xs, ys = zip(*shape.points, strict=True)
        style = (0, (3, 3)) if shape.dash else "-"
        axes.plot(xs, ys, color=colour, lw=shape.width * 0.7, ls=style, zorder=order)
    elif isinstance(shape, Disc):
        face = (colour if shape.filled else PALETTE["paper"][0], 0.35)
        at = (shape.x, shape.y)
        axes.add_patch(Circle(at, shape.radius, fc=face, ec=colour, lw=1.1, zorder=order))
    else:
        side = {"start": "left", "middle": "center", "end": "right"}[shape.anchor]
        # Without parse_math, a `$` would start a formula. Sizes: 72 points or 120 units an inch.
        axes.text(
            shape.x, shape.y, shape.text, color=colour, ha=side, va="baseline", zorder=order,
            fontsize=shape.size * 0.6, fontweight="bold" if shape.bold else "normal",
            rotation=90 if shape.upright else 0, rotation_mode="anchor", parse_math=False,
        )  # fmt: skip
