from __future__ import annotations

import io
import random
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paretext_compression import card, chart, page, pareto, report
from paretext_compression.row import Row
from paretext_models.errors import InputError
from paretext_models.manifest import Lineage, Manifest, Task, TokenizerSpec
from paretext_models.profile import BucketProfile, HostProfile
from tiny_store import LABELS, tiny_manifest, write_graph, write_tokenizer

Make = Callable[..., Manifest]
HOSTILE = "<script>alert(1)</script>|`x` *b*\n# y"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    write_tokenizer(tmp_path / "tokenizer.json")
    write_graph(tmp_path / "model.onnx", len(LABELS))
    (tmp_path / "config.json").write_text("{}")

    def manifest(variant: str, size: int = 1000, measured: Any = None, **changes: Any) -> Manifest:
        made = tiny_manifest(
            tmp_path, "tiny", variant, **{"tokenizer": TokenizerSpec(max_tokens=256)} | changes
        )
        figures = made.measured.model_copy(update={"bytes_on_disk": size, **(measured or {})})
        return made.model_copy(update={"measured": figures})

    return manifest


def profile(p50: float, tokens: tuple[int, ...] = (16, 64, 128), cpu: str = "a CPU") -> HostProfile:
    buckets = tuple(
        BucketProfile(
            tokens=count, p50_ms=p50 * count / 64, p95_ms=p50 * count / 32, p99_ms=p50 * count / 16,
            runs=200, texts_per_second=777,
        )
        for count in tokens
    )  # fmt: skip
    host = {"cpu": cpu, "cores": "2", "device": "cpu"}
    return HostProfile(host=host, load_seconds=1, resident_bytes=1, buckets=buckets)


def terminal(shown: list[Row]) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(report.terminal_table(shown))
    return out.getvalue()


def test_frontier_equals_the_definition_on_random_points_with_ties() -> None:
    rng = random.Random(0)
    for _ in range(300):
        points = [(rng.randint(0, 6), rng.randint(0, 6)) for _ in range(rng.randint(0, 12))]
        naive = {
            i
            for i, (cost, value) in enumerate(points)
            if not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
        }
        assert pareto.frontier(points) == naive


@pytest.mark.parametrize(
    ("size", "p50", "label"),
    [
        (500, 5.0, "faster and smaller"),
        (500, 9.5, "faster and smaller"),
        (500, 9.6, "smaller, not faster"),
        (500, 30.0, "smaller, not faster"),
        (1000, 5.0, "faster, not smaller"),
        (1000, 10.0, "neither smaller nor faster"),
    ],
)
def test_the_label_says_what_a_variant_helps(make: Make, size: int, p50: float, label: str) -> None:
    pairs = [(make("fp32"), profile(10.0)), (make("other", size), profile(p50))]
    shown = {row.variant: row.label for row in report.rows(pairs)}
    assert shown == {"fp32": "baseline", "other": label}


@pytest.mark.parametrize(
    "other", [None, profile(1.0, tokens=(16,)), profile(1.0, cpu="another CPU")]
)
def test_speeds_that_cannot_be_compared_are_not(make: Make, other: HostProfile | None) -> None:
    shown = report.rows([(make("fp32"), profile(10.0)), (make("int8", 300), other)])
    assert shown[1].label == "smaller; speed not measured"


def test_without_fp32_nothing_is_called_faster(make: Make) -> None:
    (row,) = report.rows([(make("int8"), profile(1.0))])
    assert row.label == "no fp32 to compare with"


def test_a_latency_that_was_not_measured_is_never_shown(make: Make) -> None:
    shown = report.rows([(make("fp32"), profile(10.0)), (make("int8"), profile(3.0, (16,)))])
    int8 = next(line for line in report.markdown(shown).splitlines() if "| int8" in line)
    assert int8.split(" | ").count("not measured") == 3  # at 64 and 128 tokens, and the throughput
    assert "777" not in int8
    assert not next(row for row in shown if row.variant == "int8").on_frontier
    for text in (report.markdown(shown[1:]), terminal(shown[1:])):
        assert "12.0" not in text  # what 16 tokens would suggest for 64


def test_short_variants_are_compared_at_the_most_they_take(make: Make) -> None:
    short = TokenizerSpec(max_tokens=32)
    pairs = [
        (make(name, size, tokenizer=short), profile(p50, (16, 32)))
        for name, size, p50 in (("fp32", 1000, 8.0), ("int8", 400, 4.0))
    ]
    shown = report.rows(pairs)
    assert shown[1].label == "faster and smaller"
    assert "p50 at 32 tokens" in " ".join(report.markdown(shown).split())


def test_frontier_and_order_go_by_latency_where_there_is_one(make: Make) -> None:
    pairs = [
        (make("slow-bad", accuracy=0.80), profile(12.0)),
        (make("fast", accuracy=0.85), profile(1.0)),
        (make("unmeasured", accuracy=0.99), None),
        (make("fp32", accuracy=0.90), profile(10.0)),
    ]
    shown = report.rows(pairs, default="fast")
    assert [row.variant for row in shown] == ["fp32", "slow-bad", "fast", "unmeasured"]
    assert [row.variant for row in shown if row.on_frontier] == ["fp32", "fast"]
    assert [row.variant for row in shown if row.is_default] == ["fast"]
    assert "not measured: unmeasured" in page.html(shown)


def test_without_any_profile_the_chart_shows_computation_and_says_so(make: Make) -> None:
    shown = report.rows([(make("fp32", measured={"macs": 5_000_000}), None), (make("a"), None)])
    text = page.html(shown)
    assert "multiply-accumulates per text of 128 tokens" in text
    assert "p50 latency" not in text
    assert {row.label for row in shown} == {"baseline", "not smaller; speed not measured"}


def test_terminal_table_fits_100_columns_uncropped(make: Make) -> None:
    names = ["fp32", "distilled-3-int8", "n" * 64]
    pairs: list[tuple[Manifest, HostProfile | None]] = [
        (make(name, 23_100_000), profile(1234.5 / (i + 1))) for i, name in enumerate(names)
    ]
    text = terminal(report.rows([*pairs, (make("exits"), None)], default="fp32"))
    assert max(map(len, text.splitlines())) <= 100
    for word in ("distilled-3-int8", "88.0–92.0", "23.1", "baseline", "faster", "measured"):
        assert word in text
    assert text.count("n") >= 64


def test_markup_in_names_is_shown_literally(make: Make) -> None:
    manifest = make("fp32").model_copy(update={"variant": "[red]x[/]"})
    assert "[red]x[/]" in terminal(report.rows([(manifest, profile(1.0))]))


def test_html_is_well_formed_escaped_and_self_contained(make: Make) -> None:
    bad = make("fp32").model_copy(update={"model": HOSTILE, "variant": HOSTILE})
    text = page.html(report.rows([(bad, profile(1.0, cpu=HOSTILE)), (make("b"), None)]))
    tags: list[str] = []
    links: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            links.extend(value or "" for key, value in attrs if key in ("src", "href"))

    Reader().feed(text)
    assert tags.count("script") == 1  # the page's own
    assert not links
    assert "http" not in text
    svg = text[text.index("<svg") : text.index("</svg>") + 6]
    titles = [node.text or "" for node in ElementTree.fromstring(svg).iter("title")]
    assert len(titles) == 1
    assert "alert(1)" in titles[0]


def test_html_has_a_section_for_each_model(make: Make) -> None:
    other = make("fp32").model_copy(update={"model": "other"})
    shown = report.rows([(make("fp32"), None)]) + report.rows([(other, None)])
    assert page.html(shown).count("<svg") == 2
    assert report.markdown(shown).count("\n## ") + 1 == 2


def test_markdown_cells_cannot_break_the_table(make: Make) -> None:
    bad = make("fp32").model_copy(update={"variant": HOSTILE})
    lines = report.markdown(report.rows([(bad, None)])).splitlines()
    row = next(line for line in lines if "alert" in line)
    assert "<script>" not in row
    assert row.replace(r"\|", "").count("|") == lines[2].count("|")


def test_marker_areas_are_proportional_to_sizes() -> None:
    points = [
        chart.Point(name, 1.0, 0.9, 0.8, 0.95, size, True, name)
        for name, size in (("a", 4_000_000), ("b", 1_000_000))
    ]
    svg = ElementTree.fromstring(chart.svg(points, chart.Texts("t", "s", "x", "y")))
    large, small = (float(node.attrib["r"]) for node in svg.iter("circle"))
    assert large / small == pytest.approx(2.0)


def test_labels_do_not_overlap() -> None:
    points = [
        chart.Point(f"variant-{i}", 10 + i / 9, 90 + i / 5, 88, 93, 10**6 * (i + 1), i == 8, "")
        for i in range(9)
    ]
    names = {point.name for point in points}
    scene = chart._scene(points, chart.Texts("t", "s", "x", "y"))
    labels = [s for s in scene if isinstance(s, chart.Label) and s.text in names]
    assert {label.text for label in labels} == names
    boxes = [(s.x - 4 * len(s.text), s.y - 12, s.x + 4 * len(s.text), s.y + 4) for s in labels]
    for i, box in enumerate(boxes):
        assert not any(chart._shared(box, other) for other in boxes[i + 1 :])
        assert box[0] >= 0
        assert box[2] <= chart.WIDTH


@pytest.mark.parametrize(
    ("low", "high"), [(0.1, 0.12), (3.1, 14.2), (0.0, 1.0), (-0.2, 0.9), (80, 99.5), (1e-4, 5e9)]
)
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = chart.ticks(low, high)
    assert 3 <= len(found) <= 9
    assert all(low <= tick <= high for tick in found)
    if low > 0:
        assert all(low <= tick <= high for tick in chart.log_ticks(low, high))
        assert len(chart.log_ticks(low, high)) >= 2


@pytest.mark.parametrize("measured", [True, False])
def test_png_has_the_promised_size(make: Make, tmp_path: Path, measured: bool) -> None:
    file = tmp_path / "chart.png"
    known = profile(1.0, cpu="$a CPU$") if measured else None
    pareto.png(report.rows([(make("fp32"), known), (make("int8"), known)]), file)
    assert struct.unpack(">II", file.read_bytes()[16:24]) == (1200, 750)


def test_no_variants_give_empty_tables_and_a_named_error(tmp_path: Path) -> None:
    assert "<svg" not in page.html([])
    assert report.markdown([]) == ""
    assert terminal([])
    with pytest.raises(InputError, match=r"chart\.png: no variants"):
        pareto.png([], tmp_path / "chart.png")


def test_model_card_states_the_figures_and_their_doubt(make: Make) -> None:
    text = card.model_card(
        make(
            "int8",
            accuracy=0.88,
            p_value=0.03,
            measured={"batch_independent": False, "per_class_recall": {"a|b": 0.5}},
            task=Task(problem="single_label", labels=LABELS, pair=True),
            lineage=Lineage(
                parent="parent", parent_sha256="a" * 64, data={}, seed=7, versions={"torch": "2"},
                recipe={"steps": [{"method": "quantization.dynamic", "bits": 8}]},
            ),
        )
    )  # fmt: skip
    for part in (
        "| accuracy | 88.0 | 86.0–90.0 | test | 1000 |",
        "differs by -2.0 points (95 % CI -4.0 to +0.0; exact McNemar test, p = 0.03): "
        "a significant loss",
        "Answers can change with the other texts of a batch",
        r"| a\|b | 50.0 |",
        "quantization.dynamic (bits = 8)",
        "Seed 7",
        'pipeline_tag: "text-classification"',
        'tokenizer("a text", "its pair", return_tensors="pt", truncation=True, max_length=256)',
    ):
        assert part in text
    assert "license" not in text
    compile(text.split("```python")[1].split("```")[0], "card", "exec")


def test_model_card_escapes_and_does_not_depend_on_itself(make: Make) -> None:
    plain = make("fp32", description=HOSTILE)
    text = card.model_card(plain)
    assert "<script>" not in text
    assert "\n# y" not in text
    with_card = plain.model_copy(update={"files": {**plain.files, "README.md": "0" * 64}})
    assert card.model_card(with_card) == text
    assert " ms" not in text
