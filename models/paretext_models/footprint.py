"""What loading a variant costs, measured in a process of its own: `python -m ...footprint`.

A process that has loaded others before has memory to hand out again, and would say too little.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from paretext_models import host
from paretext_models.errors import StoreError
from paretext_models.manifest import Manifest
from paretext_models.runner import open_runner
from paretext_models.store import MANIFEST
from paretext_models.tokenizer import Encoded

_SECONDS = 120


@dataclass(frozen=True)
class Footprint:
    """Until the first answer: seconds, and what resident memory grew by."""

    load_seconds: float
    resident_bytes: int


def footprint(folder: Path, device: str = "cpu") -> Footprint:
    """Load a variant's verified files in a fresh process.

    Raises:
        StoreError: it cannot be loaded there.
    """
    command = [sys.executable, "-m", "paretext_models.footprint", str(folder), device]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        return Footprint(**json.loads(ended.stdout))
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
        raise StoreError(f"{folder.parent.name}: its memory cannot be measured: {error}") from error


def load_here(folder: Path, device: str) -> Footprint:
    """Load a variant in this process and run it once."""
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    before, start = host.resident_bytes(), time.perf_counter()
    runner = open_runner(folder, manifest, device=device)
    tokens = min(8, manifest.tokenizer.max_tokens)
    runner.logits([Encoded([3] * tokens, [0] * tokens, truncated=False)])
    seconds = time.perf_counter() - start
    return Footprint(seconds, max(0, host.resident_bytes() - before))


if __name__ == "__main__":
    print(json.dumps(asdict(load_here(Path(sys.argv[1]), sys.argv[2]))))  # noqa: T201
