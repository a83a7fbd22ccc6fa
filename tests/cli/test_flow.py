"""From an encoder to answers over HTTP, by the command alone."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from paretext_compression.build import choose_default
from paretext_models.profile import HostProfile
from paretext_models.store import Store
from run_cli import PLAIN, Ended, call, on_terminal, serving, spawn, write_small

pytestmark = pytest.mark.slow

SHOWING = """
from paretext.progress import reporting
from paretext_compression.progress import Event
with reporting(as_json=False) as report:
    report(Event("train", 0.5, eta_s=65.0, loss=0.25))
    report(Event("train", message="a [markup] message"))
"""
TRAINING = ("--epochs", "3", "--batch-size", "16", "--learning-rate", "0.001")


@dataclass(frozen=True)
class World:
    """A trained classifier with its data, in an environment of its own."""

    folder: Path
    data: Path
    environment: dict[str, str]
    trained: Ended
    built: Ended | None = None

    @property
    def teacher(self) -> Path:
        return self.folder / "teacher"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def run(self, *arguments: object) -> Ended:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PARETEXT_CACHE", self.environment["PARETEXT_CACHE"])
            ended = call(*arguments)
        assert ended.code == 0, ended
        return ended

    def build(self, *recipes: object) -> tuple[object, ...]:
        chosen = [word for recipe in recipes for word in ("--recipe", recipe)]
        options = ("--data", self.data, "--store", self.store, "--name", "tiny")
        return ("build", self.teacher, *options, *chosen)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, encoder: Path, data: Path) -> World:
    folder = tmp_path_factory.mktemp("world")
    environment = {**os.environ, "PARETEXT_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    arguments = ("--data", data, "--out", folder / "teacher", *TRAINING, "--json")
    trained = spawn("train", encoder, *arguments, code=PLAIN, env=environment)
    return World(folder, data, environment, trained)


@pytest.fixture(scope="module")
def built(world: World) -> World:
    """The world with two variants built, profiled and measured."""
    assert world.trained.code == 0, world.trained
    command = world.build("fp32", "int8")
    return replace(world, built=spawn(*command, code=PLAIN, env=world.environment))


def test_training_reports_json_lines_and_is_not_repeated(world: World, encoder: Path) -> None:
    assert (world.trained.code, world.trained.err) == (0, "")
    *events, record = world.trained.lines
    progress = [event["progress"] for event in events if event["step"] == "train"]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0.0, 1.0)
    assert record["out"] == str(world.teacher)
    assert 0 <= record["tune_score"]["accuracy"] <= 1
    again = world.run("train", encoder, "--data", world.data, "--out", world.teacher, *TRAINING)
    assert "already trained" in again.err
    assert "accuracy" in again.out


def test_building_reports_json_lines_and_is_not_repeated(built: World) -> None:
    again = built.run(*built.build("fp32", "int8"), "--json")
    assert again.err == ""
    *events, first, second = again.lines
    messages = " ".join(event.get("message", "") for event in events)
    assert "fp32: already built" in messages
    assert "int8: already built" in messages
    pointer = Store(built.store).pointer("tiny")
    assert {one["variant"]: one["revision"] for one in (first, second)} == pointer.variants


def test_off_a_terminal_progress_is_plain_lines(built: World) -> None:
    ended = built.built
    assert ended is not None
    assert ended.code == 0, ended
    assert not set("\x1b\r") & set(ended.out + ended.err)
    assert "variant 2 of 2: int8" in ended.err.splitlines()
    assert re.search(r"^int8: parity \S+: passed$", ended.err, re.M)
    assert f"next: paretext serve {built.store}" in ended.out


def test_on_a_terminal_there_is_a_bar() -> None:
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    ended, shown = on_terminal("recipes", code=SHOWING, env=environment)
    assert (ended.code, "\x1b" in ended.out) == (0, False)
    assert "[markup]" in shown
    assert re.search(r"train .* 50%.* 1 min 05 s left.* loss 0\.250", shown)
    assert "\x1b[" in shown


def test_the_default_is_chosen_once(built: World, tmp_path: Path) -> None:
    store = Store(built.store)
    measured = {line["variant"]: line for line in built.run("profile", built.store, "--json").lines}
    loaded, refused = store.load_all("tiny")
    assert refused == []
    cost = {
        name.split("/")[1]: HostProfile(**{k: v for k, v in line.items() if k != "variant"})
        for name, line in measured.items()
    }
    by_cost = {name: profile.predicted_ms(64) for name, profile in cost.items()}
    chosen = choose_default([one.manifest for one in loaded], by_cost)
    assert store.pointer("tiny").default == chosen
    other = next(one.manifest.variant for one in loaded if one.manifest.variant != chosen)
    store.set_default("tiny", other)
    built.run(*built.build(write_small(tmp_path)))
    assert store.pointer("tiny").default == other
    store.set_default("tiny", chosen)
    assert set(store.pointer("tiny").variants) == {"fp32", "int8", "small"}


def test_reports(built: World, tmp_path: Path) -> None:
    files = {kind: tmp_path / f"report.{kind}" for kind in ("markdown", "html", "png")}
    options = [word for kind, file in files.items() for word in (f"--{kind}", file)]
    plain = built.run("report", built.store, *options)
    assert plain.err == ""
    assert "\x1b" not in plain.out
    for text in (plain.out, *(files[k].read_text("utf-8") for k in ("markdown", "html"))):
        assert "fp32" in text
        assert "int8" in text
    assert "://" not in re.sub(r"http://www.w3.org/\S+", "", files["html"].read_text("utf-8"))
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    (rows,) = built.run("report", built.store, "--json").lines
    assert sum(row["default"] for row in rows) == 1
    assert all(row["profile"] and row["measured"]["primary"]["value"] for row in rows)


def test_verify_and_serve(built: World, tmp_path: Path) -> None:
    verified = built.run("verify", built.store, "--json").lines
    assert all(line["ok"] and "probes off by" in line["detail"] for line in verified)
    arguments = ("serve", built.store, "--port", 0)
    with serving(tmp_path / "log", *arguments, env=built.environment) as address:
        for variant in ("fp32", "int8"):
            answer = classify(address, "the film was great", variant)
            assert answer["variant"] == variant
            assert len(answer["results"][0]["labels"]) == 3


def classify(address: str, text: str, variant: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "X-Variant": variant}
    body = json.dumps({"inputs": text}).encode()
    request = urllib.request.Request(f"{address}/v1/classify", body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
    return answer
