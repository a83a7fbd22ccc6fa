"""Several writers and readers of one store, in processes of their own, some of them killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from paretext_models import store as store_module
from paretext_models.errors import StoreError
from paretext_models.store import Store
from tiny_store import publish_tiny

# A writer in a process of its own: publishes copies of a prepared folder under the given names.
# Where it is told to, it stops for good at one call, and says so.
WRITER = """
import os, shutil, sys, time
from pathlib import Path
from paretext_models import store as module
from paretext_models.manifest import Manifest

root, source, stop, *variants = sys.argv[1:]

def stopping(*arguments, **options):
    print("stopped", flush=True)
    time.sleep(60)

if stop:
    owner, name = stop.split(".")
    setattr({"os": os, "Path": Path, "Store": module.Store}[owner], name, stopping)
store = module.Store(Path(root))
prepared = Manifest.model_validate_json((Path(source) / "manifest.json").read_bytes())
for variant in variants:
    with store.staging("tiny") as staged:
        for name in prepared.files:
            shutil.copyfile(Path(source) / name, staged / name)
        store.publish(staged, prepared.model_copy(update={"variant": variant}))
"""


def writer(root: Path, source: Path, *variants: str, stop: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(root), str(source), stop, *variants]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def folder_of(root: Path) -> Path:
    return Store(root).load("tiny", "fp32").folder


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    publish_tiny(tmp_path)
    source = folder_of(tmp_path)
    names = [[f"v{i}{letter}" for letter in "abcd"] for i in range(2)]
    running = [writer(tmp_path, source, *each) for each in names]
    assert [process.wait(60) for process in running] == [0, 0]
    pointer = Store(tmp_path).pointer("tiny")
    assert set(pointer.variants) == {"fp32", *names[0], *names[1]}
    assert pointer.generation == 9
    loaded, refused = Store(tmp_path).load_all("tiny")
    assert (len(loaded), refused) == (9, [])
    for process in running:
        process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param("Path.write_bytes", id="before the manifest is written"),
        pytest.param("Path.rename", id="before the folder is moved"),
        pytest.param("Store._point", id="before the pointer is written"),
        pytest.param("os.replace", id="before the pointer is moved"),
    ],
)
def test_a_killed_writer_leaves_a_whole_store(tmp_path: Path, stop: str) -> None:
    publish_tiny(tmp_path)
    before = Store(tmp_path).pointer("tiny")
    process = writer(tmp_path, folder_of(tmp_path), "int8", stop=stop)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopped\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert Store(tmp_path).pointer("tiny") == before
    loaded, refused = Store(tmp_path).load_all("tiny")
    assert ([stored.manifest.variant for stored in loaded], refused) == (["fp32"], [])
    # Its lock went with it, and the next writer succeeds.
    publish_tiny(tmp_path, variant="int8")
    assert len(Store(tmp_path).load_all("tiny")[0]) == 2
    Store(tmp_path).sweep("tiny", older_than_seconds=-60)
    left = {entry.name for entry in (tmp_path / "tiny").iterdir()}
    assert left <= {".lock", "model.json", "fp32", "int8"}


def test_a_writer_that_hangs_is_named_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_tiny(tmp_path)
    monkeypatch.setattr(store_module, "_LOCK_SECONDS", 0.2)
    process = writer(tmp_path, folder_of(tmp_path), "int8", stop="os.replace")
    assert process.stdout is not None
    assert process.stdout.readline() == "stopped\n"
    with pytest.raises(StoreError, match=r"^tiny: another process has been writing"):
        Store(tmp_path).set_default("tiny", "fp32")
    process.kill()
    process.communicate(timeout=30)
    Store(tmp_path).set_default("tiny", "fp32")


def test_readers_never_see_half_a_pointer(tmp_path: Path) -> None:
    publish_tiny(tmp_path)
    publish_tiny(tmp_path, variant="int8")
    seen: list[int] = []
    faults: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                pointer = Store(tmp_path).pointer("tiny")
                assert set(pointer.variants) == {"fp32", "int8"}
                seen.append(pointer.generation)
        except BaseException as fault:
            faults.append(fault)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(60):
        Store(tmp_path).set_default("tiny", ("fp32", "int8")[i % 2])
    done.set()
    reader.join()
    assert not faults
    assert seen == sorted(seen)
    assert Store(tmp_path).pointer("tiny").generation == 62
