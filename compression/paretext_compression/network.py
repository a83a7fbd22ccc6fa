"""A classifier under work, and how it is kept on disk between steps."""

from __future__ import annotations

import copy
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from paretext_compression.architecture import EncoderLayer, check_supported, encoder_layers
from paretext_models.errors import InputError
from paretext_models.networks.cnn import CnnClassifier, CnnConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WEIGHTS = "network.safetensors"
_SHAPE = "network.json"


@dataclass(frozen=True)
class Network:
    """A torch classifier with what methods need to know of it.

    Attributes:
        module: called with `inputs`, returns an object with `logits` (batch, labels).
        architecture: `bert`, `roberta`, `distilbert`, or the name of a student such as `cnn`.
        inputs: the names of the tensors it takes.
    """

    module: nn.Module
    architecture: str
    inputs: tuple[str, ...]

    def copy(self) -> Network:
        """An independent copy; methods change the copy, never what they were given."""
        return dataclasses.replace(self, module=copy.deepcopy(self.module))

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (batch, labels); takes of `batch` the tensors it needs."""
        return cast(Tensor, self.module(**{name: batch[name] for name in self.inputs}).logits)

    @property
    def transformer(self) -> PreTrainedModel:
        """The module of a transformer; students of other kinds have no layers to speak of."""
        return self.module

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())


def transformer_network(module: PreTrainedModel) -> Network:
    """A `transformers` sequence classifier as a network."""
    model_type = module.config.model_type
    check_supported(model_type)
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    if model_type == "bert":  # the other two have no segments, or one only
        inputs = (*inputs, "token_type_ids")
    return Network(module, model_type, inputs)


def save(network: Network, folder: Path) -> None:
    """Write weights and shape; `load` gives the same network back."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in network.module.state_dict().items()},
        folder / _WEIGHTS,
    )
    shape: dict[str, Any] = {
        "architecture": network.architecture,
        "inputs": network.inputs,
    }
    if isinstance(network.module, CnnClassifier):
        shape["config"] = dataclasses.asdict(network.module.config)
    else:
        layers = encoder_layers(network.transformer)
        shape["config"] = network.transformer.config.to_dict()
        shape["heads"] = [layer.heads for layer in layers]
        shape["neurons"] = [layer.neurons for layer in layers]
    (folder / _SHAPE).write_text(json.dumps(shape, indent=1))


def load(folder: Path) -> Network:
    """Read what `save` wrote.

    Raises:
        InputError: a file is missing or damaged.
    """
    try:
        shape = json.loads((folder / _SHAPE).read_text())
        weights = load_file(folder / _WEIGHTS)
        module = _cnn(shape) if shape["architecture"] == "cnn" else _transformer(shape)
        module.load_state_dict(weights)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a saved network: {error}") from error
    return Network(module.eval(), shape["architecture"], tuple(shape["inputs"]))


def _cnn(shape: dict[str, Any]) -> nn.Module:
    config = {**shape["config"], "widths": tuple(shape["config"]["widths"])}
    return CnnClassifier(CnnConfig(**config))


def _transformer(shape: dict[str, Any]) -> nn.Module:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    fields = dict(shape["config"])
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    module = AutoModelForSequenceClassification.from_config(config)
    for layer, heads, neurons in zip(
        encoder_layers(module), shape["heads"], shape["neurons"], strict=True
    ):
        _cut(layer, heads, neurons)
    return cast(nn.Module, module)


def _cut(layer: EncoderLayer, heads: int, neurons: int) -> None:
    """Give a fresh layer the shape of a pruned one; its weights are loaded afterwards."""
    if heads < layer.heads:
        layer.keep_heads(range(heads))
    if neurons < layer.neurons:
        layer.keep_neurons(torch.arange(neurons))
