"""Reading labelled data in every format, and its faults by name."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from paretext_compression.data import load
from tiny_data import Row, message, numbered, write_jsonl

# Formats


def write(folder: Path, kind: str, rows: list[Row]) -> str:
    file = folder / f"train.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        return str(folder)
    plain = folder / "plain"
    if kind.startswith("csv"):
        with plain.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        plain.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    content = plain.read_bytes()
    file.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    return str(folder)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("labels", [("no", "yes"), (0, 1, 2), (0.5, 1.0, 3.0, 2.25)])
def test_every_format_gives_the_same_data(tmp_path: Path, kind: str, labels: Any) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
    rows = [{**row, "id": "x"} for row in numbered(60, labels)]
    data = load(write(tmp_path / "one", kind, rows))
    expected = load(write_jsonl(tmp_path / "other", train=rows))
    assert data.task == expected.task
    assert data.parts() == expected.parts()


def test_texts_keep_their_control_characters(tmp_path: Path) -> None:
    odd = ["a\u2028b", "a\x85b", "a\rb", "a\x1cb", 'a\n"b", c', "ends\ufeff"]
    rows = [{"text": f"{text} {i}", "label": i % 2} for i, text in enumerate(odd * 10)]
    source = write_jsonl(tmp_path, train=rows)
    (tmp_path / "train.jsonl").write_bytes(
        b"\xef\xbb\xbf" + (tmp_path / "train.jsonl").read_bytes()
    )
    data = load(source)
    parts = (data.train, data.tune, data.calibration, data.report)
    texts = {text for part in parts for text in part.texts}
    assert texts == {row["text"] for row in rows}


def test_a_csv_text_may_be_long_and_the_limit_of_the_csv_module_stays(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    rows = [{"text": f"{i}" + "x" * 200_000, "label": i % 2} for i in range(10)]
    assert len(load(write(tmp_path, "csv", rows)).train) == 6
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("cell", ["a|b", '["a", "b"]'])
def test_csv_holds_several_labels_as_a_list_or_between_bars(tmp_path: Path, cell: str) -> None:
    cells = [cell, "a", "[]"] * 10
    data = load(
        write(tmp_path, "csv", [{"text": f"{i}", "labels": c} for i, c in enumerate(cells)])
    )
    assert data.task.problem == "multi_label"
    assert data.task.labels == ("a", "b")
    assert data.train.targets.dtype == np.float32
    both, first, none = ([1, 1], [1, 0], [0, 0])
    wanted = {f"{i}": (both, first, none)[i % 3] for i in range(30)}
    assert data.train.targets.tolist() == [wanted[text] for text in data.train.texts]


def test_a_hub_data_set_gives_its_class_names(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["good", "bad"])}
    )
    rows = {"text": [f"text {i}" for i in range(40)], "label": [i % 2 for i in range(40)]}
    split = datasets.Dataset.from_dict(rows, features=features)
    asked = []

    def load_dataset(*name: Any) -> dict[str, datasets.Dataset]:
        asked.append(name)
        return {"train": split, "validation": split.select(range(4)), "other": split}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = load("hub:someone/films:plain")
    assert asked == [("someone/films", "plain")]
    assert data.task.labels == ("bad", "good")
    assert data.report.targets.tolist() == [1, 0, 1, 0]
    assert "4 rows of train also stand in validation" in data.notes
    renamed = split.rename_column("text", "sentence")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: {"train": renamed})
    assert "split train: columns: got ['sentence', 'label']" in message("hub:films")


def test_a_hub_error_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any) -> None:
        raise ConnectionError("no way there")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert message("hub:films") == "hub:films: cannot be loaded: no way there"
    assert "expected hub:NAME" in message("hub:")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: {"test": None})
    assert "no split train; there is: test" in message("hub:films")


# Faults


GOOD = '{"text": "fine", "label": "yes"}\n{"text": "poor", "label": "no"}\n'


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("jsonl", "", "0 rows"),
        ("jsonl", '{"text": "a"}\n', "columns: got ['text'], expected `text`, and one of `label`"),
        ("jsonl", '{"sentence": "a", "label": 1}\n', "columns: got ['sentence', 'label']"),
        ("jsonl", '{"text": "a", "label": 1, "labels": [1]}', "one of `label` and `labels`"),
        ("jsonl", GOOD + '{"text": " ", "label": "yes"}', "line 3, text: got ' ', expected a text"),
        ("jsonl", GOOD + '{"text": 5, "label": "yes"}', "line 3, text: got 5, expected a string"),
        ("jsonl", GOOD + '{"label": "yes"}', "line 3, text: got None, expected a string"),
        ("jsonl", GOOD + '{"text": "\\ud800", "label": "yes"}', "line 3, text: got '\\ud800'"),
        ("jsonl", GOOD + '{"text": "a"}', "line 3, label: got None, expected a string"),
        ("jsonl", GOOD + '{"text": "a", "label": 3}', "line 3, label: got 3, expected a string"),
        ("jsonl", GOOD + '{"text": "a", "label": ["yes"]}', "`labels` may hold lists"),
        ("jsonl", '{"text": "a", "label": NaN}', "line 1, label: got nan, expected a finite"),
        ("jsonl", '{"text": "a", "label": true}', "line 1, label: got True, expected a finite"),
        ("jsonl", '{"text": "a", "labels": "yes"}', "line 1, labels: got 'yes', expected a list"),
        ("jsonl", '{"text": "a", "labels": [0.0, 1.0]}', "got 0.0, expected a whole number"),
        ("jsonl", GOOD + "\n{oops}", "line 4: got '{oops}', expected a JSON object (Expecting"),
        ("jsonl", GOOD + "[1]", "line 3: got '[1]', expected a JSON object"),
        ("jsonl", GOOD + "[" * 100_000, "line 3: got '[[["),
        ("jsonl", GOOD + '{"text": "a", "text": "b"}', "key 'text' stands twice"),
        ("jsonl", GOOD + '{"text": "a", "text_pair": "b", "label": "no"}', "line 1, text_pair"),
        ("jsonl", '{"text": "a", "label": "x"}', "label: got 'x', expected at least 2 different"),
        ("jsonl", GOOD.encode("utf-16"), "line 1: got byte 0xff, expected UTF-8"),
        ("jsonl", GOOD.encode() + "é".encode("latin-1"), "line 3: got byte 0xe9"),
        ("jsonl.gz", GOOD, "cannot be read: Not a gzipped file"),
        ("jsonl.gz", gzip.compress(GOOD.encode())[:-9], "cannot be read"),
        ("parquet", GOOD, "not a Parquet file"),
        ("csv", "", "0 rows"),
        ("csv", "text,label\n", "0 rows"),
        ("csv", "text;label\na;b\n", "columns: got ['text;label']"),
        ("csv", "text,label,label\na,b,c\n", "columns: got 'label', expected each name once"),
        ("csv", 'text,label\n"a\nb",x\nc,y,z\n', "line 4: got '3 fields', expected 2 fields"),
        ("csv", "text,label\na\n", "line 2: got '1 fields', expected 2 fields"),
        ("csv", 'text,label\na,b\n"c,d\n', "line 3: not a row of CSV: unexpected end of data"),
        ("csv", "text,label\na,x\nb,\n", "line 3, label: got None, expected a string"),
        ("csv", "text,label\na,0.5\nb,nan\n", "line 3, label: got nan, expected a finite"),
        ("csv", "text,labels\na,x|y\nb,[1\n", "line 3, labels: got '[1', expected a list"),
    ],
)
def test_a_faulty_file_is_named_with_its_fault(
    tmp_path: Path, kind: str, content: str | bytes, expected: str
) -> None:
    file = tmp_path / f"train.{kind}"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    told = message(str(tmp_path))
    assert str(file) in told
    assert expected in told


def test_a_label_that_train_lacks_is_named(tmp_path: Path) -> None:
    rows = [*numbered(4), {"text": "odd", "label": "maybe"}]
    told = message(write_jsonl(tmp_path, train=numbered(40), test=rows))
    assert "test.jsonl" in told
    assert "line 5, label: got 'maybe', expected a label of train: no, yes" in told


def test_ten_faults_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    told = message(write_jsonl(tmp_path, train=[{"text": "", "label": "a"}] * 25))
    assert told.count("line ") == 10
    assert told.endswith("and 15 more")


def test_what_is_missing_or_doubled_is_named(tmp_path: Path) -> None:
    assert "expected a folder" in message(str(tmp_path / "nowhere"))
    assert "there is: nothing" in message(str(tmp_path))
    source = write_jsonl(tmp_path, train=numbered(40))
    assert "problem: got 'ranking'" in message(source, problem="ranking")
    assert "a column `labels` instead of `label`" in message(source, problem="multi_label")
    assert "line 1, label: got 'no', expected a number" in message(source, problem="regression")
    assert "each once" in message(source, labels=("no", "yes", "no"))
    assert "expected a label of train: a, b" in message(source, labels=["a", "b", "no"][:2])
    (tmp_path / "train.csv").write_text("text,label\n")
    assert "train.jsonl and train.csv, expected one file" in message(source)


def test_parts_must_have_the_same_columns(tmp_path: Path) -> None:
    pairs = [{**row, "text_pair": "b"} for row in numbered(4)]
    told = message(write_jsonl(tmp_path, train=numbered(40), test=pairs))
    assert "got label and text_pair, expected label as in train" in told
