"""More training examples by replacing words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from xtcq.checks import check_integer
from xtcq.tasks.augmentation.candidates import Candidates
from xtcq.tasks.augmentation.words import Sentence, find_words

_SENTENCES_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How many new sentences, and how far from the old ones.

    Attributes:
        copies: tries for a new sentence, for each sentence (TinyBERT's N). A try that gives a sentence that is there
            already is lost.
        probability: that a word is replaced (p).
        candidates: most words that one is replaced by (M).
        seed: of the draws. They depend on seed, row and column alone, not on the rows before.

    Raises:
        ValueError: for an impossible value.
    """

    copies: int
    probability: float = 0.4
    candidates: int = 15
    seed: int = 42

    def __post_init__(self) -> None:
        """Check."""
        for name in ("copies", "candidates"):
            check_integer(name, getattr(self, name), 1)
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability is {self.probability!r}, expected a number above 0 and at most 1")


def augment(
    frame: pd.DataFrame,
    columns: Sequence[str],
    source: Candidates,
    tokenizer: PreTrainedTokenizerBase,
    settings: Augmentation,
) -> pd.DataFrame:
    """Add rows in which words of one sentence are replaced.

    TinyBERT's scheme (``data_augmentation.py``, L120-237): every word but stop words gets candidates; in each try each
    word is replaced with the given probability by one of them. Of a pair, one sentence is changed at a time; TinyBERT
    then forgets to restore the first sentence while it changes the second, and writes the original more than once. Here
    both sentences are treated alike.

    Args:
        frame: training examples: the text columns and others, which are copied.
        columns: the text columns.
        source: where candidates come from.
        tokenizer: decides what a word is.
        settings: see ``Augmentation``.

    Returns:
        Every row of ``frame`` once, each followed by its new rows, at most ``copies`` for each text column.
    """
    frame = frame.reset_index(drop=True)
    parts = [frame]
    for column in columns:
        texts = frame[column].tolist()
        new: list[list[str]] = []
        bar = tqdm(range(0, len(texts), _SENTENCES_AT_ONCE), desc=f"augment {column}", unit="ki", disable=None)
        for start in bar:
            sentences = [find_words(text, tokenizer) for text in texts[start : start + _SENTENCES_AT_ONCE]]
            offered = source.propose(sentences, settings.candidates)
            for row, (sentence, words) in enumerate(zip(sentences, offered, strict=True), start):
                # A text as a seed gives the same numbers on every machine.
                rng = random.Random(f"{settings.seed}/{row}/{column}")
                new.append(_new_sentences(sentence, words, settings, rng))
        made = frame.assign(**{column: pd.Series(new, dtype=object)}).explode(column).dropna(subset=[column])
        parts.append(made.astype(frame.dtypes))
    return pd.concat(parts).sort_index(kind="stable", ignore_index=True)


def _new_sentences(
    sentence: Sentence, offered: Sequence[Sequence[str]], settings: Augmentation, rng: random.Random
) -> list[str]:
    if not any(offered):
        return []
    found = {sentence.text: None}  # in order of discovery
    for _ in range(settings.copies):
        choices = [rng.choice(words) if words and rng.random() < settings.probability else None for words in offered]
        found[sentence.replaced(choices)] = None
    return list(found)[1:]
