"""Whatever a client sends, it gets a problem that names what is wrong, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

JSON = {"Content-Type": "application/json"}


def check_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:paretext:problem:{code}"
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["X-Request-Id"]
    return problem


def test_not_json(serve: Callable[..., Any]) -> None:
    running = serve()
    for body in (b"", b"{", b"word", b"\xff\xfe\x00", b"\x80a", b"[" * 100_000, b"{'a': 'a'}"):
        response = running.client.post("/v1/classify", content=body, headers=JSON)
        check_problem(response, 400, "not_json")
    assert running.classify({"inputs": "good"}).status_code == 200


def test_every_wrong_field_is_named(serve: Callable[..., Any]) -> None:
    running = serve()
    cases: list[tuple[Any, list[str]]] = [
        ([1], ["body"]),
        ("text", ["body"]),
        ({}, ["inputs"]),
        ({"inputs": []}, ["inputs"]),
        ({"inputs": "a", "inptus": 1}, ["inptus"]),
        ({"inputs": "a", "top_k": 0}, ["top_k"]),
        ({"inputs": "a", "top_k": True}, ["top_k"]),
        ({"inputs": "a", "top_k": 1.5}, ["top_k"]),
        ({"inputs": "a", "function": "argmax"}, ["function"]),
        ({"inputs": "a", "function": ["softmax"]}, ["function"]),
        ({"inputs": "a", "truncate": "no"}, ["truncate"]),
        ({"inputs": "a", "model": 3}, ["model"]),
        ({"top_k": "x", "truncate": 0, "z": {}}, ["z", "inputs", "top_k", "truncate"]),
    ]
    for body, fields in cases:
        problem = check_problem(running.classify(body), 422, "invalid_request")
        assert [error["field"] for error in problem["errors"]] == fields
        assert all(error["expected"] for error in problem["errors"])


def test_single_bad_input(serve: Callable[..., Any]) -> None:
    running = serve()
    cases: list[tuple[object, str]] = [
        (7, "invalid_item"),
        (None, "invalid_item"),
        ({"text": "a", "label": "b"}, "invalid_item"),
        ({"text": 1}, "invalid_item"),
        ("", "empty_text"),
        (" \n\t ", "empty_text"),
        ({"text": "a", "text_pair": "b"}, "pair_mismatch"),
        ("x" * 100_001, "text_too_large"),
    ]
    for item, code in cases:
        problem = check_problem(running.classify({"inputs": item}), 422, code)
        assert problem["errors"][0]["field"] == "inputs"


def test_text_of_a_megabyte(serve: Callable[..., Any]) -> None:
    problem = check_problem(serve().classify({"inputs": "a" * 2**20}), 422, "text_too_large")
    assert "1048576" in problem["detail"]
    assert len(problem["errors"][0]["value"]) == 101  # cut


def test_very_long_text_is_cut(serve: Callable[..., Any]) -> None:
    running = serve(max_text_chars=2**21, max_body_bytes=2**22)
    response = running.classify({"inputs": "good film " * 100_000})
    assert response.json()["results"][0]["truncated"]


def test_lone_surrogate(serve: Callable[..., Any]) -> None:
    running = serve()
    for body in (
        r'{"inputs": "bad \ud800 text"}',
        r'{"inputs": "a", "function": "\udc00"}',
        r'{"inputs": "a", "\ud800": 1}',
    ):
        response = running.client.post("/v1/classify", content=body, headers=JSON)
        assert response.status_code == 422
        json.loads(response.content.decode("ascii"))
    body = r'{"inputs": "a", "model": "\ud800"}'
    named = running.client.post("/v1/classify", content=body, headers=JSON)
    check_problem(named, 404, "unknown_model")


def test_huge_number(serve: Callable[..., Any]) -> None:
    running = serve()
    for number in (b"-" + b"9" * 4000, b"NaN", b"1e999"):
        body = b'{"inputs": "a", "top_k": ' + number + b"}"
        response = running.client.post("/v1/classify", content=body, headers=JSON)
        problem = check_problem(response, 422, "invalid_request")
        assert len(str(problem["errors"][0]["value"])) <= 101
    body = b'{"inputs": "a", "top_k": ' + b"9" * 4000 + b"}"
    assert running.client.post("/v1/classify", content=body, headers=JSON).status_code == 200


def test_body_of_10_megabytes(serve: Callable[..., Any]) -> None:
    running = serve()
    check_problem(running.classify({"inputs": "a" * 10_000_000}), 413, "body_too_large")

    def chunks() -> Any:  # no Content-Length: counted as it comes
        for _ in range(100):
            yield b"a" * 100_000

    streamed = running.client.post("/v1/classify", content=chunks(), headers=JSON)
    check_problem(streamed, 413, "body_too_large")
    assert running.classify({"inputs": "good"}).status_code == 200


def test_ten_thousand_texts(serve: Callable[..., Any]) -> None:
    problem = check_problem(serve().classify({"inputs": ["a"] * 10_000}), 413, "too_many_texts")
    assert "1000" in problem["detail"]


def test_other_content_type(serve: Callable[..., Any]) -> None:
    running = serve()

    def post(kind: str) -> Any:
        headers = {"Content-Type": kind}
        return running.client.post("/v1/classify", content=b'{"inputs":"a"}', headers=headers)

    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        check_problem(post(kind), 415, "unsupported_media_type")
    for kind in ("application/json; charset=utf-8", "APPLICATION/JSON"):
        assert post(kind).status_code == 200
    request = running.client.build_request("POST", "/v1/classify", content=b'{"inputs":"a"}')
    assert "Content-Type" not in request.headers
    assert running.client.send(request).status_code == 200


def test_wrong_headers(serve: Callable[..., Any]) -> None:
    running = serve()
    for name, value in [
        ("X-Min-Accuracy", "high"),
        ("X-Min-Accuracy", "1.2"),
        ("X-Min-Accuracy", "nan"),
        ("X-Min-Accuracy", "0.9;bound=upper"),
        ("X-Deadline-Ms", "0"),
        ("X-Deadline-Ms", "-3"),
        ("X-Deadline-Ms", "soon"),
        ("X-Deadline-Ms", "inf"),
        ("X-Latency-Target-Ms", "5"),
        ("X-Max-Disagreement", "0.01"),
    ]:
        response = running.client.post("/v1/classify", json={"inputs": "a"}, headers={name: value})
        problem = check_problem(response, 422, "invalid_request")
        assert problem["errors"][0]["field"] == name
        assert problem["errors"][0]["value"] == value


def test_faults_of_body_and_headers_together(serve: Callable[..., Any]) -> None:
    response = serve().classify({"inputs": "a", "top_k": 0}, X_Deadline_Ms="x", X_Min_Accuracy="y")
    problem = check_problem(response, 422, "invalid_request")
    fields = {one["field"] for one in problem["errors"]}
    assert fields == {"top_k", "X-Deadline-Ms", "X-Min-Accuracy"}


def test_repeated_condition(serve: Callable[..., Any]) -> None:
    headers = [("X-Variant", "fp32"), ("X-Variant", "int8")]
    response = serve().client.post("/v1/classify", json={"inputs": "a"}, headers=headers)
    assert check_problem(response, 422, "invalid_request")["errors"][0]["field"] == "X-Variant"


def test_paths_and_methods(serve: Callable[..., Any]) -> None:
    running = serve()
    for path in ("/v2/models", "/v1/models/", "/assets/..%2f..%2fsettings.py", "/assets/x.py"):
        check_problem(running.client.get(path), 404, "not_found")
    response = running.client.get("/v1/classify")
    check_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"
    assert running.client.post("/v1/classify?x=1&y", json={"inputs": "a"}).status_code == 200


def test_unexpected_error(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    running = serve()

    def broken(*_: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr("paretext_service.protocols.classify.choose", broken)
    response = running.classify({"inputs": "a"})
    check_problem(response, 500, "internal_error")
    assert "secret" not in response.text
    monkeypatch.undo()
    assert running.classify({"inputs": "a"}).status_code == 200


def test_inference_failure(serve: Callable[..., Any], slow_words: list[str]) -> None:
    running = serve()
    check_problem(running.classify({"inputs": "explode"}), 500, "inference_failed")
    results = running.classify({"inputs": ["good", "explode"]}).json()["results"]
    assert results[0]["labels"]
    assert results[1]["error"]["code"] == "inference_failed"
