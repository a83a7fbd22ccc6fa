"""Many clients at once: each gets its own answer, and memory stays flat."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from paretext_models import host
from paretext_models.runner import open_runner
from paretext_models.scores import scores
from paretext_models.store import Store
from paretext_models.tokenizer import TextTokenizer
from tiny_store import LABELS, WORDS


def texts(count: int) -> list[str]:
    chooser = random.Random(0)
    return [" ".join(chooser.choices(WORDS, k=chooser.randint(1, 20))) for _ in range(count)]


def test_each_client_gets_its_own_answers(serve: Callable[..., Any], store: Path) -> None:
    running = serve()
    wanted: dict[tuple[str, str], list[float]] = {}
    every = texts(120)
    for variant in ("fp32", "int8", "small"):
        stored = Store(store).load("tiny", variant)
        tokenizer = TextTokenizer(stored.folder / "tokenizer.json", 32)
        runner = open_runner(stored.folder, stored.manifest)
        for text in every:
            logits = runner.logits([tokenizer.encode(text)])[0]
            wanted[variant, text] = scores(logits, "softmax").tolist()

    def ask(number: int) -> int:
        variant = ("fp32", "int8", "small")[number % 3]
        chosen = random.Random(number).choices(every, k=1 + number % 7)
        response = running.classify({"inputs": chosen}, X_Variant=variant)
        assert response.headers["X-Variant"] == variant
        for text, result in zip(chosen, response.json()["results"], strict=True):
            given = {one["label"]: one["score"] for one in result["labels"]}
            assert [given[label] for label in LABELS] == pytest.approx(wanted[variant, text])
        return len(chosen)

    with ThreadPoolExecutor(16) as pool:
        total = sum(pool.map(ask, range(400)))
    counted = [
        running.metric("paretext_request_duration_seconds_count", model="tiny", variant=one)
        for one in ("fp32", "int8", "small")
    ]
    assert sum(count or 0 for count in counted) == 400
    assert total > 400


@pytest.mark.slow
def test_memory_stays_flat(serve: Callable[..., Any]) -> None:
    running = serve()
    every = texts(50)

    def ask(count: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        for number in range(count):
            # Every tenth is wrong: failing requests must not leak either.
            body = {"inputs": every[number % 50]} if number % 10 else {"inputs": 3}
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/classify", json.dumps(body), headers)
            assert connection.getresponse().read()
        connection.close()

    def run(requests: int) -> int:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, [requests // 4] * 4))
        return host.resident_bytes()

    before = run(4_000)
    after = run(16_000)
    assert after - before < 20e6
    assert running.service.scheduler._open == set()
