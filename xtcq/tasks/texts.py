"""Columns of texts: rows without one are refused, left out or kept, by choice."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xtcq.checks import EMPTY, check_choice, text_faults

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

    >>> from xtcq.tasks.texts import rows_with_text
    >>> rows_with_text(["good", None], "the table", "text", "skip").tolist()
    [True, False]
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

    >>> import pandas as pd
    >>> from xtcq.tasks.texts import check_texts
    >>> check_texts(pd.DataFrame({"text": ["a", "b"], "kind": [0, 1], "id": [7, 8]}), ["text"], ["kind"], "it").shape
    (2, 2)
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
    what = "left out" if on_empty == "skip" else "kept without a text"
    warnings.warn(f"{origin}: {number:,} of {rows:,} rows have no text and were {what}", UserWarning, stacklevel=3)
