"""Tables of texts: read from wherever they are, and refused by row where a model cannot learn from them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from xtcq.hub import reading_hub

if TYPE_CHECKING:
    from datasets import Dataset

Table: TypeAlias = "str | Path | pd.DataFrame | Dataset"

_DELIMITED = (".csv", ".tsv", ".txt")
_DELIMITERS = ",;\t|"


def read_table(source: Table, columns: Sequence[str] = ()) -> tuple[pd.DataFrame, str]:
    """Read a table, whatever holds it.

    Args:
        source: a data frame, a data set of the package ``datasets``, or a file: Parquet, or text with a header whose
            columns a comma, a semicolon, a tab or a bar separates.
        columns: that the table shall have. They decide which delimiter it is.

    Returns:
        The table, and what to call it in a message. All values of a text file are texts: "NA" and "null" are words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind, or damaged.

    >>> import pandas as pd
    >>> from xtcq.tasks.reading import read_table
    >>> read_table(pd.DataFrame({"text": ["a", "b"]}))[1]
    'the data frame'
    """
    if isinstance(source, pd.DataFrame):
        return source, "the data frame"
    if not isinstance(source, str | Path):
        return source.to_pandas(), "the data set"
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix not in (*_DELIMITED, ".parquet"):
        expected = ", ".join(map(repr, (*_DELIMITED, ".parquet")))
        raise ValueError(f"{path} ends in {path.suffix!r}, expected one of {expected}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: give a CSV file with a header, or a Parquet file")
    try:
        if suffix == ".parquet":
            # One file: by its path alone pandas would read a folder around it as one data set with partitions.
            return pq.ParquetFile(path).read().to_pandas(), str(path)
        return pd.read_csv(path, sep=_delimiter(path, columns), dtype=str, keep_default_na=False), str(path)
    except (ValueError, OSError) as error:  # the errors of pandas' and pyarrow's parsers are ValueErrors
        raise ValueError(f"{path} cannot be read as {suffix[1:]} ({error}); it is damaged, replace it") from error


def _delimiter(path: Path, columns: Sequence[str]) -> str:
    """The character that separates a header into the wanted columns; a comma if none does."""
    for delimiter in _DELIMITERS:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines, delimiter=delimiter), [])
        if set(columns) <= set(header):
            return delimiter
    return ","


def check_texts(frame: pd.DataFrame, texts: Sequence[str], others: Sequence[str], origin: str) -> pd.DataFrame:
    """Refuse a table without the wanted columns, without rows, or with a row without text.

    Args:
        frame: the table.
        texts: columns of texts.
        others: columns that must be there, whatever they hold.
        origin: what to call the table in a message.

    Returns:
        The columns ``texts`` and ``others``, rows renumbered.

    Raises:
        ValueError: with the first row, counted from 1, and the reason.
    """
    wanted = [*texts, *others]
    if missing := [name for name in wanted if name not in frame.columns]:
        raise ValueError(
            f"{origin} has no column {missing[0]!r}: it has {', '.join(map(repr, frame.columns))}, and "
            f"{', '.join(map(repr, wanted))} are needed; rename or replace them"
        )
    if frame.empty:
        raise ValueError(f"{origin} has no rows: give at least one example of each class")
    for name in texts:
        values = frame[name].tolist()
        if empty := [i for i, text in enumerate(values) if not isinstance(text, str) or not text.strip()]:
            raise ValueError(
                f"{origin}: row {empty[0] + 1} has no text in {name!r} ({values[empty[0]]!r}), {len(empty):,} rows in "
                "all: leave them out"
            )
    return frame[wanted].reset_index(drop=True)


def read_labels(
    values: pd.Series, num_labels: int, origin: str, least: float = -np.inf, most: float = np.inf
) -> np.ndarray:
    """Read classes or numbers.

    Args:
        values: the column.
        num_labels: number of classes, 1 for regression.
        origin: what to call the table in a message.
        least: smallest number of a regression; classes begin at 0.
        most: greatest number of a regression.

    Returns:
        int64 from 0 to ``num_labels - 1``, or float64.

    Raises:
        ValueError: with the first row, counted from 1, what it holds and what was expected.
    """
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    if num_labels > 1:
        least, most = 0, num_labels - 1
        expected = f"an integer from 0 to {most}, in the order of the classifier's labels"
        valid = (numbers >= least) & (numbers <= most) & (numbers % 1 == 0)
    else:
        expected = "a number" if np.isinf(most) else f"a number from {least:g} to {most:g}"
        valid = np.isfinite(numbers) & (numbers >= least) & (numbers <= most)
    if not valid.all():
        row = int(np.flatnonzero(~valid)[0])
        hidden = "; -1 marks the hidden labels of a test split" if numbers[row] == -1 else ""
        raise ValueError(
            f"{origin}: row {row + 1} has the label {values.tolist()[row]!r} in {values.name!r}, expected {expected}: "
            f"correct or renumber {(~valid).sum():,} labels{hidden}"
        )
    return numbers if num_labels == 1 else numbers.astype(np.int64)


def data_folder(*parts: str) -> Path | None:
    """Return the folder ``parts`` inside ``$XTCQ_DATA``, or None if it or the variable is not there.

    Raises:
        FileNotFoundError: ``XTCQ_DATA`` is set and names no folder.
    """
    root = os.environ.get("XTCQ_DATA")
    if not root:
        return None
    if not Path(root).is_dir():
        raise FileNotFoundError(f"XTCQ_DATA names {root!r}, which is not a folder; correct or unset it")
    folder = Path(root, *parts)
    return folder if folder.is_dir() else None


def read_split(
    task: str,
    split: str,
    needed: Iterable[str],
    rows: int,
    repository: str,
    folder: tuple[str, ...],
    config: tuple[str, ...] = (),
    demo: str = "demo-pairs",
) -> tuple[pd.DataFrame, str]:
    """Read an official split: from ``$XTCQ_DATA/<folder>/<split>.parquet`` where that folder exists, or from the hub.

    ``HF_HUB_OFFLINE=1`` restricts the hub to its local cache. The package ``datasets`` asks a hub that does not answer
    several times; each time has the limit of ``HF_HUB_DOWNLOAD_TIMEOUT``.

    Args:
        task: name of the task, for messages.
        split: name of the split.
        needed: all splits that the task needs, for messages.
        rows: official number of rows.
        repository: name of the data set on the hub.
        folder: path inside ``$XTCQ_DATA``.
        config: name of the data set's configuration, if it has several.
        demo: a task that needs no data, for messages.

    Returns:
        The table, and what to call it in a message.

    Raises:
        FileNotFoundError: no source has the data, or the folder lacks the split.
        ValueError: the file is damaged, or has another number of rows.
    """
    if (found := data_folder(*folder)) is not None:
        if not (path := found / f"{split}.parquet").is_file():
            raise FileNotFoundError(
                f"{path} is missing: task {task!r} needs the splits {', '.join(needed)}; add the file, or remove "
                f"{found} to read the task from the Hugging Face hub"
            )
        frame, origin = read_table(path)
    else:
        wanted, where = ", ".join(f"{name}.parquet" for name in needed), "/".join(("$XTCQ_DATA", *folder))
        remedy = (
            f"put {wanted} (the columns of {repository}) into {where}, where XTCQ_DATA is "
            f"{os.environ.get('XTCQ_DATA') or 'not set'}, or load the task once with a connection to the hub, or use a "
            f"demo task ({demo}), which needs no data"
        )
        try:
            import datasets
        except ImportError as error:
            raise FileNotFoundError(
                f"no data for task {task!r}: reading the hub needs the package `datasets`; install it, or {remedy}"
            ) from error
        with reading_hub(f"no data for task {task!r}", repository, remedy):
            frame = datasets.load_dataset(repository, *config, split=split).to_pandas()
        origin = f"{repository} ({', '.join((*config, split))}) on the Hugging Face hub"
    if len(frame) != rows:
        raise ValueError(
            f"{origin} has {len(frame):,} rows, but the official {split} split has {rows:,}; use the complete split, "
            f"results on a subset are not results on {task}"
        )
    return frame, origin
