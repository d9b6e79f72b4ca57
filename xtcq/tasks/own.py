"""A task of the reader's own: a table of texts and labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from xtcq.checks import check_integer
from xtcq.tasks.columns import check_texts, named_classes, read_labels
from xtcq.tasks.spec import Task, TaskSpec
from xtcq.tasks.tables import Table, read_table

# By number of classes.
_METRICS: dict[int, tuple[str, ...]] = {1: ("pearson", "spearman"), 2: ("accuracy", "f1")}


def own_task(
    source: Table,
    columns: Sequence[str],
    label: str,
    num_labels: int,
    *,
    evaluation: Table | None = None,
    held_out: float = 0.2,
    labels: Mapping[int, object] | None = None,
    encoding: str | None = None,
    on_empty: str = "error",
    max_length: int = 128,
    batch_size: int = 32,
    seed: int = 42,
    name: str = "own",
) -> Task:
    """Make a task that ``xtcq.training.train`` takes from a table of one's own.

    Args:
        source: a data frame, a data set of the package ``datasets``, a Parquet file, or a text file with a header
            whose columns a comma, a semicolon, a tab or a bar separates.
        columns: the text column, or both columns of a pair. In the task, one that is called "label" is "label (text)".
        label: the column of the labels: 0 to ``num_labels - 1``, or the names in ``labels``, or any numbers for
            regression.
        num_labels: of the classifier; 1 for regression.
        evaluation: the examples to evaluate on, as ``source``. If left out, they are drawn from ``source``, as many of
            each class as it has in proportion.
        held_out: share of ``source`` to evaluate on, where ``evaluation`` is left out.
        labels: names of the classes by number, ``model.config.id2label`` of the classifier. A data set that names its
            classes itself is read by these names, whatever their order in it.
        encoding: of text files, such as ``"cp1252"``; UTF-8 if left out.
        on_empty: what becomes of a row without text: ``"error"`` refuses it, ``"skip"`` leaves it out, ``"empty"``
            takes it for an empty text.
        max_length: word pieces kept of an example.
        batch_size: examples of a training step.
        seed: of the drawing.
        name: of the task.

    Returns:
        The task. It is scored by accuracy, and F1 of class 1 where there are two classes; by Pearson and Spearman
        correlation for regression.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that cannot be read, a column that is missing or there twice, a text column that is also the
            column of the labels, a text that is empty, a label that is no number or out of range, labels of one kind
            alone, an impossible share, length or batch, or too few rows to hold some out.

    Warns:
        UserWarning: rows had no text; classes have no example; or examples to evaluate on are also trained on. Each
            with its number.

    >>> import pandas as pd
    >>> from xtcq.tasks import own_task
    >>> reviews = [f"film {number} was {what}" for number in range(10) for what in ("good", "bad")]
    >>> table = pd.DataFrame({"review": reviews, "liked": [1, 0] * 10})
    >>> own_task(table, ["review"], "liked", num_labels=2).spec.rows
    {'train': 16, 'validation': 4}
    """
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not 1 <= len(columns) <= 2:
        raise ValueError(f"columns is {columns!r}, expected a list of one text column, or of the two of a pair")
    check_integer("num_labels", num_labels, 1, remedy=": the number of classes, or 1 for regression")
    check_integer("max_length", max_length, 3 + len(columns) // 2, remedy=": [CLS], [SEP] and a piece of each text")
    check_integer("batch_size", batch_size, 1, remedy=": the examples of a training step")
    texts: tuple[str, ...] = tuple(columns)
    # A task's own name for its classes is "label".
    renamed = {text: "label (text)" if text == "label" else text for text in texts}
    if label in texts or len({*renamed.values()}) < len(texts):
        raise ValueError(f"the text columns are {list(texts)} and the labels' is {label!r}: give different columns")

    def read(table: Table) -> pd.DataFrame:
        frame, origin = read_table(table, (*texts, label), encoding)
        frame = check_texts(frame, texts, [label], origin, on_empty)
        values = named_classes(table, label, frame[label], labels)
        found = read_labels(values, num_labels, origin, names=labels)
        _check_variety(found, num_labels, origin, labels)
        return frame[list(texts)].rename(columns=renamed).assign(label=found)

    train = read(source)
    if evaluation is None:
        train, held = _divide(train, held_out, seed, stratify=num_labels > 1)
    else:
        held = read(evaluation)
    texts = tuple(renamed.values())
    _warn_of_common(train, held, texts)
    metrics, majority = _METRICS.get(num_labels, ("accuracy",)), None
    if num_labels > 1:
        majority = int(held["label"].value_counts().iloc[0])
    rows = {"train": len(train), "validation": len(held)}
    spec = TaskSpec(name, name, texts, num_labels, max_length, batch_size, metrics, rows, majority=majority)
    return Task(spec, train, {"validation": held})


def _check_variety(values: np.ndarray, num_labels: int, origin: str, labels: Mapping[int, object] | None) -> None:
    """Refuse labels that are all the same, and say which classes have none."""
    there = np.unique(values)
    if len(there) == 1:
        raise ValueError(
            f"{origin}: all {len(values):,} rows have the label {there[0]}, which a constant answer gets right: give "
            f"examples of {'other values' if num_labels == 1 else 'the other classes'} too"
        )
    if num_labels > 1 and len(there) < num_labels:
        lacking = [f"{(labels or {}).get(number, number)}" for number in range(num_labels) if number not in there]
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        warnings.warn(
            f"{origin}: of {num_labels} classes, {len(lacking)} have no example ({', '.join(lacking[:5])}{more}), so "
            "that nothing is known of them",
            stacklevel=4,
        )


def _warn_of_common(train: pd.DataFrame, held: pd.DataFrame, texts: tuple[str, ...]) -> None:
    """Say how many examples to evaluate on are trained on as well: what they score is no measure of others."""
    known = set(train[list(texts)].itertuples(index=False, name=None))
    common = sum(row in known for row in held[list(texts)].itertuples(index=False, name=None))
    if common:
        warnings.warn(
            f"{common:,} of {len(held):,} examples to evaluate on are also trained on, so their score may be too high: "
            "remove repeated texts, or give other examples to evaluate on",
            stacklevel=3,
        )


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
