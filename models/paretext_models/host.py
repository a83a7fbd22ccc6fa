"""This machine: its processor, the cores and memory it grants, and where profiles are kept."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import psutil

# The instruction sets that change how fast a variant runs, or what it answers.
_ISA_FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "bf16",
)  # fmt: skip


@cache
def cpu_model() -> str:
    """The processor's name as the system gives it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


@cache
def instruction_sets() -> tuple[str, ...]:
    """The vector extensions this processor has, of those that matter here; empty if unknown."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features") or "").split())
    return tuple(flag for flag in _ISA_FLAGS if flag in flags)


def cores() -> int:
    """The cores this process may use: its affinity, bounded by the container's CPU quota."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = _cgroup_quota()
    return max(1, min(allowed, round(quota)) if quota else allowed)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def _cgroup_quota() -> float | None:
    """CPUs granted by the control group (version 2, then 1), or None where there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        return limit / int((folder / "cpu.cfs_period_us").read_text()) if limit > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _cpuinfo(field: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return None
