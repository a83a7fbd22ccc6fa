from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paretext_models import host

System = Callable[[dict[str, str], int], None]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[System]:
    """Files of a made-up system, and how many cores the process may run on."""

    def pretend(files: dict[str, str], allowed: int) -> None:
        for name, content in files.items():
            (tmp_path / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name.lstrip("/")).write_text(content)
        monkeypatch.setattr(host, "Path", lambda name: tmp_path / str(name).lstrip("/"))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)

    cached = (host.cpu_model, host.instruction_sets)
    for function in cached:
        function.cache_clear()
    yield pretend
    for function in cached:
        function.cache_clear()


V2 = "/sys/fs/cgroup/cpu.max"
V1_QUOTA, V1_PERIOD = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "allowed", "cores"),
    [
        ({}, 8, 8),
        ({V2: "max 100000\n"}, 8, 8),
        ({V2: "200000 100000\n"}, 8, 2),
        ({V2: "150000 100000\n"}, 8, 2),
        ({V2: "50000 100000\n"}, 8, 1),
        ({V2: "10000 100000\n"}, 8, 1),
        ({V2: "1600000 100000\n"}, 4, 4),
        ({V2: "nonsense"}, 3, 3),
        ({V1_QUOTA: "300000\n", V1_PERIOD: "100000\n"}, 8, 3),
        ({V1_QUOTA: "-1\n", V1_PERIOD: "100000\n"}, 8, 8),
        ({V1_QUOTA: "300000\n", V1_PERIOD: "0\n"}, 8, 8),
        ({V1_QUOTA: "300000\n"}, 8, 8),
        ({V2: "200000 100000", V1_QUOTA: "300000", V1_PERIOD: "100000"}, 8, 2),
    ],
)
def test_cores_are_bounded_by_affinity_and_quota(
    system: System, files: dict[str, str], allowed: int, cores: int
) -> None:
    system(files, allowed)
    assert host.cores() == cores


def test_processor_and_its_instruction_sets(system: System) -> None:
    info = (
        "processor\t: 0\nmodel name\t: A CPU @ 1:2\nflags\t\t: fpu avx2 avx512_vnni_not amx_int8\n"
    )
    system({"/proc/cpuinfo": info}, 1)
    assert host.cpu_model() == "A CPU @ 1:2"
    assert host.instruction_sets() == ("avx2", "amx_int8")


def test_an_unknown_system_has_a_name_and_no_instruction_sets(system: System) -> None:
    system({}, 1)
    assert host.cpu_model()
    assert host.instruction_sets() == ()


def test_resident_memory_grows_with_what_is_held() -> None:
    before = host.resident_bytes()
    held = bytearray(os.urandom(1)) * 50_000_000
    assert host.resident_bytes() - before > 40_000_000
    del held
