"""Columns of labels: classes by number or by name, and numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from xtcq.outputs import check_names
from xtcq.tasks.tables import Table


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
    >>> from xtcq.tasks.labels import read_labels
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
