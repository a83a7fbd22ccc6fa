"""GET /v1/models and below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from paretext_models.manifest import Manifest
from paretext_models.store import Store


def test_models(serve: Callable[..., Any]) -> None:
    (model,) = serve().client.get("/v1/models").json()["models"]
    assert model["model"] == "tiny"
    assert model["default"] == "fp32"
    assert model["labels"] == ["negative", "neutral", "positive"]
    assert (model["problem"], model["pair"], model["generation"]) == ("single_label", False, 3)
    assert model["variants"] == ["fp32", "int8", "small"]
    assert model["refused"] == []


def test_variants(serve: Callable[..., Any], store: Path) -> None:
    running = serve()
    content = running.client.get("/v1/models/tiny/variants").json()
    assert [one["variant"] for one in content["variants"]] == ["fp32", "int8", "small"]
    first = content["variants"][0]
    stored = Store(store).load("tiny", "fp32")
    assert Manifest.model_validate(first["manifest"]) == stored.manifest
    assert (first["revision"], first["device"]) == (stored.revision, "cpu")
    assert (first["default"], first["state"], first["profile"]) == (True, "loaded", None)
    assert first["file_bytes"] == (stored.folder / "model.onnx").stat().st_size
    assert running.client.get("/v1/models/tiny/variants/fp32").json() == first


def test_unknown(serve: Callable[..., Any]) -> None:
    running = serve()
    for path, code in [
        ("/v1/models/x/variants", "unknown_model"),
        ("/v1/models/x/variants/fp32", "unknown_model"),
        ("/v1/models/tiny/variants/x", "unknown_variant"),
    ]:
        response = running.client.get(path)
        assert (response.status_code, response.json()["code"]) == (404, code)
