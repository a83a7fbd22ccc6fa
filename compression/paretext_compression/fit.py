"""The training loop: one for teachers and students, checkpointed and exactly resumable."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from paretext_compression.batches import Batch, Examples, training_batches
from paretext_compression.network import Network
from paretext_compression.progress import Report, Steps
from paretext_models import host
from paretext_models.errors import ParetextError

Loss = Callable[[Network, Batch], Tensor]
Score = Callable[[Network], tuple[float, ...]]
_CHECKPOINT_SECONDS = 20.0


@dataclass(frozen=True)
class Fit:
    """How to train.

    Attributes:
        epochs: passes over the examples, at most.
        patience: epochs without a better score after which to stop.
        learning_rate: the peak; rises linearly over the first `warmup` share of all steps, then
            falls linearly to zero.
        fast: parameter-name predicate for those that start from scratch and learn
            `fast_factor` times as quickly.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip: float = 1.0
    patience: int = 1_000_000
    fast: frozenset[str] = frozenset()
    fast_factor: float = 5.0


@dataclass
class _State:
    """Where training stands. Written with each checkpoint."""

    step: int = 0
    best: tuple[float, ...] = ()
    best_epoch: int = -1
    finished: bool = False
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def fit(
    network: Network,
    examples: Examples,
    loss: Loss,
    how: Fit,
    *,
    score: Score,
    device: torch.device,
    step_name: str,
    report: Report,
    checkpoint: Path | None = None,
) -> tuple[float, ...]:
    """Train `network` in place and leave it at its best epoch.

    Randomness is a function of the seed and the step alone, so a run that was interrupted and
    resumed gives the same weights as one that was not.

    Args:
        loss: mean loss of a batch.
        score: of the network on held-out rows, higher is better; taken after each epoch.
        checkpoint: a folder to resume from and to write to. The caller removes it, once it has put
            the result where it belongs.

    Returns: the best score.

    Raises:
        ParetextError: the loss or the score is not finite: training has diverged.
    """
    module = network.module.to(device)
    optimizer = _optimizer(module, how)
    per_epoch = math.ceil(len(examples) / how.batch_size)
    state = _resume(checkpoint, module, optimizer)
    progress = Steps(report, step_name, how.epochs * per_epoch, state.step)
    saved = time.monotonic()
    while not state.finished:
        epoch, place = divmod(state.step, per_epoch)
        batches = training_batches(examples, how.batch_size, how.seed, epoch)
        module.train()
        for indices in batches[place:]:
            value = _step(
                network,
                examples.batch(indices, device),
                loss,
                optimizer,
                how,
                state.step,
                per_epoch,
            )
            state.step += 1
            _check_finite((value,), f"{step_name}: the loss", state.step, how)
            progress.advance(loss=value)
            # Not behind the last batch: the epoch's score must be taken first.
            due = time.monotonic() - saved > _CHECKPOINT_SECONDS and state.step % per_epoch
            if checkpoint and due:
                _save(checkpoint, module, optimizer, state)
                saved = time.monotonic()
        found = score(_evaluating(network))
        _check_finite(found, f"{step_name}: the score", state.step, how)
        _judge(state, epoch, found, module, how)
        if checkpoint and (state.finished or time.monotonic() - saved > _CHECKPOINT_SECONDS / 2):
            _save(checkpoint, module, optimizer, state)
            saved = time.monotonic()
    progress.finish()
    module.load_state_dict(state.best_weights)
    module.eval()
    return state.best


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the processor computes in it; elsewhere it would be emulated, and slow."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_bf16_supported())
    native = {"avx512_bf16", "amx_bf16", "bf16"} & set(host.instruction_sets())
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(native))


def pick_device(name: str | None = None) -> torch.device:
    """The device to train on: the one named, else CUDA where there is one."""
    if name:
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _step(
    network: Network,
    batch: Batch,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    how: Fit,
    step: int,
    per_epoch: int,
) -> float:
    torch.manual_seed(how.seed * 1_000_003 + step)  # dropout, the same after a resume
    rate = how.learning_rate * _schedule(step, how.epochs * per_epoch, how.warmup)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    value = loss(network, batch)
    value.backward()
    nn.utils.clip_grad_norm_(network.module.parameters(), how.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(value.detach())


def _schedule(step: int, total: int, warmup: float) -> float:
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (total - step) / max(1, total - rising))


def _optimizer(module: nn.Module, how: Fit) -> torch.optim.AdamW:
    """AdamW with decay on matrices only. `fused` is 1.7 times as fast, on CPU too."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        key = (name in how.fast, parameter.ndim > 1)
        groups.setdefault(key, []).append(parameter)
    settings: list[dict[str, Any]] = [
        {
            "params": parameters,
            "factor": how.fast_factor if fast else 1.0,
            "weight_decay": how.weight_decay if decays else 0.0,
        }
        for (fast, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    return torch.optim.AdamW(settings, lr=how.learning_rate, fused=True)


def _check_finite(values: tuple[float, ...], what: str, step: int, how: Fit) -> None:
    """Training that has diverged never comes back, and no epoch after it is the best one."""
    if not all(map(math.isfinite, values)):
        raise ParetextError(
            f"{what} is {', '.join(map(str, values))} after step {step}, expected finite numbers;"
            f" a lower learning rate than {how.learning_rate:g} may help"
        )


def _evaluating(network: Network) -> Network:
    network.module.eval()
    return network


def _judge(
    state: _State, epoch: int, score: tuple[float, ...], module: nn.Module, how: Fit
) -> None:
    """Keep the weights if they are the best so far, and say whether to go on."""
    if state.best_epoch < 0 or score > state.best:
        state.best, state.best_epoch = score, epoch
        state.best_weights = {
            name: tensor.detach().clone() for name, tensor in module.state_dict().items()
        }
    state.finished = epoch + 1 >= how.epochs or epoch - state.best_epoch >= how.patience


def _save(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, state: _State) -> None:
    """Write a checkpoint aside, then swap it in: a crash leaves the old one or the new one."""
    aside = folder.with_name(folder.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    if not state.finished:
        save_file(_contiguous(module.state_dict()), aside / "weights.safetensors")
        save_file(_contiguous(_moments(module, optimizer)), aside / "optimizer.safetensors")
    save_file(_contiguous(state.best_weights), aside / "best.safetensors")
    content = {
        "step": state.step,
        "best": state.best,
        "best_epoch": state.best_epoch,
        "finished": state.finished,
    }
    (aside / "state.json").write_text(json.dumps(content))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(aside, folder)
    shutil.rmtree(old, ignore_errors=True)


def _resume(folder: Path | None, module: nn.Module, optimizer: torch.optim.Optimizer) -> _State:
    if folder is None:
        return _State()
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():  # killed between the two renames
        os.replace(old, folder)
    if not (folder / "state.json").exists():
        return _State()
    device = next(module.parameters()).device
    try:
        content = json.loads((folder / "state.json").read_text())
        best = load_file(folder / "best.safetensors")
        state = _State(
            step=content["step"],
            best=tuple(content["best"]),
            best_epoch=content["best_epoch"],
            finished=content["finished"],
            best_weights={name: tensor.to(device) for name, tensor in best.items()},
        )
        files = () if state.finished else ("weights.safetensors", "optimizer.safetensors")
        tensors = [load_file(folder / name) for name in files]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return _State()  # damaged: start again
    if not state.finished:
        module.load_state_dict(tensors[0])
        _restore_moments(module, optimizer, tensors[1])
    return state


def _moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state by parameter name: safetensors holds tensors only, and unpickles nothing."""
    return {
        f"{key}|{name}": value
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_moments(
    module: nn.Module, optimizer: torch.optim.Optimizer, saved: dict[str, Tensor]
) -> None:
    parameters = dict(module.named_parameters())
    for key, tensor in saved.items():
        kind, _, name = key.partition("|")
        parameter = parameters[name]
        # Adam's step counter lives beside the parameter only where the kernel is fused.
        optimizer.state.setdefault(parameter, {})[kind] = tensor.to(parameter.device)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
