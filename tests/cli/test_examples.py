"""The example data: enough rows, every label in every part, and no two messages alike."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from scipy import sparse

from paretext import demo

FOLDER = Path(__file__).parents[2] / "examples" / "tickets"
LEAST = {"train": 600, "validation": 100, "test": 200}
FEWEST_LABELS = 10
WORDS = range(2, 121)
MOST_ALIKE = 0.40


@cache
def rows(part: str) -> tuple[dict[str, str], ...]:
    text = (FOLDER / f"{part}.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.split("\n")[:-1])


def everything() -> list[dict[str, str]]:
    return [row for part in LEAST for row in rows(part)]


def test_the_demo_finds_them() -> None:
    assert demo.examples().samefile(FOLDER)


def test_every_row_has_a_text_and_a_label() -> None:
    for row in everything():
        assert list(row) == ["text", "label"], row
        assert len(row["text"].split()) in WORDS, row
        assert row["text"] == row["text"].strip(), row


def test_the_parts_are_large_enough_and_have_every_label() -> None:
    counts = {part: Counter(row["label"] for row in rows(part)) for part in LEAST}
    for part, least in LEAST.items():
        assert counts[part].total() >= least, part
        assert counts[part].keys() == counts["train"].keys(), part
    assert len(counts["train"]) >= FEWEST_LABELS


def test_the_readme_counts_right() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for part in LEAST:
        assert f"| `{part}.jsonl` | {len(rows(part)):,} |" in readme
    for label in {row["label"] for row in everything()}:
        assert f"| `{label}` |" in readme
    lengths = [len(row["text"].split()) for row in everything()]
    assert f"{len(lengths):,} messages" in readme
    assert f"between {min(lengths)} and {max(lengths)} words" in readme


def grams(text: str, size: int = 4) -> set[str]:
    """The character 4-grams of a text in lower case, its words one space apart."""
    plain = " ".join(text.lower().split())
    return {plain[i : i + size] for i in range(max(1, len(plain) - size + 1))}


def test_no_two_messages_are_alike() -> None:
    texts = [row["text"] for row in everything()]
    sets = [grams(text) for text in texts]
    places = {gram: i for i, gram in enumerate(sorted(set().union(*sets)))}
    indices = np.array([places[gram] for one in sets for gram in one])
    sizes = np.array([len(one) for one in sets])
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    shape = (len(sets), len(places))
    matrix = sparse.csr_array((np.ones(len(indices), np.float32), indices, bounds), shape=shape)
    shared = sparse.coo_array(matrix @ matrix.T)
    first, second = shared.coords
    alike = shared.data / (sizes[first] + sizes[second] - shared.data)
    found = [
        (round(float(share), 2), texts[i], texts[j])
        for i, j, share in zip(first, second, alike, strict=True)
        if i < j and share > MOST_ALIKE
    ]
    assert found == []
