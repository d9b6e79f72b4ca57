"""Tables, wherever they are: one reader for training and predicting, piece by piece."""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from datasets import Dataset

Table: TypeAlias = "str | Path | pd.DataFrame | Dataset"

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
BLOCK_ROWS = 1024
_DELIMITERS = ",;\t|"
# Characters of a field. Where a quote is left open, the rest of the file would be one.
_LONGEST = 2**24


def read_table(source: Table, columns: Sequence[str] = (), encoding: str | None = None) -> tuple[pd.DataFrame, str]:
    """Read a table, whatever holds it; arguments and errors are those of ``open_table``.

    Returns:
        The table, and what to call it in a message. All values of a text file are texts: "NA" and "null" are words.
    """
    if not isinstance(source, str | Path):
        return _in_memory(source)
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
    >>> from xtcq.tasks.tables import open_table
    >>> with open_table(pd.DataFrame({"text": ["a"] * 2000})) as (_, batches, _):
    ...     [len(batch) for batch in batches]
    [1024, 976]
    """
    if not isinstance(source, str | Path):
        frame, origin = _in_memory(source)
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
        yield next(blocks), blocks, str(path)
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
            _check_names(str(path), file.schema_arrow.names)
            yield file.schema_arrow
            yield from file.iter_batches(batch_size=BLOCK_ROWS)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as parquet ({error}); it is damaged, replace it") from error


def _in_memory(source: pd.DataFrame | Dataset) -> tuple[pd.DataFrame, str]:
    if isinstance(source, pd.DataFrame):
        frame, origin = source, "the data frame"
    elif hasattr(source, "to_pandas"):
        frame, origin = source.to_pandas(), "the data set"
    else:
        raise ValueError(
            f"a table cannot be read from a {type(source).__name__}: give the path of a file, a data frame, or one "
            "split of a data set"
        )
    _check_names(origin, frame.columns)
    return frame, origin


def _check_names(origin: str, names: Iterable[str]) -> None:
    if twice := [name for name, number in Counter(names).items() if number > 1]:
        raise ValueError(f"{origin} has two columns of the name {twice[0]!r}: rename or remove one of them")


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
