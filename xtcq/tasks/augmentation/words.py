"""The words of a text that may be replaced, and where they stand in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from transformers import PreTrainedTokenizerBase

# A word that may replace or be replaced: letters only, as in TinyBERT (``_is_valid``). One letter is what an apostrophe
# leaves over, as in "don't".
REPLACEABLE = re.compile("[a-z]{2,}")


@dataclass(frozen=True)
class Word:
    """A word that may be replaced.

    Attributes:
        text: as the tokenizer sees it: lower case and without accents for an uncased one.
        start: first character in the original text.
        end: character after the last one.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """A text and its replaceable words.

    Attributes:
        text: the original.
        words: in order.
    """

    text: str
    words: tuple[Word, ...]

    def replaced(self, choices: Sequence[str | None]) -> str:
        """The text with some words replaced; everything between them stays as it is.

        There is a choice for each word, None to leave it; one that is taken has the word's capital first letter.
        """
        parts: list[str] = []
        position = 0
        for word, choice in zip(self.words, choices, strict=True):
            if choice is not None:
                parts += self.text[position : word.start], choice
                if self.text[word.start].isupper():
                    parts[-1] = choice.capitalize()
                position = word.end
        return "".join(parts) + self.text[position:]


def find_words(text: str, tokenizer: PreTrainedTokenizerBase) -> Sentence:
    """Find the words that may be replaced: letters only, two or more, and no stop word.

    Words are those of the tokenizer's first step, BERT's split at white space and punctuation, so a word is never a
    part of another one. Stop words are scikit-learn's English list; TinyBERT brings a list of its own.
    """
    backend = tokenizer.backend_tokenizer
    words = []
    for piece, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text):
        plain = backend.normalizer.normalize_str(piece) if backend.normalizer else piece
        if REPLACEABLE.fullmatch(plain) and plain not in ENGLISH_STOP_WORDS:
            words.append(Word(plain, start, end))
    return Sentence(text, tuple(words))
