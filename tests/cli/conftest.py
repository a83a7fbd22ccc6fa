"""What the tests of the command line share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiny_models import plain_machine, save_classifier, save_encoder, write_data
from tiny_store import publish_tiny


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings and no cache but the test's own, and one thread: there may be few cores."""
    for name in [name for name in os.environ if name.startswith("PARETEXT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PARETEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    with plain_machine():
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled data; not to be changed."""
    return Path(write_data(tmp_path_factory.mktemp("data"), "single_label"))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder; not to be changed."""
    return save_encoder(tmp_path_factory.mktemp("made") / "encoder", "bert")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier with random weights; not to be changed."""
    return save_classifier(tmp_path_factory.mktemp("made") / "Tiny Classifier", "bert")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of one model with two variants."""
    root = tmp_path / "store"
    for seed, variant in enumerate(("fp32", "int8")):
        publish_tiny(root, variant=variant, seed=seed)
    return root
