"""Loading a teacher: what is not one is refused with a message that says what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from paretext_compression.teacher import load_teacher, weights_sha256
from paretext_models.errors import InputError
from tiny_builds import Case
from tiny_models import (
    ARCHITECTURES,
    LABELS,
    MAX_TOKENS,
    Architecture,
    labelled_rows,
    save_classifier,
    tiny_config,
    word_tokenizer,
    write_data,
)

Cases = Callable[[str], Case]


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("sound") / "teacher", "bert")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A teacher to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "teacher"))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def refusal(source: Path | str) -> str:
    with pytest.raises(InputError) as raised:
        load_teacher(str(source))
    message = str(raised.value)
    assert message.startswith("model: ")
    assert "\n" not in message
    return message


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_sound_one_is_loaded(architecture: Architecture, tmp_path: Path) -> None:
    teacher = load_teacher(str(save_classifier(tmp_path / "mine", architecture)))
    assert teacher.name == "mine"
    assert teacher.labels == LABELS
    assert teacher.tokenizer.max_tokens == MAX_TOKENS
    assert teacher.tokenizer.pad_id == (1 if architecture == "roberta" else 0)
    assert teacher.record is None
    assert teacher.mask_id == 4
    assert teacher.special_ids == {0, 1, 2, 3, 4}
    assert not teacher.network.module.training
    assert teacher.sha256 == weights_sha256(teacher.network.module)


def test_a_folder_without_a_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "has no config.json; expected a model folder" in refusal(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '"bert"', "{}", '{"model_type": 3}'])
def test_a_damaged_configuration(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize("model_type", ["gpt2", "t5", "albert", "paretext-unknown"])
def test_an_unknown_architecture(folder: Path, model_type: str) -> None:
    edit(folder / "config.json", model_type=model_type)
    assert model_type in refusal(folder)


@pytest.mark.parametrize("name", ["no/such-model", "missing-model", "./missing", "/missing/folder"])
def test_what_is_not_there(name: str) -> None:
    assert f"{name} is neither a local model folder nor a hub name" in refusal(name)


def test_a_file_is_not_a_folder(folder: Path) -> None:
    assert "expected a model folder" in refusal(folder / "model.safetensors")


def test_a_model_that_is_not_a_classifier(tmp_path: Path) -> None:
    tokenizer = word_tokenizer("bert")
    AutoModel.from_config(tiny_config("bert", len(tokenizer), 2)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    message = refusal(tmp_path)
    assert "is not a classifier (architectures: ['BertModel'])" in message
    assert "paretext train" in message


def test_a_classifier_whose_head_is_missing(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    left = {name: tensor for name, tensor in weights.items() if "classifier" not in name}
    save_file(left, folder / "model.safetensors", {"format": "pt"})
    assert "has no weights for classifier.bias, classifier.weight" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 4, 1000, -100])
def test_weights_that_are_cut_off(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert "weights" in refusal(folder)


def test_weights_that_are_random_bytes(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    assert "weights" in refusal(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    edit(folder / "config.json", intermediate_size=97)
    assert "weights" in refusal(folder)


@pytest.mark.parametrize("present", ["pytorch_model.bin", "weights.pt"])
def test_pickled_weights_are_never_opened(folder: Path, present: str) -> None:
    (folder / "model.safetensors").unlink()
    marker = folder / "was-run"
    torch.save({"a": _Trap(marker)}, folder / present)
    message = refusal(folder)
    assert f"only pickled weights ({present}), which can run code" in message
    assert "model.safetensors" in message
    assert not marker.exists()


class _Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def __reduce__(self) -> Any:
        return open, (self.file, "w")


def test_no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "weights" in refusal(folder)


def test_no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    assert "tokenizer" in refusal(folder)


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", '{"model": {"type": "WordPiece"}}'])
def test_a_damaged_tokenizer(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    assert "tokenizer" in refusal(folder)


def test_only_a_slow_tokenizer(folder: Path) -> None:
    """One that has no fast form; BERT's own, from vocab.txt, is converted."""
    edit(folder / "tokenizer_config.json", tokenizer_class="BertJapaneseTokenizer")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    assert "tokenizer" in refusal(folder)


def test_a_vocabulary_file_alone_will_do(folder: Path) -> None:
    words = sorted(word_tokenizer("bert").get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in words))
    (folder / "tokenizer.json").unlink()
    assert "good" in load_teacher(str(folder)).tokenizer_json


def test_a_tokenizer_with_more_tokens_than_the_embeddings(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"more{i}": 220 + i for i in range(5)}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    message = refusal(folder)
    assert "225" in message
    assert "220" in message


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"max_tokens": "many"}', '{"max_tokens": 1}'])
def test_a_damaged_record(folder: Path, content: str) -> None:
    (folder / "paretext.json").write_text(content)
    assert "paretext.json is damaged" in refusal(folder)


def build_refusal(case: Case, tmp_path: Path) -> str:
    with pytest.raises(InputError) as raised:
        case.build(tmp_path, "fp32")
    assert not (tmp_path / "store").exists()
    return str(raised.value)


def elsewhere(sound: Path, data: str) -> Case:
    return Case("single_label", sound, data, sound)


def test_one_trained_elsewhere_builds_and_says_so(sound: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", "single_label")
    (made,) = elsewhere(sound, data).build(tmp_path, "fp32")
    lineage = made.manifest.lineage
    assert lineage.teacher_trained_elsewhere
    assert lineage.data["calibration"].rows + lineage.data["tune"].rows == 30
    assert lineage.data["report"].rows == 60
    assert made.manifest.task.labels == LABELS


def test_its_labels_must_be_those_of_the_data(sound: Path, tmp_path: Path) -> None:
    rows = [{"text": f"the film {i}", "label": str("abcd"[i % 4])} for i in range(80)]
    folder = tmp_path / "data"
    folder.mkdir()
    for part in ("train", "validation", "test"):
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = build_refusal(elsewhere(sound, str(folder)), tmp_path)
    for word in ("label", "'a'", *LABELS):
        assert word in message


def test_unnamed_labels_take_numbers_in_their_order(tmp_path: Path) -> None:
    """LABEL_0 ... are what `transformers` calls labels that nobody has named."""
    teacher = save_classifier(tmp_path / "teacher", "bert", labels=("LABEL_0", "LABEL_1"))
    rows = [{"text": f"the film {i}", "label": i % 2} for i in range(80)]
    data = tmp_path / "data"
    data.mkdir()
    for part in ("train", "validation", "test"):
        (data / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (made,) = elsewhere(teacher, str(data)).build(tmp_path, "fp32")
    assert made.manifest.task.labels == ("LABEL_0", "LABEL_1")


def test_unnamed_labels_do_not_fit_named_ones(tmp_path: Path) -> None:
    """In which order they would, nobody can know."""
    unnamed = ("LABEL_0", "LABEL_1", "LABEL_2")
    teacher = save_classifier(tmp_path / "teacher", "bert", labels=unnamed)
    data = write_data(tmp_path / "data", "single_label")
    message = build_refusal(elsewhere(teacher, data), tmp_path)
    assert "LABEL_0" in message


def test_a_regression_needs_one_output(sound: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", "regression")
    message = build_refusal(elsewhere(sound, data), tmp_path)
    assert "label" in message


def test_a_record_of_other_data_counts_as_trained_elsewhere(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    data = tmp_path / "data"
    data.mkdir()
    for seed, part in enumerate(("train", "validation", "test")):
        rows = labelled_rows("single_label", 60, 900 + seed)
        (data / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = Case(case.kind, case.encoder, str(data), case.teacher)
    (made,) = other.build(tmp_path, "fp32")
    assert made.manifest.lineage.teacher_trained_elsewhere


def test_a_record_that_does_not_fit_the_model(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    teacher = Path(shutil.copytree(case.teacher, tmp_path / "teacher"))
    edit(teacher / "paretext.json", task={"problem": "regression", "labels": ["score"]})
    message = build_refusal(Case(case.kind, case.encoder, case.data, teacher), tmp_path)
    assert "label" in message or "record" in message


def test_a_record_without_a_task(cases: Cases, tmp_path: Path) -> None:
    case = cases("single_label")
    teacher = Path(shutil.copytree(case.teacher, tmp_path / "teacher"))
    edit(teacher / "paretext.json", task={"problem": "guessing"})
    message = build_refusal(Case(case.kind, case.encoder, case.data, teacher), tmp_path)
    assert "paretext.json is damaged" in message


@pytest.mark.parametrize("data", [None, [], {"train": 3}, {"train": {"rows": 1}}])
def test_a_record_without_its_data(cases: Cases, tmp_path: Path, data: Any) -> None:
    case = cases("single_label")
    teacher = Path(shutil.copytree(case.teacher, tmp_path / "teacher"))
    edit(teacher / "paretext.json", data=data)
    message = build_refusal(Case(case.kind, case.encoder, case.data, teacher), tmp_path)
    assert "paretext.json is damaged" in message
