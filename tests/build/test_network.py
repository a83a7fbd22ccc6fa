"""Networks survive being saved and loaded, bit for bit; damaged ones are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from paretext_compression.architecture import (
    check_supported,
    encoder_layers,
    head_parameters,
    keep_layers,
    word_embeddings,
)
from paretext_compression.network import Network, load, save
from paretext_models.errors import InputError
from paretext_models.networks.cnn import CnnClassifier, CnnConfig
from tiny_models import ARCHITECTURES, Architecture, drawn_examples, tiny_classifier

CPU = torch.device("cpu")
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def whole(architecture: Architecture) -> Network:
    return tiny_classifier(architecture)


def uneven(architecture: Architecture) -> Network:
    network = tiny_classifier(architecture)
    first, second = encoder_layers(network.transformer)
    first.keep_heads([0, 1, 3])
    second.keep_heads([2])
    first.keep_neurons(torch.tensor([5]))
    second.keep_neurons(torch.arange(33))
    return network


def shallow(architecture: Architecture) -> Network:
    network = uneven(architecture)
    keep_layers(network.transformer, [1])
    return network


def cnn() -> Network:
    torch.manual_seed(0)
    module = CnnClassifier(CnnConfig(300, 3, 8, 6, (1, 7), pad_id=1)).eval()
    return Network(module, "cnn", ("input_ids", "attention_mask"))


def assert_same(network: Network, again: Network) -> None:
    assert (again.architecture, again.inputs) == (network.architecture, network.inputs)
    assert not again.module.training
    before, after = network.module.state_dict(), again.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    batch = drawn_examples(8).batch(range(8), CPU)
    with torch.inference_mode():
        assert torch.equal(network.logits(batch), again.logits(batch))


@architectures
@pytest.mark.parametrize("make", [whole, uneven, shallow])
def test_a_transformer_survives(
    architecture: Architecture, make: Callable[[Architecture], Network], tmp_path: Path
) -> None:
    network = make(architecture)
    save(network, tmp_path)
    again = load(tmp_path)
    assert_same(network, again)
    shapes = [
        [(layer.heads, layer.head_size, layer.neurons) for layer in encoder_layers(one.transformer)]
        for one in (network, again)
    ]
    assert shapes[0] == shapes[1]


def test_a_convolutional_network_survives(tmp_path: Path) -> None:
    network = cnn()
    save(network, tmp_path)
    again = load(tmp_path)
    assert_same(network, again)
    assert isinstance(again.module, CnnClassifier)
    assert again.module.config == CnnConfig(300, 3, 8, 6, (1, 7), pad_id=1)


@architectures
def test_what_was_loaded_can_be_pruned_and_saved_again(
    architecture: Architecture, tmp_path: Path
) -> None:
    save(uneven(architecture), tmp_path / "first")
    network = load(tmp_path / "first")
    encoder_layers(network.transformer)[0].keep_heads([1])
    save(network, tmp_path / "second")
    assert_same(network, load(tmp_path / "second"))


@pytest.mark.parametrize("kept", [0, 5, 2000, -8])
def test_cut_off_weights_are_refused(tmp_path: Path, kept: int) -> None:
    save(whole("bert"), tmp_path)
    file = tmp_path / "network.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match="not a saved network"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["network.safetensors", "network.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", bytes(range(256)) * 9])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    save(whole("bert"), tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="not a saved network"):
        load(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save(uneven("bert"), tmp_path)
    shape = json.loads((tmp_path / "network.json").read_text())
    for heads in ([3, 3], [3], [3, 1, 1], [9, 1]):
        (tmp_path / "network.json").write_text(json.dumps(shape | {"heads": heads}))
        with pytest.raises(InputError, match="not a saved network"):
            load(tmp_path)


@architectures
def test_a_copy_is_independent(architecture: Architecture) -> None:
    network = whole(architecture)
    copy = network.copy()
    with torch.no_grad():
        for parameter in copy.module.parameters():
            parameter.zero_()
    encoder_layers(copy.transformer)[0].keep_heads([0])
    assert_same(network, whole(architecture))
    assert network.parameters > copy.parameters


@architectures
def test_the_parts_of_an_encoder_are_found(architecture: Architecture) -> None:
    network = whole(architecture)
    layers = encoder_layers(network.transformer)
    assert [(layer.heads, layer.head_size, layer.neurons) for layer in layers] == [(4, 8, 96)] * 2
    assert word_embeddings(network.transformer).weight.shape == (300, 32)
    fresh = head_parameters(network.transformer)
    assert any(name.startswith("classifier") for name in fresh)
    assert not any("encoder" in name or "embeddings" in name for name in fresh)
    batch = drawn_examples(2).batch(range(2), CPU)
    assert set(network.inputs) <= batch.keys()


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="model_type: got 'gpt2', expected one of bert, roberta"):
        check_supported("gpt2")
