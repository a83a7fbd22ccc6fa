"""Resident memory of `paretext serve`: idle, and after many requests of every length."""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from load import read_texts
from options import EXAMPLES, RESULTS, amount, count, ending_well, load_variant
from paretext_models.errors import ParetextError
from processes import Server, paretext_server
from record import environment, quotient, write
from tables import megabytes, print_table

# Words of a text; with these vocabularies 100 words are 120 to 140 tokens.
_WORDS = (1, 120)
_TEXTS = 2000
_SAMPLES = 20
_SEED = 20


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as the record that is written."""
    stored = load_variant(given.store, given.model, given.variant)
    record: dict[str, Any] = {
        "environment": environment(),
        "model": given.model,
        "variant": given.variant,
        "revision": stored.revision,
        "connections": given.connections,
        "words_per_text": _WORDS,
    }
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.jsonl"
        write_texts(texts)
        with paretext_server(given.store, given.model, given.variant) as server:
            idle = server.idle_bytes()
            samples = list(_sampled(server, texts, given))
            samples[-1]["resident_bytes"] = server.idle_bytes()
    return record | {"idle_bytes": idle, **_growth(idle, samples), "samples": samples}


def write_texts(file: Path) -> None:
    """Texts of every length, from the words of the example data; the same ones every time."""
    words = " ".join(read_texts(EXAMPLES / "train.jsonl")).split()
    draw = random.Random(_SEED)
    texts = [" ".join(draw.choices(words, k=draw.randint(*_WORDS))) for _ in range(_TEXTS)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def _sampled(
    server: Server, texts: Path, given: argparse.Namespace
) -> Iterator[dict[str, int | float]]:
    """Load the server in equal shares, and look at its memory after each."""
    until = time.monotonic() + given.minutes * 60
    share = max(1, given.requests // _SAMPLES)
    done = 0
    while done < given.requests and (left := until - time.monotonic()) > 0:
        result = server.load(
            texts,
            given.connections,
            left,
            warmup=0,
            requests=min(share, given.requests - done),
            offset=done,
        )
        if result.errors:
            raise ParetextError(f"after {done} requests: {result.errors}")
        done += result.requests
        yield {"requests": done, "resident_bytes": server.resident_bytes()}


def _growth(idle: int, samples: list[dict[str, int | float]]) -> dict[str, Any]:
    """Growth over idle memory, and over the first sample, by when every thread has worked."""
    first, last = samples[0]["resident_bytes"], samples[-1]["resident_bytes"]
    over_idle, over_first = quotient(last - idle, idle), quotient(last - first, first)
    return {
        "requests": samples[-1]["requests"],
        "after_bytes": last,
        "growth_percent": None if over_idle is None else 100 * over_idle,
        "growth_after_first_share_percent": None if over_first is None else 100 * over_first,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("demo-store"))
    parser.add_argument("--model", default="tickets")
    parser.add_argument("--variant", default="cnn", help="a small one is done sooner")
    parser.add_argument("--requests", type=count, default=100_000)
    parser.add_argument("--connections", type=count, default=16)
    parser.add_argument("--minutes", type=amount, default=15.0, help="the most it takes")
    parser.add_argument("--out", type=Path, default=RESULTS / "memory.json")
    return parser.parse_args()


def main() -> None:
    """Measure, print a table, and write the record."""
    given = _options()
    record = measure(given)
    print_table(
        f"resident memory serving {given.variant}",
        ("requests", "MB"),
        [
            ("idle", megabytes(record["idle_bytes"])),
            *(
                (str(one["requests"]), megabytes(one["resident_bytes"]))
                for one in record["samples"]
            ),
        ],
    )
    print(f"growth over idle: {record['growth_percent']:.1f} %")
    write(given.out, record)


if __name__ == "__main__":
    ending_well(main)
