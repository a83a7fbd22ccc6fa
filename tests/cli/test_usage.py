"""Wrong input gets a message and the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from run_cli import Ended, call, refused, spawn
from tiny_data import Row, numbered, write_jsonl

COMMANDS = ("demo", "train", "build", "profile", "report", "verify", "recipes", "serve")


# Usage


def test_help_and_version() -> None:
    shown = call("--help")
    assert shown.code == 0
    for command in COMMANDS:
        assert re.search(rf"^ +{command} ", shown.out, re.M), command
        assert call(command, "--help").code == 0
    version = spawn("--version")
    assert (version.code, version.err) == (0, "")
    assert re.fullmatch(r"paretext \d+\.\d+\.\d+\n", version.out)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("bild",), "bild"),
        (("build",), "model"),
        (("build", "x", "--data", "y"), "--store"),
        (("train", "x", "--data", "y", "--out", "z", "--epochs", "many"), "--epochs"),
        (("train", "x", "--data", "y", "--out", "z", "--seed", "-1"), "--seed"),
        (("report", "x", "--pdf", "y"), "--pdf"),
        (("demo", "--port", "65536"), "--port"),
    ],
)
def test_wrong_usage_is_told_in_a_few_lines(arguments: tuple[str, ...], named: str) -> None:
    refused(call(*arguments), "Usage: paretext", named)


# Data


def train(encoder: Path, data: object, out: Path, *more: object) -> Ended:
    return call("train", encoder, "--data", data, "--out", out, *more)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ["train.jsonl", "rows"]),
        ([{"text": "a"}], ["train.jsonl", "label"]),
        ([{"label": "a"}], ["train.jsonl", "text"]),
        ([*numbered(30), {"text": " ", "label": "no"}], ["line 31", "text"]),
        ([*numbered(30), {"text": "a", "label": ["no"]}], ["line 31", "label"]),
        (numbered(30, ("only",)), ["label", "'only'", "at least 2"]),
        (numbered(4), ["train", "rows"]),
    ],
)
def test_faulty_rows(tmp_path: Path, encoder: Path, rows: list[Row], expected: list[str]) -> None:
    refused(train(encoder, write_jsonl(tmp_path, train=rows), tmp_path / "out"), *expected)
    assert not (tmp_path / "out").exists()


def test_unreadable_data(tmp_path: Path, encoder: Path) -> None:
    out = tmp_path / "out"
    refused(train(encoder, tmp_path / "none", out), "data", "none", "expected a folder")
    refused(train(encoder, tmp_path, out), "no train file", "train.jsonl")
    file = tmp_path / "train.csv"
    file.write_bytes("text,label\ncafé,a\n".encode("latin-1"))
    refused(train(encoder, tmp_path, out), "train.csv", "line 2", "0xe9", "UTF-8")
    file.write_bytes(b"text,label\na,b,c\n")
    refused(train(encoder, tmp_path, out), "line 2", "3 fields", "2 fields")
    shutil.move(file, tmp_path / "train.parquet")
    refused(train(encoder, tmp_path, out), "train.parquet", "not a Parquet file")


# Models and options


def test_wrong_training_options(tmp_path: Path, encoder: Path, data: Path) -> None:
    out = tmp_path / "out"
    refused(train(encoder, data, out, "--problem", "x"), "--problem", "'x'", "single_label")
    refused(train(encoder, data, out, "--problem", "regression"), "'negative'", "a number")
    refused(train(encoder, data, out, "--device", "tpu9"), "device", "tpu9", "cpu")
    refused(train(encoder, data, out, "--max-tokens", "2"), "--max-tokens", "2")
    refused(train(encoder, data, out, "--learning-rate", "inf"), "--learning-rate", "inf")
    refused(train(tmp_path / "none", data, out), "model", "none")
    refused(train(data, data, out), "config.json")


def test_models_that_cannot_be_built_from(
    tmp_path: Path, encoder: Path, classifier: Path, data: Path
) -> None:
    def build(model: object) -> Ended:
        return call("build", model, "--data", data, "--store", tmp_path / "store", "--name", "x")

    refused(build(tmp_path / "none"), "model", "none")
    refused(build(encoder), "is not a classifier", "paretext train")
    pickled = shutil.copytree(classifier, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    refused(build(pickled), "pickled", "model.safetensors")
    damaged = shutil.copytree(classifier, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"12345678")
    refused(build(damaged), "weights", "damaged")
    (damaged / "config.json").write_text("{}")
    refused(build(damaged), "model", "damaged")
    other = shutil.copytree(classifier, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    refused(build(other), "'gpt2'", "bert, roberta, distilbert")
    assert not (tmp_path / "store").exists()


def test_wrong_build_options(tmp_path: Path, classifier: Path, data: Path) -> None:
    def build(*more: object) -> Ended:
        return call("build", classifier, "--data", data, "--store", tmp_path / "store", *more)

    refused(build("--name", "Not A Name"), "--name", "'Not A Name'", "a-z0-9")
    refused(build("--recipe", "int9"), "'int9'", "cnn, ", "int8")
    refused(build("--recipe", "int8", "--recipe", "int8"), "int8, int8", "once")
    refused(build("--device", "tpu9"), "device", "tpu9", "cpu")
    refused(build("--recipe", tmp_path / "none.toml"), "none.toml")
    recipe = tmp_path / "mine.toml"
    recipe.write_text("steps = [")
    refused(build("--recipe", recipe), "mine.toml", "not valid TOML")
    recipe.write_text('name = "Mine"\n[[steps]]\nmethod = "pruning.hats"\n')
    refused(build("--recipe", recipe), "name", "'Mine'", "'pruning.hats'", "pruning.heads")
    recipe.write_text('name = "mine"\n[[steps]]\nmethod = "pruning.heads"\nfraction = 2\n')
    refused(build("--recipe", recipe), "fraction", "got 2")
    assert not (tmp_path / "store").exists()


def test_labels_that_are_not_the_models(tmp_path: Path, classifier: Path) -> None:
    parts = {"train": numbered(60), "validation": numbered(40, start=100)}
    source = write_jsonl(tmp_path, **parts)
    done = call("build", classifier, "--data", source, "--store", tmp_path / "store", "--name", "x")
    refused(done, "'no'", "negative, neutral, positive")


# Folders that cannot be written


def test_a_file_where_a_folder_is_expected(
    tmp_path: Path, encoder: Path, classifier: Path, data: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("something")
    refused(train(encoder, data, file), "file")
    refused(train(encoder, data, file / "out"), "file")
    build = ("build", classifier, "--data", data, "--name", "x", "--recipe", "fp32")
    for store in (file, file / "store"):
        refused(call(*build, "--store", store), "--store", str(store), "a folder")
    refused(call(*build, "--store", tmp_path / "store", "--work", file), "file")
    assert file.read_text() == "something"


def test_a_folder_that_holds_something_else(tmp_path: Path, encoder: Path, data: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused(train(encoder, data, tmp_path), "--out", "holds something else")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path, encoder: Path, store: Path, data: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    refused(train(encoder, data, closed / "out"), "closed", "ermission")
    refused(call("report", store, "--html", closed / "x.html"), "closed", "ermission")
    build = ("build", encoder, "--data", data, "--name", "x", "--store", closed / "store")
    refused(call(*build), "--store", "can be written")


def test_reports_that_cannot_be_written(tmp_path: Path, store: Path) -> None:
    for kind in ("markdown", "html", "png"):
        refused(call("report", store, f"--{kind}", tmp_path / "none" / "x"), "none")
        refused(call("report", store, f"--{kind}", tmp_path), tmp_path.name)


# Recipes


def test_recipes_are_listed_and_shown() -> None:
    listed = call("recipes")
    assert listed.code == 0
    for name in ("* fp32", "* int8", "half-depth-int8", "distillation.cnn", "pruning.heads"):
        assert name in listed.out
    (everything,) = call("recipes", "--json").lines
    for name, recipe in everything["recipes"].items():
        (one,) = call("recipes", name, "--json").lines
        assert one == {"recipes": {name: recipe}, "methods": {}}
        assert json.loads(call("recipes", name).out) == recipe
    for name, method in everything["methods"].items():
        shown = call("recipes", name)
        assert shown.code == 0
        assert all(parameter in shown.out for parameter in {*method["properties"]} - {"method"})


def test_own_recipes_can_be_checked(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('name = "mine"\n[[steps]]\nmethod = "pruning.heads"\n')
    shown = json.loads(call("recipes", recipe).out)
    assert shown["steps"][0]["method"] == "pruning.heads"
    (as_json,) = call("recipes", recipe, "--json").lines
    assert as_json == {"recipes": {"mine": shown}, "methods": {}}
    recipe.write_text('name = "mine"\nsteps = 1\n')
    refused(call("recipes", recipe), "mine.toml", "steps")
    refused(call("recipes", "int9"), "'int9'", "int8", "quantization.dynamic")
