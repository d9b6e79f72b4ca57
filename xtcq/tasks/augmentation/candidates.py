"""What a word may be replaced by: its neighbours among word vectors, whatever stands around it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xtcq.tasks.augmentation.words import REPLACEABLE, Sentence

_ROWS_AT_ONCE = 512


class Candidates(Protocol):
    """A source of candidates."""

    @property
    def digest(self) -> str:
        """Hexadecimal digest of everything that decides the candidates."""

    def propose(self, sentences: Sequence[Sentence], count: int) -> list[list[list[str]]]:
        """Candidates for every word of every sentence, best first, at most `count`; an empty list leaves the word."""


class Neighbours:
    """The nearest words by the cosine between word vectors.

    TinyBERT takes GloVe's vectors, and asks them only for words of several pieces.

    Args:
        words: a word for each vector; those that are not letters only are left out.
        vectors: one row a word.

    Raises:
        ValueError: if there are not as many vectors as words, no word of letters, or a vector is not finite.
    """

    def __init__(self, words: Sequence[str], vectors: np.ndarray) -> None:
        if len(words) != len(vectors):
            raise ValueError(f"{len(words):,} words and {len(vectors):,} vectors: give one vector for each word")
        kept = [i for i, word in enumerate(words) if REPLACEABLE.fullmatch(word)]
        if not kept:
            raise ValueError(
                f"none of the {len(words):,} words has letters only, two or more: there is nothing to offer"
            )
        self.words = [words[i] for i in kept]
        self._index = {word: i for i, word in enumerate(self.words)}
        table = torch.as_tensor(np.asarray(vectors, dtype=np.float32)[kept])
        # One such vector would be everyone's neighbour: not-a-number sorts as the largest.
        if not (finite := table.isfinite().all(dim=1)).all():
            word = self.words[int((~finite).nonzero()[0])]
            raise ValueError(f"the vector of {word!r} is not finite: leave out the word or give finite numbers")
        self._vectors = torch.nn.functional.normalize(table, dim=1)
        self._known: dict[tuple[str, int], list[str]] = {}

    @classmethod
    def from_encoder(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Self:
        """Take the word embeddings of an encoder: the words are its pieces that are whole words.

        Args:
            model: a BERT, bare or with a head.
            tokenizer: its tokenizer.

        Returns:
            The neighbours. A word of several pieces has no vector there, so it has no candidates.

        Raises:
            ValueError: if the tokenizer has a piece that the encoder has no vector for.
        """
        vocabulary = tokenizer.get_vocab()
        words = sorted(vocabulary, key=vocabulary.get)
        table = model.get_input_embeddings().weight.detach().float().cpu()
        if len(table) <= vocabulary[words[-1]]:
            raise ValueError(
                f"the tokenizer numbers its pieces up to {vocabulary[words[-1]]:,}, but the encoder has vectors for "
                f"{len(table):,}: give the tokenizer that the encoder was trained with"
            )
        return cls(words, table[[vocabulary[word] for word in words]].numpy())

    @property
    def digest(self) -> str:
        """Hexadecimal digest of the words and their vectors."""
        content = hashlib.sha256("\n".join(self.words).encode())
        content.update(self._vectors.numpy().tobytes())
        return content.hexdigest()

    def propose(self, sentences: Sequence[Sentence], count: int) -> list[list[list[str]]]:
        """The nearest words of every word that has a vector, the word itself left out."""
        asked = {(word.text, count) for sentence in sentences for word in sentence.words if word.text in self._index}
        new = sorted(asked - self._known.keys())
        for start in range(0, len(new), _ROWS_AT_ONCE):
            self._look_up([word for word, _ in new[start : start + _ROWS_AT_ONCE]], count)
        return [[self._known.get((word.text, count), []) for word in sentence.words] for sentence in sentences]

    def _look_up(self, words: list[str], count: int) -> None:
        rows = torch.tensor([self._index[word] for word in words])
        likeness = self._vectors[rows] @ self._vectors.T
        likeness[torch.arange(len(rows)), rows] = -torch.inf
        nearest = likeness.topk(min(count, len(self.words) - 1), dim=1).indices
        for word, indices in zip(words, nearest.tolist(), strict=True):
            self._known[word, count] = [self.words[i] for i in indices]
