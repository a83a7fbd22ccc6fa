from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from paretext_models.manifest import (
    Estimate,
    Manifest,
    PairedTest,
    SinglePlan,
    Task,
    TokenizerSpec,
    is_name,
    revision_of,
)
from paretext_models.store import Store
from tiny_store import LABELS, publish_tiny


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    publish_tiny(tmp_path)
    return Store(tmp_path).load("tiny", "fp32").manifest


def test_json_round_trip_keeps_the_bytes_and_the_revision(manifest: Manifest) -> None:
    content = manifest.to_json()
    again = Manifest.model_validate_json(content)
    assert again == manifest
    assert again.to_json() == content
    assert len(revision_of(content)) == 12


@pytest.mark.parametrize(
    ("problem", "labels", "fault"),
    [
        ("single_label", ("one",), "at least two"),
        ("regression", ("a", "b"), "exactly one"),
        ("multi_label", ("a", "a"), "distinct"),
        ("multi_label", (), "at least 1"),
        ("ranking", ("a", "b"), "single_label"),
    ],
)
def test_labels_must_fit_the_problem(problem: Any, labels: tuple[str, ...], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Task(problem=problem, labels=labels)


@pytest.mark.parametrize("name", ["../model.onnx", "/model.onnx", "a/b", ".hidden", "", "a\n"])
def test_a_file_lies_in_the_variants_folder(name: str) -> None:
    with pytest.raises(ValidationError):
        SinglePlan(file=name, inputs=("input_ids",))
    with pytest.raises(ValidationError):
        TokenizerSpec(file=name, max_tokens=8)


@pytest.mark.parametrize(
    ("name", "good"),
    [("int8", True), ("a" * 64, True), ("0.x_y-z", True), ("a" * 65, False), ("", False),
     ("..", False), (".a", False), ("A", False), ("a/b", False), ("a\n", False), ("é", False)],
)  # fmt: skip
def test_names(manifest: Manifest, name: str, good: bool) -> None:
    assert is_name(name) is good
    raw = manifest.model_dump() | {"variant": name}
    if good:
        assert Manifest.model_validate(raw).variant == name
    else:
        with pytest.raises(ValidationError):
            Manifest.model_validate(raw)


def test_used_files_need_a_hash(manifest: Manifest) -> None:
    raw = manifest.model_dump()
    raw["files"].pop("tokenizer.json")
    with pytest.raises(ValidationError, match=r"tokenizer\.json is used but has no hash"):
        Manifest.model_validate(raw)


def test_misspelt_and_infinite_values_do_not_pass(manifest: Manifest) -> None:
    with pytest.raises(ValidationError, match="descripton"):
        Manifest.model_validate(manifest.model_dump() | {"descripton": "x"})
    with pytest.raises(ValidationError, match="finite"):
        Estimate(name="accuracy", value=float("nan"), ci95=(0, 1), split="test", n=1)


@pytest.mark.parametrize(
    ("difference", "p_value", "loss"), [(-0.1, 0.01, True), (-0.1, 0.2, False), (0.1, 0.01, False)]
)
def test_a_paired_test_shows_a_loss(difference: float, p_value: float, loss: bool) -> None:
    test = PairedTest(method="mcnemar_exact", difference=difference, ci95=(-1, 1), p_value=p_value)
    assert test.shows_loss is loss


@pytest.mark.parametrize("field", ["variant", "files", "measured"])
def test_a_manifest_cannot_be_changed(manifest: Manifest, field: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(manifest, field, None)
    assert manifest.task.labels == LABELS
