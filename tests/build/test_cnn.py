"""The convolutional student against naive numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretext_compression.methods.distillation import cnn
from paretext_models.networks.cnn import CnnClassifier, CnnConfig
from tiny_models import drawn_data, tiny_classifier, tiny_context

Array = NDArray[np.float64]


def array(parameter: Tensor) -> Array:
    return parameter.detach().double().numpy()


def naive(network: CnnClassifier, ids: list[int]) -> Array:
    """Logits of one text, one window after the other."""
    embedded = array(network.embeddings.weight)[ids]
    pooled = []
    for width, convolution in zip(network.config.widths, network.convolutions, strict=True):
        assert isinstance(convolution, nn.Conv1d)
        assert convolution.bias is not None
        weight, bias = array(convolution.weight), array(convolution.bias)
        edge = np.zeros((width // 2, embedded.shape[1]))
        padded = np.concatenate([edge, embedded, edge])
        outputs = [
            [(weight[c].T * padded[t : t + width]).sum() + bias[c] for c in range(len(weight))]
            for t in range(len(ids))
        ]
        pooled.append(np.maximum(np.array(outputs), 0).max(axis=0))
    classifier = network.classifier
    return np.asarray(array(classifier.weight) @ np.concatenate(pooled) + array(classifier.bias))


@pytest.mark.parametrize("widths", [(1,), (1, 3, 5), (7, 3)])
def test_logits_are_a_map_of_the_strongest_windows(widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = CnnClassifier(CnnConfig(50, 4, 6, 5, widths)).eval()
    texts = [[7, 9, 11], [3], [5, 6, 7, 8, 9, 10, 11, 12]]
    longest = max(map(len, texts))
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    with torch.inference_mode():
        found = network(ids, mask).logits.numpy()
    np.testing.assert_allclose(found, [naive(network, text) for text in texts], atol=1e-5)


def test_even_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"widths: got \(1, 2\), expected odd"):
        CnnClassifier(CnnConfig(50, 4, widths=(1, 2)))


def drawn_table(rows: int = 60, width: int = 12) -> Array:
    rng = np.random.default_rng(3)
    return rng.normal(size=(rows, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


@pytest.mark.parametrize("size", [1, 4, 12])
def test_principal_directions_are_those_of_the_singular_value_decomposition(size: int) -> None:
    table = drawn_table()
    left, values, _ = np.linalg.svd(table - table.mean(axis=0), full_matrices=False)
    expected = (left * values)[:, :size]
    expected /= expected.std(ddof=1)
    found = cnn.principal(torch.from_numpy(table), size).numpy()
    assert found.dtype == np.float32
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-5)


def test_principal_directions_have_unit_variance_and_a_fixed_sign() -> None:
    table = torch.from_numpy(drawn_table())
    found = cnn.principal(table, 5)
    assert float(found.std()) == pytest.approx(1.0, rel=1e-5)
    # The order of the rows is no reason for another sign.
    reversed_rows = cnn.principal(table.flip(0), 5).flip(0)
    torch.testing.assert_close(found, reversed_rows, rtol=0, atol=1e-5)


def test_there_are_no_more_directions_than_the_table_has() -> None:
    found = cnn.principal(torch.from_numpy(drawn_table(width=12)), 16)
    assert found.shape == (60, 16)
    assert not found[:, 12:].any()
    assert found[:, :12].any(dim=0).all()


def test_the_student_has_the_asked_for_shape_and_a_silent_padding_token() -> None:
    teacher = tiny_classifier("roberta")
    parameters = cnn.Parameters(embedding=10, channels=6, widths=(1, 5), epochs=1, copies=1)
    data = drawn_data(pad_id=1)
    student = cnn.network(parameters, teacher, data, tiny_context(teacher)).module
    assert isinstance(student, CnnClassifier)
    assert student.config == CnnConfig(300, 3, 10, 6, (1, 5), 0.3, pad_id=1)
    assert not student.embeddings.weight[1].any()
    assert student.embeddings.weight[0].any()
