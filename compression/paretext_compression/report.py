"""What was measured, for people: terminal, Markdown and HTML tables, Pareto charts, model cards.

Pure functions of manifests and host profiles. A speed that was not measured is never shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from pathlib import Path

from rich.table import Table
from rich.text import Text

from paretext_compression import pareto
from paretext_models.errors import InputError
from paretext_models.manifest import Estimate, Manifest, Measured
from paretext_models.profile import BucketProfile, HostProfile

NOT_MEASURED = "not measured"
REFERENCE = "fp32"
# Variants are compared at so many tokens, or at the most that they take.
_TOKENS = 64
_TERMINAL = 100
# A variant is called smaller or faster from these shares of the reference's size and p50 down.
_SMALLER, _FASTER = 0.99, 0.95
# Correlations are shown as they are, rates in percent.
_CORRELATIONS = ("pearson", "spearman")

# What a cell shows, what stands below it, and what it sorts by.
Cell = tuple[str, str, float | str | None]
_NONE: Cell = ("–", "", None)
_UNKNOWN: Cell = (NOT_MEASURED, "", None)


@dataclass(frozen=True)
class Row:
    """One variant of a report, with its profile on this host where there is one."""

    manifest: Manifest
    profile: HostProfile | None
    label: str = ""
    on_frontier: bool = False
    is_default: bool = False

    @property
    def variant(self) -> str:
        return self.manifest.variant

    @property
    def measured(self) -> Measured:
        return self.manifest.measured

    @property
    def speed(self) -> BucketProfile | None:
        """The latency that variants are compared by."""
        return self.at(min(_TOKENS, self.manifest.tokenizer.max_tokens))

    def at(self, tokens: int) -> BucketProfile | None:
        """What was measured at exactly so many tokens."""
        buckets = self.profile.buckets if self.profile else ()
        return next((bucket for bucket in buckets if bucket.tokens == tokens), None)


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
    known = [row for row in plain if _cost(row, timed)]
    best = pareto.frontier([(_cost(row, timed), row.measured.primary.value) for row in known])
    chosen = {known[i].variant for i in best}
    return sorted(
        (
            replace(row, label=_label(row, against), on_frontier=row.variant in chosen)
            for row in plain
        ),
        key=lambda row: (row.variant != REFERENCE, -_cost(row, timed), row.variant),
    )


def _cost(row: Row, timed: bool) -> float:
    """The chart's x: p50 in ms, or multiply-accumulates where no variant has one; 0 if unknown."""
    if timed:
        return row.speed.p50_ms if row.speed else 0.0
    return float(row.measured.macs)


def _label(row: Row, against: Row | None) -> str:
    """What a variant helps on this host."""
    if against is None:
        return f"no {REFERENCE} to compare with"
    if row.variant == REFERENCE:
        return "baseline"
    smaller = row.measured.bytes_on_disk < _SMALLER * against.measured.bytes_on_disk
    mine, its = row.speed, against.speed
    if mine is None or its is None or _host(row) != _host(against) or mine.tokens != its.tokens:
        return f"{'smaller' if smaller else 'not smaller'}; speed {NOT_MEASURED}"
    if mine.p50_ms <= _FASTER * its.p50_ms:
        return "faster and smaller" if smaller else "faster, not smaller"
    return "smaller, not faster" if smaller else "neither smaller nor faster"


def _host(row: Row) -> str:
    conditions = row.profile.host if row.profile else {}
    cores, device = conditions.get("cores", "?"), conditions.get("device", "cpu")
    named = f"{conditions.get('cpu', 'unknown CPU')}, {cores} core{'s' * (cores != '1')}"
    return named if device == "cpu" else f"{named}, {device}"


def terminal_table(shown: Sequence[Row]) -> Table:
    """One model's table, readable at 100 columns."""
    title = shown[0].manifest.model if shown else None
    table = Table(title=title, caption=_caption(shown), box=None, padding=(0, 1, 0, 0))
    used = _columns(shown)
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
        used = _columns(of_model, full=True)
        lines = [[_joined(column.heading, column.below) for column in used], ["---"] * len(used)]
        lines += [[md(_joined(*column.cell(row)[:2])) for column in used] for row in of_model]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"## {md(model)}\n\n{table}\n\n{md(_caption(of_model))}\n")
    return "\n".join(parts)


def html(shown: Sequence[Row]) -> str:
    """One page, without external assets: a chart and a sortable table for each model."""
    parts = []
    for model, group in groupby(shown, key=lambda row: row.manifest.model):
        of_model = list(group)
        chart = pareto.svg(*_chart(of_model))
        used = _columns(of_model, full=True)
        head = "".join(
            f"<th><button>{escape(column.heading)}</button><small>{escape(column.below)}</small>"
            for column in used
        )
        body = "\n".join(
            f"<tr>{''.join(_html_cell(column.cell(row)) for column in used)}" for row in of_model
        )
        parts.append(
            f"<h2>{escape(model)}</h2>\n{chart}\n<div><table><thead><tr>{head}</thead>\n"
            f"<tbody>{body}</tbody></table></div><p>{escape(_caption(of_model))}</p>"
        )
    return pareto.page("\n".join(parts))


def png(shown: Sequence[Row], file: Path) -> None:
    """One model's chart as a picture.

    Raises:
        InputError: there is nothing to draw.
    """
    if not shown:
        raise InputError(f"{file.name}: no variants to draw")
    pareto.png(*_chart(shown), file)


def _chart(shown: Sequence[Row]) -> tuple[list[pareto.Point], pareto.Texts]:
    timed = any(row.speed for row in shown)
    points = [_point(row, _cost(row, timed)) for row in shown if _cost(row, timed)]
    left_out = [row.variant for row in shown if not _cost(row, timed)]
    metric, model = shown[0].measured.primary.name, shown[0].manifest.model
    hosts = sorted({_host(row) for row in shown if row.profile})
    lengths = sorted({row.speed.tokens for row in shown if row.speed})
    x = f"p50 latency, ms at {', '.join(map(str, lengths))} tokens, one text on one core"
    if not timed:
        x = f"multiply-accumulates per text of {shown[0].measured.macs_tokens} tokens"
    missing = f"   ·   {NOT_MEASURED}: {', '.join(left_out)}" if left_out else ""
    percent = "" if metric in _CORRELATIONS else ", %"
    return points, pareto.Texts(
        title=f"{model}: {metric} against {'latency' if timed else 'computation'}",
        subtitle=("; ".join(hosts) if timed else f"speed {NOT_MEASURED}") + missing,
        x=f"{x} (log scale)",
        y=f"{metric} on {shown[0].measured.primary.split}{percent}",
    )


def _point(row: Row, cost: float) -> pareto.Point:
    primary, size = row.measured.primary, row.measured.bytes_on_disk
    scale = 1.0 if primary.name in _CORRELATIONS else 100.0
    speed = f"p50 {_ms(cost)} ms" if row.speed else f"{pareto.si(cost)} MACs"
    interval = _estimate(primary)
    return pareto.Point(
        name=row.variant,
        cost=cost,
        value=primary.value * scale,
        low=min(primary.ci95) * scale,
        high=max(primary.ci95) * scale,
        size=size,
        on_frontier=row.on_frontier,
        title=f"{row.variant}: {primary.name} {interval[0]} ({interval[1]}), {speed}, "
        f"{_bytes(size)}, {row.label}",
    )


def _columns(shown: Sequence[Row], *, full: bool = False) -> list[Column]:
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
    return *_estimate(row.measured.primary), row.measured.primary.value


def _agreement(row: Row) -> Cell:
    agreement = row.measured.agreement
    return (*_estimate(agreement), agreement.value) if agreement else _NONE


def _difference(row: Row) -> Cell:
    paired = row.measured.paired
    if paired is None:
        return _NONE
    shown = _figure(row.measured.primary.name, paired.difference, "+")
    return shown, f"{paired.p_value:.2g}", paired.difference


def _size(row: Row) -> Cell:
    return _bytes(row.measured.bytes_on_disk), "", row.measured.bytes_on_disk


def _parameters(row: Row) -> Cell:
    return pareto.si(row.measured.parameters), "", row.measured.parameters


def _macs(row: Row) -> Cell:
    return pareto.si(row.measured.macs), f"{row.measured.macs_tokens} tokens", row.measured.macs


def _latency_at(tokens: int) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        found = row.at(tokens)
        return (_ms(found.p50_ms), _ms(found.p95_ms), found.p50_ms) if found else _UNKNOWN

    return cell


def _throughput(row: Row) -> Cell:
    if row.speed is None:
        return _UNKNOWN
    return f"{row.speed.texts_per_second:,.0f}", "", row.speed.texts_per_second


def _caption(shown: Sequence[Row]) -> str:
    """What the figures were measured on: the rows of the data, and this host."""
    primaries = [row.measured.primary for row in shown]
    parts = sorted({f"{each.split} (n = {each.n:,})" for each in primaries})
    unit = "" if any(each.name in _CORRELATIONS for each in primaries) else ", in percent"
    hosts = sorted({_host(row) for row in shown if row.profile})
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


def _estimate(estimate: Estimate) -> tuple[str, str]:
    low, high = (_figure(estimate.name, bound) for bound in estimate.ci95)
    dash = " to " if min(estimate.ci95) < 0 else "–"
    return _figure(estimate.name, estimate.value), f"{low}{dash}{high}"


def _figure(name: str, value: float, sign: str = "") -> str:
    if name in _CORRELATIONS:
        return f"{value:{sign}.3f}"
    return f"{value * 100:{sign}.1f}"


def _bytes(size: int) -> str:
    """Decimal units, as disks are sold and downloads are counted."""
    return f"{size / 1e6:.1f}\u00a0MB" if size >= 1e6 else f"{size / 1e3:.1f}\u00a0kB"


def _ms(value: float) -> str:
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _joined(figure: str, below: str) -> str:
    return f"{figure} ({below})" if below else figure


def _html_cell(cell: Cell) -> str:
    shown, below, key = cell
    small = f"<small>{escape(below)}</small>" if below else ""
    return f'<td data-key="{escape("" if key is None else str(key))}">{escape(shown)}{small}</td>'


def md(text: str) -> str:
    """Text as Markdown shows it literally, on one line."""
    line = re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", escape(" ".join(text.split()), quote=False))
    return re.sub(r"^([-+=]+)(?=\s|$)", r"\\\1", line)


def model_card(manifest: Manifest) -> str:
    """README.md of a variant: what it is, what was measured, how to use it. No speeds of any host.

    The card does not mention its own hash, so it can be written before the manifest is complete.
    """
    front = {
        "library_name": "onnxruntime",
        "pipeline_tag": "text-classification",
        "tags": ["onnx", "paretext", manifest.task.problem],
        "metrics": [manifest.measured.primary.name],
    }
    # JSON's strings and lists are YAML, too: nothing in a name can break out of them.
    matter = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    sections = {
        f"{manifest.model} / {manifest.variant}": _card_summary(manifest),
        "Measured": _card_measured(manifest),
        "Recall per class": _card_recall(manifest.measured.per_class_recall),
        "Intended use": _card_use(manifest),
        "Lineage": _card_lineage(manifest),
        "Files": _card_files(manifest),
    }
    body = "\n".join(
        f"{'##' if order else '#'} {md(title)}\n\n{text}\n"
        for order, (title, text) in enumerate(sections.items())
        if text
    )
    return f"---\n{matter}\n---\n\n{body}"


def _card_summary(manifest: Manifest) -> str:
    task = manifest.task
    kind = task.problem.replace("_", "-")
    unit = "pairs of texts" if task.pair else "single texts"
    some = ", ".join(md(label) for label in task.labels[:20])
    more = f", and {len(task.labels) - 20} more" if len(task.labels) > 20 else ""
    description = f"{md(manifest.description)}\n\n" if manifest.description else ""
    return (
        f"{description}A {md(manifest.architecture)} text classifier ({kind}) for {unit} of up to "
        f"{manifest.tokenizer.max_tokens} tokens, special tokens included. Labels: {some}{more}."
    )


def _card_measured(manifest: Manifest) -> str:
    measured = manifest.measured
    name = measured.primary.name
    estimates = [measured.primary, *measured.others, *filter(None, [measured.agreement])]
    unit = "" if name in _CORRELATIONS else ", %"
    lines = [f"| metric{unit} | value | 95 % CI | part | n |", "|---|---|---|---|---|"]
    for each in estimates:
        value, interval = _estimate(each)
        title = f"{each.name} with the teacher" if each is measured.agreement else each.name
        lines.append(f"| {md(title)} | {value} | {interval} | {md(each.split)} | {each.n} |")
    facts = [
        f"{measured.parameters:,} parameters; {measured.macs:,} multiply-accumulates for a text of "
        f"{measured.macs_tokens} tokens; {measured.bytes_on_disk:,} bytes on disk.",
        _card_batch(measured.batch_independent),
        f"Parity: before compression of the graph, the exported fp32 graph differed from the torch "
        f"network by at most {measured.parity.max_abs_difference:.2g} in a logit over "
        f"{measured.parity.inputs} inputs (spread of the logits: "
        f"{measured.parity.logit_spread:.3g}).",
    ]
    if measured.calibration_error is not None:
        facts.insert(0, f"Expected calibration error: {measured.calibration_error:.3f}.")
    bullets = "\n".join(f"- {fact}" for fact in [*_card_paired(measured), *facts])
    return "\n".join(lines) + f"\n\n{bullets}"


def _card_paired(measured: Measured) -> list[str]:
    """One sentence on the test against the teacher, where there was one."""
    paired, name = measured.paired, measured.primary.name
    if paired is None:
        return []
    unit = "" if name in _CORRELATIONS else " points"
    test = {"mcnemar_exact": "exact McNemar test", "paired_bootstrap": "paired bootstrap"}
    low, high = (_figure(name, bound, "+") for bound in paired.ci95)
    verdict = "no significant difference at the 5 % level, which does not prove that there is none"
    if paired.p_value < 0.05:
        verdict = f"a significant {'loss' if paired.difference < 0 else 'gain'} at the 5 % level"
    return [
        f"Against its teacher on the same {measured.primary.n:,} rows, {md(name)} differs by "
        f"{_figure(name, paired.difference, '+')}{unit} (95 % CI {low} to {high}; "
        f"{test[paired.method]}, p = {paired.p_value:.2g}): {verdict}."
    ]


def _card_batch(independent: bool) -> str:
    if independent:
        return "Answers did not change with the other texts of a batch, nor with padding."
    return (
        "**Answers can change with the other texts of a batch.** Run one text at a time to get "
        "the answers that were measured."
    )


def _card_recall(recall: dict[str, float]) -> str:
    if not recall:
        return ""
    lines = [f"| {md(label)} | {value * 100:.1f} |" for label, value in recall.items()]
    return "\n".join(["| label | recall, % |", "|---|---|", *lines])


def _card_use(manifest: Manifest) -> str:
    what = "pairs of texts" if manifest.task.pair else "texts"
    text = (
        f"Classifying {what} like those it was trained and measured on; the figures above say "
        f"nothing about other texts. Serve it with `paretext serve STORE`."
    )
    if not {"config.json", "tokenizer.json"} <= manifest.files.keys():
        return text
    arguments = '"a text", "its pair"' if manifest.task.pair else '"a text"'
    limits = f"truncation=True, max_length={manifest.tokenizer.max_tokens}"
    return text + (
        " Or, in this folder, with optimum:\n\n```python\n"
        "from optimum.onnxruntime import ORTModelForSequenceClassification\n"
        "from transformers import AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained(".")\n'
        f'model = ORTModelForSequenceClassification.from_pretrained(".", '
        f"file_name={manifest.plan.file!r})\n"
        f'logits = model(**tokenizer({arguments}, return_tensors="pt", {limits})).logits\n```'
    )


def _card_lineage(manifest: Manifest) -> str:
    lineage = manifest.lineage
    steps = [_card_step(step) for step in lineage.recipe.get("steps", ())]
    steps = steps or ["none: the teacher, exported as it is"]
    elsewhere = "; the teacher was trained elsewhere" if lineage.teacher_trained_elsewhere else ""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(lineage.versions.items()))
    facts = [
        f"Made from {md(lineage.parent)} (sha256 {lineage.parent_sha256[:12]}){elsewhere}.",
        f"Seed {lineage.seed}." + (f" Built with {md(versions)}." if versions else ""),
        *(
            f"Data, {md(part)}: {used.rows:,} rows (sha256 {used.sha256[:12]})."
            for part, used in lineage.data.items()
        ),
    ]
    numbered = "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))
    return "\n".join(f"- {fact}" for fact in facts) + f"\n\nSteps of the recipe:\n\n{numbered}"


def _card_step(step: dict[str, object]) -> str:
    given = ", ".join(f"{key} = {json.dumps(step[key])}" for key in step if key != "method")
    return md(_joined(str(step.get("method", "?")), given))


def _card_files(manifest: Manifest) -> str:
    names = sorted({*manifest.files, "manifest.json"} - {"README.md"})
    return "\n".join(f"- {md(name)}" for name in names)
