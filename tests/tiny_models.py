"""Tiny random classifiers with real tokenizers, and small labelled data sets for them.

The weights are drawn ten times as wide as usual: with the usual width all logits of a random model
are nearly equal, and no check on them could fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, processors
from tokenizers.normalizers import BertNormalizer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertTokenizerFast,
    DistilBertTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaTokenizerFast,
)

from paretext_compression import recipes
from paretext_compression.batches import Examples
from paretext_compression.method import Context, TrainingData
from paretext_compression.network import Network, transformer_network
from paretext_compression.progress import silent
from paretext_models import host
from paretext_models.manifest import Problem, Task, TokenizerSpec
from paretext_models.recipe import Recipe, validate
from paretext_models.tokenizer import Encoded
from tiny_data import Row, write_jsonl

Architecture = Literal["bert", "distilbert", "roberta"]
ARCHITECTURES: tuple[Architecture, ...] = ("bert", "distilbert", "roberta")
LABELS = ("negative", "neutral", "positive")
KINDS = ("single_label", "multi_label", "regression", "pairs")
MAX_TOKENS = 64
# Of the parameters that cost time; a method takes those of these names that it has.
QUICK = {"epochs": 1, "recovery_epochs": 1, "rounds": 2, "copies": 1, "multiple": 8, "channels": 8}
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_GOOD, _BAD = ("good", "great", "fine", "lovely"), ("bad", "awful", "poor", "dull")
_FILLERS = ("the", "film", "was", "slow", "plot", "and", "actors", "were", "but", "music", "ending")
_WIDTH = 0.5


@contextmanager
def plain_machine() -> Iterator[None]:
    """One core, on which more threads would only wait for each other, and no bfloat16, which some
    processors have: what is compared must not depend on where the tests run."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "cores", lambda: 1)
        patch.setattr(host, "instruction_sets", lambda: ())
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


def word_tokenizer(architecture: Architecture) -> PreTrainedTokenizerFast:
    """A real tokenizer of the architecture's kind, of more than 200 and less than 400 tokens."""
    return _byte_level() if architecture == "roberta" else _wordpiece(architecture)


def tiny_config(architecture: Architecture, vocabulary: int, labels: int, **changes: Any) -> Any:
    """A configuration of 2 layers with 4 heads, unless `changes` say otherwise."""
    names = {"id2label": dict(enumerate(f"LABEL_{i}" for i in range(labels)))}
    common = {"vocab_size": vocabulary, "initializer_range": _WIDTH, **names}
    if architecture == "distilbert":
        shape: dict[str, Any] = {"dim": 32, "hidden_dim": 96, "n_layers": 2, "n_heads": 4}
        shape["max_position_embeddings"] = MAX_TOKENS
    else:
        shape = {"hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 2}
        shape["num_attention_heads"] = 4
        shape["max_position_embeddings"] = MAX_TOKENS
    if architecture == "roberta":  # its first two positions are never used
        shape |= {"max_position_embeddings": MAX_TOKENS + 2, "type_vocab_size": 1}
        shape["pad_token_id"] = 1
    return AutoConfig.for_model(architecture, **{**common, **shape, **changes})


def tiny_classifier(
    architecture: Architecture, labels: int = 3, *, seed: int = 0, **changes: Any
) -> Network:
    """A random classifier; every one of its parameters matters, biases included."""
    config = tiny_config(architecture, changes.pop("vocab_size", 300), labels, **changes)
    torch.manual_seed(seed)
    module = AutoModelForSequenceClassification.from_config(config)
    return transformer_network(_with_random_biases(module).eval())


def save_classifier(folder: Path, architecture: Architecture, **changes: Any) -> Path:
    """A classifier with its tokenizer, as `save_pretrained` leaves them."""
    tokenizer = word_tokenizer(architecture)
    labels = changes.pop("labels", LABELS)
    network = tiny_classifier(
        architecture,
        len(labels),
        vocab_size=len(tokenizer),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **changes,
    )
    network.transformer.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_encoder(folder: Path, architecture: Architecture) -> Path:
    """An encoder without a classifier, to be fine-tuned."""
    tokenizer = word_tokenizer(architecture)
    torch.manual_seed(0)
    config = tiny_config(architecture, len(tokenizer), 2, initializer_range=0.2)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def quick_recipe(name: str, **changes: Any) -> Recipe:
    """A recipe that ships, with parameters that take little time, or those of `changes`."""
    raw, wanted = recipes.find(name).to_dict(), {**QUICK, **changes}
    steps = [{key: wanted.get(key, old) for key, old in step.items()} for step in raw["steps"]]
    return validate({**raw, "steps": steps})


def tiny_context(network: Network, problem: Problem = "single_label", **changes: Any) -> Context:
    """The surroundings of a method whose teacher is `network`."""
    labels = int(network.transformer.config.num_labels)
    names = ("score",) if problem == "regression" else tuple(f"l{i}" for i in range(labels))
    roberta = network.architecture == "roberta"
    fields: dict[str, Any] = {
        "task": Task(problem=problem, labels=names),
        "teacher": network,
        "tokenizer": TokenizerSpec(max_tokens=MAX_TOKENS, pad_id=int(roberta)),
        "special_ids": frozenset({0, 1, 2, 3}),
        "mask_id": 4,
        "device": torch.device("cpu"),
        "seed": 42,
        "report": silent,
        "step": "test",
    }
    return Context(**{**fields, **changes})


def drawn_rows(count: int, *, longest: int = 20, seed: int = 0) -> tuple[Encoded, ...]:
    """Random token ids, framed like [CLS] ... [SEP], of lengths 3 to `longest`."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest - 1, count)
    bodies = [rng.integers(5, 200, length).tolist() for length in lengths]
    return tuple(Encoded([2, *body, 3], [0] * (len(body) + 2), False) for body in bodies)


def drawn_examples(
    count: int, problem: Problem = "single_label", *, labels: int = 3, pad_id: int = 0, **rows: Any
) -> Examples:
    """Random rows with random targets."""
    rng = np.random.default_rng(rows.get("seed", 0) + 1)
    targets: Any = rng.integers(0, labels, count)
    if problem == "multi_label":
        targets = (rng.random((count, labels)) < 0.5).astype(np.float32)
    if problem == "regression":
        targets = rng.normal(size=count).astype(np.float32)
    return Examples(drawn_rows(count, **rows), targets, pad_id)


def drawn_data(count: int = 40, problem: Problem = "single_label", **options: Any) -> TrainingData:
    """A train and a tune part."""
    train = drawn_examples(count, problem, **options)
    return TrainingData(train, drawn_examples(16, problem, **{**options, "seed": 9}))


def labelled_rows(kind: str, count: int, seed: int) -> list[Row]:
    """Rows whose label follows from how many good and bad words there are."""
    rng = np.random.default_rng(seed)
    return [_labelled(kind, rng) for _ in range(count)]


def write_data(folder: Path, kind: str, sizes: tuple[int, int, int] = (100, 30, 60)) -> str:
    """A data folder with train, validation and test."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = zip(("train", "validation", "test"), sizes, range(3), strict=True)
    rows = {part: labelled_rows(kind, size, 100 + seed) for part, size, seed in parts}
    return write_jsonl(folder, **rows)


def _labelled(kind: str, rng: np.random.Generator) -> Row:
    good, bad = (int(number) for number in rng.choice([(2, 0), (0, 2), (0, 0), (1, 1)]))
    words = [*rng.choice(_GOOD, good), *rng.choice(_BAD, bad)]
    words += rng.choice(_FILLERS, int(rng.integers(2, 12))).tolist()
    text = " ".join(str(word) for word in rng.permutation(words))
    if kind == "multi_label":
        return {"text": text, "labels": [*["good"] * (good > 0), *["bad"] * (bad > 0)]}
    if kind == "regression":
        return {"text": text, "label": (good - bad) / 2 + 0.25}
    if kind == "pairs":
        other = str(rng.choice(_GOOD if good > bad else _BAD))
        return {"text": text, "text_pair": f"the film was {other}", "label": LABELS[2 * (good > 1)]}
    return {"text": text, "label": LABELS[1 + (good > bad) - (good < bad)]}


def _wordpiece(architecture: Architecture) -> PreTrainedTokenizerFast:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
    words = [*_SPECIAL, *_GOOD, *_BAD, *_FILLERS, *letters, *(f"##{one}" for one in letters)]
    words += [f"unused{i}" for i in range(220 - len(words))]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    kind = BertTokenizerFast if architecture == "bert" else DistilBertTokenizerFast
    return kind(tokenizer_object=tokenizer, model_max_length=MAX_TOKENS)


def _byte_level() -> PreTrainedTokenizerFast:
    trained = ByteLevelBPETokenizer(add_prefix_space=False)
    text = " ".join([*_GOOD, *_BAD, *_FILLERS] * 3)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator([text], vocab_size=340, special_tokens=special, show_progress=False)
    trained.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=False
    )
    return RobertaTokenizerFast(
        tokenizer_object=trained._tokenizer, model_max_length=MAX_TOKENS, add_prefix_space=False
    )


def _with_random_biases(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim == 1 and "LayerNorm" not in name and "layer_norm" not in name:
                parameter.normal_(0, 0.2)
    return module
