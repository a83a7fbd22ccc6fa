"""Builds the wheel, installs it without extras into an empty environment, and serves from there.

Run by CI: `python tests/serve_only.py`. It proves that serving needs neither torch nor
transformers, and that the wheel holds all it needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tiny_store import publish_tiny

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = ("torch", "transformers", "optimum", "onnx", "scipy", "matplotlib", "datasets")
SECONDS = 60.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        python = install(build_wheel(here / "dist"), here / "environment")
        for name in FORBIDDEN:
            found = subprocess.run(
                [python, "-c", f"import {name}"], check=False, capture_output=True
            )
            assert found.returncode != 0, f"{name} is installed where only serving is"
        for variant in ("fp32", "int8"):
            publish_tiny(here / "store", variant=variant)
        version = run(python, "-m", "paretext", "--version")
        print(version.strip())
        answer = serve_and_ask(python, here / "store")
        assert answer["model"] == "tiny", answer
        assert answer["results"][0]["labels"], answer
        refused = subprocess.run(
            [python, "-m", "paretext", "build", "x", "--data", "y", "--store", "z"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert refused.returncode == 2, refused
        assert "paretext[compression]" in refused.stderr, refused.stderr
    print("serve-only: the wheel serves without torch and transformers")


def build_wheel(out: Path) -> Path:
    run(Path(sys.executable), "-m", "build", "--wheel", "--outdir", str(out), str(ROOT))
    (wheel,) = out.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    run(Path(sys.executable), "-m", "venv", str(environment))
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel))
    return python


def serve_and_ask(python: Path, store: Path) -> dict[str, object]:
    """Serve on a free port, classify one text, and stop the server with SIGTERM."""
    port = free_port()
    command = [python, "-m", "paretext", "serve", str(store), "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "PARETEXT_CACHE": str(store / ".cache")})
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/health/ready", server)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/classify",
            json.dumps({"inputs": "the film was great"}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, object] = json.load(response)
        return answer
    finally:
        server.terminate()
        assert server.wait(SECONDS) == 0, "SIGTERM must end the server with exit code 0"


def wait_until_ready(address: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert server.poll() is None, "the server ended before it was ready"
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server was not ready in time")


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
