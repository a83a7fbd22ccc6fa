"""Training and builds that are interrupted or killed go on; two builds at once lose nothing."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from paretext_models.store import Store
from run_cli import PLAIN, Ended, call, end, start, write_small
from tiny_models import save_classifier

pytestmark = pytest.mark.slow

# Checkpoints many times a second instead of every 20 seconds: what is tested takes no minute.
OFTEN = f"{PLAIN}; from paretext_compression import fit; fit._CHECKPOINT_SECONDS = 0.1"
Event = dict[str, Any]


def stop_at(wanted: Callable[[Event], bool], number: int, *arguments: object) -> Ended:
    """Run the command, and send it a signal at the first event that is wanted."""
    process = start(*arguments, "--json", code=OFTEN)
    assert process.stdout is not None
    for line in process.stdout:
        if wanted(json.loads(line)):
            process.send_signal(number)
            return end(process)
    raise AssertionError(end(process))


def training(event: Event, share: float, step: str = "train") -> bool:
    return bool(event["step"] == step and event.get("progress", 0.0) >= share)


def progress(ended: Ended, step: str) -> list[float]:
    """How far a step was, each time that it was told."""
    assert ended.code == 0, ended
    events = [line for line in ended.lines if line.get("step") == step]
    shares = [event["progress"] for event in events if "progress" in event]
    assert all(first <= second for first, second in pairwise(shares))
    return shares


def test_training_goes_on_where_it_was(tmp_path: Path, encoder: Path, data: Path) -> None:
    def command(out: str) -> tuple[object, ...]:
        epochs = ("--epochs", "40", "--batch-size", "16", "--learning-rate", "0.001")
        return ("train", encoder, "--data", data, "--out", tmp_path / out, *epochs)

    interrupted = stop_at(lambda event: training(event, 0.2), signal.SIGINT, *command("a"))
    assert interrupted.code == 130
    assert interrupted.err == "paretext: interrupted; the same command goes on from here\n"
    assert not (tmp_path / "a" / "paretext.json").exists()
    killed = stop_at(lambda event: training(event, 0.6), signal.SIGKILL, *command("a"))
    assert killed.code == -signal.SIGKILL
    resumed = call(*command("a"), "--json")
    assert progress(resumed, "train")[0] > 0.3
    at_once = call(*command("b"), "--json")
    assert progress(at_once, "train")[0] == 0.0
    weights = [(tmp_path / out / "model.safetensors").read_bytes() for out in ("a", "b")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "a" / "checkpoint").exists()


def build(model: Path, data: Path, folder: Path, *recipes: object) -> tuple[object, ...]:
    chosen = [word for recipe in recipes for word in ("--recipe", recipe)]
    options = ("--data", data, "--store", folder / "store", "--name", "tiny")
    return ("build", model, *options, "--work", folder / "work", *chosen)


def test_a_build_goes_on_where_it_was(tmp_path: Path, classifier: Path, data: Path) -> None:
    recipe = write_small(tmp_path, epochs=20)
    command = build(classifier, data, tmp_path, "fp32", recipe)
    store, step = Store(tmp_path / "store"), "small: distillation.transformer"
    interrupted = stop_at(lambda event: training(event, 0.3, step), signal.SIGINT, *command)
    assert (interrupted.code, "Traceback" in interrupted.err) == (130, False)
    assert set(store.pointer("tiny").variants) == {"fp32"}
    measuring = "small: measure"
    killed = stop_at(lambda event: event["step"] == measuring, signal.SIGKILL, *command)
    assert killed.code == -signal.SIGKILL
    assert set(store.pointer("tiny").variants) == {"fp32"}
    ended = call(*command, "--json")
    assert progress(ended, "small: pruning.heads") == [1.0]
    assert progress(ended, step) == [1.0]
    assert "fp32: already built" in ended.out
    assert set(store.pointer("tiny").variants) == {"fp32", "small"}
    assert store.pointer("tiny").default in ("fp32", "small")
    assert call("verify", store.root).code == 0


def test_two_builds_at_once_lose_nothing(tmp_path: Path, data: Path) -> None:
    model = save_classifier(tmp_path / "model", "distilbert")
    commands = [build(model, data, tmp_path, name) for name in ("fp32", "int8")]
    running: list[subprocess.Popen[str]] = [start(*one, code=PLAIN) for one in commands]
    for process in running:
        ended = end(process)
        assert ended.code == 0, ended
    store = Store(tmp_path / "store")
    assert set(store.pointer("tiny").variants) == {"fp32", "int8"}
    verified = call("verify", store.root, "--json")
    assert (verified.code, len(verified.lines)) == (0, 2)
