"""Serving needs neither torch nor anything else that only building needs."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "torch",
    "transformers",
    "jsonschema",
    "scipy",
    "matplotlib",
    "onnx",
    "optimum",
    "datasets",
)


def test_the_service_imports_nothing_heavy() -> None:
    code = (
        "import sys, paretext_service.app, paretext_service.server\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
        "print([name for name in sys.modules if name.startswith('paretext_compression')])\n"
        "print('paretext' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["[]", "[]", "False"]
