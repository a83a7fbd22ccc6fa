"""Throughput, start and memory of `paretext serve`, as ratios measured in one run.

Each variant is served and loaded at several numbers of connections, in turns with (a) the same ONNX
file in a plain loop without HTTP and (b) FastAPI around a transformers pipeline in fp32. The load
generator shares the machine with the servers; the loop has it to itself.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ceiling import Ceiling
from load import LoadResult, read_texts
from options import EXAMPLES, RESULTS, amount, count, counts, ending_well, load_variant, words
from paretext_models.errors import Fault, FaultsError
from pipelines import open_pipelines
from processes import Server, paretext_server, pipeline_server
from record import environment, ratio, write
from tables import print_serving

# Ways of the loop that may be the fastest; see `ceiling.WAYS`. The fastest one is the ceiling.
_CHOOSING = ("shared", "plain", "pooled")
_CHOOSING_ROUNDS = 3


@dataclass(frozen=True)
class Plan:
    """What to measure: so many rounds, each with one turn of everything, of so many seconds."""

    store: Path
    model: str
    variants: tuple[str, ...]
    teacher: Path | None
    texts: Path
    connections: tuple[int, ...]
    seconds: float
    rounds: int
    starts: int


@dataclass(frozen=True)
class Turn:
    """One round at one number of connections. Throughputs of the loop in texts per second."""

    served: LoadResult
    ceiling: float
    one_core: float | None
    pipeline: LoadResult | None


def measure(plan: Plan) -> dict[str, Any]:
    """Everything, as the record that is written."""
    settings = {name: getattr(plan, name) for name in ("seconds", "rounds", "starts")}
    record: dict[str, Any] = {
        "environment": environment(),
        "settings": settings,
        "model": plan.model,
        "variants": {name: _measure_starts(plan, _serving(plan, name)) for name in plan.variants},
    }
    with contextlib.ExitStack() as stack:
        others: dict[int, Server] = {}
        if teacher := plan.teacher:
            record["pipeline"] = _measure_starts(plan, lambda: pipeline_server(teacher))
            trial = max(plan.seconds / 2, 2.0)
            opened = open_pipelines(teacher, plan.texts, plan.connections, trial)
            pipelines = stack.enter_context(opened)
            others = pipelines.chosen
            record["pipeline"]["trials"] = pipelines.trials
        for variant in plan.variants:
            record["variants"][variant] |= _measure_variant(plan, variant, others)
    return record


def _serving(plan: Plan, variant: str) -> Callable[[], Server]:
    return lambda: paretext_server(plan.store, plan.model, variant)


def _measure_starts(plan: Plan, start: Callable[[], Server]) -> dict[str, Any]:
    """Start to first answer and idle memory, each the median of several starts."""
    seconds, resident = [], []
    for _ in range(plan.starts):
        with start() as server:
            seconds.append(server.first_answer_seconds)
            resident.append(server.idle_bytes())
    return {
        "first_answer_seconds": median(seconds),
        "each_first_answer_seconds": seconds,
        "idle_resident_bytes": round(median(resident)),
    }


def _measure_variant(plan: Plan, variant: str, others: dict[int, Server]) -> dict[str, Any]:
    stored = load_variant(plan.store, plan.model, variant)
    with (
        _serving(plan, variant)() as server,
        Ceiling(plan.store, plan.model, variant, plan.texts) as ceiling,
    ):
        way, ways = _choose(ceiling, max(plan.seconds / 4, 0.5))
        rounds = [
            {
                many: _turn(plan, many, server, ceiling, way, others.get(many))
                for many in plan.connections
            }
            for _ in range(plan.rounds)
        ]
    return {
        "revision": stored.revision,
        "ceiling_way": way,
        "ceiling_ways_texts_per_second": ways,
        "connections": {
            str(many): _summary([turns[many] for turns in rounds]) for many in plan.connections
        },
    }


def _choose(ceiling: Ceiling, seconds: float) -> tuple[str, dict[str, float]]:
    """The fastest way of the loop, and the median of each in turns."""
    rounds = [
        {way: ceiling.throughput(way, seconds) for way in _CHOOSING}
        for _ in range(_CHOOSING_ROUNDS)
    ]
    medians = {way: median(found[way] for found in rounds) for way in _CHOOSING}
    return max(medians, key=medians.__getitem__), medians


def _turn(
    plan: Plan, connections: int, server: Server, ceiling: Ceiling, way: str, other: Server | None
) -> Turn:
    return Turn(
        served=server.load(plan.texts, connections, plan.seconds),
        ceiling=ceiling.throughput(way, plan.seconds),
        # A single connection has one text under way at a time: one core is all it can keep busy.
        one_core=ceiling.throughput("one", plan.seconds) if connections == 1 else None,
        pipeline=other.load(plan.texts, connections, plan.seconds) if other else None,
    )


def _summary(turns: list[Turn]) -> dict[str, Any]:
    served = [turn.served for turn in turns]
    ours = [one.throughput for one in served]
    ceiling = [turn.ceiling for turn in turns]
    summary: dict[str, Any] = {"served": _medians(served)}
    summary["loop"] = {"texts_per_second": median(ceiling), **ratio(ours, ceiling)}
    if one_core := [turn.one_core for turn in turns if turn.one_core is not None]:
        summary["loop_on_one_core"] = {
            "texts_per_second": median(one_core),
            **ratio(ours, one_core),
        }
    if others := [turn.pipeline for turn in turns if turn.pipeline]:
        theirs = [one.throughput for one in others]
        summary["pipeline"] = {**_medians(others), **ratio(ours, theirs)}
    return summary


def _medians(results: list[LoadResult]) -> dict[str, Any]:
    names = ("throughput", "p50_ms", "p95_ms", "p99_ms", "generator_cpu_seconds")
    errors: dict[str, int] = {}
    for result in results:
        for kind, times in result.errors.items():
            errors[kind] = errors.get(kind, 0) + times
    return {
        **{name: median(getattr(result, name) for result in results) for name in names},
        "requests": sum(result.requests for result in results),
        "errors": errors,
    }


def _plan() -> tuple[Plan, Path]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("demo-store"))
    parser.add_argument("--model", default="tickets")
    parser.add_argument("--variants", type=words, default=("fp32", "int8"))
    parser.add_argument("--teacher", type=Path, help="default: the demo's, in the store")
    parser.add_argument("--no-pipeline", action="store_true", help="leave out comparison (b)")
    parser.add_argument("--texts", type=Path, default=EXAMPLES / "test.jsonl")
    parser.add_argument("--connections", type=counts, default=(1, 8, 32))
    parser.add_argument("--seconds", type=amount, default=8.0, help="of each turn")
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--starts", type=count, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "serving.json")
    given = vars(parser.parse_args())
    out, none = given.pop("out"), given.pop("no_pipeline")
    teacher = None
    if not none:
        made = sorted(given["store"].glob(".work/*/teacher"), key=lambda path: path.stat().st_mtime)
        teacher = given.pop("teacher") or (made[-1] if made else given["store"])
    return Plan(**{**given, "teacher": teacher}), out


def _check(plan: Plan) -> None:
    """Refuse what would fail after minutes."""
    read_texts(plan.texts)
    for variant in plan.variants:
        load_variant(plan.store, plan.model, variant)
    if plan.teacher and not (plan.teacher / "config.json").is_file():
        fault = Fault("--teacher", str(plan.teacher), "a classifier's folder, or --no-pipeline")
        raise FaultsError("options", [fault])


def main() -> None:
    """Measure, print a table, and write the record."""
    plan, out = _plan()
    _check(plan)
    record = measure(plan)
    print_serving(record)
    write(out, record)


if __name__ == "__main__":
    ending_well(main)
