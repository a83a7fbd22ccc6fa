"""A variant on this host: latency by token count, load time, memory.

Kept in the user's cache, never in the store: it is true on one machine only. It is measured through
`runner.py`, so what is measured is what is served.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paretext_models import host
from paretext_models.footprint import footprint
from paretext_models.manifest import Manifest
from paretext_models.runner import Runner, open_runner
from paretext_models.store import StoredVariant
from paretext_models.tokenizer import Encoded

PROFILE_VERSION = 2
TOKEN_BUCKETS = (16, 64, 128)
_RUNS = 200
_SECONDS = 2.0


class BucketProfile(BaseModel):
    """One text per run at one token count. Latencies in milliseconds, one core."""

    model_config = ConfigDict(frozen=True)

    tokens: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    runs: int
    texts_per_second: float = Field(description="all cores together, one text per run on each")


class HostProfile(BaseModel):
    """Everything measured of one variant on this host."""

    model_config = ConfigDict(frozen=True)

    profile_version: int = PROFILE_VERSION
    host: dict[str, str]
    plan: str = "one text per run and core"
    load_seconds: float
    resident_bytes: int = Field(description="what loading the variant adds to a process")
    buckets: tuple[BucketProfile, ...]

    def predicted_ms(self, tokens: int, quantile: str = "p50") -> float:
        """Latency at a token count, linear between the measured ones and beyond the last."""
        xs = [bucket.tokens for bucket in self.buckets]
        ys = [getattr(bucket, f"{quantile}_ms") for bucket in self.buckets]
        if len(xs) > 1 and tokens > xs[-1]:
            slope = (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
            return float(ys[-1] + max(slope, 0.0) * (tokens - xs[-1]))
        return float(np.interp(tokens, xs, ys))


def profile(
    stored: StoredVariant, cache: Path, *, device: str = "cpu", refresh: bool = False
) -> HostProfile:
    """The variant's profile on this host: from the cache, or measured now (seconds)."""
    known = None if refresh else cached_profile(stored, cache, device=device)
    return known or _save(_file(stored, cache, device), measure(stored, device=device))


def cached_profile(
    stored: StoredVariant, cache: Path, *, device: str = "cpu"
) -> HostProfile | None:
    """The profile that was measured before under the same conditions, if any."""
    try:
        return HostProfile.model_validate_json(_file(stored, cache, device).read_bytes())
    except (OSError, ValidationError):
        return None


def measure(stored: StoredVariant, *, device: str = "cpu") -> HostProfile:
    """Measure a variant. It should have the machine to itself meanwhile."""
    cost = footprint(stored.folder, device)
    runner = open_runner(stored.folder, stored.manifest, device=device)
    limit = stored.manifest.tokenizer.max_tokens
    tokens = sorted({min(bucket, limit) for bucket in TOKEN_BUCKETS})
    return HostProfile(
        host=_conditions(device),
        load_seconds=cost.load_seconds,
        resident_bytes=cost.resident_bytes,
        buckets=tuple(_measure_bucket(runner, stored.manifest, count) for count in tokens),
    )


def _measure_bucket(runner: Runner, manifest: Manifest, tokens: int) -> BucketProfile:
    texts = [_text(manifest, tokens, seed) for seed in range(16)]
    for text in texts[:5]:
        runner.logits([text])
    times: list[float] = []
    until = time.perf_counter() + _SECONDS
    while len(times) < _RUNS and (len(times) < 20 or time.perf_counter() < until):
        start = time.perf_counter()
        runner.logits([texts[len(times) % len(texts)]])
        times.append((time.perf_counter() - start) * 1e3)
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return BucketProfile(
        tokens=tokens,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        runs=len(times),
        texts_per_second=_throughput(runner, texts, seconds=_SECONDS / 4),
    )


def _throughput(runner: Runner, texts: Sequence[Encoded], seconds: float) -> float:
    """Texts per second with every core running one text at a time."""
    workers = host.cores()
    start = time.perf_counter()

    def work(worker: int) -> int:
        done = 0
        while time.perf_counter() - start < seconds:
            runner.logits([texts[(worker + done) % len(texts)]])
            done += 1
        return done

    with ThreadPoolExecutor(workers) as pool:
        total = sum(pool.map(work, range(workers)))
    return total / (time.perf_counter() - start)


def _text(manifest: Manifest, tokens: int, seed: int) -> Encoded:
    """A text of exactly so many tokens. Ids stay low: every vocabulary has them."""
    ids = np.random.default_rng(seed).integers(0, 200, tokens).tolist()
    # A padding id inside the text would shift the position ids of RoBERTa.
    ids = [3 if token == manifest.tokenizer.pad_id else token for token in ids]
    return Encoded(ids, [0] * tokens, truncated=False)


def _conditions(device: str) -> dict[str, str]:
    return {
        "device": device,
        "cpu": host.cpu_model(),
        "instruction_sets": " ".join(host.instruction_sets()),
        "cores": str(host.cores()),
        "onnxruntime": onnxruntime.__version__,
    }


def _file(stored: StoredVariant, cache: Path, device: str) -> Path:
    key = {
        "version": PROFILE_VERSION,
        "conditions": _conditions(device),
        "plan": stored.manifest.plan.kind,
        "file": stored.manifest.files[stored.manifest.plan.file],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cache / "profiles" / f"{stored.manifest.variant}-{digest}.json"


def _save(file: Path, measured: HostProfile) -> HostProfile:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(f".{os.getpid()}")
        aside.write_text(measured.model_dump_json(indent=1))
        os.replace(aside, file)
    except OSError:  # a read-only home: measured again next time
        pass
    return measured
