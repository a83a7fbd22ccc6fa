"""Labelled data: its parts, and how those that are missing are cut from the ones there are."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from paretext_compression.files import read_parts
from paretext_compression.parts import cut
from paretext_compression.table import LARGEST, RowFaultsError, Table
from paretext_models.errors import Fault, FaultsError
from paretext_models.manifest import DataPart, Problem, Task

_CALIBRATION_ROWS = 2000
_WHOLE = re.compile("-?(0|[1-9][0-9]{0,39})")


@dataclass(frozen=True, eq=False)
class Rows:
    """Texts and what is to be predicted of them.

    `targets`: int64 (n,) class indices; float32 (n, labels) of 0 and 1 for multi-label; float32
    (n,) values for a regression.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Rows:
        """The rows with these indices, in this order."""
        pairs = None if self.pairs is None else tuple(self.pairs[i] for i in rows)
        index = np.asarray(rows, np.int64)
        return Rows(tuple(self.texts[i] for i in rows), pairs, self.targets[index])

    def inputs(self) -> list[tuple[str, str]]:
        """Each row's text and second text, which is empty where there is none."""
        return list(zip(self.texts, self.pairs or [""] * len(self), strict=True))

    def fingerprint(self) -> DataPart:
        """The number of rows, and the sha256 of their content in their order."""
        digest = hashlib.sha256(json.dumps([self.texts, self.pairs]).encode())
        digest.update(f"{self.targets.dtype.name} {self.targets.shape}".encode())
        digest.update(self.targets.astype(self.targets.dtype.newbyteorder("<")).tobytes())
        return DataPart(rows=len(self), sha256=digest.hexdigest())


@dataclass(frozen=True, eq=False)
class LabelledData:
    """The data as a build uses it.

    Only `report` is reported on; early stopping and recipe tuning look at `tune`, thresholds at
    `calibration`. `report_split` says what `report` was: `test` or `validation`.
    """

    task: Task
    train: Rows
    tune: Rows
    calibration: Rows
    report: Rows
    report_split: str
    trained_elsewhere: bool
    notes: tuple[str, ...]

    def parts(self) -> dict[str, DataPart]:
        """The fingerprint of each part."""
        names = ("train", "tune", "calibration", "report")
        return {name: getattr(self, name).fingerprint() for name in names}


def load(
    source: str,
    *,
    problem: Problem | None = None,
    labels: Sequence[str] | None = None,
    trained_elsewhere: bool = False,
) -> LabelledData:
    """Read labelled data, and cut the parts that it lacks.

    Args:
        source: a folder with train, validation and test files, or `hub:NAME[:CONFIG]`.
        problem: what is predicted; otherwise inferred from the labels of train.
        labels: a teacher's labels in the order of its logits; otherwise those of train, sorted.
        trained_elsewhere: the teacher may have seen all of train, so thresholds need other rows.

    Raises:
        InputError: the data cannot be read, is faulty, or lacks held-out rows.
    """
    if problem not in (None, *get_args(Problem)):
        raise _wrong("data", "problem", problem, f"one of {', '.join(get_args(Problem))}")
    tables = read_parts(source)
    names = tuple(labels or ())
    # A whole number is an index into names, unless the names are numbers themselves.
    indexed = () if any(map(_WHOLE.fullmatch, names)) else names
    task, absent = _task(tables["train"], problem or _inferred(tables["train"]), names, indexed)
    given = {part: _rows(table, task, indexed) for part, table in tables.items()}
    parts, split, notes = _assigned(source, given, task.labels, trained_elsewhere)
    return LabelledData(
        task,
        **parts,
        report_split=split,
        trained_elsewhere=trained_elsewhere,
        notes=(*absent, *_shared(given), *notes),
    )


def _wrong(where: str, field: str, value: object, expected: str) -> FaultsError:
    return FaultsError(where, [Fault(field, value, expected)])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _inferred(train: Table) -> Problem:
    if train.column == "labels":
        return "multi_label"
    fraction = any(isinstance(label, float) and label % 1 for (label,) in train.labels)
    return "regression" if fraction else "single_label"


def _name(label: str | int | float, indexed: Sequence[str]) -> str:
    """A label's name: 1 and 1.0 are "1", or the second of the `indexed` names."""
    if isinstance(label, str):
        return label
    if label % 1:
        return repr(label)
    return indexed[int(label)] if 0 <= label < len(indexed) else str(int(label))


def _task(
    train: Table, problem: Problem, labels: tuple[str, ...], indexed: tuple[str, ...]
) -> tuple[Task, tuple[str, ...]]:
    """The task, and a note on labels of the teacher that train lacks."""
    column = "labels" if problem == "multi_label" else "label"
    if train.column != column:
        expected = f"another problem, or a column `{column}` instead of `{train.column}`"
        raise _wrong(train.source, "problem", problem, expected)
    found = {_name(label, indexed) for row in train.labels for label in row}
    least = 1 if problem == "multi_label" else 2
    if len(found) < least:
        raise _wrong(train.source, column, ", ".join(found), f"at least {least} different ones")
    if problem == "regression":
        labels, absent = ("score",), []
    elif labels and (len(labels) < least or len(set(labels)) < len(labels)):
        raise _wrong("data", "labels", labels, f"at least {least} names, each once")
    else:
        absent = [name for name in labels if name not in found]
    names = labels or _ordered(found)
    task = Task(problem=problem, labels=names, pair=train.pairs is not None, threshold=0.5)
    return task, (f"train has no rows of {_listed(absent)}",) if absent else ()


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    """By value where all are whole numbers, else by spelling."""
    names = sorted(names)
    return tuple(sorted(names, key=int) if all(map(_WHOLE.fullmatch, names)) else names)


def _rows(table: Table, task: Task, indexed: Sequence[str]) -> Rows:
    regression = task.problem == "regression"
    known = {name: i for i, name in enumerate(task.labels)}
    read = _value if regression else lambda label: known.get(_name(label, indexed))
    expected = "a number" if regression else f"a label of train: {_listed(task.labels)}"
    rows = [[read(label) for label in labels] for labels in table.labels]
    faults = [
        table.fault(i, table.column, table.labels[i][position], expected)
        for i, row in enumerate(rows)
        for position, value in enumerate(row)
        if value is None
    ]
    if faults:
        raise RowFaultsError(table.source, faults)
    pairs = None if table.pairs is None else tuple(table.pairs)
    return Rows(tuple(table.texts), pairs, _targets(rows, task))


def _value(label: str | int | float) -> float | None:
    """A regression's value; a string may be one too, in a CSV file with others that are not."""
    try:
        value = float(label)
    except ValueError:
        return None
    return value if abs(value) <= LARGEST else None


def _targets(rows: Sequence[Sequence[Any]], task: Task) -> NDArray[Any]:
    if task.problem != "multi_label":
        kind = np.int64 if task.problem == "single_label" else np.float32
        return np.asarray(rows, kind)[:, 0]
    targets = np.zeros((len(rows), len(task.labels)), np.float32)
    for target, row in zip(targets, rows, strict=True):
        target[row] = 1
    return targets


def _shared(given: Mapping[str, Rows]) -> tuple[str, ...]:
    """Notes on inputs that stand in train and in a part that is to be new to the model."""
    train = Counter(given["train"].inputs())
    others = {part: set(rows.inputs()) for part, rows in given.items() if part != "train"}
    counts = {part: sum(train[one] for one in inputs) for part, inputs in others.items()}
    return tuple(f"{n} rows of train also stand in {part}" for part, n in counts.items() if n)


def _assigned(
    source: str, given: Mapping[str, Rows], labels: Sequence[str], trained_elsewhere: bool
) -> tuple[dict[str, Rows], str, tuple[str, ...]]:
    """Which rows serve as what, which split is reported on, and notes on the cuts."""
    train, validation, test = given["train"], given.get("validation"), given.get("test")
    split = "validation" if test is None and validation is not None else "test"
    parts: dict[str, Rows] = {}
    wanted: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    if not trained_elsewhere:
        wanted["calibration"] = min(_CALIBRATION_ROWS, len(train) // 10)
    elif validation is None:
        expected = (
            "rows held out from a teacher trained elsewhere, which may have seen all of train"
        )
        raise _wrong(source, "validation", None, expected)
    else:
        half = {"calibration": len(validation) // 2}
        parts, notes = _cut(f"{source}, validation", validation, half, labels)
        validation = parts.pop("rest")
    if validation is not None and test is not None:
        parts["tune"] = validation
    else:
        wanted["tune"] = len(train) // 10
    if (report := validation if test is None else test) is not None:
        parts["report"] = report
    else:
        wanted["report"] = len(train) // 5
        notes = ("no validation and no test: 20 % of train are cut to report on",)
    cuts, uncut = _cut(f"{source}, train", train, wanted, labels)
    parts |= cuts
    return parts | {"train": parts.pop("rest")}, split, (*notes, *uncut)


def _cut(
    where: str, rows: Rows, wanted: Mapping[str, int], labels: Sequence[str]
) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """Parts of the wanted sizes, and the `rest`; a note on labels that are only in the rest."""
    indices, uncut = cut(where, rows.inputs(), rows.targets, wanted)
    names = _listed([labels[label] for label in uncut])
    notes = (f"{where}: too few rows to be cut of {names}",) if uncut else ()
    return {name: rows.take(part) for name, part in indices.items()}, notes
