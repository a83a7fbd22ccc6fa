"""Text or pair to token ids, with the `tokenizers` library alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from paretext_models.errors import StoreError, TextError


@dataclass(frozen=True, slots=True)
class Encoded:
    """One input as token ids, special tokens included."""

    ids: list[int]
    type_ids: list[int]
    truncated: bool

    def __len__(self) -> int:
        return len(self.ids)


class TextTokenizer:
    """Encodes one text or pair at a time. Safe to use from several threads.

    Args:
        file: a `tokenizer.json`.
        max_tokens: the most tokens of one input; a longer one is cut (the longer text of a pair
            first) and marked as truncated, or refused.

    Raises:
        StoreError: the file is not a tokenizer.
    """

    def __init__(self, file: Path, max_tokens: int) -> None:
        try:
            self._whole = Tokenizer.from_file(str(file))
            self._cut = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises a bare Exception
            raise StoreError(f"{file.name}: not a tokenizer file: {error}") from error
        for tokenizer in (self._whole, self._cut):
            tokenizer.no_padding()
        self._whole.no_truncation()
        self._cut.enable_truncation(max_tokens, strategy="longest_first")
        self.max_tokens = max_tokens

    @property
    def vocabulary_size(self) -> int:
        return int(self._whole.get_vocab_size())

    def encode(self, text: str, pair: str | None = None, *, truncate: bool = True) -> Encoded:
        """Token ids of a text, or of a pair.

        Raises:
            TextError: the text is empty, holds a lone surrogate, or is too long and may not be cut.
        """
        _check(text, "text")
        if pair is not None:
            _check(pair, "text_pair")
        encoding = _encode(self._cut, text, pair)
        truncated = bool(encoding.overflowing)
        # The library cuts nothing where not even the special tokens fit.
        uncut = len(encoding.ids) > self.max_tokens
        if uncut or (truncated and not truncate):
            length = len(_encode(self._whole, text, pair).ids)
            raise TextError(
                "text_too_long",
                f"the text has {length} tokens; this variant takes at most {self.max_tokens}",
            )
        return Encoded(encoding.ids, encoding.type_ids, truncated)


def _encode(tokenizer: Tokenizer, text: str, pair: str | None) -> Encoding:
    """One text through the batch call: unlike `encode`, it lets other threads run meanwhile, and
    it skips offsets that nobody reads."""
    return tokenizer.encode_batch_fast([text if pair is None else (text, pair)])[0]


def _check(text: str, field: str) -> None:
    if not text or text.isspace():
        raise TextError("empty_text", f"{field} is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            "invalid_text",
            f"{field} is not valid Unicode: lone surrogate at position {error.start}",
        ) from None
