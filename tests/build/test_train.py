"""Training a teacher: what it writes, what it refuses, and that it never looks at the test part."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from paretext_compression.progress import Event, silent
from paretext_compression.teacher import load_teacher, quiet
from paretext_compression.train import TrainOptions, automatic_batch, train
from paretext_models.errors import InputError, ParetextError
from tiny_builds import CASES, TRAINING, Case
from tiny_models import MAX_TOKENS, labelled_rows, tiny_config, write_data

Cases = Callable[[str], Case]
ONE_EPOCH = dataclasses.replace(TRAINING, epochs=1)


def same_weights(first: Path, second: Path) -> bool:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (first, second))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("kind", CASES)
def test_it_writes_a_classifier_that_transformers_loads(cases: Cases, kind: str) -> None:
    case = cases(kind)
    with quiet():
        module, info = AutoModelForSequenceClassification.from_pretrained(
            case.teacher, output_loading_info=True
        )
    assert not any(info.values())
    problem = "single_label" if kind == "pairs" else kind
    assert module.config.problem_type.startswith(problem)
    record = json.loads((case.teacher / "paretext.json").read_text())
    assert record["task"]["problem"] == problem
    assert record["task"]["pair"] == (kind == "pairs")
    assert list(module.config.id2label.values()) == record["task"]["labels"]
    assert record["max_tokens"] == MAX_TOKENS
    tokenizer = AutoTokenizer.from_pretrained(case.teacher)
    assert tokenizer.is_fast
    inputs = tokenizer("the film was good", "the film was bad", return_tensors="pt")
    assert module.eval()(**inputs).logits.isfinite().all()


@pytest.mark.parametrize("kind", CASES)
def test_it_leaves_nothing_else_behind(cases: Cases, kind: str) -> None:
    names = {file.name for file in cases(kind).teacher.iterdir()}
    needed = {"paretext.json", "config.json", "model.safetensors", "tokenizer.json"}
    assert needed <= names
    assert not names & {"checkpoint", "pytorch_model.bin"}


def test_it_learns(cases: Cases) -> None:
    record = json.loads((cases("single_label").teacher / "paretext.json").read_text())
    assert record["tune_score"]["accuracy"] > 0.6


@pytest.mark.parametrize("kind", CASES)
def test_it_is_loaded_as_a_teacher(cases: Cases, kind: str) -> None:
    teacher = load_teacher(str(cases(kind).teacher))
    assert teacher.record is not None
    assert teacher.network.architecture == CASES[kind]
    assert teacher.problem == ("single_label" if kind == "pairs" else kind)
    assert teacher.labels == tuple(teacher.record["task"]["labels"])


def test_a_finished_training_is_not_done_again(cases: Cases) -> None:
    case, events = cases("single_label"), list[Event]()
    before = (case.teacher / "model.safetensors").stat().st_mtime_ns
    record = train(str(case.encoder), case.data, case.teacher, TRAINING, events.append)
    assert record == json.loads((case.teacher / "paretext.json").read_text())
    assert (case.teacher / "model.safetensors").stat().st_mtime_ns == before
    assert "already trained" in str(events[-1].message)


def test_the_same_seed_gives_the_same_weights(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    torch.manual_seed(123)  # whatever was drawn before
    train(str(case.encoder), case.data, tmp_path / "again", TRAINING, silent)
    assert same_weights(case.teacher, tmp_path / "again")
    other = dataclasses.replace(TRAINING, seed=43)
    train(str(case.encoder), case.data, tmp_path / "other", other, silent)
    assert not same_weights(case.teacher, tmp_path / "other")


def test_it_does_not_look_at_the_test_part(cases: Cases, tmp_path: Path) -> None:
    case, folder = cases("single_label"), tmp_path / "data"
    shutil.copytree(case.data, folder)
    rows = labelled_rows("single_label", 60, seed=555)
    labels = [row["label"] for row in rows]
    swapped = [{**row, "label": label} for row, label in zip(rows, labels[::-1], strict=True)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in swapped))
    train(str(case.encoder), str(folder), tmp_path / "other", TRAINING, silent)
    assert same_weights(case.teacher, tmp_path / "other")


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, out = cases("single_label"), tmp_path / "out"
    monkeypatch.setattr("paretext_compression.fit._CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr("paretext_compression.progress.Steps.advance", interrupting(30))
    with pytest.raises(KeyboardInterrupt):
        train(str(case.encoder), case.data, out, TRAINING, silent)
    assert not (out / "paretext.json").exists()
    monkeypatch.undo()
    train(str(case.encoder), case.data, out, TRAINING, silent)
    assert same_weights(case.teacher, out)
    assert not (out / "checkpoint").exists()


def interrupting(after: int) -> Callable[..., None]:
    left = iter(range(after))

    def advance(self: object, units: int = 1, loss: float | None = None) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return advance


@pytest.mark.parametrize("moved", range(6))
def test_killed_while_it_writes_it_ends_as_an_uninterrupted_one(
    moved: int, cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, out, left = cases("single_label"), tmp_path / "out", iter(range(moved))
    real = os.replace

    def killed(source: Path, target: Path) -> None:
        if target.parent == out and next(left, None) is None:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("paretext_compression.train.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            train(str(case.encoder), case.data, out, TRAINING, silent)
    assert not (out / "paretext.json").exists()  # it comes last, and says that all is there
    train(str(case.encoder), case.data, out, TRAINING, silent)
    assert same_weights(case.teacher, out)
    assert {file.name for file in out.iterdir()} == {file.name for file in case.teacher.iterdir()}


def test_another_encoder_in_the_same_place_is_noticed(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    encoder = Path(shutil.copytree(case.encoder, tmp_path / "encoder"))
    train(str(encoder), case.data, tmp_path / "out", ONE_EPOCH, silent)
    weights = load_file(encoder / "model.safetensors")
    save_file(
        {k: 2 * v for k, v in weights.items()}, encoder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError, match="holds something else"):
        train(str(encoder), case.data, tmp_path / "out", ONE_EPOCH, silent)


def test_a_damaged_record_is_told(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    out = Path(shutil.copytree(case.teacher, tmp_path / "out"))
    (out / "paretext.json").write_text("{")
    with pytest.raises(InputError, match=r"paretext\.json is damaged"):
        train(str(case.encoder), case.data, out, TRAINING, silent)


def test_a_folder_that_holds_something_else_is_refused(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(
        InputError, match=r"--out: .* holds something else \(.*\); expected a new or empty"
    ):
        train(str(case.encoder), case.data, tmp_path, ONE_EPOCH, silent)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_texts_are_cut_where_it_was_asked_for(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    options = dataclasses.replace(ONE_EPOCH, max_tokens=9)
    train(str(case.encoder), case.data, tmp_path / "short", options, silent)
    assert load_teacher(str(tmp_path / "short")).tokenizer.max_tokens == 9


def test_an_encoder_of_an_unknown_kind_is_refused(cases: Cases, tmp_path: Path) -> None:
    config = tiny_config("bert", 300, 2).to_dict() | {"model_type": "gpt2"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="model_type 'gpt2', expected one of bert, roberta"):
        train(str(tmp_path), cases("single_label").data, tmp_path / "out", ONE_EPOCH, silent)


def test_a_learning_rate_that_diverges_is_told(cases: Cases, tmp_path: Path) -> None:
    case = cases("regression")
    data = write_data(tmp_path / "data", "regression")
    huge = TrainOptions(epochs=3, batch_size=16, learning_rate=1e30)
    with pytest.raises(ParetextError, match=r"train: the .* lower learning rate than 1e\+30"):
        train(str(case.encoder), data, tmp_path / "out", huge, silent)


@pytest.mark.parametrize(("rows", "expected"), [(10, 16), (5_000, 32), (100_000, 64)])
def test_batches_grow_with_the_data(rows: int, expected: int) -> None:
    assert automatic_batch(rows) == expected
