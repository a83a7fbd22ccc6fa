"""Problems and labels that follow from the data, and the parts that are cut."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretext_compression.data import LabelledData, Rows, load
from tiny_data import Row, message, numbered, write_jsonl

ROLES = ("train", "tune", "calibration", "report")


def texts_by_role(data: LabelledData) -> dict[str, set[str]]:
    return {role: set(getattr(data, role).texts) for role in ROLES}


def sizes(data: LabelledData) -> tuple[int, ...]:
    return tuple(part.rows for part in data.parts().values())


# Labels and problems


@pytest.mark.parametrize(
    ("values", "problem", "labels"),
    [
        (("b", "a"), "single_label", ("a", "b")),
        ((10, 9, 1), "single_label", ("1", "9", "10")),
        ((1.0, 2.0), "single_label", ("1", "2")),
        (("10", "9"), "single_label", ("9", "10")),
        ((1, 2.5), "regression", ("score",)),
    ],
)
def test_problem_and_label_order_follow_from_train(
    tmp_path: Path, values: Any, problem: str, labels: tuple[str, ...]
) -> None:
    task = load(write_jsonl(tmp_path, train=numbered(60, values))).task
    assert (task.problem, task.labels, task.pair) == (problem, labels, False)


def test_whole_numbers_can_be_a_regression(tmp_path: Path) -> None:
    data = load(write_jsonl(tmp_path, train=numbered(40, (1, 2, 5))), problem="regression")
    assert data.task.labels == ("score",)
    assert data.train.targets.dtype == np.float32
    assert set(data.train.targets.tolist()) == {1.0, 2.0, 5.0}


def test_a_teachers_labels_set_the_order(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path, train=numbered(40, (0, 1)))
    data = load(source, labels=("low", "high", "never"))
    assert data.task.labels == ("low", "high", "never")
    assert data.notes[0] == "train has no rows of never"
    assert data.train.targets.tolist() == [int(text.split()[1]) % 2 for text in data.train.texts]
    assert set(load(source, labels=("1", "0")).train.targets[:1].tolist()) == {1}
    assert "got 2, expected a label of train: low" in message(
        write_jsonl(tmp_path, test=numbered(3, (0, 1, 2))), labels=("low", "high")
    )


# Parts


@pytest.mark.parametrize(
    ("given", "elsewhere", "split", "expected"),
    [
        ({"validation": 100, "test": 50}, False, "test", (900, 100, 100, 50)),
        ({"test": 50}, False, "test", (800, 100, 100, 50)),
        ({"validation": 100}, False, "validation", (800, 100, 100, 100)),
        ({}, False, "test", (600, 100, 100, 200)),
        ({"validation": 100, "test": 50}, True, "test", (1000, 50, 50, 50)),
        ({"validation": 100}, True, "validation", (900, 100, 50, 50)),
    ],
)
def test_sizes_of_the_parts(
    tmp_path: Path, given: dict[str, int], elsewhere: bool, split: str, expected: tuple[int, ...]
) -> None:
    held = {part: numbered(n, start=10_000 * n) for part, n in given.items()}
    source = write_jsonl(tmp_path, train=numbered(1000), **held)
    data = load(source, trained_elsewhere=elsewhere)
    assert sizes(data) == expected
    assert (data.report_split, data.trained_elsewhere) == (split, elsewhere)
    assert any("20 %" in note for note in data.notes) == (not given)
    for role in ROLES:
        rows = getattr(data, role)
        assert np.bincount(rows.targets).tolist() == [len(rows) // 2] * 2
    seen = texts_by_role(data)
    assert len(set.union(*seen.values())) == sum(expected)


def test_a_teacher_trained_elsewhere_needs_held_out_rows(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path, train=numbered(40))
    assert "held out" in message(source, trained_elsewhere=True)


def test_calibration_has_at_most_2000_rows(tmp_path: Path) -> None:
    data = load(write_jsonl(tmp_path, train=numbered(21_000), test=numbered(2, start=99_000)))
    assert sizes(data) == (16_900, 2100, 2000, 2)


def test_rows_that_train_shares_are_noted_and_kept(tmp_path: Path) -> None:
    data = load(write_jsonl(tmp_path, train=numbered(40), test=numbered(4, start=38)))
    assert data.notes == ("2 rows of train also stand in test",)
    assert len(data.report) == 4


def test_a_small_class_stays_in_train(tmp_path: Path) -> None:
    rows = [*numbered(98), *({"text": f"rare {i}", "label": f"r{i}"} for i in range(2))]
    data = load(write_jsonl(tmp_path, train=rows))
    assert set(data.train.targets.tolist()) == {0, 1, 2, 3}
    assert data.notes[-1].endswith("too few rows to be cut of r0, r1")
    assert "to cut calibration from" in message(write_jsonl(tmp_path, train=numbered(2)))


def random_rows(rng: random.Random, problem: str) -> list[Row]:
    """Rows of a skewed task with many repeated texts, some of them labelled both ways."""
    rows: list[Row] = []
    for _ in range(rng.randint(60, 400)):
        row: Row = {"text": f"text {int(rng.paretovariate(0.4)) % 300}"}
        row["text_pair"] = f"pair {rng.randint(0, 3)}"
        label = min(9, int(rng.expovariate(0.7)))
        if problem == "multi_label":
            row["labels"] = sorted({label, rng.randint(0, 9)})[: rng.randint(0, 2)]
        else:
            row["label"] = rng.gauss(0, 1) if problem == "regression" else label
        rows.append(row)
    return rows


@pytest.mark.parametrize("problem", ["single_label", "multi_label", "regression"])
@pytest.mark.parametrize("seed", range(15))
def test_parts_share_no_text_and_ignore_the_order(tmp_path: Path, problem: Any, seed: int) -> None:
    rng = random.Random(seed)
    rows = random_rows(rng, problem)
    data = load(write_jsonl(tmp_path, train=rows), problem=problem)
    again = load(write_jsonl(tmp_path, train=rows), problem=problem)
    assert data.parts() == again.parts()
    shuffled = load(write_jsonl(tmp_path, train=rng.sample(rows, len(rows))), problem=problem)

    def content(rows: Rows) -> Counter[Any]:
        return Counter(zip(rows.inputs(), map(str, rows.targets.tolist()), strict=True))

    for role in ROLES:
        assert content(getattr(data, role)) == content(getattr(shuffled, role))
    assert sum(sizes(data)) == len(rows)
    assert sum(map(len, texts_by_role(data).values())) == len({row["text"] for row in rows})
    if problem == "multi_label":
        assert data.train.targets.any(axis=0).all()
    if problem == "single_label":
        assert set(data.train.targets.tolist()) == set(range(len(data.task.labels)))
    assert 0 < len(data.calibration) <= max(1, len(rows) // 10)


def test_a_regression_is_cut_over_its_whole_range(tmp_path: Path) -> None:
    data = load(write_jsonl(tmp_path, train=numbered(400, [i / 7 for i in range(400)])))
    quartiles = np.digitize(data.calibration.targets, [99.5 / 7, 199.5 / 7, 299.5 / 7])
    assert np.bincount(quartiles).tolist() == [10] * 4


def test_a_fingerprint_follows_content_and_order() -> None:
    rows = Rows(("a", "b"), None, np.array([0, 1]))
    assert rows.fingerprint() == Rows(("a", "b"), None, np.array([0, 1])).fingerprint()
    others = [
        rows.take([1, 0]),
        rows.take([0]),
        Rows(("a", "b"), None, np.array([1, 0])),
        Rows(("a", "b"), ("", ""), np.array([0, 1])),
        Rows(("a", "b"), None, np.array([0, 1], np.float32)),
    ]
    assert len({rows.fingerprint().sha256, *(one.fingerprint().sha256 for one in others)}) == 6
