"""Figures as people read them: percentages and intervals, sizes, times, and text in Markdown."""

from __future__ import annotations

import re
from html import escape

from paretext_models.manifest import Estimate

NOT_MEASURED = "not measured"
# Correlations are shown as they are, rates in percent.
CORRELATIONS = ("pearson", "spearman")


def with_interval(estimate: Estimate) -> tuple[str, str]:
    """The value, and its 95 % interval."""
    low, high = (figure(estimate.name, bound) for bound in estimate.ci95)
    dash = " to " if min(estimate.ci95) < 0 else "–"
    return figure(estimate.name, estimate.value), f"{low}{dash}{high}"


def figure(name: str, value: float, sign: str = "") -> str:
    """A value of the metric `name`; `sign="+"` for a difference."""
    if name in CORRELATIONS:
        return f"{value:{sign}.3f}"
    return f"{value * 100:{sign}.1f}"


def file_size(size: int) -> str:
    """Decimal units, as disks are sold and downloads are counted."""
    return f"{size / 1e6:.1f}\u00a0MB" if size >= 1e6 else f"{size / 1e3:.1f}\u00a0kB"


def milliseconds(value: float) -> str:
    """A time in ms to about three digits."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def si(number: float) -> str:
    """A number to three digits with k, M or G where it is large."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g} {letter}"
    return f"{number:.3g}"


def joined(shown: str, below: str) -> str:
    """A cell of two lines on one."""
    return f"{shown} ({below})" if below else shown


def md(text: str) -> str:
    """Text as Markdown shows it literally, on one line."""
    line = re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", escape(" ".join(text.split()), quote=False))
    return re.sub(r"^([-+=]+)(?=\s|$)", r"\\\1", line)
