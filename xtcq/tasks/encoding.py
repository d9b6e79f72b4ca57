"""Text to word pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from xtcq.tasks.dataset import EncodedDataset
from xtcq.tasks.metrics import compute_metrics
from xtcq.tasks.spec import QuestionSpec, TaskSpec
from xtcq.tasks.squad.windows import EncodedQuestions


def encode(frame: pd.DataFrame, spec: TaskSpec, tokenizer: PreTrainedTokenizerBase) -> EncodedDataset:
    """Encode the examples of one split.

    Nothing is padded: padding belongs to the batch and is done by the collator. Pairs that are too long lose pieces
    of the longer sentence first. Questions are encoded by ``xtcq.tasks.squad.windows.EncodedQuestions``.

    Args:
        frame: examples with the columns ``spec.columns`` and ``label``, or ``answers`` for questions.
        spec: the task.
        tokenizer: a BERT tokenizer.

    Returns:
        A dataset of dictionaries ``input_ids``, ``token_type_ids``, ``attention_mask`` (lists of at most
        ``spec.max_length`` integers) and ``labels`` (an int, or a float for regression); for questions
        ``start_positions`` and ``end_positions`` in place of ``labels``.

    Raises:
        ValueError: if a question leaves no room for its context.
    """
    if isinstance(spec, QuestionSpec):
        return EncodedQuestions(frame, spec, tokenizer)
    return _LabelledTexts(frame, spec, tokenizer)


class _LabelledTexts(EncodedDataset):
    """Texts, or pairs of texts, with a class or a number each."""

    def __init__(self, frame: pd.DataFrame, spec: TaskSpec, tokenizer: PreTrainedTokenizerBase) -> None:
        texts = [frame[column].tolist() for column in spec.columns]
        encoding = tokenizer(
            *texts,
            truncation=True,
            max_length=spec.max_length,
            padding=False,
            return_token_type_ids=True,
            return_attention_mask=True,
        )
        super().__init__({**encoding, "labels": frame["label"].astype(float if spec.is_regression else int).tolist()})
        self._spec = spec

    def evaluate(self, predictions: Any, labels: Any) -> tuple[dict[str, float], str | list[float] | list[str]]:
        scored, scores = compute_metrics(self._spec, predictions, labels), np.asarray(predictions, dtype=np.float64)
        if self._spec.is_regression:
            return scored, [round(float(value), 4) for value in scores.reshape(-1)]
        digits = [f"{label:x}" for label in scores.argmax(axis=1)]
        return scored, "".join(digits) if self._spec.num_labels <= 16 else digits
