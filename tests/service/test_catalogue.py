"""What is served follows the store: damage, new variants, rollbacks, removals."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretext_models.errors import InputError
from paretext_models.store import Store
from paretext_service.catalogue import Catalogue, check_store
from paretext_service.settings import Settings
from tiny_store import publish_tiny


def variant_folder(store: Path, variant: str) -> Path:
    return store / "tiny" / variant / Store(store).pointer("tiny").variants[variant]


def damage(store: Path, variant: str) -> None:
    with (variant_folder(store, variant) / "model.onnx").open("ab") as file:
        file.write(b"x")


def load(store: Path, **settings: Any) -> Catalogue:
    catalogue = Catalogue(Settings(store=store, cache=store / "cache", **settings))
    catalogue.reload()
    return catalogue


def test_subsets(store: Path) -> None:
    publish_tiny(store, "other")
    assert set(load(store).models) == {"other", "tiny"}
    chosen = load(store, models=("tiny",), variants=("int8", "small")).models
    assert {name: set(model.variants) for name, model in chosen.items()} == {
        "tiny": {"int8", "small"}
    }


def test_tokenizers_are_shared(store: Path) -> None:
    variants = load(store).models["tiny"].variants.values()
    assert len({id(served.tokenizer) for served in variants}) == 1


def test_nothing_changed(store: Path) -> None:
    catalogue = load(store)
    before = catalogue.models
    assert catalogue.reload() is False
    assert catalogue.models is before


def test_damaged_variants_are_refused_by_name(store: Path) -> None:
    damage(store, "int8")
    (model,) = load(store).models.values()
    assert set(model.variants) == {"fp32", "small"}
    (refusal,) = model.refused
    assert refusal.variant == "int8"
    assert "sha256" in refusal.reason


def test_graph_that_does_not_fit_its_labels(store: Path) -> None:
    from paretext_models.manifest import Task

    task = Task(problem="single_label", labels=("a", "b"))
    root = store.parent / "misfit"
    with Store(root).staging("tiny") as folder:
        from tiny_store import tiny_manifest, write_graph, write_tokenizer

        write_tokenizer(folder / "tokenizer.json")
        write_graph(folder / "model.onnx", 3)
        Store(root).publish(folder, tiny_manifest(folder, "tiny", "fp32", task=task))
    (model,) = load(root).models.values()
    assert "shape (1, 3)" in model.refused[0].reason


def test_damage_over_http(serve: Callable[..., Any], store: Path) -> None:
    damage(store, "fp32")  # the default
    running = serve()
    response = running.classify({"inputs": "good"})
    assert (response.json()["variant"], response.json()["route"]["reason"]) == (
        "int8", "best_effort",
    )  # fmt: skip
    pinned = running.classify({"inputs": "good"}, X_Variant="fp32")
    assert pinned.status_code == 404
    assert "sha256" in pinned.json()["detail"]
    assert running.client.get("/health/ready").json()["refused"][0]["variant"] == "fp32"
    models = running.client.get("/v1/models").json()["models"]
    assert models[0]["refused"][0]["variant"] == "fp32"
    one = running.client.get("/v1/models/tiny/variants/fp32")
    assert one.status_code == 404
    assert "sha256" in one.json()["detail"]
    assert running.metric("paretext_variant_loaded", model="tiny", variant="fp32") == 0
    assert running.metric("paretext_variant_loaded", model="tiny", variant="int8") == 1


def test_nothing_usable_then_something(
    serve: Callable[..., Any], store: Path, wait_until: Callable[..., None]
) -> None:
    for variant in ("fp32", "int8", "small"):
        damage(store, variant)
    running = serve(wait=False)
    wait_until(lambda: running.service.catalogue.loaded)
    for response in (
        running.client.get("/health/ready"),
        running.classify({"inputs": "good"}),
    ):
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    assert running.client.get("/health/live").status_code == 200
    publish_tiny(store, variant="whole", seed=9)
    wait_until(lambda: running.client.get("/health/ready").status_code == 200)
    assert running.classify({"inputs": "good"}, X_Variant="whole").status_code == 200


def test_publishing_while_requests_run(
    serve: Callable[..., Any], store: Path, wait_until: Callable[..., None]
) -> None:
    running = serve()
    stop, failures, seen = threading.Event(), [], set()

    def ask() -> None:
        while not stop.is_set():
            response = running.classify({"inputs": ["good film", "bad"]})
            seen.add(response.headers.get("X-Variant-Revision"))
            if response.status_code != 200:
                failures.append(response.text)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        first = Store(store).pointer("tiny").variants["fp32"]
        second = publish_tiny(store, variant="fp32", seed=20, accuracy=0.92)
        publish_tiny(store, variant="extra", seed=21)
        wait_until(lambda: second in seen)
        wait_until(lambda: running.classify({"inputs": "a"}, X_Variant="extra").status_code == 200)
        Store(store).set_default("tiny", "extra")
        wait_until(lambda: running.classify({"inputs": "a"}).json()["variant"] == "extra")
        Store(store).remove("tiny", "fp32")
        wait_until(lambda: running.classify({"inputs": "a"}, X_Variant="fp32").status_code == 404)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert {first, second} <= seen
    assert running.metric("paretext_variant_accuracy", model="tiny", variant="fp32") is None


def test_a_bad_update_keeps_the_last_good_revision(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = load(store)
    first = catalogue.models["tiny"].variants["int8"].revision
    publish_tiny(store, variant="int8", seed=30)
    damage(store, "int8")
    with caplog.at_level(logging.CRITICAL, "paretext.catalogue"):
        assert catalogue.reload()
    model = catalogue.models["tiny"]
    assert model.variants["int8"].revision == first
    assert model.refused[0].variant == "int8"


def test_a_damaged_pointer_keeps_what_was_loaded(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = load(store)
    (store / "tiny" / "model.json").write_text("{")
    with caplog.at_level(logging.CRITICAL, "paretext.catalogue"):
        assert catalogue.reload()
    assert set(catalogue.models["tiny"].variants) == {"fp32", "int8", "small"}
    assert "model.json" in catalogue.models["tiny"].refused[0].reason
    publish_again = Store(store)
    (store / "tiny" / "model.json").unlink()
    assert publish_again.pointer("tiny").generation == 0
    assert catalogue.reload()
    assert "tiny" not in catalogue.models


def test_check_store(store: Path, tmp_path: Path) -> None:
    check_store(Settings(store=store))
    with pytest.raises(InputError, match="no store at"):
        check_store(Settings(store=tmp_path / "missing"))
    with pytest.raises(InputError, match="no model other; there are: tiny"):
        check_store(Settings(store=store, models=("other",)))
    with pytest.raises(InputError, match="no device 'tpu'"):
        check_store(Settings(store=store, device="tpu"))


def test_a_model_is_not_taken_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is a model, not a store"):
        check_store(Settings(store=tmp_path))
