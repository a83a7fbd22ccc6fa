"""A real server on a free port, over tiny variants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from paretext_service.protocols import classify as classify_module
from paretext_service.server import DrainingServer, build_server, listen
from paretext_service.service import Service
from paretext_service.settings import Settings
from tiny_store import publish_tiny


@dataclass
class Running:
    """A server that answers."""

    url: str
    port: int
    service: Service
    client: httpx.Client

    def classify(self, body: Any, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post("/v1/classify", json=body, headers=sent)

    def metric(self, name: str, **labels: str) -> float | None:
        """The value once what was asked has been counted: the answer is out a moment before."""
        registry = self.service.metrics.registry
        until = time.monotonic() + 0.5
        while registry.get_sample_value("paretext_inflight_requests") and time.monotonic() < until:
            time.sleep(0.001)
        return self.service.metrics.registry.get_sample_value(name, labels)


Serve = Callable[..., Running]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One model of three variants; the first is the default."""
    root = tmp_path / "store"
    publish_tiny(root, variant="fp32", seed=1, width=64, accuracy=0.92)
    publish_tiny(root, variant="int8", seed=2, width=8, accuracy=0.90)
    publish_tiny(root, variant="small", seed=3, width=4, accuracy=0.80)
    return root


@pytest.fixture
def serve(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start servers in threads; they are stopped when the test ends."""
    monkeypatch.setattr("paretext_service.server._LAME_DUCK_SECONDS", 0.0)
    started: list[tuple[DrainingServer, threading.Thread, httpx.Client]] = []

    def start(*, wait: bool = True, **settings: Any) -> Running:
        fields: dict[str, Any] = {"store": store, "cache": tmp_path / "cache", "port": 0}
        fields |= {"workers": 2, "drain_seconds": 5, "reload_seconds": 0.1}
        chosen = Settings(**{**fields, **settings})
        listener = listen(chosen)
        server = build_server(chosen)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        port = listener.getsockname()[1]
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        started.append((server, thread, client))
        if wait:
            _wait_until(lambda: client.get("/health/ready").status_code == 200)
        return Running(f"http://127.0.0.1:{port}", port, server.service, client)

    yield start
    for server, thread, client in started:
        client.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def slow_words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A number in a text makes it take so many seconds; the list is of the texts that ran."""
    ran: list[str] = []
    real = classify_module.classify

    def slowed(served: Any, options: Any, text: Any) -> Any:
        ran.append(text.text)
        for word in text.text.split():
            if word.replace(".", "").isdigit():
                time.sleep(float(word))
        if "explode" in text.text:
            raise RuntimeError("exploded")
        return real(served, options, text)

    monkeypatch.setattr(classify_module, "classify", slowed)
    return ran


def _wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    return _wait_until
