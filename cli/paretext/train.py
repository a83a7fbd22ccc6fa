"""Fine-tune a classifier (the teacher) from an encoder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, cast

import typer

from paretext.extras import require
from paretext.progress import reporting
from paretext_models.errors import InputError
from paretext_models.manifest import Problem

NAME = "train"
PROBLEMS = ("single_label", "multi_label", "regression")
# Those that frame a pair, and some of each text.
FEWEST_TOKENS = 8
PROBLEM_HELP = f"One of {', '.join(PROBLEMS)}; by default what the labels look like."


def run(
    encoder: Annotated[str, typer.Argument(help="A model folder or a hub name.")],
    data: Annotated[str, typer.Option(help="A folder with train, validation, test; or hub:NAME.")],
    out: Annotated[Path, typer.Option(help="A new folder for the classifier.")],
    epochs: Annotated[int, typer.Option(min=0, help="0: by the number of rows.")] = 0,
    batch_size: Annotated[int, typer.Option(min=0, help="0: by the number of rows.")] = 0,
    learning_rate: Annotated[float, typer.Option(min=0, help="0: by the encoder's width.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=0, help="0: the encoder's limit.")] = 0,
    problem: Annotated[str | None, typer.Option(help=PROBLEM_HELP)] = None,
    seed: Annotated[int, typer.Option(min=0)] = 42,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default the best.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON event a line.")] = False,
) -> None:
    """Fine-tune `encoder` on the train part of `data`."""
    require("compression")
    from paretext_compression.train import TrainOptions, train

    if not math.isfinite(learning_rate):
        raise InputError(f"--learning-rate: got {learning_rate}, expected a finite number")
    if 0 < max_tokens < FEWEST_TOKENS:
        expected = f"0 or at least {FEWEST_TOKENS}"
        raise InputError(f"--max-tokens: got {max_tokens}, expected {expected}")
    options = TrainOptions(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_tokens=max_tokens,
        seed=seed,
        problem=check_problem(problem),
        device=check_device(device),
    )
    with reporting(as_json=as_json) as report:
        record = train(encoder, data, out, options, report)
    if as_json:
        typer.echo(json.dumps({"out": str(out), **record}))
        return
    (metric, value) = next(iter(record["tune_score"].items()))
    typer.echo(f"{out}: {metric} {value:.4f} on the rows held out for tuning")
    typer.echo(f"next: paretext build {out} --data {data} --store STORE")


def check_device(device: str | None) -> str | None:
    """Raises: InputError: for a device that torch cannot train on here."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if device is not None and device not in known:
        raise InputError(f"--device: got {device!r}, expected one of {', '.join(known)}")
    return device


def check_problem(problem: str | None) -> Problem | None:
    """Raises: InputError: for a problem there is not."""
    if problem is not None and problem not in PROBLEMS:
        raise InputError(f"--problem: got {problem!r}, expected one of {', '.join(PROBLEMS)}")
    return cast("Problem | None", problem)
