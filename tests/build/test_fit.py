"""The training loop: exactly resumable, keeps its best epoch, and says when it diverges."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from paretext_compression import fit as module
from paretext_compression.batches import Batch
from paretext_compression.evaluate import tune_score
from paretext_compression.fit import Fit, Score, fit
from paretext_compression.losses import label_loss
from paretext_compression.network import Network
from paretext_compression.progress import Event, silent
from paretext_models.errors import ParetextError
from tiny_models import drawn_data, plain_machine, tiny_classifier, tiny_context

CPU = torch.device("cpu")
HOW = Fit(epochs=3, batch_size=8, learning_rate=1e-3, seed=3)
STEPS = 3 * 5


@pytest.fixture(autouse=True)
def _at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHECKPOINT_SECONDS", -1)


def loss(network: Network, batch: Batch) -> Tensor:
    return label_loss(network.logits(batch), batch["targets"], "single_label").mean()


def run(network: Network, how: Fit = HOW, **options: Any) -> tuple[float, ...]:
    data = drawn_data()
    task = tiny_context(network).task
    settings: dict[str, Any] = {
        "score": tune_score(data.tune, task, CPU),
        "device": CPU,
        "step_name": "train",
        "report": silent,
    }
    how_loss = options.pop("loss", loss)
    return fit(network, data.train, how_loss, how, **{**settings, **options})


def weights(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.module.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, Tensor]:
    with plain_machine():
        network = tiny_classifier("bert")
        run(network)
        return weights(network)


class Interrupted:
    """A loss that fails once, at the given step."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, network: Network, batch: Batch) -> Tensor:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return loss(network, batch)


@pytest.mark.parametrize("at", range(STEPS))
def test_interrupted_before_any_step_it_ends_the_same(
    at: int, uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tiny_classifier("bert"), loss=Interrupted(at), checkpoint=tmp_path / "kept")
    assert (tmp_path / "kept").exists() == (at > 0)
    network, again = tiny_classifier("bert"), Interrupted(STEPS + 1)
    run(network, loss=again, checkpoint=tmp_path / "kept")
    assert equal(weights(network), uninterrupted)
    redone = STEPS - (STEPS + 1 - again.left)
    # The state behind an epoch's last step is only kept once its score was taken: none is lost.
    assert redone == at


@pytest.mark.parametrize("epoch", range(3))
def test_interrupted_while_an_epoch_is_scored_it_ends_the_same(
    epoch: int, uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    network = tiny_classifier("bert")
    score, left = tune_score(drawn_data().tune, tiny_context(network).task, CPU), [epoch]

    def interrupted(scored: Network) -> tuple[float, ...]:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return score(scored)

    with pytest.raises(KeyboardInterrupt):
        run(network, score=interrupted, checkpoint=tmp_path / "kept")
    network = tiny_classifier("bert")
    run(network, checkpoint=tmp_path / "kept")
    assert equal(weights(network), uninterrupted)


def test_interrupted_several_times_it_ends_the_same(
    uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(tiny_classifier("bert"), loss=Interrupted(3), checkpoint=tmp_path / "kept")
    network = tiny_classifier("bert", seed=5)  # its own weights do not matter any more
    run(network, checkpoint=tmp_path / "kept")
    assert equal(weights(network), uninterrupted)


@pytest.mark.parametrize("renames", [0, 1, 2, 6, 7])
def test_killed_while_a_checkpoint_is_swapped_in_it_ends_the_same(
    renames: int,
    uninterrupted: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even numbers end between the two renames: the old one is away, the new one not yet there."""
    real, left = os.replace, [renames]

    def killed(source: Any, target: Any) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("paretext_compression.fit.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_classifier("bert"), checkpoint=tmp_path / "kept")
    network, steps = tiny_classifier("bert"), Interrupted(STEPS + 1)
    run(network, loss=steps, checkpoint=tmp_path / "kept")
    done = STEPS - (steps.left - 1)
    assert done <= STEPS - renames // 2, "what an earlier checkpoint holds was done again"
    assert equal(weights(network), uninterrupted)


def test_killed_while_a_checkpoint_is_written_it_ends_the_same(
    uninterrupted: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = iter(range(7))

    def killed(tensors: dict[str, Tensor], file: Path) -> None:
        if next(written, None) is None:
            file.write_bytes(b"half")
            raise KeyboardInterrupt
        save_file(tensors, file)

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_classifier("bert"), checkpoint=tmp_path / "kept")
    network = tiny_classifier("bert")
    run(network, checkpoint=tmp_path / "kept")
    assert equal(weights(network), uninterrupted)


def test_a_finished_run_is_not_trained_again(
    uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    run(tiny_classifier("bert"), checkpoint=tmp_path / "kept")
    network = tiny_classifier("bert", seed=9)
    run(network, loss=Interrupted(0), checkpoint=tmp_path / "kept")
    assert equal(weights(network), uninterrupted)


def test_the_seed_decides(uninterrupted: dict[str, Tensor]) -> None:
    torch.manual_seed(99)  # whatever was drawn before
    network, other = tiny_classifier("bert"), tiny_classifier("bert")
    run(network)
    assert equal(weights(network), uninterrupted)
    run(other, Fit(epochs=3, batch_size=8, learning_rate=1e-3, seed=4))
    assert not equal(weights(other), uninterrupted)


def scripted(values: list[float], seen: list[dict[str, Tensor]]) -> Score:
    """Scores of the epochs, one after the other; keeps the weights that each was given for."""
    left: Iterator[float] = iter(values)

    def score(network: Network) -> tuple[float, ...]:
        assert not network.module.training
        seen.append(weights(network))
        return (next(left),)

    return score


@pytest.mark.parametrize(
    ("scores", "best", "epochs"),
    [
        ([0.1, 0.5, 0.3, 0.4], 1, 4),
        ([0.9, 0.5, 0.3, 0.4], 0, 4),
        ([0.1, 0.2, 0.3, 0.4], 3, 4),
        ([0.5, 0.5, 0.5, 0.5], 0, 4),  # of equals the first
    ],
)
def test_the_best_epoch_is_kept(scores: list[float], best: int, epochs: int) -> None:
    network, seen = tiny_classifier("bert"), list[dict[str, Tensor]]()
    found = run(network, Fit(epochs, 8, 1e-3, 3), score=scripted(scores, seen))
    assert found == (max(scores),)
    assert len(seen) == epochs
    assert equal(weights(network), seen[best])
    assert not network.module.training


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (3, 6), (9, 6)])
def test_it_stops_when_its_patience_is_over(patience: int, epochs: int) -> None:
    scores = [0.1, 0.5, 0.3, 0.4, 0.6, 0.2]
    seen: list[dict[str, Tensor]] = []
    how = Fit(6, 8, 1e-3, 3, patience=patience)
    run(tiny_classifier("bert"), how, score=scripted(scores, seen))
    assert len(seen) == epochs


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_told(value: float, tmp_path: Path) -> None:
    counter = Interrupted(7)

    def broken(network: Network, batch: Batch) -> Tensor:
        found = counter(network, batch)
        return found * value if counter.left == 0 else found

    expected = rf"train: the loss is {value} after step 7, .* lower learning rate than 0\.001"
    with pytest.raises(ParetextError, match=expected):
        run(tiny_classifier("bert"), loss=broken, checkpoint=tmp_path / "kept")


def test_a_score_that_is_not_finite_is_told() -> None:
    with pytest.raises(ParetextError, match=r"train: the score is 0\.5, nan after step 5"):
        run(tiny_classifier("bert"), score=lambda network: (0.5, float("nan")))


def test_fast_parameters_move_further() -> None:
    plain, fast = tiny_classifier("bert"), tiny_classifier("bert")
    start = weights(plain)
    one = {"epochs": 1, "batch_size": 40, "learning_rate": 1e-3, "seed": 3, "weight_decay": 0.0}
    run(plain, Fit(**one))  # type: ignore[arg-type]
    run(fast, Fit(**one, fast=frozenset({"classifier.weight"}), fast_factor=5.0))  # type: ignore[arg-type]
    name = "classifier.weight"
    moved = [(weights(network)[name] - start[name]) for network in (plain, fast)]
    torch.testing.assert_close(moved[1], 5 * moved[0], rtol=1e-3, atol=1e-6)


def test_the_rate_rises_and_falls() -> None:
    rates = [module._schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[99] == pytest.approx(1 / 90)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_progress_is_told_up_to_the_end() -> None:
    events: list[Event] = []
    run(tiny_classifier("bert"), report=events.append)
    shares = [event.progress for event in events if event.progress is not None]
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert any(event.loss for event in events)


def test_a_damaged_checkpoint_is_not_gone_on_from(
    uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tiny_classifier("bert"), loss=Interrupted(8), checkpoint=tmp_path / "kept")
    for name in ("state.json", "weights.safetensors"):
        copy = Path(shutil.copytree(tmp_path / "kept", tmp_path / f"without-{name}"))
        (copy / name).write_bytes(b"{")
        network = tiny_classifier("bert")
        run(network, checkpoint=copy)
        assert equal(weights(network), uninterrupted)
