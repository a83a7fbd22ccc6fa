"""What can be said of the images, the compose file and the dashboards without running an engine."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
IMAGES = ("Dockerfile", "Dockerfile.full")

# Section 8 of the design: every metric there is, with the labels beside model and variant.
COUNTERS_AND_GAUGES = {
    "paretext_requests_total": {"protocol", "reason", "code"},
    "paretext_latency_target_total": {"met"},
    "paretext_tokens_total": set(),
    "paretext_truncated_total": set(),
    "paretext_exit_stage_total": {"stage"},
    "paretext_variant_info": {"revision", "device"},
    "paretext_variant_accuracy": set(),
    "paretext_variant_size_bytes": set(),
    "paretext_variant_loaded": set(),
    "paretext_teacher_agreement_ratio": set(),
    "paretext_queue_depth": set(),
    "paretext_inflight_requests": set(),
    "paretext_builds_total": {"state"},
}
HISTOGRAMS = {
    "paretext_request_duration_seconds": set(),
    "paretext_stage_duration_seconds": {"stage"},
    "paretext_batch_texts": set(),
}
WITHOUT_VARIANT = {"paretext_queue_depth", "paretext_inflight_requests", "paretext_builds_total"}


def metric_labels() -> dict[str, set[str]]:
    """The name of every series with the labels that it may be selected by."""
    labels = {name: set(own) for name, own in COUNTERS_AND_GAUGES.items()}
    for name, own in HISTOGRAMS.items():
        labels |= {f"{name}_sum": set(own), f"{name}_count": set(own)}
        labels[f"{name}_bucket"] = own | {"le"}
    for name, own in labels.items():
        own |= set() if name in WITHOUT_VARIANT else {"model", "variant"}
    return labels


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile in order, comments dropped and continued lines joined."""
    lines = (DOCKER / name).read_text().splitlines()
    kept = "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
    joined = re.sub(r"\s*\\\n\s*", " ", kept)
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def last_stage(name: str) -> dict[str, str]:
    """The last value of each instruction in a Dockerfile's last stage."""
    steps = instructions(name)
    start = max(i for i, (word, _) in enumerate(steps) if word == "FROM")
    return dict(steps[start:])


def copied(name: str) -> list[str]:
    """What a Dockerfile copies out of the repository."""
    copies = [rest.split() for word, rest in instructions(name) if word in ("COPY", "ADD")]
    return [source for words in copies if "--from" not in words[0] for source in words[:-1]]


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def dashboard() -> dict[str, Any]:
    return dict(json.loads((DOCKER / "grafana/dashboards/paretext.json").read_text()))


def dashboard_expressions() -> list[str]:
    """Every query of the dashboard, with Grafana's variables replaced by what they may hold."""
    found = [
        target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])
    ]
    return [
        expr.replace("$__rate_interval", "5m").replace("$model", ".*").replace("$variant", ".*")
        for expr in found
    ]


def alert_expressions() -> list[str]:
    groups = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("name", IMAGES)
def test_everything_copied_exists_and_is_in_the_build_context(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for source in copied(name):
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored


def test_the_wheel_finds_all_its_parts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    parts = [*wheel["packages"], *wheel["force-include"], "README.md", "LICENSE"]
    for name in IMAGES:
        assert {part.split("/")[0] for part in parts} <= set(copied(name))


@pytest.mark.parametrize("name", IMAGES)
def test_any_builder_can_build_it(name: str) -> None:
    text = (DOCKER / name).read_text()
    assert not re.search(r"^#\s*(syntax|escape|check)\s*=", text, re.M)
    assert "<<" not in text
    assert not re.search(r"\b(TARGET|BUILD)(PLATFORM|ARCH|OS|VARIANT)\b", text)
    allowed = {"COPY": {"--from", "--chown"}, "HEALTHCHECK": {"--interval", "--timeout"}}
    allowed["HEALTHCHECK"] |= {"--start-period", "--retries"}
    for word, rest in instructions(name):
        flags = itertools.takewhile(lambda part: part.startswith("--"), rest.split())
        used = {flag.split("=")[0] for flag in flags}
        assert used <= allowed.get(word, set()), f"{word} {rest}"
        assert "://" not in rest, "a host is named when building, never in the file"


@pytest.mark.parametrize("name", IMAGES)
def test_it_serves_as_nobody_special_and_says_when_it_is_ready(name: str) -> None:
    stage = last_stage(name)
    user, group = stage["USER"].split(":")
    assert int(user) == int(group) == 10001
    assert stage["HEALTHCHECK"].endswith('CMD ["python", "/opt/ready.py"]')
    assert json.loads(stage["ENTRYPOINT"]) == ["paretext"]
    assert json.loads(stage["CMD"]) == ["serve", "/store"]
    assert stage["STOPSIGNAL"] == "SIGTERM"
    environment = dict(pair.split("=", 1) for pair in stage["ENV"].split())
    assert environment["PARETEXT_HOST"] == "0.0.0.0"
    assert environment["PARETEXT_STORE"] == "/store"
    # A read-only root with a temporary /tmp is enough.
    assert environment["PARETEXT_CACHE"].startswith("/tmp/")
    assert environment["HOME"] == stage["WORKDIR"] == "/tmp"


def test_the_slim_image_installs_no_extra_and_the_full_one_can_build() -> None:
    installs = {
        name: [rest for word, rest in instructions(name) if word == "RUN" and "pip install" in rest]
        for name in IMAGES
    }
    assert len(installs["Dockerfile"]) == 1
    assert not re.search(r"\[|torch|transformers", installs["Dockerfile"][0])
    torch, package = installs["Dockerfile.full"]
    assert torch.endswith(" torch")
    assert "[compression]" in package
    for install in (*installs["Dockerfile"], torch, package):
        assert "--no-cache-dir" in install
        assert "-c constraints.txt" in install


def test_compose_confines_every_service() -> None:
    services = compose()["services"]
    assert set(services) == {"paretext", "prometheus", "grafana"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert service["mem_limit"], name
        assert re.search(r":(slim|v?\d+\.\d+\.\d+)$", service["image"]), name


def test_compose_mounts_what_exists() -> None:
    content = compose()
    assert (ROOT / content["services"]["paretext"]["build"]["dockerfile"]).is_file()
    mounts = [m.split(":") for service in content["services"].values() for m in service["volumes"]]
    for source, target, *mode in mounts:
        if not source.startswith("."):
            assert source in content["volumes"]
            continue
        assert mode == ["ro"], source
        assert source == "./demo-store" or (ROOT / source).exists()
        assert target.startswith("/")


def test_the_parts_of_the_monitoring_find_each_other() -> None:
    services = compose()["services"]
    scraped = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())
    job = scraped["scrape_configs"][0]
    assert job["static_configs"][0]["targets"] == [f"paretext:{last_stage('Dockerfile')['EXPOSE']}"]
    assert 'up{job="paretext"} == 0' in alert_expressions()
    mounted = {m.split(":")[1] for s in services.values() for m in s["volumes"]}
    assert {f"/etc/prometheus/{file}" for file in scraped["rule_files"]} <= mounted
    provisioning = DOCKER / "grafana/provisioning"
    source = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((provisioning / "dashboards/paretext.yml").read_text())
    assert provider["providers"][0]["options"]["path"] in mounted
    chosen = dashboard()["templating"]["list"][0]["current"]["value"]
    assert chosen == source["datasources"][0]["uid"]


def test_queries_and_alerts_use_only_metrics_that_exist() -> None:
    known = metric_labels()
    for expr in [*dashboard_expressions(), *alert_expressions()]:
        named = set(re.findall(r"\bparetext_\w+", expr))
        assert named <= set(known), expr
        assert named or "up{" in expr, expr
        for name, selector in re.findall(r"(paretext_\w+)\{([^}]*)\}", expr):
            assert set(re.findall(r"(\w+)\s*[!=]=?~?\"", selector)) <= known[name], expr


def test_the_dashboard_shows_every_metric() -> None:
    text = " ".join(dashboard_expressions())
    missing = [name for name in (*COUNTERS_AND_GAUGES, *HISTOGRAMS) if name not in text]
    assert missing == []


def test_the_dashboard_is_laid_out_whole() -> None:
    board = dashboard()
    panels = board["panels"]
    assert board["schemaVersion"] >= 39
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["expr"].strip() for target in panel["targets"])


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_accepts_the_files_and_the_alerts_fire_as_meant(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{i}", "expr": expr} for i, expr in enumerate(dashboard_expressions())
    ]
    queries = tmp_path / "queries.yml"
    queries.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    for what in (
        ["check", "config", str(DOCKER / "prometheus/prometheus.yml")],
        ["check", "rules", str(queries)],
        ["test", "rules", str(DOCKER / "prometheus/alerts.test.yml")],
    ):
        ran = subprocess.run(["promtool", *what], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_what_the_images_precompile_needs_no_torch() -> None:
    command = [sys.executable, str(DOCKER / "precompile.py")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def ready(port: int | str) -> subprocess.CompletedProcess[str]:
    # A proxy in the environment must not come between the check and its own container.
    environment = {**os.environ, "PARETEXT_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, str(DOCKER / "ready.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_follows_the_service(status: int, code: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.timeout = 10
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        checked = ready(server.server_port)
        serving.join()
    assert checked.returncode == code
    assert checked.stderr.rstrip().endswith("answered 503" if code else "")


@pytest.mark.parametrize("port", ["1", "no-port"])
def test_the_health_check_fails_without_a_traceback(port: str) -> None:
    failed = ready(port)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"http://127.0.0.1:{port}/health/ready: ")
    assert failed.stderr.count("\n") == 1
