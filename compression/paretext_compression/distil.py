"""Training a student on its teacher's answers: shared by the distillation methods and by pruning.

Reference: Hinton et al. 2015 (soft targets); Sun et al. 2019, "Patient Knowledge Distillation for
BERT Model Compression", equation 7 (normalised hidden states).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from paretext_compression.augment import augment
from paretext_compression.batches import Batch
from paretext_compression.evaluate import predict, tune_score
from paretext_compression.fit import Fit, autocast, fit
from paretext_compression.losses import label_loss, soft_loss
from paretext_compression.method import Context, TrainingData
from paretext_compression.network import Network
from paretext_compression.progress import Event

# Fewer steps than this leave a small data set half learnt; many more waste time on a large one.
_STEPS = 250
_EPOCHS = (3, 15)


@dataclass(frozen=True)
class Distillation:
    """How a student is taught; see the methods' parameters of the same names."""

    epochs: int
    batch_size: int
    learning_rate: float
    temperature: float
    hard: float
    hidden: float = 0.0
    copies: int = 0
    patience: int = 4

    @classmethod
    def of(cls, parameters: object) -> Distillation:
        """From a method's parameters, by name; what a method does not offer keeps its default."""
        names = [field.name for field in fields(cls) if hasattr(parameters, field.name)]
        return cls(**{name: getattr(parameters, name) for name in names})


def distil(student: Network, data: TrainingData, context: Context, how: Distillation) -> Network:
    r"""Train a copy of `student` on labels and on the teacher's answers.

    \(L = h\,L_\mathrm{label} + (1-h)\,T^2\,\mathrm{KL}(p_t^T\|p_s^T) + \beta\,L_\mathrm{hidden}\)

    Augmented rows have no label of their own: for them the teacher's answer is all there is.

    Returns: the student at its best epoch on `tune`.
    """
    student = student.copy()
    examples, labelled = data.train, len(data.train)
    if how.copies:
        examples = augment(data.train, context, how.copies)
    context.report(Event(context.step, message=f"{context.step}: asking the teacher"))
    answers = torch.from_numpy(predict(context.teacher, examples, context.device, exact=False))
    answers = answers.to(context.device)

    def loss(network: Network, batch: Batch) -> Tensor:
        with autocast(context.device):
            logits, states = _forward(network, batch, hidden=how.hidden > 0)
            hidden = _hidden_loss(states, context.teacher, batch) if how.hidden else 0.0
        return _answer_loss(logits.float(), answers, batch, labelled, how, context) + (
            how.hidden * hidden
        )

    epochs = how.epochs or automatic_epochs(len(examples), how.batch_size)
    settings = Fit(
        epochs=epochs,
        batch_size=how.batch_size,
        learning_rate=how.learning_rate,
        seed=context.seed,
        patience=how.patience,
    )
    fit(
        student,
        examples,
        loss,
        settings,
        score=tune_score(data.tune, context.task, context.device),
        device=context.device,
        step_name=context.step,
        report=context.report,
        checkpoint=context.checkpoint,
    )
    return student


def automatic_epochs(rows: int, batch_size: int, steps: int = _STEPS) -> int:
    """Epochs for about this many steps: 3 to 15."""
    return int(np.clip(-(-steps * batch_size // max(rows, 1)), *_EPOCHS))


def teacher_layer(layer: int, layers: int, teacher_layers: int) -> int:
    """Which of the teacher's layers (from 0) a student's layer imitates: evenly spaced, last to
    last (Jiao et al. 2020, "TinyBERT", the uniform strategy)."""
    return (layer + 1) * teacher_layers // layers - 1


def _answer_loss(
    logits: Tensor,
    answers: Tensor,
    batch: Batch,
    labelled: int,
    how: Distillation,
    context: Context,
) -> Tensor:
    soft = soft_loss(logits, answers[batch["index"]], context.task.problem, how.temperature)
    if how.hard == 0:
        return soft.mean()
    has_label = (batch["index"] < labelled).to(soft.dtype)
    hard = label_loss(logits, batch["targets"], context.task.problem) * has_label
    return (how.hard * hard + (1 - how.hard) * soft).mean()


def _forward(network: Network, batch: Batch, *, hidden: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits, and the hidden states after each layer where they are asked for."""
    if not hidden:
        return network.logits(batch), ()
    inputs = {name: batch[name] for name in network.inputs}
    output = network.module(**inputs, output_hidden_states=True)
    return output.logits, output.hidden_states[1:]


def _hidden_loss(states: tuple[Tensor, ...], teacher: Network, batch: Batch) -> Tensor:
    """Mean squared distance of the normalised states of all tokens, over the matched layers."""
    with torch.no_grad():
        _, targets = _forward(teacher, batch, hidden=True)
    mask = batch["attention_mask"].unsqueeze(-1).float()
    total = torch.zeros((), device=mask.device)
    for place, state in enumerate(states):
        target = targets[teacher_layer(place, len(states), len(targets))]
        distance = functional.normalize(state.float(), dim=-1) - functional.normalize(
            target.float(), dim=-1
        )
        total = total + (distance**2 * mask).sum() / mask.sum()
    return total / len(states)
