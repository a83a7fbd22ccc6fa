"""Builds end to end: published figures against others' arithmetic, reuse, resumption, gates."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from paretext_compression import build as module
from paretext_compression.data import load
from paretext_compression.phases import exported
from paretext_compression.progress import Event
from paretext_models.errors import FaultsError, InputError, ParetextError
from paretext_models.recipe import Recipe
from paretext_models.store import Store, StoredVariant
from tiny_builds import RECIPES, Case
from tiny_models import labelled_rows, quick_recipe

Cases = Callable[[str], Case]
Folders = Callable[[str], Path]
# A graph step, pruning with recovery in rounds, and distillation into another architecture.
SOME = ("fp32", "pruned-int8", "cnn")


def variants(folder: Path) -> dict[str, StoredVariant]:
    stored, refused = Store(folder / "store").load_all("tiny")
    assert not refused
    return {one.manifest.variant: one for one in stored}


def revisions(folder: Path) -> dict[str, str]:
    return {name: one.revision for name, one in variants(folder).items()}


def hashes(folder: Path, file: str = "model.onnx") -> dict[str, str]:
    return {name: one.manifest.files[file] for name, one in variants(folder).items()}


def leftovers(folder: Path) -> list[str]:
    """What a finished build should not leave in the store or beside its steps."""
    store = [file.name for file in (folder / "store" / "tiny").glob(".staging*")]
    return store + [file.name for file in (folder / "work").glob("*") if ".new" in file.name]


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression", "pairs"])
def test_every_recipe_is_published(built: Folders, kind: str) -> None:
    found = variants(built(kind))
    assert set(found) == set(RECIPES)
    assert Store(built(kind) / "store").pointer("tiny").teacher == "teacher"
    for name, one in found.items():
        assert {file.name for file in one.folder.iterdir()} >= {
            "model.onnx", "tokenizer.json", "config.json", "README.md", "probes.json",
        }  # fmt: skip
        assert one.manifest.lineage.recipe["name"] == name
        assert not one.manifest.lineage.teacher_trained_elsewhere
    assert leftovers(built(kind)) == []


def test_sizes_and_work_shrink_as_they_should(built: Folders) -> None:
    measured = {name: one.manifest.measured for name, one in variants(built("pairs")).items()}
    fp32, int8, pruned = measured["fp32"], measured["int8"], measured["pruned-int8"]
    assert int8.bytes_on_disk < 0.5 * fp32.bytes_on_disk
    assert int8.parameters == fp32.parameters
    assert int8.macs == fp32.macs
    assert pruned.macs < 0.75 * fp32.macs
    assert pruned.parameters < fp32.parameters
    assert measured["half-depth-int8"].macs < 0.75 * fp32.macs
    assert measured["cnn"].macs < fp32.macs
    assert fp32.agreement is not None
    assert fp32.agreement.value == 1.0
    assert (fp32.batch_independent, int8.batch_independent) == (True, False)


def test_a_second_build_reuses_everything(cases: Cases, built: Folders, tmp_path: Path) -> None:
    shutil.copytree(built("single_label"), tmp_path / "copy")
    before = revisions(tmp_path / "copy")
    again = cases("single_label").build(tmp_path / "copy")
    assert all(one.reused for one in again)
    assert {one.manifest.variant: one.revision for one in again} == before
    assert revisions(tmp_path / "copy") == before


def test_a_build_from_scratch_gives_the_same_revisions(
    cases: Cases, built: Folders, tmp_path: Path
) -> None:
    made = cases("single_label").build(tmp_path)
    assert not any(one.reused for one in made)
    assert revisions(tmp_path) == revisions(built("single_label"))


def test_the_revision_does_not_tell_where_the_teacher_lay(
    cases: Cases, built: Folders, tmp_path: Path
) -> None:
    case = cases("single_label")
    moved = dataclasses.replace(case, teacher=tmp_path / "elsewhere" / "teacher")
    shutil.copytree(case.teacher, moved.teacher)
    (made,) = moved.build(tmp_path, "fp32")
    assert made.revision == revisions(built("single_label"))["fp32"]
    for file in variants(tmp_path)["fp32"].folder.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name


def test_what_changes_the_result_is_not_reused(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    (first,) = case.build(tmp_path, "cnn")
    (forced,) = case.build(tmp_path, "cnn", force=True)
    assert (forced.reused, forced.revision) == (False, first.revision)
    (seeded,) = case.build(tmp_path, "cnn", seed=7)
    assert not seeded.reused
    assert hashes(tmp_path)["cnn"] != first.manifest.files["model.onnx"]
    recipe = case.options(tmp_path, "cnn").recipes[0]
    wider = Recipe(
        recipe.name,
        recipe.description,
        tuple(
            dataclasses.replace(step, parameters=step.parameters | {"channels": 12})
            if step.method == "distillation.cnn"
            else step
            for step in recipe.steps
        ),
    )
    (other,) = case.build(tmp_path, recipes=(wider,))
    assert not other.reused


@pytest.mark.slow
def test_a_build_interrupted_at_each_step_ends_like_an_uninterrupted_one(
    cases: Cases, built: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretext_compression.fit._CHECKPOINT_SECONDS", 0)
    seen: set[str] = set()

    def interrupt(event: Event) -> None:
        what = f"{event.step} {event.message} {event.gate}"
        if what not in seen:
            seen.add(what)
            raise KeyboardInterrupt

    for _ in range(100):
        try:
            cases("single_label").build(tmp_path, *SOME, report=interrupt)
            break
        except KeyboardInterrupt:
            assert not list((tmp_path / "store").glob("tiny/.staging*"))
    assert len(seen) > 20
    expected = revisions(built("single_label"))
    assert revisions(tmp_path) == {name: expected[name] for name in SOME}
    assert leftovers(tmp_path) == []


def damaged(network: object) -> onnx.ModelProto:
    graph = exported(network)  # type: ignore[arg-type]
    matrix = next(one for one in graph.graph.initializer if len(one.dims) == 2)
    zeros = np.zeros_like(numpy_helper.to_array(matrix))
    matrix.CopyFrom(numpy_helper.from_array(zeros, matrix.name))
    return graph


def test_a_variant_that_fails_parity_is_not_published(
    cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases("single_label")
    case.build(tmp_path, "fp32")
    monkeypatch.setattr(module, "exported", damaged)
    with pytest.raises(ParetextError, match=r"parity: .* not published"):
        case.build(tmp_path, "fp32", "int8")
    assert set(variants(tmp_path)) == {"fp32"}
    assert leftovers(tmp_path) == []
    assert not list((tmp_path / "store/tiny").glob("int8/*"))


def with_other_test_part(case: Case, folder: Path) -> Case:
    """The case with new test rows, recorded with the teacher as if it had been trained so."""
    shutil.copytree(case.data, folder / "data")
    rows = labelled_rows("single_label", 60, seed=77)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "data" / "test.jsonl").write_text(text)
    shutil.copytree(case.teacher, folder / "teacher")
    record = json.loads((case.teacher / "paretext.json").read_text())
    parts = load(str(folder / "data")).parts()
    record["data"]["report"] = parts["report"].model_dump()
    (folder / "teacher" / "paretext.json").write_text(json.dumps(record))
    return dataclasses.replace(case, data=str(folder / "data"), teacher=folder / "teacher")


def test_the_test_part_only_reports(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    other = with_other_test_part(case, tmp_path)
    # Of several epochs one is chosen: that is where a test part could be misused.
    chosen = tuple(quick_recipe(name, epochs=6) for name in ("fp32", "heads", "cnn"))
    for one, folder in ((case, tmp_path / "first"), (other, tmp_path / "second")):
        one.build(folder, recipes=chosen)
    first, second = variants(tmp_path / "first"), variants(tmp_path / "second")
    assert hashes(tmp_path / "first") == hashes(tmp_path / "second"), "the test part was used"
    assert not any(one.manifest.lineage.teacher_trained_elsewhere for one in second.values())
    recall = [each["fp32"].manifest.measured.per_class_recall for each in (first, second)]
    assert recall[0] != recall[1]


def test_shared_steps_are_done_once(cases: Cases, tmp_path: Path) -> None:
    case, steps = cases("single_label"), list[str]()
    case.build(tmp_path, "half-depth", report=lambda event: steps.append(event.step))
    asked = [step for step in steps if "distillation" in step]
    assert len(asked) > 2
    steps.clear()
    case.build(tmp_path, "half-depth-int8", report=lambda event: steps.append(event.step))
    assert steps.count("half-depth-int8: distillation.transformer") == 1


def test_recipes_of_one_name_are_refused(cases: Cases, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipes: got fp32, fp32, expected each name once"):
        cases("single_label").build(tmp_path, "fp32", "fp32")
    assert not (tmp_path / "store").exists()


def test_a_recipe_that_cannot_work_is_refused_before_any_work(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    cnn, heads = (case.options(tmp_path, name).recipes[0] for name in ("cnn", "heads"))
    wrong = Recipe("wrong", "", (cnn.steps[0], heads.steps[0]))
    with pytest.raises(FaultsError, match=r"recipe wrong:\n.*steps\[1\]\.method"):
        case.build(tmp_path, recipes=(case.options(tmp_path, "fp32").recipes[0], wrong))
    assert not (tmp_path / "store").exists()


def test_the_card_and_the_configuration_are_the_variants_own(built: Folders) -> None:
    for name, one in variants(built("single_label")).items():
        card = (one.folder / "README.md").read_text()
        assert name in card
        tokenizer = (one.folder / "tokenizer.json").read_bytes()
        assert hashlib.sha256(tokenizer).hexdigest() == one.manifest.files["tokenizer.json"]
        config = json.loads((one.folder / "config.json").read_text())
        assert list(config["id2label"].values()) == list(one.manifest.task.labels)
