"""The one place here that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`PARETEXT_CACHE`, by default `paretext` in the user's cache folder."""
    named = os.environ.get("PARETEXT_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "paretext"
