"""A task of the reader's own: a file of texts and labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from xtcq.tasks.spec import Task, TaskSpec

_READERS = {
    # Everything as text: "NA" and "null" are words, and what a label is decides `_labels`.
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".parquet": pd.read_parquet,
}


def own_task(
    source: str | Path | pd.DataFrame,
    columns: Sequence[str],
    label: str,
    num_labels: int,
    *,
    evaluation: str | Path | pd.DataFrame | None = None,
    held_out: float = 0.2,
    max_length: int = 128,
    batch_size: int = 32,
    seed: int = 42,
    name: str = "own",
) -> Task:
    """Make a task that `xtcq.training.train` takes from a table of one's own.

    Args:
        source: a data frame, or a CSV with a header or a Parquet file.
        columns: the text column, or both columns of a pair.
        label: the column of the labels: 0 to ``num_labels - 1``, or any numbers for regression.
        num_labels: of the classifier; 1 for regression.
        evaluation: the examples to evaluate on, as `source`. If left out, they are drawn from `source`, as many of
            each class as it has in proportion.
        held_out: share of `source` to evaluate on, where `evaluation` is left out.
        max_length: word pieces kept of an example.
        batch_size: examples of a training step.
        seed: of the drawing.
        name: of the task.

    Returns:
        The task. It is scored by accuracy, and F1 of class 1 where there are two classes; by Pearson and Spearman
        correlation for regression.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that cannot be read, a column that is missing, a text that is empty, a label that is no
            number or out of range, an impossible share, or too few rows to hold some out.
    """
    if not 1 <= len(columns) <= 2 or isinstance(columns, str):
        raise ValueError(f"columns is {columns!r}, expected a list of one text column, or of the two of a pair")
    if num_labels < 1:
        raise ValueError(f"num_labels is {num_labels}, expected the number of classes, or 1 for regression")
    columns = tuple(columns)
    train = _read(source, columns, label, num_labels)
    if evaluation is None:
        train, held = _divide(train, held_out, seed, stratify=num_labels > 1)
    else:
        held = _read(evaluation, columns, label, num_labels)
    if num_labels == 1:
        metrics, majority = ("pearson", "spearman"), None
    else:
        metrics = ("accuracy", "f1") if num_labels == 2 else ("accuracy",)
        majority = int(held["label"].value_counts().iloc[0])
    rows = {"train": len(train), "validation": len(held)}
    spec = TaskSpec(name, name, columns, num_labels, max_length, batch_size, metrics, rows, majority=majority)
    return Task(spec, train, {"validation": held})


def _read(source: str | Path | pd.DataFrame, columns: tuple[str, ...], label: str, num_labels: int) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        frame, origin = source, "the data frame"
    else:
        frame, origin = _read_file(Path(source)), str(source)
    if missing := [name for name in (*columns, label) if name not in frame.columns]:
        raise ValueError(f"{origin} has no column {missing[0]!r}: it has {', '.join(map(repr, frame.columns))}")
    if frame.empty:
        raise ValueError(f"{origin} has no rows: give at least one example of each class")
    for name in columns:
        texts = frame[name].tolist()
        empty = [i for i, text in enumerate(texts) if not isinstance(text, str) or not text.strip()]
        if empty:
            raise ValueError(
                f"{origin}: row {empty[0] + 1} has no text in {name!r} ({texts[empty[0]]!r}), {len(empty)} rows in "
                "all: leave them out"
            )
    kept = frame[list(columns)].reset_index(drop=True)
    return kept.assign(label=_labels(frame[label], num_labels, f"{origin}: column {label!r}"))


def _read_file(path: Path) -> pd.DataFrame:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} ends in {path.suffix!r}, expected one of {', '.join(map(repr, _READERS))}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: give a file ending in {' or '.join(_READERS)}")
    try:
        return reader(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parsing errors are ValueErrors
        raise ValueError(f"{path} cannot be read as {path.suffix[1:].lower()}: {error}") from error


def _labels(found: pd.Series, num_labels: int, origin: str) -> np.ndarray:
    numbers = pd.to_numeric(found, errors="coerce").to_numpy(np.float64)
    valid = np.isfinite(numbers)
    expected = "a number"
    if num_labels > 1:
        valid &= (numbers >= 0) & (numbers < num_labels) & (numbers % 1 == 0)
        expected = f"an integer from 0 to {num_labels - 1}, in the order of the classifier's labels"
    if not valid.all():
        row = int(np.flatnonzero(~valid)[0])
        raise ValueError(
            f"{origin} holds {found.tolist()[row]!r} in row {row + 1}, expected {expected}: correct or renumber "
            f"{(~valid).sum()} labels"
        )
    return numbers if num_labels == 1 else numbers.astype(np.int64)


def _divide(frame: pd.DataFrame, share: float, seed: int, stratify: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    if not 0 < share < 1:
        raise ValueError(f"held_out is {share}, expected a share between 0 and 1, or give evaluation data")
    held = round(share * len(frame))
    counts = frame["label"].value_counts() if stratify else pd.Series([len(frame)])
    if counts.min() < 2 or not len(counts) <= held <= len(frame) - len(counts):
        raise ValueError(
            f"{held} of {len(frame)} rows cannot be held out: the rarest class has {counts.min()} rows, and both parts "
            "need every class. Give more examples, or evaluation data"
        )
    labels = frame["label"] if stratify else None
    train, test = train_test_split(frame, test_size=held, random_state=seed, stratify=labels)
    return train.reset_index(drop=True), test.reset_index(drop=True)
