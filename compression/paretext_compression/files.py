"""Reading labelled data: files of a folder, or a data set of the hub, as checked tables."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paretext_compression.table import RowFaultsError, Table, row_faults
from paretext_models.errors import Fault, FaultsError, InputError, MissingExtraError

PARTS = ("train", "validation", "test")
COLUMNS = ("text", "text_pair", "label", "labels")
FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
HUB = "hub:"
# A leading zero marks a code, not a number: 007 and 7 are different labels.
_NUMBER = re.compile(
    r"[+-]?((0|[1-9][0-9]{0,39})(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,3})?|nan|[+-]?inf", re.I
)
_FIELD_LIMIT = 2**31 - 1  # the csv module's own, 128 KiB, is less than some documents have
_JSON = json.JSONDecoder(object_pairs_hook=lambda pairs: _without_duplicates(pairs))


def read_parts(source: str) -> dict[str, Table]:
    """The checked parts of a folder, or of `hub:NAME[:CONFIG]`; always with `train`.

    Raises:
        InputError: nothing to read there, or rows that are not as they should be.
    """
    tables = _read_hub(source) if source.startswith(HUB) else _read_folder(Path(source))
    train = tables["train"]
    for table in tables.values():
        if faults := list(row_faults(table)):
            raise RowFaultsError(table.source, faults)
        if table.column != train.column or (table.pairs is None) != (train.pairs is None):
            columns = [t.column + (" and text_pair" if t.pairs else "") for t in (table, train)]
            raise InputError(f"{table.source}: got {columns[0]}, expected {columns[1]} as in train")
    return tables


def _read_folder(folder: Path) -> dict[str, Table]:
    if not folder.is_dir():
        raise InputError(f"data: got {str(folder)!r}, expected a folder or {HUB}NAME[:CONFIG]")
    files = {part: _only_file(folder, part) for part in PARTS}
    if files["train"] is None:
        there = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        expected = ", ".join(f"train{ending}" for ending in FORMATS)
        raise InputError(f"{folder}: no train file; expected one of {expected}; there is: {there}")
    return {part: _read_file(file) for part, file in files.items() if file}


def _only_file(folder: Path, part: str) -> Path | None:
    found = [file for ending in FORMATS if (file := folder / f"{part}{ending}").exists()]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise InputError(f"{folder}: {names}, expected one file for {part}")
    return found[0] if found else None


def _read_file(file: Path) -> Table:
    try:
        if file.suffix == ".parquet":
            return _read_parquet(file)
        content = file.read_bytes()
        content = gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    text = _decoded(content, file)
    return _read_csv(text, file) if ".csv" in file.suffixes else _read_jsonl(text, file)


def _decoded(content: bytes, file: Path) -> str:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        value = f"byte 0x{content[error.start]:02x}"
        raise InputError(f"{file}: line {line}: got {value}, expected UTF-8 text") from error


def _read_jsonl(text: str, file: Path) -> Table:
    rows: list[dict[str, Any]] = []
    numbers, faults = [], []
    # Only "\n" ends a line: texts may hold U+2028 or \x85, where str.splitlines would cut.
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.isspace():
            continue
        row, wrong = _json_value(line)
        if not isinstance(row, dict):
            faults.append(Fault(f"line {number}", line[:60], f"a JSON object{wrong}"))
            continue
        rows.append(row)
        numbers.append(number)
    if faults:
        raise RowFaultsError(str(file), faults)
    seen = dict.fromkeys(name for row in rows for name in row)
    return _table(str(file), {name: [row.get(name) for row in rows] for name in seen}, numbers)


def _json_value(text: str) -> tuple[Any, str]:
    """The value, or None and what is wrong with the text."""
    try:
        return _JSON.decode(text), ""
    except json.JSONDecodeError as error:
        return None, f" ({error.msg}, column {error.colno})"
    except (ValueError, RecursionError) as error:  # a duplicate key, 5,000 digits, 5,000 brackets
        return None, f" ({error})"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {name!r} stands twice")
    return row


def _read_csv(text: str, file: Path) -> Table:
    (_, header), *lines = list(_csv_lines(text, file)) or [(1, [])]
    expected = f"{len(header)} fields, as in the header"
    _check_once(str(file), header)
    faults = [
        Fault(f"line {number}", f"{len(cells)} fields", expected)
        for number, cells in lines
        if len(cells) != len(header)
    ]
    if faults:
        raise RowFaultsError(str(file), faults)
    columns: dict[str, list[Any]] = {
        name: [cells[i] for _, cells in lines] for i, name in enumerate(header)
    }
    if "label" in columns:
        columns["label"] = _numbers([cell if cell.strip() else None for cell in columns["label"]])
    if "labels" in columns:
        columns["labels"] = [_label_list(cell) for cell in columns["labels"]]
    return _table(str(file), columns, [number for number, _ in lines])


def _check_once(source: str, columns: Sequence[str]) -> None:
    twice = [name for name, times in Counter(columns).items() if times > 1]
    if twice:
        raise FaultsError(source, [Fault("columns", name, "each name once") for name in twice])


def _csv_lines(text: str, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the line it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins, limit = 1, csv.field_size_limit(_FIELD_LIMIT)
    try:
        for cells in reader:
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{file}: line {begins}: not a row of CSV: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _numbers(cells: list[str | None]) -> list[Any]:
    """CSV cannot tell 1 from "1": labels are numbers where all of them can be."""
    if not all(cell is None or _NUMBER.fullmatch(cell.strip()) for cell in cells):
        return list(cells)
    # Through int, not float: two long identifiers must not become one label.
    return [cell and (int(cell) if cell.strip("+- ").isdigit() else float(cell)) for cell in cells]


def _label_list(cell: str) -> Any:
    """A JSON list, or strings between bars; a cell that is neither stays, to be named."""
    if not cell.lstrip().startswith("["):
        return [name.strip() for name in cell.split("|")] if cell.strip() else None
    value, wrong = _json_value(cell)
    return cell if wrong else value


def _read_parquet(file: Path) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("compression", "pyarrow") from error
    try:
        with pyarrow.parquet.ParquetFile(file) as content:
            seen = content.schema_arrow.names
            _check_once(str(file), seen)
            columns = content.read([name for name in COLUMNS if name in seen]).to_pydict()
    except (pyarrow.ArrowException, ValueError) as error:  # the latter: text that is not UTF-8
        raise InputError(f"{file}: not a Parquet file: {error}") from error
    return _table(str(file), {name: columns.get(name, []) for name in seen})


def _read_hub(source: str) -> dict[str, Table]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("compression", "datasets") from error
    name, _, config = source.removeprefix(HUB).partition(":")
    if not name:
        raise InputError(f"data: got {source!r}, expected {HUB}NAME[:CONFIG]")
    try:
        splits = datasets.load_dataset(name, config or None)
    except Exception as error:  # the library's errors share no class; each means: no data
        raise InputError(f"{source}: cannot be loaded: {error}") from error
    if "train" not in splits:
        raise InputError(f"{source}: no split train; there is: {', '.join(map(str, splits))}")
    found = [part for part in PARTS if part in splits]
    return {part: _table(f"{source}, split {part}", _hub_columns(splits[part])) for part in found}


def _hub_columns(split: Any) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in split.column_names}
    columns |= split.select_columns([name for name in COLUMNS if name in columns]).to_dict()
    for name in {"label", "labels"} & columns.keys():
        feature = split.features[name]
        if names := getattr(getattr(feature, "feature", feature), "names", None):
            columns[name] = [_named(value, names) for value in columns[name]]
    return columns


def _named(value: Any, names: Sequence[str]) -> Any:
    """The names of class indices; -1, which hides a label, and None stay as they are."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def _table(source: str, columns: dict[str, list[Any]], lines: Sequence[int] = ()) -> Table:
    """The table, once it is known to have the columns that it needs."""
    if not columns.get("text", columns):
        raise InputError(f"{source}: got 0 rows, expected at least one")
    found = [name for name in ("label", "labels") if name in columns]
    if "text" not in columns or len(found) != 1:
        expected = "`text`, and one of `label` and `labels`"
        raise InputError(f"{source}: columns: got {list(columns)[:20]}, expected {expected}")
    texts, labels = columns["text"], columns[found[0]]
    if found == ["label"]:
        labels = [[label] for label in labels]
    pairs = columns.get("text_pair", [])
    pairs_or_none = pairs if any(pair is not None for pair in pairs) else None
    numbers, unit = (lines, "line") if lines else (range(1, len(texts) + 1), "row")
    return Table(source, texts, pairs_or_none, labels, found[0], numbers, unit)
