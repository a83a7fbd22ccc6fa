"""Batches of training rows, and the altered rows that augmentation adds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from paretext_compression.augment import augment
from paretext_compression.batches import Examples, encode, sorted_batches, training_batches
from paretext_compression.data import Rows
from paretext_compression.evaluate import predict
from paretext_models.manifest import Task
from paretext_models.tokenizer import Encoded, TextTokenizer
from tiny_models import (
    drawn_examples,
    drawn_rows,
    tiny_classifier,
    tiny_context,
    word_tokenizer,
)

CPU = torch.device("cpu")
SIZES = pytest.mark.parametrize(("rows", "size"), [(1, 8), (8, 8), (37, 8), (1000, 16), (5, 1)])


@SIZES
def test_an_epoch_has_every_row_exactly_once(rows: int, size: int) -> None:
    examples = drawn_examples(rows)
    for epoch in range(3):
        batches = training_batches(examples, size, 7, epoch)
        assert sorted(row for batch in batches for row in batch) == list(range(rows))
        assert all(0 < len(batch) <= size for batch in batches)
        assert len(batches) == -(-rows // size)  # the loop counts on it


def test_batches_follow_from_seed_and_epoch_alone() -> None:
    examples = drawn_examples(300)
    first = training_batches(examples, 16, 7, 2)
    np.random.default_rng().normal()
    assert training_batches(examples, 16, 7, 2) == first
    assert training_batches(examples, 16, 7, 3) != first
    assert training_batches(examples, 16, 8, 2) != first


def test_epochs_mix_rows_anew() -> None:
    examples = drawn_examples(300)
    batches = [{frozenset(b) for b in training_batches(examples, 16, 7, e)} for e in range(2)]
    assert len(batches[0] & batches[1]) <= 1


def padding(examples: Examples, batches: list[list[int]]) -> float:
    """The share of padding among all tokens."""
    lengths = [len(row) for row in examples.encoded]
    space = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    return 1 - sum(lengths) / space


def test_little_is_padded() -> None:
    examples = drawn_examples(2000, longest=60)
    mixed = [list(range(i, i + 16)) for i in range(0, 2000, 16)]
    assert padding(examples, training_batches(examples, 16, 0, 0)) < 0.06
    assert padding(examples, mixed) > 0.3


def test_a_batch_holds_its_rows_padded() -> None:
    rows = (Encoded([2, 9, 3], [0, 0, 1], False), Encoded([2, 3], [0, 0], False))
    examples = Examples(rows, np.array([4, 5]), pad_id=7)
    batch = examples.batch([1, 0], CPU)
    assert batch["input_ids"].tolist() == [[2, 3, 7], [2, 9, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert batch["targets"].tolist() == [5, 4]
    assert batch["index"].tolist() == [1, 0]


@SIZES
def test_evaluation_sees_every_row_once_and_by_length(rows: int, size: int) -> None:
    examples = drawn_examples(rows)
    seen = [i for indices, _ in sorted_batches(examples, CPU, size) for i in indices]
    assert sorted(seen) == list(range(rows))
    lengths = [len(examples.encoded[i]) for i in seen]
    assert lengths == sorted(lengths)


def test_predictions_come_in_the_order_of_the_rows() -> None:
    network, examples = tiny_classifier("bert"), drawn_examples(150)
    found = predict(network, examples, CPU)
    with torch.inference_mode():
        for row in (0, 77, 149):
            expected = network.logits(examples.batch([row], CPU))[0].numpy()
            np.testing.assert_allclose(found[row], expected, atol=1e-4)


def test_predicting_leaves_the_mode_as_it_was() -> None:
    network, examples = tiny_classifier("bert"), drawn_examples(4)
    network.module.train()
    first, second = (predict(network, examples, CPU) for _ in range(2))
    assert network.module.training
    np.testing.assert_array_equal(first, second)


def test_texts_and_pairs_are_encoded_and_cut(tmp_path: Path) -> None:
    word_tokenizer("bert").save_pretrained(tmp_path)
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json", 8)
    single = Rows(("the film", "good " * 30), None, np.array([0, 1]))
    texts = encode(single, tokenizer, 0)
    assert [len(row) for row in texts.encoded] == [4, 8]
    assert [row.truncated for row in texts.encoded] == [False, True]
    pairs = encode(Rows(("the film",), ("was good",), np.array([0])), tokenizer, 0)
    assert pairs.encoded[0].type_ids == [0, 0, 0, 0, 1, 1, 1]


CONTEXT = dataclasses.replace(
    tiny_context(tiny_classifier("bert")), task=Task(problem="single_label", labels=("a", "b"))
)
PAIR = dataclasses.replace(CONTEXT, task=CONTEXT.task.model_copy(update={"pair": True}))


def framed(row: Encoded) -> bool:
    return row.ids[0] == 2 and row.ids[-1] == 3 and len(row.ids) == len(row.type_ids)


def is_altered(new: list[int], old: list[int]) -> bool:
    """Whether `new` is a contiguous fragment of `old` with some tokens masked."""
    starts = range(len(old) - len(new) + 1)
    return any(
        all(a in (b, 4) for a, b in zip(new, old[s : s + len(new)], strict=True)) for s in starts
    )


def test_altered_rows_follow_the_originals() -> None:
    examples = drawn_examples(200)
    made = augment(examples, CONTEXT, 3)
    assert len(made) == 800
    assert made.encoded[:200] == examples.encoded
    np.testing.assert_array_equal(made.targets, np.tile(examples.targets, 4))
    for place, row in enumerate(made.encoded[200:]):
        assert framed(row)
        assert is_altered(row.ids[1:-1], examples.encoded[place % 200].ids[1:-1])


def test_a_tenth_is_masked_and_a_quarter_are_fragments() -> None:
    examples = Examples(drawn_rows(500, longest=40), np.zeros(500, np.int64), 0)
    made = augment(examples, CONTEXT, 4).encoded[500:]
    tokens = [token for row in made for token in row.ids[1:-1]]
    assert np.mean([token == 4 for token in tokens]) == pytest.approx(0.1, abs=0.01)
    shorter = [len(row) < len(examples.encoded[i % 500]) for i, row in enumerate(made)]
    # A fragment may be the whole text.
    assert 0.18 < np.mean(shorter) < 0.26
    assert min(len(row) for row in made) >= 3


def test_augmentation_follows_from_the_seed() -> None:
    examples = drawn_examples(50)
    first = augment(examples, CONTEXT, 2).encoded
    assert augment(examples, CONTEXT, 2).encoded == first
    other = augment(examples, dataclasses.replace(CONTEXT, seed=1), 2).encoded
    assert other[:50] == first[:50]
    assert other != first


def test_pairs_keep_both_texts_and_all_that_frames_them() -> None:
    rows = tuple(
        Encoded([2, *range(10, 16), 3, *range(20, 26), 3], [0] * 8 + [1] * 7, False)
        for _ in range(100)
    )
    made = augment(Examples(rows, np.zeros(100, np.int64), 0), PAIR, 2)
    for row in made.encoded:
        assert [row.ids[i] for i in (0, 7, 14)] == [2, 3, 3]
        assert row.type_ids == rows[0].type_ids
    assert any(4 in row.ids for row in made.encoded[100:])


def test_without_a_mask_token_nothing_is_masked() -> None:
    examples = drawn_examples(100)
    made = augment(examples, dataclasses.replace(CONTEXT, mask_id=None), 1)
    assert not any(4 in row.ids for row in made.encoded)


def test_a_text_of_special_tokens_alone_stays() -> None:
    rows = (Encoded([2, 3], [0, 0], False),)
    made = augment(Examples(rows, np.zeros(1, np.int64), 0), CONTEXT, 5)
    assert made.encoded == rows * 6
