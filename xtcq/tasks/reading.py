"""Tables of texts: read from wherever they are, and refused by row where a model cannot learn from them."""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xtcq.checks import check_choice, text_faults
from xtcq.hub import reading_hub

if TYPE_CHECKING:
    from datasets import Dataset

Table: TypeAlias = "str | Path | pd.DataFrame | Dataset"

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
BLOCK_ROWS = 1024
ON_EMPTY = ("error", "skip", "empty")
_DELIMITERS = ",;\t|"
# Characters of a field. Where a quote is left open, the rest of the file would be one.
_LONGEST = 2**24


def read_table(source: Table, columns: Sequence[str] = (), encoding: str | None = None) -> tuple[pd.DataFrame, str]:
    """Read a table, whatever holds it; arguments and errors are those of ``open_table``.

    Returns:
        The table, and what to call it in a message. All values of a text file are texts: "NA" and "null" are words.

    >>> import pandas as pd
    >>> from xtcq.tasks.reading import read_table
    >>> read_table(pd.DataFrame({"text": ["a", "b"]}))[1]
    'the data frame'
    """
    if not isinstance(source, str | Path):
        frame, origin = _in_memory(source)
        _check_names(origin, frame.columns)
        return frame, origin
    with open_table(source, columns, encoding) as (schema, batches, origin):
        return pa.Table.from_batches(batches, schema).to_pandas(), origin


@contextlib.contextmanager
def open_table(
    source: Table, columns: Sequence[str] = (), encoding: str | None = None
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch], str]]:
    """Open a table for reading piece by piece: a file may be larger than memory.

    Args:
        source: a data frame, a data set of the package ``datasets``, or a file: Parquet, or text with a header whose
            columns a comma, a semicolon, a tab or a bar separates.
        columns: that the table shall have. They decide which delimiter it is.
        encoding: of a text file; UTF-8, with or without a byte order mark, if left out.

    Yields:
        Its schema, where all columns of a text file are texts; an iterator over its record batches of at most
        ``BLOCK_ROWS`` rows; and what to call it in a message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind, empty, damaged, or in another encoding; two columns have one name; or
            a row has more or fewer fields than the header, or a quote that does not end. The message has the row,
            counted from 1 after the header.

    >>> import pandas as pd
    >>> from xtcq.tasks.reading import open_table
    >>> with open_table(pd.DataFrame({"text": ["a"] * 2000})) as (_, batches, _):
    ...     [len(batch) for batch in batches]
    [1024, 976]
    """
    if not isinstance(source, str | Path):
        frame, origin = _in_memory(source)
        _check_names(origin, frame.columns)
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowException, UnicodeEncodeError) as error:
            raise ValueError(f"{origin} holds values of several types, or no Unicode, in a column ({error})") from error
        yield table.schema, iter(table.to_batches(BLOCK_ROWS)), origin
        return
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} ends in {path.suffix!r}, expected one of {', '.join(map(repr, SUFFIXES))}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: give a CSV file with a header, or a Parquet file")
    if suffix == ".parquet":
        blocks = _parquet(path)
        schema = next(blocks)
        _check_names(str(path), schema.names)
        yield schema, blocks, str(path)
        return
    longest = csv.field_size_limit(_LONGEST)
    try:
        rows = _rows(path, columns, encoding)
        if (names := next(rows, None)) is None:
            raise ValueError(f"{path} is empty: expected a header and rows")
        schema = pa.schema([(name, pa.string()) for name in names])
        yield schema, _batches(rows, schema), str(path)
    finally:
        csv.field_size_limit(longest)


def _parquet(path: Path) -> Iterator[Any]:
    """Yield the schema of a Parquet file, and then its record batches."""
    try:
        # One file: by its path alone pandas would read a folder around it as one data set with partitions.
        with pq.ParquetFile(path) as file:
            yield file.schema_arrow
            yield from file.iter_batches(batch_size=BLOCK_ROWS)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as parquet ({error}); it is damaged, replace it") from error


def _in_memory(source: pd.DataFrame | Dataset) -> tuple[pd.DataFrame, str]:
    if isinstance(source, pd.DataFrame):
        return source, "the data frame"
    if not hasattr(source, "to_pandas"):
        raise ValueError(
            f"a table cannot be read from a {type(source).__name__}: give the path of a file, a data frame, or one "
            "split of a data set"
        )
    return source.to_pandas(), "the data set"


def _check_names(origin: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{origin} has two columns of the name {name!r}: rename or remove one of them")
        seen.add(name)


def _rows(path: Path, columns: Sequence[str], encoding: str | None) -> Iterator[list[str]]:
    """Yield the header of a text file, and then its rows, which have as many fields."""
    try:
        if encoding is None or codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"
        delimiter = _delimiter(path, columns, encoding)
        with path.open(encoding=encoding, newline="") as lines:
            yield from _checked_rows(path, csv.reader(lines, delimiter=delimiter, strict=True), delimiter)
    except LookupError as error:
        raise ValueError(f"{path}: the encoding {encoding!r} is not known: give one such as 'cp1252'") from error
    except UnicodeError as error:
        with path.open("rb") as file:
            marked = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        likely = "'utf-16', whose mark it has" if marked else "'cp1252', as Excel writes in western Europe"
        line = 1
        with path.open(encoding=encoding, errors="replace", newline="") as lines, contextlib.suppress(UnicodeError):
            line = next((number for number, text in enumerate(lines, 1) if "\ufffd" in text), 1)
        raise ValueError(
            f"{path}: line {line} is no text in the encoding {str(encoding).removesuffix('-sig')!r} ({error}): "
            f"give the file's own by encoding or --encoding, such as {likely}, or save it as UTF-8"
        ) from error


def _delimiter(path: Path, columns: Sequence[str], encoding: str) -> str:
    """The character that separates a header into the wanted columns; a comma if none does."""
    for delimiter in _DELIMITERS:
        with path.open(encoding=encoding, newline="") as lines, contextlib.suppress(csv.Error):
            if set(columns) <= set(next(csv.reader(lines, delimiter=delimiter), [])):
                return delimiter
    return ","


def _checked_rows(path: Path, reader: Any, delimiter: str) -> Iterator[list[str]]:
    names: list[str] = []
    row = blank = 0
    while True:
        begins = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            place = f"row {row + 1} after the header" if names else "the header"
            raise ValueError(
                f"{path}: {place} (line {begins}) has a quote that does not end, or does not end its field ({error}): "
                f'write a text that holds quotes in quotes, and each of its own twice, "so ""quoted"" here"'
            ) from error
        if fields is None:
            return
        if not names:
            if fields:
                _check_names(str(path), fields)
                yield (names := fields)
            continue
        if not fields:
            blank += 1  # where there is one column it is an empty cell, unless the file ends
            continue
        if len(names) == 1:
            yield from [[""]] * blank
            row += blank
        blank = 0
        if len(fields) != len(names):
            end = ", or remove the delimiter at the row's end" if len(fields) > len(names) and not fields[-1] else ""
            raise ValueError(
                f"{path}: row {row + 1} after the header (line {begins}) has {len(fields)} fields, and the header has "
                f"{len(names)} names: write texts that hold {delimiter!r} in quotes{end}"
            )
        row += 1
        yield fields


def _batches(rows: Iterator[list[str]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while block := list(itertools.islice(rows, BLOCK_ROWS)):
        yield pa.record_batch([pa.array(values, pa.string()) for values in zip(*block, strict=True)], schema=schema)


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
    """Find the rows that have a text.

    Args:
        values: of a column, or of a part of it.
        origin: what to call the table in a message.
        name: of the column.
        on_empty: ``"error"`` refuses a column with a row that has none.
        before: rows of the table before this part.

    Returns:
        bool [rows].

    Raises:
        ValueError: with the first row, counted from 1, that holds no text, or a text that is no Unicode.

    >>> from xtcq.tasks.reading import rows_with_text
    >>> rows_with_text(["good", None], "the table", "text", "skip").tolist()
    [True, False]
    """
    there = np.ones(len(values), bool)
    for row, fault in text_faults(values):
        value: Any = values[row]
        there[row] = False
        if isinstance(value, str) and value.strip():
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
    >>> from xtcq.tasks.reading import check_texts
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


def named_classes(
    source: Table, column: str, values: pd.Series, names: Mapping[int, object] | None = None
) -> pd.Series:
    """Give a column of classes the names that a data set of the package ``datasets`` has for their numbers.

    Its order of the classes need not be a classifier's, and numbers alone would not show it.

    Args:
        source: the table.
        column: of the labels.
        values: of that column.
        names: of a classifier's classes; without them there is nothing to tell the two orders apart by.

    Returns:
        Names, where the data set has those of the classifier; ``values`` otherwise.
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
    >>> from xtcq.tasks.reading import read_labels
    >>> read_labels(pd.Series(["bad", "good"]), 2, "the table", names={0: "bad", 1: "good"}).tolist()
    [0, 1]
    """
    if num_labels > 1 and names is not None:
        _check_label_names(names, num_labels)
    else:
        names = {}
    numbers = pd.to_numeric(values.astype(object), errors="coerce").to_numpy(np.float64)
    if num_labels > 1:
        least, most = 0, num_labels - 1
        expected = f"an integer from 0 to {most}, in the order of the classifier's labels"
        expected += f", or all of {', '.join(repr(str(name)) for name in names.values())}" if names else (
            ", or their names, given by labels=model.config.id2label"
        )  # fmt: skip
        valid = (numbers >= least) & (numbers <= most) & (numbers % 1 == 0)
    else:
        expected = "a number" if np.isinf(most) else f"a number from {least:g} to {most:g}"
        valid = np.isfinite(numbers) & (numbers >= least) & (numbers <= most)
    classes = {str(name): float(number) for number, name in names.items()}
    named = values.astype(str).map(classes).to_numpy(np.float64)
    if names and not np.isnan(named).any():
        if valid.all() and not np.array_equal(named, numbers):
            raise ValueError(
                f"{origin}: {values.name!r} holds numbers, and {dict(names)} names classes by numbers: rename them, "
                f"or leave labels out and give the numbers 0 to {most:g}"
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


def _check_label_names(names: Mapping[int, object], num_labels: int) -> None:
    if not isinstance(names, Mapping):
        raise ValueError(f"labels is {names!r}, expected names by their classes, such as model.config.id2label")
    if set(names) != set(range(num_labels)) or len({str(name) for name in names.values()}) < num_labels:
        raise ValueError(
            f"labels is {dict(names)!r}, expected {num_labels} different names by their classes 0 to {num_labels - 1}"
        )


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
