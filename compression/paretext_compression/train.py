"""Fine-tune an encoder into a classifier: the teacher of all variants."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from paretext_compression.architecture import head_parameters
from paretext_compression.batches import Batch, encode
from paretext_compression.data import LabelledData, load
from paretext_compression.distil import automatic_epochs
from paretext_compression.evaluate import tune_score
from paretext_compression.fit import Fit, autocast, fit, pick_device
from paretext_compression.losses import label_loss
from paretext_compression.metrics import METRICS
from paretext_compression.network import Network, transformer_network
from paretext_compression.progress import Event, Report
from paretext_compression.teacher import (
    RECORD,
    check_architecture,
    check_vocabulary,
    load_config,
    load_tokenizer,
    load_weights,
    quiet,
    read_record,
    token_limit,
)
from paretext_models import __version__, host
from paretext_models.errors import InputError
from paretext_models.manifest import Problem, TokenizerSpec
from paretext_models.tokenizer import TextTokenizer
from paretext_models.verify import sha256_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# A teacher starts with a head of random weights, and needs more of them than a student.
_STEPS = 800
_HIGHEST_RATE = 5e-4
_PROBLEM_TYPES = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


@dataclass(frozen=True)
class TrainOptions:
    """How to fine-tune. Zeros stand for a choice by the size of model and data."""

    epochs: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    max_tokens: int = 0
    seed: int = 42
    problem: Problem | None = None
    device: str | None = None


def train(
    encoder: str, source: str, out: Path, options: TrainOptions, report: Report
) -> dict[str, Any]:
    """Fine-tune `encoder` on the train part of `source` and write the classifier to `out`.

    The best epoch on `tune` is kept; the parts held out are recorded in `paretext.json`. An
    interrupted training goes on where it was; a finished one with the same inputs is returned as it
    is.

    Returns: the record.

    Raises:
        InputError: the data or the encoder is wrong, or `out` holds something else.
    """
    data = load(source, problem=options.problem)
    for note in data.notes:
        report(Event("data", message=note))
    config = load_config(encoder)
    check_architecture(encoder, config)
    record = _record(encoder, data, options)
    found = read_record(str(out))
    if found and found.get("key") == record["key"]:
        report(Event("train", 1.0, message=f"{out} is already trained on this data"))
        return found
    # A checkpoint in it says that an earlier training was interrupted here.
    if out.exists() and any(out.iterdir()) and not (out / "checkpoint").is_dir():
        what = "a classifier of other data, encoder or options" if found else "other files"
        raise InputError(
            f"--out: {out} holds something else ({what}); expected a new or empty folder"
        )
    torch.set_num_threads(host.cores())
    torch.manual_seed(options.seed)  # for the weights that start from scratch
    _describe_task(config, data)
    module, _ = load_weights(encoder, config, ignore_mismatched_sizes=True)
    tokenizer = load_tokenizer(encoder)
    check_vocabulary(encoder, config, tokenizer)
    limit = min(token_limit(config, tokenizer), options.max_tokens or 1 << 20)
    spec = TokenizerSpec(max_tokens=limit, pad_id=tokenizer.pad_token_id or 0)
    out.mkdir(parents=True, exist_ok=True)
    network = transformer_network(module)
    text_tokenizer = _text_tokenizer(tokenizer.backend_tokenizer.to_str(), spec, out)
    score = _fit(
        network,
        data,
        text_tokenizer,
        spec,
        options,
        report,
        out / "checkpoint" / record["key"][:12],
    )
    record |= {"max_tokens": limit, "tune_score": {METRICS[data.task.problem][0]: score}}
    _write(network, tokenizer, record, out)
    return record


def _fit(
    network: Network,
    data: LabelledData,
    tokenizer: TextTokenizer,
    spec: TokenizerSpec,
    options: TrainOptions,
    report: Report,
    checkpoint: Path,
) -> float:
    device = pick_device(options.device)
    train, tune = (encode(rows, tokenizer, spec.pad_id) for rows in (data.train, data.tune))
    batch_size = options.batch_size or automatic_batch(len(train))
    problem = data.task.problem

    def loss(network: Network, batch: Batch) -> Tensor:
        with autocast(device):
            logits = network.logits(batch)
        return label_loss(logits.float(), batch["targets"], problem).mean()

    how = Fit(
        epochs=options.epochs or automatic_epochs(len(train), batch_size, _STEPS),
        batch_size=batch_size,
        learning_rate=options.learning_rate or automatic_rate(network.transformer.config),
        seed=options.seed,
        fast=frozenset(head_parameters(network.transformer)),
    )
    score = fit(
        network,
        train,
        loss,
        how,
        score=tune_score(tune, data.task, device),
        device=device,
        step_name="train",
        report=report,
        checkpoint=checkpoint,
    )
    return score[0]


def automatic_batch(rows: int) -> int:
    """Small sets need many steps, large ones few but full: 16, 32 or 64 texts."""
    return 16 if rows < 2_000 else 32 if rows < 20_000 else 64


def automatic_rate(config: PretrainedConfig) -> float:
    """Narrow encoders take larger steps: 2e-4 at a width of 384, 5e-5 at 768, 2.8e-5 at 1024."""
    return float(min(_HIGHEST_RATE, 2e-4 * (384 / config.hidden_size) ** 2))


def _describe_task(config: PretrainedConfig, data: LabelledData) -> None:
    """Write labels and problem into the configuration, as `transformers` expects them."""
    config.id2label = dict(enumerate(data.task.labels))
    config.label2id = {label: index for index, label in enumerate(data.task.labels)}
    config.problem_type = _PROBLEM_TYPES[data.task.problem]


def _text_tokenizer(content: str, spec: TokenizerSpec, out: Path) -> TextTokenizer:
    file = out / "checkpoint" / "tokenizer.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    return TextTokenizer(file, spec.max_tokens)


def _record(encoder: str, data: LabelledData, options: TrainOptions) -> dict[str, Any]:
    parts = {name: part.model_dump() for name, part in data.parts().items()}
    files = {} if not Path(encoder).is_dir() else _hashes(Path(encoder))
    inputs = {"encoder": encoder, "files": files, "data": parts, "options": asdict(options)}
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return {
        "paretext": __version__,
        "key": digest,
        "task": data.task.model_dump(mode="json"),
        **inputs,
    }


def _hashes(encoder: Path) -> dict[str, str]:
    """Of the files that a model is loaded from: another encoder may take the place of this one."""
    names = (*encoder.glob("*.safetensors"), *encoder.glob("*.json"), *encoder.glob("*.txt"))
    return {file.name: sha256_of(file) for file in sorted(names)}


def _write(network: Network, tokenizer: Any, record: dict[str, Any], out: Path) -> None:
    """Write aside, then move: the record comes last and says that all is there."""
    aside = out / "checkpoint" / "finished"
    shutil.rmtree(aside, ignore_errors=True)
    with quiet():
        network.transformer.cpu().save_pretrained(aside, safe_serialization=True)
        tokenizer.save_pretrained(aside)
    for file in aside.iterdir():
        os.replace(file, out / file.name)
    temporary = out / "checkpoint" / RECORD
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(temporary, out / RECORD)
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
