"""Clients that leave, dawdle or flood."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

BODY = json.dumps({"inputs": "good film"}).encode()
HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def request(body: bytes = BODY) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def read_all(connection: socket.socket) -> bytes:
    """What the server sends until it closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return int(head.split()[1]), json.loads(body)["code"]


def test_client_that_leaves_while_it_waits(
    serve: Callable[..., Any], slow_words: list[str], wait_until: Callable[..., None]
) -> None:
    running = serve(workers=1)
    busy = threading.Thread(target=running.classify, args=({"inputs": "busy 0.4"},))
    busy.start()
    wait_until(lambda: slow_words == ["busy 0.4"])
    with connect(running.port) as gone:
        gone.sendall(request(json.dumps({"inputs": ["gone", "gone too"]}).encode()))
        wait_until(lambda: running.service.scheduler.waiting == 2)
    wait_until(lambda: running.service.scheduler.waiting == 0, seconds=0.35)
    busy.join()
    assert running.classify({"inputs": "good"}).status_code == 200
    assert slow_words == ["busy 0.4", "good"]
    count = running.metric(
        "paretext_requests_total",
        model="tiny", variant="fp32", protocol="classify", reason="default", code="499",
    )  # fmt: skip
    assert count == 1
    assert running.metric("paretext_inflight_requests") == 0


def test_client_that_leaves_in_its_body(
    serve: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    running = serve()
    with connect(running.port) as gone:
        gone.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + BODY)
        wait_until(lambda: running.metric("paretext_inflight_requests") == 1)
    assert running.metric("paretext_inflight_requests") == 0
    assert running.classify({"inputs": "good"}).status_code == 200


def test_slow_body(serve: Callable[..., Any]) -> None:
    running = serve(body_timeout_seconds=0.3)
    with connect(running.port) as slow:
        slow.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        start = time.monotonic()
        for _ in range(3):
            slow.sendall(b"{")
            time.sleep(0.05)
        assert running.classify({"inputs": "good"}).status_code == 200  # others go on
        assert problem(read_all(slow)) == (408, "request_timeout")
        assert time.monotonic() - start < 3


def test_slow_head(serve: Callable[..., Any]) -> None:
    running = serve(header_timeout_seconds=0.3)
    with connect(running.port) as slow, connect(running.port) as silent:
        slow.sendall(b"POST /v1/classify HTTP/1.1\r\nHost:")
        assert problem(read_all(slow)) == (408, "request_timeout")
        assert read_all(silent) == b""
    with connect(running.port) as fast:  # the timer of the head does not hit what follows it
        fast.sendall(request())
        assert b" 200 " in fast.recv(65536)
        time.sleep(0.4)
        fast.sendall(request())
        assert b" 200 " in fast.recv(65536)


def test_head_without_end(serve: Callable[..., Any]) -> None:
    running = serve()
    with connect(running.port) as flood:
        flood.sendall(b"GET / HTTP/1.1\r\n")
        try:
            for _ in range(200):
                flood.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
        except (ConnectionResetError, BrokenPipeError):
            pass
        answer = read_all(flood)
        assert answer == b"" or problem(answer) == (431, "headers_too_large")
    assert running.classify({"inputs": "good"}).status_code == 200


def test_not_http(serve: Callable[..., Any]) -> None:
    running = serve()
    with connect(running.port) as other:
        other.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert problem(read_all(other)) == (400, "malformed_http")


def test_too_many_connections(serve: Callable[..., Any]) -> None:
    running = serve(max_connections=3)  # one is the client's
    with connect(running.port), connect(running.port):
        time.sleep(0.1)
        with connect(running.port) as fourth:
            answer = read_all(fourth)
        assert problem(answer) == (503, "too_many_connections")
        assert b"Retry-After: 1" in answer
        assert running.classify({"inputs": "good"}).status_code == 200


def test_pipelined_requests(serve: Callable[..., Any]) -> None:
    running = serve()
    with connect(running.port) as pipeline:
        pipeline.sendall(request() * 20)
        received = b""
        while received.count(b"HTTP/1.1 200") < 20:
            received += pipeline.recv(65536)
        assert received.count(b'"results"') == 20


def test_client_that_never_reads(serve: Callable[..., Any]) -> None:
    running = serve(body_timeout_seconds=0.5, keepalive_seconds=1)
    items = json.dumps({"inputs": ["good film"] * 1000}).encode()
    with connect(running.port) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.setblocking(False)
        for _ in range(60):
            try:
                stuck.send(request(items))
            except BlockingIOError:
                time.sleep(0.01)
        time.sleep(1.5)
        assert running.classify({"inputs": "good"}).status_code == 200
        assert running.metric("paretext_inflight_requests") == 0


def test_full_queue(
    serve: Callable[..., Any], slow_words: list[str], wait_until: Callable[..., None]
) -> None:
    running = serve(workers=1, max_queue_texts=4, max_texts=4)
    answers: list[Any] = []
    texts = ["0.3", *["0.05"] * 3]
    busy = threading.Thread(target=lambda: answers.append(running.classify({"inputs": texts})))
    busy.start()
    wait_until(lambda: running.service.scheduler.waiting == 3)
    refused = running.classify({"inputs": ["good", "bad"]})
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["retry_after_ms"] >= 1
    assert running.classify({"inputs": "good"}).status_code == 200
    busy.join()
    assert answers[0].status_code == 200


def test_deadline(
    serve: Callable[..., Any], slow_words: list[str], wait_until: Callable[..., None]
) -> None:
    running = serve(workers=1)
    busy = threading.Thread(target=running.classify, args=({"inputs": "busy 0.5"},))
    busy.start()
    wait_until(lambda: slow_words == ["busy 0.5"])
    start = time.monotonic()
    late = running.classify({"inputs": "late"}, X_Deadline_Ms="100")
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - start < 0.4  # told at once, not when its turn came
    busy.join()
    in_time = running.classify({"inputs": "in time"}, X_Deadline_Ms="5000")
    assert in_time.status_code == 200
    assert slow_words == ["busy 0.5", "in time"]
    running_already = running.classify({"inputs": "runs 0.3"}, X_Deadline_Ms="100")
    assert running_already.status_code == 200


def test_default_deadline(serve: Callable[..., Any], slow_words: list[str]) -> None:
    running = serve(workers=1, default_deadline_ms=100)
    late = running.classify({"inputs": ["0.3", "never"]})
    assert late.status_code == 504
    assert "never" not in slow_words
