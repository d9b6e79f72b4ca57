"""Columns of a table: texts, whose empty rows are refused, left out or kept, and labels: classes or numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xtcq.checks import EMPTY, check_choice, text_faults
from xtcq.outputs import check_names
from xtcq.tasks.tables import Table

ON_EMPTY = ("error", "skip", "empty")


def check_columns(names: Iterable[str], wanted: Sequence[str], origin: str) -> None:
    """Refuse a table without the wanted columns.

    Raises:
        ValueError: with the column, and those that there are.
    """
    there = list(names)
    if missing := [name for name in wanted if name not in there]:
        raise ValueError(
            f"{origin} has no column {missing[0]!r}: it has {', '.join(map(repr, there))}, and "
            f"{', '.join(map(repr, wanted))} are needed; rename or replace them"
        )


def rows_with_text(values: Sequence[object], origin: str, name: str, on_empty: str, before: int = 0) -> np.ndarray:
    """Find the rows of a column that have a text, bool [rows]; ``before`` this part of it there are so many others.

    Raises:
        ValueError: with the first row, counted from 1, that holds no text, or a text that is no Unicode.
    """
    there = np.ones(len(values), bool)
    for row, fault in text_faults(values):
        value: Any = values[row]
        there[row] = False
        if isinstance(value, str) and fault != EMPTY:
            raise ValueError(f"{origin}: row {before + row + 1} has in {name!r} a text that {fault}")
        if not (value is None or isinstance(value, str) or pd.api.types.is_scalar(value) and pd.isna(value)):
            raise ValueError(f"{origin}: row {before + row + 1} has {value!r} in {name!r}, expected a text")
    if on_empty == "error" and not there.all():
        first, number = int(np.flatnonzero(~there)[0]), int((~there).sum())
        raise ValueError(
            f"{origin}: row {before + first + 1} has no text in {name!r} ({values[first]!r}), {number:,} rows"
            f"{' in all' if not before else ''}: leave them out, or choose by on_empty (--on-empty) to skip them or to "
            "keep them empty"
        )
    return there


def check_texts(
    frame: pd.DataFrame, texts: Sequence[str], others: Sequence[str], origin: str, on_empty: str = "error"
) -> pd.DataFrame:
    """Refuse a table without the wanted columns, without rows, or with a row without text.

    Args:
        frame: the table.
        texts: columns of texts.
        others: columns that must be there, whatever they hold.
        origin: what to call the table in a message.
        on_empty: ``"error"`` refuses a row without text, ``"skip"`` leaves it out, ``"empty"`` takes it for an empty
            text.

    Returns:
        The columns ``texts`` and ``others``, rows renumbered.

    Raises:
        ValueError: with the first row, counted from 1, and the reason.

    Warns:
        UserWarning: rows had no text; with their number.
    """
    check_choice("on_empty", on_empty, ON_EMPTY)
    wanted = [*texts, *others]
    check_columns(frame.columns, wanted, origin)
    if frame.empty:
        raise ValueError(f"{origin} has no rows: give at least one example of each class")
    there = np.ones(len(frame), bool)
    for name in texts:
        there &= rows_with_text(frame[name].tolist(), origin, name, on_empty)
    found = frame[wanted]
    if not there.all():
        warn_of_empty(origin, int((~there).sum()), len(frame), on_empty)
        if on_empty == "skip":
            found = found[there]
        else:
            found = found.assign(**{name: found[name].astype(object).where(found[name].notna(), "") for name in texts})
    return found.reset_index(drop=True)


def warn_of_empty(origin: str, number: int, rows: int, on_empty: str) -> None:
    """Say how many rows had no text, and what became of them."""
    what = "left out" if on_empty == "skip" else "kept empty"
    warnings.warn(f"{origin}: {number:,} of {rows:,} rows have no text and were {what}", UserWarning, stacklevel=3)


def named_classes(
    source: Table, column: str, values: pd.Series, names: Mapping[int, object] | None = None
) -> pd.Series:
    """Give a column of classes the names that a data set of the package ``datasets`` has for their numbers.

    Its order of the classes need not be a classifier's, and numbers alone would not show it. Where the data set has not
    the ``names`` of the classifier, or none are given, ``values`` stay as they are.
    """
    kind = getattr(source, "features", {}).get(column)
    own = dict(enumerate(getattr(kind, "names", None) or ()))
    if not isinstance(names, Mapping) or {*own.values()} != {str(name) for name in names.values()}:
        return values
    return values.map(own).fillna(values)  # -1 is a hidden label


def read_labels(
    values: pd.Series,
    num_labels: int,
    origin: str,
    least: float = -np.inf,
    most: float = np.inf,
    names: Mapping[int, object] | None = None,
) -> np.ndarray:
    """Read classes or numbers.

    Args:
        values: the column.
        num_labels: number of classes, 1 for regression.
        origin: what to call the table in a message.
        least: smallest number of a regression; classes begin at 0.
        most: greatest number of a regression.
        names: of the classes, ``config.id2label`` of a classifier. A column may then hold them in place of numbers.

    Returns:
        int64 from 0 to ``num_labels - 1``, or float64.

    Raises:
        ValueError: with the first row, counted from 1, what it holds and what was expected; or the column can be read
            as numbers and as names, and they are not the same classes.

    >>> import pandas as pd
    >>> from xtcq.tasks.columns import read_labels
    >>> read_labels(pd.Series(["bad", "good"]), 2, "the table", names={0: "bad", 1: "good"}).tolist()
    [0, 1]
    """
    numbers = pd.to_numeric(values.astype(object), errors="coerce").to_numpy(np.float64)
    if num_labels == 1:
        expected = "a number" if np.isinf(most) else f"a number from {least:g} to {most:g}"
        valid = np.isfinite(numbers) & (numbers >= least) & (numbers <= most)
    else:
        names = {} if names is None else check_names("labels", names, num_labels, "give model.config.id2label")
        known = f"all of {', '.join(repr(str(name)) for name in names.values())}"
        expected = (
            f"an integer from 0 to {num_labels - 1}, in the order of the classifier's labels, or "
            f"{known if names else 'their names, given by labels=model.config.id2label'}"
        )
        valid = np.isin(numbers, range(num_labels))
        classes = {str(name): float(number) for number, name in names.items()}
        named = values.astype(str).map(classes).to_numpy(np.float64)
        if names and not np.isnan(named).any():
            if valid.all() and not np.array_equal(named, numbers):
                raise ValueError(
                    f"{origin}: {values.name!r} holds numbers, and {dict(names)} names classes by numbers: rename "
                    f"them, or leave labels out and give the numbers 0 to {num_labels - 1}"
                )
            numbers, valid = named, np.ones(len(named), bool)
    if not valid.all():
        row = int(np.flatnonzero(~valid)[0])
        hidden = "; -1 marks the hidden labels of a test split" if numbers[row] == -1 else ""
        raise ValueError(
            f"{origin}: row {row + 1} has the label {values.tolist()[row]!r} in {values.name!r}, expected {expected}: "
            f"correct or renumber {(~valid).sum():,} labels{hidden}"
        )
    return numbers if num_labels == 1 else numbers.astype(np.int64)
