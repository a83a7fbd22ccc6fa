"""The pages for people, and the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from paretext_service.conditions import _NOT_YET
from paretext_service.protocols.schemas import REQUEST_HEADERS, RESPONSE_HEADERS


def test_pages_load_nothing_from_elsewhere(serve: Callable[..., Any]) -> None:
    running = serve()
    for path in ("/", "/docs"):
        page = running.client.get(path)
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        assert "://" not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assets = re.findall(r'(?:src|href)="(assets/[^"]+)"', page.text)
        assert assets
        for asset in assets:
            response = running.client.get("/" + asset)
            assert response.status_code == 200
            assert response.content
    for own in ("page.js", "page.css", "docs.js"):
        assert "://" not in running.client.get(f"/assets/{own}").text
    assert "innerHTML" not in running.client.get("/assets/page.js").text


def test_every_route_has_a_schema(serve: Callable[..., Any]) -> None:
    document = serve(api_keys=("key",)).client.get("/openapi.json").json()
    # The newest version that the bundled Swagger UI renders.
    assert document["openapi"] == "3.0.3"
    assert set(document["paths"]) == {
        "/v1/classify", "/v1/models", "/v1/models/{model}/variants",
        "/v1/models/{model}/variants/{variant}", "/health/live", "/health/ready", "/metrics",
    }  # fmt: skip
    for path in document["paths"].values():
        for operation in path.values():
            (content,) = operation["responses"]["200"]["content"].values()
            assert content["schema"]
            assert operation["summary"]
    assert document["security"] == [{"key": []}]


def test_references_resolve_and_the_dialect_is_3_0(serve: Callable[..., Any]) -> None:
    document = serve().client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]

    def walk(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            yield node
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    for node in walk(document):
        if isinstance(node.get("$ref"), str):
            assert node["$ref"].removeprefix("#/components/schemas/") in schemas
        assert node.get("type") != "null"
        assert not {"const", "prefixItems", "$defs"} & {k for k in node if k != "properties"}
    classify = document["paths"]["/v1/classify"]["post"]
    assert {one["name"] for one in classify["parameters"]} == set(REQUEST_HEADERS)
    assert not set(REQUEST_HEADERS) & set(_NOT_YET.values())
    assert set(classify["responses"]["200"]["headers"]) == set(RESPONSE_HEADERS)
    assert schemas["ClassifyRequest"]["example"]
    assert schemas["ClassifyResponse"]["example"]


def test_the_documented_example_works(serve: Callable[..., Any]) -> None:
    running = serve()
    schemas = running.client.get("/openapi.json").json()["components"]["schemas"]
    response = running.classify(schemas["ClassifyRequest"]["example"])
    assert response.status_code == 200
    documented = schemas["ClassifyResponse"]["example"]
    assert response.json().keys() == documented.keys()
    assert response.json()["route"].keys() == documented["route"].keys()
    for result in response.json()["results"]:
        assert result.keys() <= schemas["Result"]["properties"].keys()
