"""What a store lacks, or has that is damaged, and settings that nothing can be served with."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from run_cli import call, refused, spawn
from tiny_store import publish_tiny


@pytest.mark.parametrize("command", ["report", "verify", "profile"])
def test_stores_without_what_was_asked_for(tmp_path: Path, store: Path, command: str) -> None:
    refused(call(command, tmp_path / "none"), "none", "no models", "paretext build")
    refused(call(command, store, "--model", "small"), "--model", "'small'", "tiny")


def test_one_chart_shows_one_model(tmp_path: Path, store: Path) -> None:
    publish_tiny(store, model="other")
    chart = tmp_path / "chart.png"
    refused(call("report", store, "--png", chart), "--png", "--model", "other, tiny")
    assert call("report", store, "--model", "tiny", "--png", chart).code == 0
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_a_damaged_variant_is_named_and_the_others_go_on(store: Path) -> None:
    (damaged,) = store.glob("tiny/int8/*/model.onnx")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    found = call("verify", store, "--json")
    assert (found.code, found.err) == (1, "")
    assert {line["variant"]: line["ok"] for line in found.lines} == {"fp32": True, "int8": False}
    assert "model.onnx does not match its sha256" in found.lines[1]["detail"]
    plain = spawn("verify", store)
    assert (plain.code, plain.err) == (1, "")
    assert re.search("^tiny/fp32: ok", plain.out, re.M)
    assert re.search("^tiny/int8: FAILED: tiny/int8: model.onnx", plain.out, re.M)
    shown = call("report", store, "--json")
    assert (shown.code, [row["variant"] for row in shown.lines[0]]) == (0, ["fp32"])
    assert "refused: tiny/int8" in shown.err
    measured = call("profile", store, "--json")
    assert (measured.code, [line["variant"] for line in measured.lines]) == (1, ["tiny/fp32"])
    assert "refused: tiny/int8" in measured.err


def test_a_damaged_pointer_is_named(store: Path) -> None:
    (store / "tiny" / "model.json").write_text("{")
    for command in ("verify", "report", "profile"):
        refused(call(command, store), "tiny", "model.json", code=1)


def test_a_device_that_is_not_there(store: Path) -> None:
    for command in ("profile", "serve"):
        refused(call(command, store, "--device", "cuda:7"), "cuda:7", "cpu")


# Serving


def test_wrong_settings_are_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(call("serve"), "store")
    refused(call("serve", store.parent / "none"), "none")
    refused(call("serve", store, "--models", "big"), "big", "tiny")
    refused(call("serve", store, "--port", "70000"), "port", "70000", "65535")
    refused(call("serve", store, "--port", "x"), "--port", "integer")
    refused(call("serve", store, "--device-classes", "{edge"), "--device-classes", "JSON")
    refused(call("serve", store, "--device-classes", '{"edge": {"mb": 1}}'), "edge", "mb")
    refused(call("serve", store, "--api-keys", '[" "]'), "api_keys", "empty key")
    monkeypatch.setenv("PARETEXT_WORKERS", "0")
    monkeypatch.setenv("PARETEXT_LOG_LEVEL", "loud")
    refused(call("serve", store), "workers", "'0'", "log_level", "'loud'", "warning")


@pytest.mark.parametrize("name", ["MODELS", "API_KEYS", "DEVICE_CLASSES", "PORT"])
def test_wrong_values_in_the_environment_are_named(
    store: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"PARETEXT_{name}", "[1")
    refused(call("serve", store), name.lower())


def test_secrets_are_not_repeated(store: Path) -> None:
    for keys in ('["hush-hush"', '["hush-hush", ""]', '["hush-hush", 1]'):
        refused(ended := call("serve", store, "--api-keys", keys), "api_keys")
        assert "hush" not in ended.err
    wrong = ("--max-queue-texts", "1", "--api-keys", "hush-hush")
    refused(ended := call("serve", store, *wrong), "max_queue_texts")
    assert "hush" not in ended.err


def test_a_port_in_use(store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(spawn("serve", store, "--port", port), str(port), "in use", "--port")
    refused(call("serve", store, "--host", "no.such.host.invalid"), "no.such.host.invalid")
