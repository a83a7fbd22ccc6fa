"""Runs the command `paretext`, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paretext.main import main
from tiny_models import quick_recipe

SECONDS = 60.0
# What `tiny_models.plain_machine` does for this process, for one of its own.
PLAIN = "from paretext_models import host; host.cores = lambda: 1; host.instruction_sets = tuple"
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """The JSON values of standard output, one a line: there is nothing else there."""
        return [json.loads(line) for line in self.out.splitlines()]


def call(*arguments: object) -> Ended:
    """The command in this process: quick where torch is loaded already."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["paretext", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _exit_code()
    return Ended(code, out.getvalue(), err.getvalue())


def _exit_code() -> int:
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code if isinstance(ended.value.code, int) else int(bool(ended.value.code))


def start(*arguments: object, code: str = "", **options: Any) -> subprocess.Popen[str]:
    """The command in a process of its own; `code` may come before, `options` go to `Popen`."""
    run = f"{code}\nfrom paretext.main import main\nmain()"
    command = [sys.executable, *(["-c", run] if code else ["-m", "paretext"]), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})


def spawn(*arguments: object, **options: Any) -> Ended:
    """The command in a process of its own, to its end."""
    return end(start(*arguments, **options))


def end(process: subprocess.Popen[str]) -> Ended:
    """What became of a process that ends by itself."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it did not end: {out}\n{err}") from None
    return Ended(process.returncode, out or "", err or "")


def on_terminal(*arguments: object, **options: Any) -> tuple[Ended, str]:
    """The command with standard error on a terminal, and what that showed."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=_read_terminal, args=(ours, shown), daemon=True)
    reader.start()
    process = start(*arguments, stderr=theirs, **options)
    os.close(theirs)
    ended = end(process)
    reader.join(SECONDS)
    os.close(ours)
    return ended, b"".join(shown).decode()


def _read_terminal(descriptor: int, shown: list[bytes]) -> None:
    # Linux ends a terminal that nobody else holds with an error, others with nothing.
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 65536):
            shown.append(part)


def wait_until(found: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + SECONDS
    while not found():
        assert time.monotonic() < until
        time.sleep(0.02)


def refused(ended: Ended, *expected: str, code: int = 2) -> None:
    """The command ended with this code, and its message has all of `expected`."""
    assert ended.code == code, ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert 0 < len(ended.err.strip().splitlines()) <= 12, ended.err
    for text in expected:
        assert text in ended.err


@contextlib.contextmanager
def serving(log: Path, *arguments: object, **options: Any) -> Iterator[str]:
    """The address of a server, started with these arguments and stopped by SIGTERM.

    Args:
        log: the file that its output goes to.
    """
    with log.open("w") as stream:
        process = start(*arguments, stdout=stream, stderr=stream, **options)
        try:
            wait_until(lambda: bool(process.poll() or _ADDRESS.search(log.read_text())))
            found = _ADDRESS.search(log.read_text())
            assert found is not None, log.read_text()
            yield found.group()
        finally:
            process.terminate()
            assert process.wait(SECONDS) == 0, log.read_text()


def blocking(folder: Path, *packages: str) -> dict[str, str]:
    """An environment in which these packages are not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_BLOCKER.format(packages=packages))
    return {**os.environ, "PYTHONPATH": str(folder)}


# `find_spec` answers None and an import fails, as where a package was never installed.
_BLOCKER = """
import importlib.machinery
_find = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in {packages!r} else _find(name, path, target)
importlib.machinery.PathFinder.find_spec = find_spec
"""


def write_small(folder: Path, **changes: object) -> Path:
    """A recipe named `small` as TOML, of few epochs unless `changes` say otherwise."""
    raw = quick_recipe("heads").to_dict()
    lines = ['name = "small"']
    for step in raw["steps"]:
        lines.append("[[steps]]")
        lines += [f"{key} = {json.dumps(changes.get(key, value))}" for key, value in step.items()]
    file = folder / "small.toml"
    file.write_text("\n".join(lines) + "\n")
    return file
