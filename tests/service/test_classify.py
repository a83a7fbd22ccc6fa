"""POST /v1/classify: the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretext_models.manifest import Task
from paretext_models.runner import open_runner
from paretext_models.scores import Floats, scores
from paretext_models.store import Store
from paretext_models.tokenizer import TextTokenizer
from tiny_store import LABELS, publish_tiny


def expected_logits(store: Path, variant: str, text: str) -> Floats:
    stored = Store(store).load("tiny", variant)
    tokenizer = TextTokenizer(stored.folder / "tokenizer.json", 32)
    return open_runner(stored.folder, stored.manifest).logits([tokenizer.encode(text)])[0]


def test_one_text(serve: Callable[..., Any], store: Path) -> None:
    response = serve().classify({"inputs": "the film was good"})
    assert response.status_code == 200
    content = response.json()
    assert content.keys() == {"model", "variant", "revision", "device", "results", "route"}
    assert (content["model"], content["variant"], content["device"]) == ("tiny", "fp32", "cpu")
    assert content["route"]["reason"] == "default"
    assert content["route"]["accuracy"] == 0.92
    assert content["route"]["accuracy_ci95"] == pytest.approx([0.90, 0.94])
    (result,) = content["results"]
    assert (result["tokens"], result["truncated"]) == (6, False)
    given = {one["label"]: one["score"] for one in result["labels"]}
    wanted = scores(expected_logits(store, "fp32", "the film was good"), "softmax")
    assert [given[label] for label in LABELS] == pytest.approx(wanted.tolist())
    assert [one["score"] for one in result["labels"]] == sorted(given.values(), reverse=True)


def test_headers(serve: Callable[..., Any], store: Path) -> None:
    response = serve().classify({"inputs": "good"}, X_Request_Id="mine 1")
    assert response.headers["X-Model"] == "tiny"
    assert response.headers["X-Variant"] == "fp32"
    assert response.headers["X-Variant-Revision"] == Store(store).pointer("tiny").variants["fp32"]
    assert response.headers["X-Device"] == "cpu"
    assert response.headers["X-Route-Reason"] == "default"
    assert response.headers["X-Request-Id"] == "mine 1"
    timing = response.headers["Server-Timing"]
    assert [part.split(";")[0] for part in timing.split(", ")] == ["tokenize", "queue", "inference"]
    assert "X-Predicted-Latency-Ms" not in response.headers  # nothing was profiled


def test_unusable_request_ids_are_replaced(serve: Callable[..., Any]) -> None:
    running = serve()
    for given in ("", "x" * 129, "caf\u00e9", "tab\there"):
        headers = {"X-Request-Id": given.encode("latin-1")}
        response = running.client.post("/v1/classify", json={"inputs": "good"}, headers=headers)
        made = response.headers["X-Request-Id"]
        assert made != given
        assert len(made) == 32


def test_list_keeps_its_order_and_bad_items_their_places(serve: Callable[..., Any]) -> None:
    items = ["good", "", 7, {"text": "bad"}, "bad \ud800", {"text": "a", "more": 1}, "poor"]
    items += [None, ["good"], {"text_pair": "x"}, {"text": "a", "text_pair": "b"}, "x" * 1001]
    running = serve(max_text_chars=1000)
    response = running.client.post(
        "/v1/classify",
        content=json.dumps({"inputs": items}),
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 200
    results = response.json()["results"]
    codes = [one["error"]["code"] if "error" in one else "" for one in results]
    assert codes == [
        "", "empty_text", "invalid_item", "", "invalid_text", "invalid_item", "",
        "invalid_item", "invalid_item", "invalid_item", "pair_mismatch", "text_too_large",
    ]  # fmt: skip
    alone = [running.classify({"inputs": text}).json()["results"][0] for text in ("good", "poor")]
    assert [results[0], results[6]] == alone


def test_list_of_bad_items_alone(serve: Callable[..., Any]) -> None:
    running = serve()
    for items in (["", 3], [""]):
        response = running.classify({"inputs": items})
        assert response.status_code == 200
        assert all("error" in one for one in response.json()["results"])


def test_top_k(serve: Callable[..., Any]) -> None:
    running = serve()
    for top_k in (1, 2, 3, 99):
        response = running.classify({"inputs": "good", "top_k": top_k})
        assert len(response.json()["results"][0]["labels"]) == min(top_k, 3)


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_function(serve: Callable[..., Any], store: Path, function: Any) -> None:
    body = {"inputs": "bad film", "function": function}
    labels = serve().classify(body).json()["results"][0]["labels"]
    wanted = scores(expected_logits(store, "fp32", "bad film"), function)
    assert {one["label"]: one["score"] for one in labels} == pytest.approx(
        dict(zip(LABELS, wanted.tolist(), strict=True))
    )


def test_truncation_is_told(serve: Callable[..., Any]) -> None:
    running = serve()
    long = "good " * 100
    result = running.classify({"inputs": long}).json()["results"][0]
    assert (result["tokens"], result["truncated"]) == (32, True)
    refused = running.classify({"inputs": long, "truncate": False})
    assert (refused.status_code, refused.json()["code"]) == (422, "text_too_long")
    assert "102" in refused.json()["detail"]
    assert "32" in refused.json()["detail"]
    both = running.classify({"inputs": [long, "good"], "truncate": False}).json()["results"]
    assert both[0]["error"]["code"] == "text_too_long"
    assert both[1]["labels"]


def test_multi_label(serve: Callable[..., Any], store: Path) -> None:
    task = Task(problem="multi_label", labels=LABELS, threshold=0.4)
    publish_tiny(store, "topics", task=task)
    running = serve(models=("topics",))
    labels = running.classify({"inputs": "the slow film"}).json()["results"][0]["labels"]
    assert len(labels) == 3
    assert all(one["selected"] == (one["score"] >= 0.4) for one in labels)
    values = [one["score"] for one in labels]
    assert values == sorted(values, reverse=True)
    raw = running.classify({"inputs": "the slow film", "function": "none"}).json()
    chosen = {one["label"]: one["selected"] for one in raw["results"][0]["labels"]}
    assert chosen == {one["label"]: one["selected"] for one in labels}


def test_regression(serve: Callable[..., Any], store: Path) -> None:
    publish_tiny(store, "stars", task=Task(problem="regression", labels=("stars",)))
    running = serve(models=("stars",))
    (label,) = running.classify({"inputs": "great"}).json()["results"][0]["labels"]
    assert label.keys() == {"label", "score"}
    assert label["label"] == "score"
    refused = running.classify({"inputs": "great", "function": "softmax"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "function"


def test_pairs(serve: Callable[..., Any], store: Path) -> None:
    publish_tiny(store, "same", task=Task(problem="single_label", labels=LABELS, pair=True))
    running = serve(models=("same",))
    good = running.classify({"inputs": {"text": "good", "text_pair": "bad film"}})
    assert good.json()["results"][0]["tokens"] == 6
    lone = running.classify({"inputs": "good"})
    assert (lone.status_code, lone.json()["code"]) == (422, "pair_mismatch")


def test_several_models(serve: Callable[..., Any], store: Path) -> None:
    publish_tiny(store, "other", "base")
    running = serve()
    unnamed = running.classify({"inputs": "good"})
    assert unnamed.status_code == 422
    assert unnamed.json()["errors"] == [
        {"field": "model", "value": None, "expected": "one of other, tiny"}
    ]
    assert running.classify({"inputs": "good", "model": "other"}).json()["variant"] == "base"
    unknown = running.classify({"inputs": "good", "model": "none"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_model")
    assert unknown.json()["models"] == ["other", "tiny"]


def test_unusual_characters(serve: Callable[..., Any]) -> None:
    texts = ["\x00\x01\x1b[31m", "a\u202eb", "\U0001f600 \U00020000", "\ufeffgood", "e\u0301"]
    results = serve().classify({"inputs": texts}).json()["results"]
    assert all(one["labels"] for one in results)
