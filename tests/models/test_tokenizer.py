from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paretext_models.errors import StoreError, TextError
from paretext_models.tokenizer import TextTokenizer
from tiny_store import WORDS, write_tokenizer

CLS, SEP, GOOD, BAD = 2, 3, 4, 5


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def test_a_text_and_a_pair(file: Path) -> None:
    tokenizer = TextTokenizer(file, 8)
    single = tokenizer.encode("good bad")
    assert (single.ids, single.type_ids, single.truncated) == (
        [CLS, GOOD, BAD, SEP], [0, 0, 0, 0], False,
    )  # fmt: skip
    pair = tokenizer.encode("good", "bad")
    assert pair.ids == [CLS, GOOD, SEP, BAD, SEP]
    assert pair.type_ids == [0, 0, 0, 1, 1]
    assert len(pair) == 5
    assert tokenizer.vocabulary_size == 4 + len(WORDS)


def test_a_cut_is_flagged_and_exact(file: Path) -> None:
    tokenizer = TextTokenizer(file, 6)
    assert not tokenizer.encode("good " * 4).truncated
    cut = tokenizer.encode("good " * 5)
    assert cut.truncated
    assert len(cut) == 6
    assert cut.ids[-1] == SEP


def test_the_longer_text_of_a_pair_is_cut_first(file: Path) -> None:
    cut = TextTokenizer(file, 8).encode("good", "bad " * 50)
    assert cut.truncated
    assert cut.ids == [CLS, GOOD, SEP, BAD, BAD, BAD, BAD, SEP]


@pytest.mark.parametrize("pair", [None, "bad"])
def test_too_long_without_truncation_names_both_lengths(file: Path, pair: str | None) -> None:
    with pytest.raises(TextError, match=r"has 4[24] tokens.*at most 8") as caught:
        TextTokenizer(file, 8).encode("good " * 40, pair, truncate=False)
    assert caught.value.code == "text_too_long"
    assert len(TextTokenizer(file, 8).encode("good", truncate=False)) == 3


def test_no_room_for_the_special_tokens_is_an_error(file: Path) -> None:
    with pytest.raises(TextError, match="has 5 tokens; this variant takes at most 2"):
        TextTokenizer(file, 2).encode("good", "bad")


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u2003"])
def test_empty_texts(file: Path, text: str) -> None:
    tokenizer = TextTokenizer(file, 8)
    with pytest.raises(TextError, match=r"^text is empty") as caught:
        tokenizer.encode(text)
    assert caught.value.code == "empty_text"
    with pytest.raises(TextError, match=r"^text_pair is empty"):
        tokenizer.encode("good", text)


def test_a_lone_surrogate_is_named(file: Path) -> None:
    with pytest.raises(TextError, match="lone surrogate at position 3") as caught:
        TextTokenizer(file, 8).encode("ab \ud800 c")
    assert caught.value.code == "invalid_text"


@pytest.mark.parametrize(
    "text", ["\x00", "\u200b", "😀" * 9, "a\u0301", "\ufeffgood", "[CLS] good"]
)
def test_odd_texts_are_encoded(file: Path, text: str) -> None:
    assert 2 <= len(TextTokenizer(file, 8).encode(text)) <= 8


@pytest.mark.parametrize("text", ["good " * 200_000, "a" * 1_000_000, "我" * 340_000])
def test_a_megabyte_takes_seconds_at_most(file: Path, text: str) -> None:
    tokenizer = TextTokenizer(file, 128)
    start = time.perf_counter()
    assert len(tokenizer.encode(text)) <= 128
    assert time.perf_counter() - start < 5


def test_threads_share_one_tokenizer(file: Path) -> None:
    tokenizer = TextTokenizer(file, 16)
    texts = [" ".join(WORDS[i % 11 : i % 11 + 1 + i % 5]) for i in range(400)]
    alone = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenizer.encode, texts)) == alone


def test_settings_in_the_file_do_not_count(file: Path) -> None:
    from tokenizers import Tokenizer

    stored = Tokenizer.from_file(str(file))
    stored.enable_padding(length=32)
    stored.enable_truncation(4)
    stored.save(str(file))
    assert len(TextTokenizer(file, 16).encode("good " * 10)) == 12


@pytest.mark.parametrize("content", ["", "{}", "\x00", '{"model": {"type": "Nothing"}}'])
def test_what_is_not_a_tokenizer_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(StoreError, match=r"^tokenizer\.json: not a tokenizer file"):
        TextTokenizer(tmp_path / "tokenizer.json", 8)
