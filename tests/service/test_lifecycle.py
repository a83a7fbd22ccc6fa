"""The process: how it starts, and that it ends without losing what it accepted."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from paretext_service.server import listen, main
from paretext_service.settings import Settings

SERVE = """
import sys, time
from pathlib import Path
from paretext_service.protocols import classify
from paretext_service.server import main
from paretext_service.settings import Settings
real = classify.classify
def slowed(served, options, text):
    time.sleep({seconds})
    return real(served, options, text)
if {seconds}:
    classify.classify = slowed
sys.exit(main(Settings(**{settings!r})))
"""


class Process:
    """A server in a process of its own."""

    def __init__(self, store: Path, seconds: float = 0.0, **settings: Any) -> None:
        fields = {"store": str(store), "port": 0, "workers": 2, **settings}
        self.started = time.monotonic()
        self.popen = subprocess.Popen(
            [sys.executable, "-c", SERVE.format(seconds=seconds, settings=fields)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PARETEXT_CACHE": str(store.parent / "cache")},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        self.lines.extend([])
        for line in self.popen.stderr:
            self.lines.append(line)

    def url(self) -> str:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for line in self.lines:
                if found := re.search(r"serving .* at (http://[\w.:\[\]]+)", line):
                    return found[1]
            time.sleep(0.005)
        raise AssertionError(self.lines)

    def wait(self) -> int:
        code = self.popen.wait(30)
        self._reader.join()
        assert self.popen.stderr is not None
        self.popen.stderr.close()
        return code


@pytest.fixture
def process(store: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(**arguments: Any) -> Process:
        started.append(Process(store, **arguments))
        return started[-1]

    yield start
    for one in started:
        if one.popen.poll() is None:
            one.popen.kill()
        one.wait()


def test_starts_quickly(process: Callable[..., Process]) -> None:
    running = process()
    response = httpx.post(running.url() + "/v1/classify", json={"inputs": "good"})
    assert response.status_code == 200
    # About 0.6 s on two cores; the bound leaves room for a busy machine.
    assert time.monotonic() - running.started < 3
    running.popen.send_signal(signal.SIGTERM)
    assert running.wait() == 0


def test_sigterm_under_load_loses_nothing(process: Callable[..., Process]) -> None:
    running = process(seconds=0.05)
    url = running.url()
    outcomes: list[str] = []
    lock, terminated = threading.Lock(), threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            while True:
                before = not terminated.is_set()
                try:
                    response = client.post("/v1/classify", json={"inputs": ["good", "bad"]})
                except httpx.ConnectError:
                    return  # not accepted any more
                except httpx.HTTPError as error:
                    # A connection that the kernel took and the server never saw is not lost.
                    with lock:
                        outcomes.append(f"lost: {error!r}" if before else "refused")
                    return
                with lock:
                    outcomes.append(str(response.status_code))
                if response.status_code == 503:
                    assert response.json()["code"] == "draining"
                    assert response.headers["Connection"] == "close"
                    return

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    running.popen.send_signal(signal.SIGTERM)
    terminated.set()
    for thread in threads:
        thread.join(30)
    assert running.wait() == 0
    assert outcomes.count("200") > 12
    assert set(outcomes) <= {"200", "503", "refused"}


def test_drain_time_is_bounded(process: Callable[..., Process]) -> None:
    running = process(seconds=1.0, drain_seconds=0.5)
    url = running.url()
    answers: list[httpx.Response] = []
    inputs = ["good"] * 20  # ten seconds of work

    def ask() -> None:
        answers.append(httpx.post(url + "/v1/classify", json={"inputs": inputs}, timeout=20))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.3)
    start = time.monotonic()
    running.popen.send_signal(signal.SIGTERM)
    thread.join(20)
    assert running.wait() == 0
    assert time.monotonic() - start < 6
    assert (answers[0].status_code, answers[0].json()["code"]) == (503, "draining")


def test_probes_while_draining(
    serve: Callable[..., Any], slow_words: list[str], wait_until: Callable[..., None]
) -> None:
    running = serve()
    running.service.draining = True
    ready = running.client.get("/health/ready")
    assert (ready.status_code, ready.json()["code"]) == (503, "draining")
    assert running.client.get("/health/live").status_code == 200
    assert running.client.get("/metrics").status_code == 200
    refused = running.classify({"inputs": "good"})
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    running.service.draining = False


def test_port_in_use(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listen(Settings(store=store, port=0)) as taken:
        port = taken.getsockname()[1]
        assert main(Settings(store=store, port=port)) == 2
    message = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in message
    assert "in use" in message
    assert "Traceback" not in message


def test_address_that_is_not_there(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Settings(store=store, host="no-such-host.invalid")) == 2
    assert "no-such-host.invalid" in capsys.readouterr().err


def test_missing_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Settings(store=tmp_path / "nothing", port=0)) == 2
    assert "no store at" in capsys.readouterr().err


def test_log_lines(process: Callable[..., Process]) -> None:
    import json

    running = process(log_json=True)
    url = running.url()
    httpx.post(url + "/v1/classify", json={"inputs": "secret words"}, headers={"X-Request-Id": "a"})
    httpx.post(url + "/v1/classify", content=b'{"inputs": "secret"', headers={"X-Request-Id": "b"})
    running.popen.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    lines = [json.loads(line) for line in running.lines]
    first, second = (line for line in lines if line["message"] == "request")
    assert (first["request_id"], first["status"], first["model"]) == ("a", 200, "tiny")
    assert (first["variant"], first["reason"], first["tokens"]) == ("fp32", "default", 4)
    assert first["total_ms"] > 0
    assert (second["request_id"], second["status"]) == ("b", 400)
    assert not any("secret" in line for line in running.lines)


def test_ipv6(store: Path) -> None:
    try:
        listener = listen(Settings(store=store, host="::1", port=0))
    except Exception:
        pytest.skip("no IPv6 here")
    with listener:
        assert listener.family == socket.AF_INET6
