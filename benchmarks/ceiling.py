"""The most a server can reach: the same ONNX file in a plain loop, without HTTP.

A process that loads one variant and then, for each line of JSON it reads, tokenizes and runs texts
for some seconds and answers with a line of JSON. It stays loaded, so that its turns can be
interleaved with those of the server it is compared with. Run by `serving.py`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnxruntime

from load import read_texts
from options import ending_well, load_variant
from paretext_models.errors import ParetextError
from paretext_models.host import cores
from paretext_models.runner import open_runner
from paretext_models.store import StoredVariant
from paretext_models.tokenizer import Encoded, TextTokenizer

Run = Callable[[Encoded], Any]
# How the loop may use the cores: name -> (session, calling threads).
#   shared: our session, one thread, called from every core
#   plain: ONNX Runtime's own defaults, one thread, called from every core
#   pooled: ONNX Runtime's own defaults, a thread per core inside one call at a time
#   one: our session on one core, for comparison with a single connection
WAYS = {
    "shared": ("ours", cores()),
    "plain": ("defaults", cores()),
    "pooled": ("pool", 1),
    "one": ("ours", 1),
}


class Ceiling:
    """The process, from `with` to the end of its block."""

    def __init__(self, store: Path, model: str, variant: str, texts: Path) -> None:
        self._command = [sys.executable, str(Path(__file__).resolve()), str(store)]
        self._command += ["--model", model, "--variant", variant, "--texts", str(texts)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def throughput(self, way: str, seconds: float) -> float:
        """Texts per second of one of the `WAYS`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"way": way, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise ParetextError(f"the in-process loop ended with exit code {self._process.wait()}")
        return float(json.loads(answer)["texts_per_second"])


def loop(tokenizer: TextTokenizer, run: Run, texts: list[str], threads: int, seconds: float) -> int:
    """Tokenize and run texts on so many threads; the number that ended in time."""
    until = time.perf_counter() + seconds

    def work(first: int) -> int:
        done = 0
        while True:
            run(tokenizer.encode(texts[(first + done * threads) % len(texts)]))
            if time.perf_counter() > until:
                return done
            done += 1

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)))


def open_way(stored: StoredVariant, session: str) -> Run:
    """A function that runs one encoded text."""
    if session == "ours":
        runner = open_runner(stored.folder, stored.manifest)
        return lambda encoded: runner.logits([encoded])
    options = onnxruntime.SessionOptions()
    if session == "defaults":
        options.intra_op_num_threads = 1
    else:
        options.intra_op_num_threads = cores()  # the default, but for containers with a quota
    file = stored.folder / stored.manifest.plan.file
    plain = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = stored.manifest.plan.inputs
    return lambda encoded: plain.run(None, _feeds(encoded, names))


def _feeds(encoded: Encoded, names: tuple[str, ...]) -> dict[str, Any]:
    ids = np.array([encoded.ids], np.int64)
    columns = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.array([encoded.type_ids], np.int64),
    }
    return {name: columns[name] for name in names}


def main() -> None:
    """Answer lines until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--texts", type=Path, required=True)
    given = parser.parse_args()
    stored = load_variant(given.store, given.model, given.variant)
    manifest = stored.manifest
    tokenizer = TextTokenizer(
        stored.folder / manifest.tokenizer.file, manifest.tokenizer.max_tokens
    )
    texts = read_texts(given.texts)
    opened: dict[str, Run] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        session, threads = WAYS[asked["way"]]
        if session not in opened:
            opened[session] = open_way(stored, session)
        loop(tokenizer, opened[session], texts, threads, min(0.5, asked["seconds"]))  # warm-up
        done = loop(tokenizer, opened[session], texts, threads, asked["seconds"])
        print(json.dumps({"texts_per_second": done / asked["seconds"]}), flush=True)


if __name__ == "__main__":
    ending_well(main)
