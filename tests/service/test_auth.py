"""API keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_wrong_and_missing_keys(serve: Callable[..., Any]) -> None:
    running = serve(api_keys=("first", "second"), admin_keys=("admin",))
    body = {"inputs": "good"}
    for given in (None, "", "first", "Bearer", "Bearer firs", "Bearer firstx",
                  "Basic first", "Bearer first second", b"Bearer \xe9"):  # fmt: skip
        headers = {} if given is None else {"Authorization": given}
        response = running.client.post("/v1/classify", json=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    for given in ("Bearer first", "bearer second", "Bearer admin"):
        response = running.client.post("/v1/classify", json=body, headers={"Authorization": given})
        assert response.status_code == 200


def test_every_key_is_compared_in_full(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, key: bytes) -> bool:
        compared.append(key)
        return given == key

    monkeypatch.setattr("paretext_service.gate.hmac.compare_digest", compare)
    running = serve(api_keys=("first", "second", "third"))
    assert running.classify({"inputs": "a"}, Authorization="Bearer first").status_code == 200
    assert compared == [b"first", b"second", b"third"]


def test_what_needs_no_key(serve: Callable[..., Any]) -> None:
    running = serve(api_keys=("first",))
    for path in ("/health/live", "/health/ready", "/metrics", "/", "/docs", "/openapi.json"):
        assert running.client.get(path).status_code == 200
    for path in ("/v1/models", "/v1/models/tiny/variants", "/nothing"):
        assert running.client.get(path).status_code == 401


def test_closed_metrics(serve: Callable[..., Any]) -> None:
    running = serve(api_keys=("first",), metrics_open=False)
    assert running.client.get("/metrics").status_code == 401
    headers = {"Authorization": "Bearer first"}
    assert running.client.get("/metrics", headers=headers).status_code == 200
