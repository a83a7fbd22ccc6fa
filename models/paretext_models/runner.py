"""Runs a variant: encoded texts to logits. Everything that is measured or served goes through here.

One small class per kind of plan. A runner holds one ONNX Runtime session, which any number of
threads may run at once: with one thread per session the work happens on the calling thread, and
all of them share one copy of the weights.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from paretext_models.errors import StoreError
from paretext_models.manifest import Manifest
from paretext_models.scores import Floats
from paretext_models.tokenizer import Encoded

EXECUTION_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_COLUMNS = {"input_ids", "attention_mask", "token_type_ids"}


class Runner(Protocol):
    """Encoded texts to logits of shape (texts, labels)."""

    def logits(self, batch: Sequence[Encoded]) -> Floats: ...


class SingleRunner:
    """Runs one ONNX graph.

    Args:
        file: the graph.
        inputs: the graph's inputs, of `input_ids`, `attention_mask` and `token_type_ids`.
        pad_id: the token that fills up shorter texts of a batch.
        threads: threads inside one run. One is right wherever several runs go on at once.
        device: `cpu`, or `cuda:N`.

    Raises:
        StoreError: the graph cannot be loaded or has other inputs, or the device is not there.
    """

    def __init__(
        self,
        file: Path,
        inputs: Sequence[str],
        pad_id: int = 0,
        *,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        self._inputs = tuple(inputs)
        self._pad_id = pad_id
        self._session = _open_session(file, threads, device)
        _check_interface(self._session, file, self._inputs)
        _return_freed_memory()

    def logits(self, batch: Sequence[Encoded]) -> Floats:
        """Logits of shape (texts, labels); shorter texts are padded to the longest."""
        feeds = self._one(batch[0]) if len(batch) == 1 else self._padded(batch)
        (logits,) = self._session.run(["logits"], feeds)
        return np.asarray(logits, np.float32)

    def _one(self, encoded: Encoded) -> dict[str, NDArray[np.int64]]:
        ids = np.array([encoded.ids], np.int64)
        columns = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.array([encoded.type_ids], np.int64),
        }
        return {name: columns[name] for name in self._inputs}

    def _padded(self, batch: Sequence[Encoded]) -> dict[str, NDArray[np.int64]]:
        shape = (len(batch), max(map(len, batch)))
        ids = np.full(shape, self._pad_id, np.int64)
        mask = np.zeros(shape, np.int64)
        types = np.zeros(shape, np.int64)
        for row, encoded in enumerate(batch):
            ids[row, : len(encoded)] = encoded.ids
            mask[row, : len(encoded)] = 1
            types[row, : len(encoded)] = encoded.type_ids
        columns = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return {name: columns[name] for name in self._inputs}


def open_runner(
    folder: Path, manifest: Manifest, *, threads: int = 1, device: str = "cpu"
) -> Runner:
    """The runner for a variant's plan. `folder` must hold verified files (see `store.py`).

    Raises:
        StoreError: as `SingleRunner`; the message names the variant.
    """
    try:
        return SingleRunner(
            folder / manifest.plan.file,
            manifest.plan.inputs,
            manifest.tokenizer.pad_id,
            threads=threads,
            device=device,
        )
    except StoreError as error:
        raise StoreError(f"{manifest.model}/{manifest.variant}: {error}") from error


def available_devices() -> tuple[str, ...]:
    """The execution targets that ONNX Runtime has here, best first."""
    providers = onnxruntime.get_available_providers()
    return ("cuda:0", "cpu") if "CUDAExecutionProvider" in providers else ("cpu",)


def _open_session(file: Path, threads: int, device: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Texts come in every length. The arena and its patterns keep the largest shape ever seen of
    # each kind, per thread; without them memory stays flat, for no measurable loss of speed.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    # Waiting threads that spin take the core from the request that runs on it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    provider = _provider(device)
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=[provider])
    except Exception as error:  # the C++ binding raises many unrelated types
        raise StoreError(f"{file.name}: ONNX Runtime cannot load it: {error}") from error
    if provider[0] not in session.get_providers():  # it fell back, with a line in the log
        raise StoreError(f"device {device!r} is not available: {session.get_providers()}")
    return session


def _provider(device: str) -> tuple[str, dict[str, str]]:
    """ONNX Runtime's name and options for a device."""
    if re.fullmatch(r"cpu|cuda(:\d+)?", device) is None:
        raise StoreError(f"device {device!r}: expected cpu or cuda:N")
    kind, _, index = device.partition(":")
    name = EXECUTION_PROVIDERS[kind]
    if name not in onnxruntime.get_available_providers():
        raise StoreError(f"device {device!r} is not available: expected cpu")
    return name, {"device_id": index or "0"} if kind == "cuda" else {}


def _check_interface(
    session: onnxruntime.InferenceSession, file: Path, inputs: Sequence[str]
) -> None:
    """Refuse at load what would fail at each request: other inputs, or no logits."""
    found = {each.name for each in session.get_inputs()}
    if found != set(inputs) or not found <= _COLUMNS:
        raise StoreError(
            f"{file.name}: the graph has the inputs {sorted(found)}, its plan {sorted(inputs)}; "
            f"expected the same ones, of {sorted(_COLUMNS)}"
        )
    outputs = [each.name for each in session.get_outputs()]
    if "logits" not in outputs:
        raise StoreError(f"{file.name}: the graph has the outputs {outputs}, expected logits")


def _return_freed_memory() -> None:
    """Give back what loading freed: glibc would keep hundreds of megabytes of it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library, such as musl
            ctypes.CDLL("libc.so.6").malloc_trim(0)
