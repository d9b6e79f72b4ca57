"""What a word may be replaced by: its neighbours among word vectors, or what a masked language model expects there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from transformers import BertForMaskedLM, DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from xtcq.tasks.augmentation.words import REPLACEABLE, Sentence

_ROWS_AT_ONCE, _QUESTIONS_AT_ONCE = 512, 128


class Neighbours:
    """The nearest words by the cosine between word vectors.

    TinyBERT takes GloVe's vectors, see ``xtcq.tasks.augmentation.store.load_vectors``, and asks them only for words of
    several pieces.

    Args:
        words: a word for each vector; those that are not letters only are left out.
        vectors: one row a word.

    Raises:
        ValueError: if there are not as many vectors as words, no word of letters, or a vector is not finite.

    >>> import numpy as np
    >>> from xtcq.tasks.augmentation import Neighbours, Sentence, Word
    >>> source = Neighbours(["cat", "dog", "red"], np.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0]]))
    >>> source.propose([Sentence("a cat", (Word("cat", 2, 5),))], 1)
    [[['dog']]]
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
        """Take the word embeddings of an encoder, a BERT with or without a head: the words are its whole-word pieces.

        A word of several pieces has no vector there, so it has no candidates.

        Raises:
            ValueError: if the tokenizer has a piece that the encoder has no vector for.
        """
        vocabulary = tokenizer.get_vocab()
        words = sorted(vocabulary, key=vocabulary.__getitem__)
        embeddings: Any = model.get_input_embeddings()
        table = embeddings.weight.detach().float().cpu()
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


@dataclass(frozen=True)
class _Question:
    sentence: int
    word: int
    position: int
    inputs: dict[str, list[int]]


class MaskedLM:
    """Candidates for words of a single piece, from a masked language model; others are left to ``rest``.

    TinyBERT's scheme (``data_augmentation.py``): the model reads the sentence with the word masked, and after a
    separator the sentence as it is, so that what it expects is also close in meaning. Pieces that continue a word are
    dropped. TinyBERT may propose the word itself; here it is left out.

    Args:
        model: a BERT with a masked-language-model head; moved to the GPU if there is one.
        tokenizer: its tokenizer, which may be another than the student's: words are handed over as text.
        rest: where candidates of words of several pieces come from.

    Raises:
        ValueError: if the tokenizer's vocabulary is not the model's.
    """

    def __init__(self, model: BertForMaskedLM, tokenizer: PreTrainedTokenizerBase, rest: Neighbours) -> None:
        vocabulary = tokenizer.get_vocab()
        if len(vocabulary) != model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(vocabulary):,} pieces and the masked language model "
                f"{model.config.vocab_size:,}: give the tokenizer that the model was trained with"
            )
        self.model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer, self.rest = tokenizer, rest
        self._pieces = {index: piece for piece, index in vocabulary.items()}
        self._offered = torch.tensor(
            [bool(REPLACEABLE.fullmatch(self._pieces[i])) for i in range(len(vocabulary))], device=self.model.device
        )
        # Two copies of the sentence and three separators have to fit.
        self._most_pieces = (model.config.max_position_embeddings - 3) // 2

    @property
    def digest(self) -> str:
        """Hexadecimal digest of the model, of what its tokenizer makes of a text, and of the source of the rest."""
        content = hashlib.sha256(repr(sorted(self._pieces.items())).encode())
        config, backend = self.model.config, json.loads(self.tokenizer.backend_tokenizer.to_str())
        facts = [config.num_attention_heads, config.hidden_act, config.layer_norm_eps, self._most_pieces]
        content.update(json.dumps([*facts, backend["normalizer"], backend["pre_tokenizer"]]).encode())
        for name, value in sorted(self.model.state_dict().items()):
            content.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        content.update(self.rest.digest.encode())
        return content.hexdigest()

    @torch.no_grad()
    def propose(self, sentences: Sequence[Sentence], count: int) -> list[list[list[str]]]:
        """Ask for every word of a single piece that the model can read; like lengths are asked together."""
        found = self.rest.propose(sentences, count)
        questions = [q for index, sentence in enumerate(sentences) for q in self._questions(index, sentence)]
        questions.sort(key=lambda question: len(question.inputs["input_ids"]))
        collate = DataCollatorWithPadding(self.tokenizer)
        for start in range(0, len(questions), _QUESTIONS_AT_ONCE):
            batch = questions[start : start + _QUESTIONS_AT_ONCE]
            inputs: Any = collate([question.inputs for question in batch])
            inputs = inputs.to(self.model.device)
            hidden = self.model.bert(**inputs).last_hidden_state
            rows = torch.arange(len(batch), device=hidden.device)
            positions = torch.tensor([question.position for question in batch], device=hidden.device)
            # At the masked words alone: scores of the vocabulary at every position would take gigabytes.
            expected = self.model.cls(hidden[rows, positions]).masked_fill(~self._offered, -torch.inf)
            best = expected.topk(min(count + 1, int(self._offered.sum())), dim=1).indices
            for question, indices in zip(batch, best.tolist(), strict=True):
                asked = sentences[question.sentence].words[question.word].text
                words = [self._pieces[i] for i in indices if self._pieces[i] != asked]
                found[question.sentence][question.word] = words[:count]
        return found

    def _questions(self, index: int, sentence: Sentence) -> list[_Question]:
        encoding = self.tokenizer(
            sentence.text,
            add_special_tokens=False,
            return_offsets_mapping=True,
            truncation=True,
            max_length=self._most_pieces,
        )
        pieces = encoding["input_ids"]
        # A piece that covers exactly the characters of a word is all of it.
        places = {offset: place for place, offset in enumerate(map(tuple, encoding["offset_mapping"]))}
        cls, sep, mask = (self.tokenizer.convert_tokens_to_ids(name) for name in ("[CLS]", "[SEP]", "[MASK]"))
        questions = []
        for number, word in enumerate(sentence.words):
            place = places.get((word.start, word.end))
            if place is not None and self._pieces[pieces[place]] == word.text:
                masked = pieces[:place] + [mask] + pieces[place + 1 :]
                ids = [cls, *masked, sep, *pieces, sep]
                types = [0] * (len(pieces) + 2) + [1] * (len(pieces) + 1)
                inputs = {"input_ids": ids, "token_type_ids": types, "attention_mask": [1] * len(ids)}
                questions.append(_Question(index, number, place + 1, inputs))
        return questions


Candidates: TypeAlias = Neighbours | MaskedLM
