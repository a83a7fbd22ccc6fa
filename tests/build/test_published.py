"""The figures of a manifest, reckoned again from the published files by other arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from paretext_compression.teacher import quiet
from paretext_models.probes import PROBES, check_probes
from paretext_models.runner import open_runner
from paretext_models.store import Store, StoredVariant
from paretext_models.tokenizer import TextTokenizer
from tiny_builds import CASES, RECIPES, Case

Array = NDArray[Any]
Cases = Callable[[str], Case]
Folders = Callable[[str], Path]
every = pytest.mark.parametrize("recipe", RECIPES)
kinds = pytest.mark.parametrize("kind", CASES)


def variant(folder: Path, recipe: str) -> StoredVariant:
    return Store(folder / "store").load("tiny", recipe)


def test_rows(case: Case) -> list[dict[str, Any]]:
    lines = (Path(case.data) / "test.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


test_rows.__test__ = False  # type: ignore[attr-defined]


def answers(one: StoredVariant, rows: list[dict[str, Any]]) -> Array:
    """Logits of the published files, text by text."""
    tokenizer = TextTokenizer(one.folder / "tokenizer.json", one.manifest.tokenizer.max_tokens)
    runner = open_runner(one.folder, one.manifest)
    encoded = [tokenizer.encode(row["text"], row.get("text_pair")) for row in rows]
    return np.concatenate([runner.logits([text]) for text in encoded])


def teacher_answers(case: Case, rows: list[dict[str, Any]]) -> Array:
    """Logits of the teacher, as plain `transformers` gives them."""
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(case.teacher).eval()
    tokenizer = AutoTokenizer.from_pretrained(case.teacher)
    logits = []
    for row in rows:
        pair = [row["text_pair"]] if "text_pair" in row else []
        inputs = tokenizer(row["text"], *pair, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            logits.append(model(**inputs).logits[0].numpy())
    return np.stack(logits)


def chosen(logits: Array, labels: tuple[str, ...], kind: str) -> list[Any]:
    """What is answered, in words: a label, a set of labels, or a value."""
    if kind == "regression":
        return [float(row[0]) for row in logits]
    if kind == "multi_label":
        return [{label for label, z in zip(labels, row, strict=True) if z >= 0} for row in logits]
    return [labels[int(np.argmax(row))] for row in logits]


def truth(rows: list[dict[str, Any]], kind: str) -> list[Any]:
    return [set(row["labels"]) if kind == "multi_label" else row["label"] for row in rows]


def primary(found: list[Any], expected: list[Any], kind: str) -> float:
    if kind == "regression":
        return float(np.corrcoef(found, expected)[0, 1])
    if kind == "multi_label":
        hits = sum(len(ours & theirs) for ours, theirs in zip(found, expected, strict=True))
        return 2 * hits / (sum(map(len, found)) + sum(map(len, expected)))
    return float(np.mean([ours == theirs for ours, theirs in zip(found, expected, strict=True)]))


@kinds
@every
def test_the_figures_are_those_of_the_published_files(
    cases: Cases, built: Folders, kind: str, recipe: str
) -> None:
    case, one = cases(kind), variant(built(kind), recipe)
    rows, measured, labels = test_rows(case), one.manifest.measured, one.manifest.task.labels
    ours, theirs = answers(one, rows), teacher_answers(case, rows)
    found, reference = chosen(ours, labels, kind), chosen(theirs, labels, kind)
    expected = truth(rows, kind)
    assert (measured.primary.split, measured.primary.n) == ("test", len(rows))
    value = primary(found, expected, kind)
    assert measured.primary.value == pytest.approx(value, abs=1e-6)
    assert measured.primary.ci95[0] <= value <= measured.primary.ci95[1]
    assert measured.paired is not None
    difference = value - primary(reference, expected, kind)
    assert measured.paired.difference == pytest.approx(difference, abs=1e-6)
    assert measured.agreement is not None
    same = primary(found, reference, kind) if kind == "regression" else None
    if same is None:
        changed = [
            i for i, pair in enumerate(zip(found, reference, strict=True)) if pair[0] != pair[1]
        ]
        assert [flip.row for flip in measured.flips] == changed
        same = 1 - len(changed) / len(rows)
    assert measured.agreement.value == pytest.approx(same, abs=1e-6)
    assert measured.bytes_on_disk == (one.folder / "model.onnx").stat().st_size


@every
def test_recall_is_the_share_of_each_label_that_is_found(
    cases: Cases, built: Folders, recipe: str
) -> None:
    one = variant(built("single_label"), recipe)
    rows, labels = test_rows(cases("single_label")), one.manifest.task.labels
    found = chosen(answers(one, rows), labels, "single_label")
    for label in labels:
        hits = [
            ours == label for ours, row in zip(found, rows, strict=True) if row["label"] == label
        ]
        assert one.manifest.measured.per_class_recall[label] == pytest.approx(np.mean(hits))


@every
def test_flips_name_the_answers(cases: Cases, built: Folders, recipe: str) -> None:
    case, one = cases("single_label"), variant(built("single_label"), recipe)
    rows, labels = test_rows(case), one.manifest.task.labels
    ours = chosen(answers(one, rows), labels, "single_label")
    theirs = chosen(teacher_answers(case, rows), labels, "single_label")
    for flip in one.manifest.measured.flips:
        words = (flip.label, flip.teacher, flip.variant)
        assert words == (rows[flip.row]["label"], theirs[flip.row], ours[flip.row])


@kinds
def test_fp32_answers_like_the_teacher(cases: Cases, built: Folders, kind: str) -> None:
    case, one = cases(kind), variant(built(kind), "fp32")
    rows = test_rows(case)
    ours, theirs = answers(one, rows), teacher_answers(case, rows)
    assert np.abs(ours - theirs).max() <= 1e-4 * np.ptp(theirs, axis=0).max()


@kinds
@every
def test_its_stored_probes_pass(built: Folders, kind: str, recipe: str) -> None:
    one = variant(built(kind), recipe)
    assert check_probes(one.folder / PROBES, open_runner(one.folder, one.manifest)) == 0.0


@kinds
@pytest.mark.parametrize("recipe", ["fp32", "int8", "pruned-int8", "cnn"])
def test_optimum_loads_it_and_answers_alike(
    cases: Cases, built: Folders, kind: str, recipe: str
) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification

    one, rows = variant(built(kind), recipe), test_rows(cases(kind))[:8]
    with quiet():
        model = ORTModelForSequenceClassification.from_pretrained(one.folder, local_files_only=True)
    tokenizer = TextTokenizer(one.folder / "tokenizer.json", one.manifest.tokenizer.max_tokens)
    expected = answers(one, rows)
    for row, logits in zip(rows, expected, strict=True):
        text = tokenizer.encode(row["text"], row.get("text_pair"))
        inputs = {"input_ids": torch.tensor([text.ids])}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["token_type_ids"] = torch.tensor([text.type_ids])
        needed = {name: inputs[name] for name in one.manifest.plan.inputs}
        found = model(**needed).logits[0].numpy()
        np.testing.assert_allclose(found, logits, rtol=0, atol=1e-5)
    assert list(model.config.id2label.values()) == list(one.manifest.task.labels)


BUILD = """
import sys
from pathlib import Path
from tiny_builds import Case
from tiny_models import plain_machine
kind, encoder, data, teacher, folder = sys.argv[1:]
with plain_machine():
    case = Case(kind, Path(encoder), data, Path(teacher))
    for one in case.build(Path(folder), "fp32", "pruned-int8"):
        print(one.revision)
"""


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_gives_the_same_revisions(
    cases: Cases, built: Folders, tmp_path: Path, hash_seed: str
) -> None:
    """The order of Python's sets and dictionaries must not matter."""
    case = cases("single_label")
    arguments = [case.kind, str(case.encoder), case.data, str(case.teacher), str(tmp_path)]
    tests = str(Path(__file__).parents[1])
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, *arguments],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": tests, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    names = ("fp32", "pruned-int8")
    expected = [variant(built("single_label"), name).revision for name in names]
    assert made.stdout.split() == expected
