"""A store of tiny variants made by hand: real files, no torch, built in milliseconds.

Run as a script, it writes one for CI's serve-only check: `python tests/tiny_store.py FOLDER`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from paretext_models.manifest import (
    Estimate,
    Lineage,
    Manifest,
    Measured,
    PairedTest,
    Parity,
    SinglePlan,
    Task,
    TokenizerSpec,
)
from paretext_models.store import Store, hash_files

WORDS = ["good", "bad", "fine", "poor", "great", "awful", "the", "film", "was", "slow", "refund"]
LABELS = ("negative", "neutral", "positive")
ZEROS = "0" * 64


def write_tokenizer(file: Path) -> None:
    """A word-level tokenizer with [CLS] and [SEP]; unknown words become [UNK]."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(file))


def write_graph(file: Path, labels: int, *, seed: int = 0, width: int = 8) -> None:
    """Mean of embeddings over the mask, then a linear layer: logits depend on every token."""
    rng = np.random.default_rng(seed)
    weights = {
        "embeddings": rng.normal(size=(200, width)).astype(np.float32),
        "weight": rng.normal(size=(width, labels)).astype(np.float32),
        "axis": np.array([1], np.int64),
        "last": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["embeddings", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["embedded", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axis"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "axis"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
    ]
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(file))


def tiny_manifest(folder: Path, model: str, variant: str, **changes: Any) -> Manifest:
    """A valid manifest for the files in `folder`. `changes` replace top-level fields; `accuracy`
    and `p_value` set the figures that routing looks at."""
    accuracy, p_value = changes.pop("accuracy", 0.9), changes.pop("p_value", 0.5)
    interval = (accuracy - 0.02, min(1.0, accuracy + 0.02))
    measured = Measured(
        primary=Estimate(name="accuracy", value=accuracy, ci95=interval, split="test", n=1000),
        paired=PairedTest(
            method="mcnemar_exact",
            difference=accuracy - 0.9,
            ci95=(accuracy - 0.92, accuracy - 0.88),
            p_value=p_value,
        ),
        agreement=Estimate(name="agreement", value=0.95, ci95=(0.93, 0.96), split="test", n=1000),
        parameters=1000,
        macs=1000,
        macs_tokens=128,
        bytes_on_disk=sum(file.stat().st_size for file in folder.iterdir()),
        parity=Parity(max_abs_difference=0.0, logit_spread=1.0, inputs=1),
        batch_independent=True,
    )
    fields: dict[str, Any] = {
        "model": model,
        "variant": variant,
        "architecture": "tiny",
        "task": Task(problem="single_label", labels=LABELS),
        "tokenizer": TokenizerSpec(max_tokens=32),
        "plan": SinglePlan(inputs=("input_ids", "attention_mask")),
        "lineage": Lineage(
            parent="tiny", parent_sha256=ZEROS, recipe={}, data={}, seed=0, versions={}
        ),
        "measured": measured,
        "files": hash_files(folder),
    }
    return Manifest(**{**fields, **changes})


def publish_tiny(
    root: Path, model: str = "tiny", variant: str = "fp32", *, seed: int = 0, **changes: Any
) -> str:
    """Publish a tiny variant; returns its revision. `width` scales the file's size."""
    store = Store(root)
    task = changes.get("task", Task(problem="single_label", labels=LABELS))
    with store.staging(model) as folder:
        write_tokenizer(folder / "tokenizer.json")
        write_graph(
            folder / "model.onnx", len(task.labels), seed=seed, width=changes.pop("width", 8)
        )
        (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
        return store.publish(folder, tiny_manifest(folder, model, variant, **changes))


if __name__ == "__main__":
    publish_tiny(Path(sys.argv[1]))
