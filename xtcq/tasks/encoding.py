"""Text to word pieces."""

from typing import Any

import pandas as pd
from torch.utils.data import Dataset
from transformers import BatchEncoding, PreTrainedTokenizerBase

from xtcq.tasks.spec import TaskSpec


class EncodedDataset(Dataset[dict[str, Any]]):
    """Encoded examples of different lengths, to be padded per batch.

    Attributes:
        lengths: Word pieces of every example, special tokens included; what length grouping sorts by.
    """

    def __init__(self, encoding: BatchEncoding, labels: list[int] | list[float]) -> None:
        self._columns = {**encoding, "labels": labels}
        self.lengths = [len(ids) for ids in encoding["input_ids"]]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[index] for name, values in self._columns.items()}


def encode(frame: pd.DataFrame, spec: TaskSpec, tokenizer: PreTrainedTokenizerBase) -> EncodedDataset:
    """Encode the examples of one split.

    Nothing is padded: padding belongs to the batch and is done by the collator. Pairs that are too long lose pieces
    of the longer sentence first.

    Args:
        frame: Examples with the columns `spec.columns` and `label`.
        spec: The task.
        tokenizer: A BERT tokenizer.

    Returns:
        A dataset of dictionaries `input_ids`, `token_type_ids`, `attention_mask` (lists of at most `spec.max_length`
        integers) and `labels` (an int, or a float for regression).
    """
    texts = [frame[column].tolist() for column in spec.columns]
    encoding = tokenizer(
        *texts,
        truncation=True,
        max_length=spec.max_length,
        padding=False,
        return_token_type_ids=True,
        return_attention_mask=True,
    )
    return EncodedDataset(encoding, frame["label"].astype(float if spec.is_regression else int).tolist())
