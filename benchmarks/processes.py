"""Servers as processes of their own: started, timed until they answer, looked at, stopped."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from load import LoadResult
from paretext_models.errors import ParetextError

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
_START_SECONDS = 180.0
_STOP_SECONDS = 40.0
_POLL_SECONDS = 0.005
# Loading frees memory a moment after the first answer.
_SETTLE_SECONDS = 1.0


class Server:
    """A server that answers on a port of this machine, from `with` to the end of its block.

    Args:
        command: what starts it, without the port.
        headers: sent with every request, such as `{"X-Variant": "int8"}`.

    Attributes:
        first_answer_seconds: from the start of the process to the first successful answer.
    """

    def __init__(
        self, command: Sequence[str], headers: dict[str, str] | None = None, path: str | None = None
    ) -> None:
        self.headers = headers or {}
        self.port = _free_port()
        self.first_answer_seconds = 0.0
        self._path = path or "/v1/classify"
        self._command = [*command, "--port", str(self.port)]

    def __enter__(self) -> Self:
        start = time.perf_counter()
        self._process = subprocess.Popen(
            self._command, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            while not self._answers():
                self._check(start)
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self._stop()
            raise
        self.first_answer_seconds = time.perf_counter() - start
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def resident_bytes(self) -> int:
        """Resident memory of the process and of those it started."""
        process = psutil.Process(self._process.pid)
        family = [process, *process.children(recursive=True)]
        return sum(int(one.memory_info().rss) for one in family)

    def idle_bytes(self) -> int:
        """Resident memory a second after the last request."""
        time.sleep(_SETTLE_SECONDS)
        return self.resident_bytes()

    def load(
        self,
        texts: Path,
        connections: int,
        seconds: float,
        *,
        warmup: float = 0.5,
        requests: int | None = None,
        offset: int = 0,
    ) -> LoadResult:
        """Load the server from another process; see `load.py`."""
        command = [sys.executable, str(HERE / "load.py"), "--port", str(self.port)]
        command += ["--path", self._path, "--texts", str(texts), "--connections", str(connections)]
        command += ["--seconds", str(seconds), "--warmup", str(warmup), "--offset", str(offset)]
        command += [] if requests is None else ["--requests", str(requests)]
        for name, value in self.headers.items():
            command += ["--header", f"{name}: {value}"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds + warmup + 90
        )
        if done.returncode:
            raise ParetextError(f"the load generator failed: {done.stderr.strip()}")
        result = LoadResult(**json.loads(done.stdout))
        if result.errors and not result.requests:
            raise ParetextError(f"no request was answered: {result.errors} {done.stderr.strip()}")
        return result

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_START_SECONDS)
        try:
            body = json.dumps({"inputs": "Where is my parcel?"})
            headers = {"Content-Type": "application/json", **self.headers}
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return response.status == 200

    def _check(self, start: float) -> None:
        if (code := self._process.poll()) is not None:
            raise ParetextError(f"{' '.join(self._command[:4])}: ended with exit code {code}")
        if time.perf_counter() - start > _START_SECONDS:
            raise ParetextError(f"no answer {_START_SECONDS:.0f} s after the start")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def paretext_server(store: Path, model: str, variant: str) -> Server:
    """`paretext serve` with one variant, to which every request is pinned."""
    command = [sys.executable, "-m", "paretext", "serve", str(store), "--host", HOST]
    command += ["--models", model, "--variants", variant, "--log-level", "warning"]
    return Server(command, {"X-Variant": variant})


def pipeline_server(teacher: Path, torch_threads: int = 0) -> Server:
    """FastAPI around a transformers pipeline; see `pipeline_server.py`."""
    command = [sys.executable, str(HERE / "pipeline_server.py"), "--teacher", str(teacher)]
    return Server([*command, "--torch-threads", str(torch_threads)])


def _environment() -> dict[str, str]:
    """Ours without the server's settings, which would change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARETEXT_")}
    return {**kept, "HF_HUB_OFFLINE": "1"}


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
