"""What training needs to know of encoded examples, whatever the task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset


class EncodedDataset(Dataset[dict[str, Any]], ABC):
    """Encoded examples of different lengths, to be padded per batch, that can tell how good predictions for them are.

    Args:
        columns: inputs and labels by name, one value an example.

    Attributes:
        lengths: word pieces of every example, special tokens included; what length grouping sorts by.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._columns = dict(columns)
        self.lengths = [len(ids) for ids in columns["input_ids"]]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[index] for name, values in self._columns.items()}

    @abstractmethod
    def evaluate(self, predictions: Any, labels: Any) -> tuple[dict[str, float], str | list[float] | list[str]]:
        """Score what a model makes of all examples, in their order, and say what that is.

        Args:
            predictions: Output of the model's head: an array, or a tuple of arrays where the head has several.
            labels: The labels of the examples, an array or tuple likewise.

        Returns:
            One value per metric of the task, in per cent; and the predictions as compact as a file should hold them:
            classes as a string of one digit an example, in hexadecimal, or as a list of such numbers where there are
            more than 16; numbers as a list, rounded to 1e-4; answers as a list of texts. From them and the labels every
            metric of the task can be computed again.

        Raises:
            ValueError: If predictions do not fit the examples or are not finite.
        """
