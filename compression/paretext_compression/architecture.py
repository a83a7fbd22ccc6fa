"""Where the parts of an encoder are, whatever `transformers` calls them.

Methods speak of layers, heads and neurons; this file alone knows the attribute names. It uses only
plain modules and attributes, none of the head-pruning support that transformers 5 removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from paretext_models.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRANSFORMERS = ("bert", "roberta", "distilbert")


@dataclass(frozen=True)
class _Names:
    """Attribute paths, from the base model to the layers and from a layer to its parts."""

    layers: str
    attention: str
    projections: tuple[str, str, str]
    output: str
    ffn_in: str
    ffn_out: str
    heads: str
    width: str
    layer_count: str


_BERT = _Names(
    layers="encoder.layer",
    attention="attention.self",
    projections=("attention.self.query", "attention.self.key", "attention.self.value"),
    output="attention.output.dense",
    ffn_in="intermediate.dense",
    ffn_out="output.dense",
    heads="num_attention_heads",
    width="all_head_size",
    layer_count="num_hidden_layers",
)
_NAMES = {
    "bert": _BERT,
    "roberta": _BERT,
    "distilbert": _Names(
        layers="transformer.layer",
        attention="attention",
        projections=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        output="attention.out_lin",
        ffn_in="ffn.lin1",
        ffn_out="ffn.lin2",
        heads="n_heads",
        width="dim",
        layer_count="n_layers",
    ),
}


class EncoderLayer:
    """One transformer layer: its linear maps, and what can be cut out of them."""

    def __init__(self, module: nn.Module, names: _Names) -> None:
        self.module = module
        self._names = names

    @property
    def heads(self) -> int:
        return int(getattr(self._attention, self._names.heads))

    @property
    def head_size(self) -> int:
        return int(getattr(self._attention, self._names.width)) // self.heads

    @property
    def neurons(self) -> int:
        return self.ffn_in.out_features

    @property
    def projections(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """Query, key and value: hidden -> heads * head_size."""
        query, key, value = (self._linear(name) for name in self._names.projections)
        return query, key, value

    @property
    def attention_output(self) -> nn.Linear:
        """heads * head_size -> hidden."""
        return self._linear(self._names.output)

    @property
    def ffn_in(self) -> nn.Linear:
        """hidden -> neurons."""
        return self._linear(self._names.ffn_in)

    @property
    def ffn_out(self) -> nn.Linear:
        """neurons -> hidden."""
        return self._linear(self._names.ffn_out)

    def keep_heads(self, kept: Sequence[int]) -> None:
        """Cut every head that is not in `kept` (indices, ascending) out of the four projections."""
        columns = torch.cat([torch.arange(self.head_size) + head * self.head_size for head in kept])
        size = self.head_size
        for projection in self.projections:
            _keep_outputs(projection, columns)
        _keep_inputs(self.attention_output, columns)
        setattr(self._attention, self._names.heads, len(kept))
        setattr(self._attention, self._names.width, len(kept) * size)

    def keep_neurons(self, kept: Tensor) -> None:
        """Cut every feed-forward neuron that is not in `kept` (indices, ascending)."""
        _keep_outputs(self.ffn_in, kept)
        _keep_inputs(self.ffn_out, kept)

    @property
    def _attention(self) -> nn.Module:
        return self.module.get_submodule(self._names.attention)

    def _linear(self, path: str) -> nn.Linear:
        linear = self.module.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        return linear


def check_supported(model_type: str) -> None:
    """Raises: InputError: for a model type whose parts are not known here."""
    if model_type not in _NAMES:
        raise InputError(
            f"model_type: got {model_type!r}, expected one of {', '.join(TRANSFORMERS)}"
        )


def encoder_layers(model: PreTrainedModel) -> list[EncoderLayer]:
    """The layers of a `transformers` classifier, first to last."""
    names = _names(model)
    return [EncoderLayer(layer, names) for layer in _layer_list(model, names)]


def keep_layers(model: PreTrainedModel, kept: Sequence[int]) -> None:
    """Drop every layer that is not in `kept` (indices, ascending)."""
    names = _names(model)
    layers = _layer_list(model, names)
    chosen = nn.ModuleList(layers[index] for index in kept)
    parent, _, attribute = names.layers.rpartition(".")
    setattr(_base(model).get_submodule(parent), attribute, chosen)
    setattr(model.config, names.layer_count, len(chosen))


def word_embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The token embedding table, (vocabulary, hidden)."""
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table


def head_parameters(model: PreTrainedModel) -> set[str]:
    """Names of the parameters that fine-tuning starts from scratch: pooler and classifier."""
    prefix = f"{model.base_model_prefix}."
    return {
        name
        for name, _ in model.named_parameters()
        if not name.startswith(prefix) or ".pooler." in name
    }


def _names(model: PreTrainedModel) -> _Names:
    check_supported(model.config.model_type)
    return _NAMES[model.config.model_type]


def _base(model: PreTrainedModel) -> nn.Module:
    base: object = model.base_model
    assert isinstance(base, nn.Module)
    return base


def _layer_list(model: PreTrainedModel, names: _Names) -> nn.ModuleList:
    layers = _base(model).get_submodule(names.layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def _keep_outputs(linear: nn.Linear, rows: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight.detach()[rows].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[rows].clone())
    linear.out_features = len(rows)


def _keep_inputs(linear: nn.Linear, columns: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight.detach()[:, columns].clone())
    linear.in_features = len(columns)
