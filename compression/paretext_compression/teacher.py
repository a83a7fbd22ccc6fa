"""The fine-tuned classifier that variants are made of: loading it, and refusing what is not one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from paretext_compression.architecture import TRANSFORMERS
from paretext_compression.network import Network, transformer_network
from paretext_models.errors import InputError
from paretext_models.manifest import DataPart, Problem, Task, TokenizerSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

RECORD = "paretext.json"


@dataclass(frozen=True)
class Teacher:
    """A classifier with its tokenizer.

    Attributes:
        name: the folder's or the hub's name, as it goes into manifests.
        labels: in logit order.
        record: what `paretext train` wrote beside it; None if it was trained elsewhere.
    """

    name: str
    network: Network
    labels: tuple[str, ...]
    problem: Problem | None
    tokenizer_json: str
    tokenizer: TokenizerSpec
    special_ids: frozenset[int]
    mask_id: int | None
    sha256: str
    record: dict[str, Any] | None


def load_teacher(source: str) -> Teacher:
    """Load a classifier from a local folder or by hub name.

    Raises:
        InputError: it is not there, not a sequence classifier, of an unknown architecture, or its
            weights are damaged or pickled.
    """
    config = load_config(source)
    check_architecture(source, config)
    classifiers = [
        name for name in config.architectures or [] if name.endswith("ForSequenceClassification")
    ]
    if not classifiers:
        raise InputError(
            f"model: {source} is not a classifier (architectures: {config.architectures}), expected"
            " a ...ForSequenceClassification; make one with `paretext train`"
        )
    module, missing = load_weights(source, config)
    if missing:
        raise InputError(f"model: {source} has no weights for {', '.join(sorted(missing)[:5])}")
    tokenizer = load_tokenizer(source)
    check_vocabulary(source, config, tokenizer)
    limit = token_limit(config, tokenizer)
    record = read_record(source)
    return Teacher(
        name=Path(source).name if Path(source).is_dir() else source,
        network=transformer_network(module.eval()),
        labels=tuple(str(config.id2label[i]) for i in range(config.num_labels)),
        problem=_problem(config),
        tokenizer_json=tokenizer.backend_tokenizer.to_str(),
        tokenizer=TokenizerSpec(
            max_tokens=min(limit, record["max_tokens"]) if record else limit,
            pad_id=tokenizer.pad_token_id or 0,
        ),
        special_ids=frozenset(tokenizer.all_special_ids),
        mask_id=tokenizer.mask_token_id,
        sha256=weights_sha256(module),
        record=record,
    )


def load_config(source: str) -> PretrainedConfig:
    """The `transformers` configuration of a folder or a hub name.

    Raises:
        InputError: there is none.
    """
    from transformers import AutoConfig

    if Path(source).exists() and not (Path(source) / "config.json").is_file():
        raise InputError(f"model: {source} has no config.json; expected a model folder")
    try:
        with quiet():
            return AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if Path(source).exists():
            raise InputError(
                f"model: the config.json of {source} cannot be read: {_first_line(error)}"
            ) from error
        raise InputError(
            f"model: {source} is neither a local model folder nor a hub name that can be reached"
            f" (there is no folder {source} here; the hub: {_first_line(error)})"
        ) from error


def check_architecture(source: str, config: PretrainedConfig) -> None:
    """Raises: InputError: for a model type that no export or method here is tested on."""
    if config.model_type not in TRANSFORMERS:
        raise InputError(
            f"model: {source} has model_type {config.model_type!r}, expected one of"
            f" {', '.join(TRANSFORMERS)}"
        )


def load_weights(
    source: str, config: PretrainedConfig, **overrides: Any
) -> tuple[PreTrainedModel, set[str]]:
    """A sequence classifier in float32, and the names of the weights that were not in the file.

    Only safetensors are read: a pickle can run code.

    Raises:
        InputError: the weights are missing, damaged, pickled, or of other shapes.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    folder = Path(source)
    pickled = folder.is_dir() and not list(folder.glob("*.safetensors"))
    if pickled and (found := [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]):
        raise InputError(
            f"model: {source} holds only pickled weights ({found[0].name}), which can run code;"
            " expected model.safetensors (save_pretrained writes it)"
        )
    try:
        with quiet():
            module, info = AutoModelForSequenceClassification.from_pretrained(
                source,
                config=config,
                use_safetensors=True,
                attn_implementation="sdpa",
                dtype="float32",
                output_loading_info=True,
                **overrides,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"model: the weights of {source} cannot be read: {_first_line(error)}"
        ) from error
    return module, set(info["missing_keys"])


def load_tokenizer(source: str) -> PreTrainedTokenizerFast:
    """The model's fast tokenizer.

    Raises:
        InputError: there is none, or only a slow one, which has no tokenizer.json.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    except Exception as error:  # of a damaged file, the library raises a bare Exception
        raise InputError(
            f"model: the tokenizer of {source} cannot be read: {_first_line(error)}"
        ) from error
    if not tokenizer.is_fast:
        raise InputError(f"model: {source} has only a slow tokenizer, expected a tokenizer.json")
    return tokenizer


def check_vocabulary(
    source: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Raises: InputError: for a tokenizer that knows tokens which the model has no vectors for."""
    tokens = 1 + max(tokenizer.get_vocab().values(), default=0)
    if tokens > config.vocab_size:
        raise InputError(
            f"model: the tokenizer of {source} has {tokens} tokens, its embeddings only"
            f" {config.vocab_size}; expected a tokenizer of this model"
        )


def token_limit(config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> int:
    """The most tokens of one input, special tokens included."""
    positions = int(config.max_position_embeddings)
    if config.model_type == "roberta":  # its positions start behind the padding index
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(min(tokenizer.model_max_length, 1 << 20)))


def read_record(source: str) -> dict[str, Any] | None:
    """What `paretext train` wrote beside a model; None where there is none.

    Raises:
        InputError: it is damaged.
    """
    file = Path(source) / RECORD
    if not file.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(file.read_text())
        TokenizerSpec(max_tokens=record["max_tokens"])
        Task.model_validate(record["task"])
        for part in record["data"].values():
            DataPart.model_validate(part)
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = repr(error).splitlines()[0]
        raise InputError(
            f"model: {file} is damaged: {what}; expected what `paretext train` wrote"
        ) from error


def weights_sha256(module: nn.Module) -> str:
    """A hash of all weights, independent of how a file lays them out."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what libraries print; what matters to the user is said by the caller."""
    from transformers.utils import logging as hf_logging

    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        hf_logging.set_verbosity(verbosity)


def _problem(config: PretrainedConfig) -> Problem | None:
    known: dict[str | None, Problem] = {
        "single_label_classification": "single_label",
        "multi_label_classification": "multi_label",
        "regression": "regression",
    }
    if config.num_labels == 1:
        return "regression"
    return known.get(config.problem_type)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
