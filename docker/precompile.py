"""Imports what a start of the service imports, so that the image holds its byte code.

Compiling everything would add tens of megabytes; compiling nothing doubles the time to a first
answer. It proves too that serving needs no torch: an image where it would be loaded isn't made.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator

PACKAGES = ("paretext_models", "paretext_service", "paretext")
# What uvicorn looks up by name when it starts.
BY_NAME = (
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)
NOT_SERVING = ("paretext_models.networks", "paretext.__main__")
HEAVY = ("torch", "transformers")


def modules(package: str) -> Iterator[str]:
    """The package and every module in it by name, but for those that serving never loads."""
    yield package
    path = importlib.import_module(package).__path__
    for module in pkgutil.iter_modules(path, f"{package}."):
        if module.name not in NOT_SERVING:
            yield from modules(module.name) if module.ispkg else (module.name,)


def main() -> int:
    """0, or 1 where importing the service loads what only building needs."""
    ours = (module for package in PACKAGES for module in modules(package))
    for name in (*BY_NAME, *ours):
        importlib.import_module(name)
    heavy = [name for name in HEAVY if name in sys.modules]
    if heavy:
        sys.stderr.write(f"importing the service loads {', '.join(heavy)}\n")
    return 1 if heavy else 0


if __name__ == "__main__":
    sys.exit(main())
