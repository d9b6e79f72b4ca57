"""Tables of texts to files of predictions, in constant memory."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from tqdm import tqdm

from xtcq.checks import check_choice
from xtcq.deploy.runtime import Predictions, Runtime, TruncationWarning, probability_columns
from xtcq.files import saving, whole_file
from xtcq.tasks.columns import ON_EMPTY, check_columns, rows_with_text, warn_of_empty
from xtcq.tasks.tables import BLOCK_ROWS, Table, open_table

SUFFIXES = (".csv", ".parquet")


def predict_file(
    runtime: Runtime,
    source: Table,
    target: str | Path,
    column: str,
    pair_column: str | None = None,
    batch_size: int = 32,
    *,
    encoding: str | None = None,
    on_empty: str = "error",
) -> int:
    """Classify every row of a table, and write the table again with what was found.

    The columns of ``source`` stay (those of a text file as text); ``prediction`` and, unless the model is a regression,
    ``probability`` follow, or one ``probability_LABEL`` of every label where several may hold. Rows are read,
    classified and written some thousand at a time, so a file may be larger than memory. All rows are checked before the
    first is classified. A progress bar is shown on a terminal. The target appears whole or not at all; what a call that
    was stopped had found is kept beside it, as ``.NAME.partial``, and the next call with the same rows and the same
    model goes on from there.

    Args:
        runtime: the model.
        source: a data frame, a data set, a Parquet file, or a text file with a header, see
            ``xtcq.tasks.tables.open_table``.
        target: what to write, ``.csv`` (in UTF-8) or ``.parquet``; an earlier file is replaced.
        column: name of the column with the texts.
        pair_column: name of the column with the second texts, if the model was trained on pairs.
        batch_size: rows that are run together.
        encoding: of a text file; UTF-8 if left out.
        on_empty: what becomes of a row without text: ``"error"`` refuses it, ``"skip"`` leaves it out, ``"empty"``
            keeps it with an empty prediction.

    Returns:
        The number of rows that were written.

    Raises:
        FileNotFoundError: there is no source.
        ValueError: a suffix that is unknown, a source that cannot be read or has no rows, a column that is missing,
            not text, or there already, or that the target cannot hold, an empty text, or target and source are the
            same file.
        OSError: the target cannot be written.

    Warns:
        TruncationWarning: rows are longer than what the model reads, and were cut.
        UserWarning: rows had no text; with their number.
    """
    target = Path(target).absolute()
    if target.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{target} ends in {target.suffix!r}, expected one of {', '.join(map(repr, SUFFIXES))}")
    if target.is_dir():
        raise ValueError(f"{target} is a folder: give the name of a file")
    if isinstance(source, str | Path) and target.exists() and Path(source).exists() and target.samefile(source):
        raise ValueError(f"{target} would be replaced while it is read: give another output")
    columns = [column] if pair_column is None else [column, pair_column]
    if len(set(columns)) < len(columns):
        raise ValueError(f"the texts and the second texts are both in {column!r}: give another pair column")
    check_choice("on_empty", on_empty, ON_EMPTY)
    runtime.check_texts(len(columns))
    added = pa.schema(
        [("prediction", pa.string() if runtime.names else pa.float64())]
        + [(name, pa.float32()) for name in probability_columns(runtime.names, runtime.multi_label)]
    )
    total, empty = _check(source, columns, added, target, encoding, on_empty)
    rows = cut = 0
    journal = target.with_name(f".{target.name}.partial")
    with open_table(source, columns, encoding) as (kept, batches, origin), whole_file(target) as temporary:
        kept = pa.schema([(field.name, _written_as(field.type, target)) for field in kept])
        found = _found(runtime, batches, columns, origin, batch_size, on_empty, journal)
        with _writer(temporary, target, pa.schema([*kept, *added])) as writer:
            # disable=None: only on a terminal.
            for batch, there, predictions in tqdm(found, total=-(-total // BLOCK_ROWS), unit=" blocks", disable=None):
                if on_empty == "skip":
                    batch, there = batch.filter(pa.array(there)), there[there]
                frame = predictions.to_frame().set_index(np.flatnonzero(there)).reindex(range(len(there)))
                block = pa.Table.from_batches([batch]).cast(kept)
                new = pa.Table.from_pandas(frame, added, preserve_index=False)
                writer.write_table(pa.table([*block.columns, *new.columns], schema=pa.schema([*kept, *added])))
                rows, cut = rows + len(batch), cut + len(predictions.cut)
    journal.unlink(missing_ok=True)
    if empty:
        warn_of_empty(origin, empty, total, on_empty)
    if cut:
        warnings.warn(
            f"{cut} of {total} rows are longer than the model's {runtime.max_length} word pieces and were cut",
            TruncationWarning,
            stacklevel=2,
        )
    return rows


def _check(
    source: Table, columns: list[str], added: pa.Schema, target: Path, encoding: str | None, on_empty: str
) -> tuple[int, int]:
    """Read a table once, and refuse what would end the work later; return its rows, and how many have no text."""
    rows = empty = 0
    with open_table(source, columns, encoding) as (schema, batches, origin):
        check_columns(schema.names, columns, origin)
        for name in columns:
            if not _is_text(kind := schema.field(name).type):
                raise ValueError(f"{origin}: column {name!r} holds {kind}, expected text")
        if taken := [name for name in added.names if name in schema.names]:
            raise ValueError(f"{origin} has a column {taken[0]!r} already, which is added here: rename it")
        for field in schema:
            _check_written(field, target)
        for batch in batches:
            empty += int((~_with_text(batch, columns, origin, on_empty, rows)).sum())
            rows += len(batch)
    if rows == (empty if on_empty == "skip" else 0):
        raise ValueError(f"{origin} has no rows{' with a text' if rows else ''}: nothing to predict")
    return rows, empty


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(check(kind) for check in texts)


def _written_as(kind: pa.DataType, target: Path) -> pa.DataType:
    return pa.string() if pa.types.is_string_view(kind) and target.suffix.lower() == ".csv" else kind


def _check_written(field: pa.Field, target: Path) -> None:
    """Refuse a column that a file of the target's kind cannot hold: it is tried on one row."""
    csv = target.suffix.lower() == ".csv"
    kind = _written_as(field.type, target)
    try:
        if csv and any(check(kind) for check in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_nested)):
            raise pa.ArrowNotImplementedError("it is no text")
        with _writer(pa.BufferOutputStream(), target, schema := pa.schema([(field.name, kind)])) as writer:
            writer.write_table(pa.table([pa.nulls(1, kind)], schema=schema))
    except pa.ArrowException as error:
        remedy = "write .parquet, or remove the column" if csv else "remove the column"
        raise ValueError(
            f"{target.name} cannot hold the column {field.name!r}, which holds {field.type} ({error}): {remedy}"
        ) from error


def _with_text(batch: pa.RecordBatch, columns: list[str], origin: str, on_empty: str, before: int) -> np.ndarray:
    found = (rows_with_text(batch[name].to_pylist(), origin, name, on_empty, before) for name in columns)
    return np.logical_and.reduce(list(found))


def _found(
    runtime: Runtime,
    batches: Iterator[pa.RecordBatch],
    columns: list[str],
    origin: str,
    batch_size: int,
    on_empty: str,
    path: Path,
) -> Iterator[tuple[pa.RecordBatch, np.ndarray, Predictions]]:
    """Yield each batch, which of its rows have a text, and what the model says of those.

    What it says is kept in a file, batch by batch: the digest of model and texts, and of each row the logits and
    whether it was cut. As long as digests are those of the file, its values are taken.
    """
    rows = 0
    with saving(f"{path} keeps what was found so far"), path.open("r+b" if path.exists() else "w+b") as journal:
        for batch in batches:
            there = _with_text(batch, columns, origin, on_empty, rows)
            rows += len(batch)
            texts = [[text for text, ok in zip(batch[name].to_pylist(), there, strict=True) if ok] for name in columns]
            yield batch, there, _predicted(runtime, texts, batch_size, journal)


def _predicted(runtime: Runtime, texts: list[list[str]], batch_size: int, journal: BinaryIO) -> Predictions:
    rows, width = len(texts[0]), max(len(runtime.names), 1) + 1
    digest = hashlib.sha256(json.dumps([runtime.digest, batch_size, texts]).encode()).digest()
    start = journal.tell()
    known = journal.read(len(digest) + 4 * rows * width)
    if not known.startswith(digest) or len(known) < len(digest) + 4 * rows * width:
        journal.seek(start)
        journal.truncate()
        if rows:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TruncationWarning)  # one warning at the end instead
                made = runtime.predict(texts[0], texts[1] if len(texts) > 1 else None, batch_size)
            values = np.column_stack([made.logits, np.isin(np.arange(rows), made.cut)])
        else:
            values = np.empty((0, width))
        known = digest + values.astype("<f4").tobytes()
        journal.write(known)
        journal.flush()
    values = np.frombuffer(known, "<f4", offset=len(digest)).reshape(rows, width)
    cut = tuple(np.flatnonzero(values[:, -1]).tolist())
    return Predictions(values[:, :-1], runtime.names, cut, runtime.multi_label)


def _writer(path: Path | pa.NativeFile, target: Path, schema: pa.Schema) -> pa.csv.CSVWriter | pa.parquet.ParquetWriter:
    kind = pa.csv.CSVWriter if target.suffix.lower() == ".csv" else pa.parquet.ParquetWriter
    return kind(path, schema)
