"""Files of texts to files of predictions, in constant memory."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from tqdm import tqdm

from xtcq.deploy.runtime import Runtime, TruncationWarning, first_empty, probability_columns
from xtcq.files import whole_file

SUFFIXES = (".csv", ".parquet")
# Rows that are read, tokenized and sorted by length together.
_ROWS = 1024
_CSV_BLOCK = 2**22


def predict_text(runtime: Runtime, text: str, pair: str | None, as_json: bool) -> str:
    """Classify one text, or pair of texts, and return a line to print: label and probability, or the value.

    Where several labels may hold, the line has every label with its probability. With ``as_json``, it is an object of
    ``prediction`` and, unless the model is a regression, the ``probabilities`` of all labels. Errors and warnings are
    those of ``Runtime.predict``.
    """
    predictions = runtime.predict([text], None if pair is None else [pair])
    if runtime.multi_label:
        odds = dict(zip(runtime.names, predictions.probabilities[0].tolist(), strict=True))
        if as_json:
            return json.dumps({"prediction": predictions.values[0], "probabilities": odds})
        return "  ".join(f"{name} {probability:.4f}" for name, probability in odds.items())
    (found,) = predictions.to_frame().to_dict("records")
    if not as_json:
        return "  ".join(f"{value:.4f}" if isinstance(value, float) else value for value in found.values())
    if runtime.names:
        found["probabilities"] = dict(zip(runtime.names, predictions.probabilities[0].tolist(), strict=True))
    return json.dumps(found)


def predict_file(
    runtime: Runtime,
    source: str | Path,
    target: str | Path,
    column: str,
    pair_column: str | None = None,
    batch_size: int = 32,
) -> int:
    """Classify every row of a file, and write the file again with what was found.

    The columns of ``source`` stay (those of a CSV as text); ``prediction`` and, unless the model is a regression,
    ``probability`` follow, or one ``probability_LABEL`` of every label where several may hold. Rows are read,
    classified and written some thousand at a time, so a file may be larger than memory. A progress bar is shown on a
    terminal. The target appears whole or not at all.

    Args:
        runtime: the model.
        source: a CSV with a header, or a Parquet file, by its suffix.
        target: what to write, ``.csv`` or ``.parquet``; an earlier file is replaced.
        column: name of the column with the texts.
        pair_column: name of the column with the second texts, if the model was trained on pairs.
        batch_size: rows that are run together.

    Returns:
        The number of rows.

    Raises:
        FileNotFoundError: there is no source.
        ValueError: a suffix that is unknown, a source that cannot be read or has no rows, a column that is missing,
            not text, or there already, an empty text, or target and source are the same file.
        OSError: the target cannot be written.

    Warns:
        TruncationWarning: rows are longer than what the model reads, and were cut.
    """
    source, target = Path(source), Path(target).absolute()
    for path in (source, target):
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path} ends in {path.suffix!r}, expected one of {', '.join(map(repr, SUFFIXES))}")
    if source.absolute() == target:
        raise ValueError(f"{target} would be replaced while it is read: give another output")
    columns = [column] if pair_column is None else [column, pair_column]
    rows = cut = 0
    with open_table(source, columns) as (schema, total, batches), whole_file(target) as temporary:
        added = [("prediction", pa.string() if runtime.names else pa.float64())]
        added += [(name, pa.float32()) for name in probability_columns(runtime.names, runtime.multi_label)]
        if taken := {name for name, _ in added}.intersection(schema.names):
            raise ValueError(f"{source} has a column {sorted(taken)[0]!r} already, which is added here: rename it")
        schema = pa.schema([*schema, *added])
        progress = tqdm(total=total, unit="row", disable=None)  # None: only on a terminal
        with _writer(temporary, target, schema) as writer, progress:
            for batch in batches:
                texts = _texts(source, batch, column, rows)
                pairs = None if pair_column is None else _texts(source, batch, pair_column, rows)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", TruncationWarning)  # one warning at the end instead
                    predictions = runtime.predict(texts, pairs, batch_size)
                found = pa.RecordBatch.from_pandas(predictions.to_frame(), preserve_index=False)
                writer.write(pa.record_batch([*batch.columns, *found.columns], names=schema.names).cast(schema))
                rows, cut = rows + len(batch), cut + len(predictions.cut)
                progress.update(len(batch))
        if not rows:
            raise ValueError(f"{source} has no rows: nothing to predict")
    if cut:
        warnings.warn(
            f"{cut} of {rows} rows are longer than the model's {runtime.max_length} word pieces and were cut",
            TruncationWarning,
            stacklevel=2,
        )
    return rows


@contextlib.contextmanager
def open_table(source: Path, columns: list[str]) -> Iterator[tuple[pa.Schema, int | None, Iterator[pa.RecordBatch]]]:
    """Open a CSV or Parquet file for reading piece by piece.

    Yields:
        Its schema, its number of rows if that is known beforehand, and an iterator over its record batches of at most
        1,024 rows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or lacks one of ``columns``.
    """
    if not source.is_file():
        raise FileNotFoundError(f"{source} is not there: give a file ending in {' or '.join(SUFFIXES)}")
    if source.stat().st_size == 0:
        raise ValueError(f"{source} is empty: expected a header and rows")
    try:
        if source.suffix.lower() == ".csv":
            with _open_csv(source) as reader:
                _check_columns(source, reader.schema, columns)
                yield reader.schema, None, _cut(reader)
        else:
            with pa.parquet.ParquetFile(source) as file:
                _check_columns(source, file.schema_arrow, columns)
                yield file.schema_arrow, file.metadata.num_rows, file.iter_batches(batch_size=_ROWS)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{source} cannot be read as {source.suffix[1:].lower()}: {error}") from error


def _open_csv(source: Path) -> pa.csv.CSVStreamingReader:
    parsing = pa.csv.ParseOptions(newlines_in_values=True)
    reading = pa.csv.ReadOptions(block_size=_CSV_BLOCK)
    # Guessed types are those of the first block alone, and a later one may not fit them.
    with pa.csv.open_csv(source, reading, parsing) as reader:
        types = dict.fromkeys(reader.schema.names, pa.string())
    converting = pa.csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    return pa.csv.open_csv(source, reading, parsing, converting)


def _cut(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, len(batch), _ROWS):
            yield batch.slice(start, _ROWS)


def _check_columns(source: Path, schema: pa.Schema, columns: list[str]) -> None:
    for name in columns:
        if name not in schema.names:
            raise ValueError(f"{source} has no column {name!r}: it has {', '.join(map(repr, schema.names))}")
        kind = schema.field(name).type
        if not any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)):
            raise ValueError(f"{source}: column {name!r} holds {kind}, expected text")


def _texts(source: Path, batch: pa.RecordBatch, name: str, before: int) -> list[str]:
    texts = batch.column(batch.schema.get_field_index(name)).to_pylist()
    if (row := first_empty(texts)) is not None:
        raise ValueError(
            f"{source}: row {before + row + 1} after the header has no text in {name!r}: leave such rows out"
        )
    return texts


def _writer(path: Path, target: Path, schema: pa.Schema) -> pa.csv.CSVWriter | pa.parquet.ParquetWriter:
    kind = pa.csv.CSVWriter if target.suffix.lower() == ".csv" else pa.parquet.ParquetWriter
    return kind(path, schema)
