"""The tables of the two papers as data.

One CSV file a table in ``book/published``: columns ``row,metric,value``, the value with every digit as printed. The row
key joins the printed keys with `` | `` in the table's own order; a cell without a value has no line. Marks that are no
digits (``×``, ``≈``, ``MB``) are left out, and so is the one cell that holds a word (the linear decay of AdaQAT-BERT
Table 6). Two more files, ``xtc-text`` and ``adaqat-text``, hold the numbers that captions and running text print.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

XTC = "XTC"
ADAQAT = "AdaQAT-BERT"
# The CSV files, beside this package.
FOLDER = Path(__file__).resolve().parents[1] / "published"
COLUMNS = ("row", "metric", "value")
ERRATA_COLUMNS = ("table", "row", "metric", "printed", "recomputed", "rule", "cause")
REPEAT_COLUMNS = ("table", "row", "other_table", "other_row", "metrics")
DEPARTURE_COLUMNS = ("topic", "paper_says", "code_does", "repository", "commit", "file", "lines")

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")


class Source(NamedTuple):
    """Where a table stands: the paper, and the place in it."""

    paper: str
    place: str


_SECTIONS = ("section 4",) * 4 + ("section 4.4", "appendix A.1")
_SOURCES = {
    **{f"xtc-c{number}": Source(XTC, f"Table C.{number}, appendix C") for number in range(1, 18)},
    **{f"adaqat-t{n}": Source(ADAQAT, f"Table {n}, {section}") for n, section in enumerate(_SECTIONS, 1)},
    "xtc-text": Source(XTC, "captions and appendices B.3, B.4"),
    "adaqat-text": Source(ADAQAT, "sections 1, 4.3 and 4.4"),
}


def tables() -> list[str]:
    """Names of the papers' tables, in the order of the papers."""
    return [name for name in _SOURCES if not name.endswith("-text")]


def texts() -> list[str]:
    """Names of the files with the numbers that captions and running text print."""
    return [name for name in _SOURCES if name.endswith("-text")]


def source(table: str) -> Source:
    """Paper and place of a table.

    Raises:
        ValueError: the papers have no such table.
    """
    if table not in _SOURCES:
        raise ValueError(f"table {table!r} is not published; expected one of {', '.join(_SOURCES)}")
    return _SOURCES[table]


def load(table: str) -> pd.DataFrame:
    """Read one table.

    Args:
        table: a name from `tables` or `texts`, such as ``"xtc-c2"``.

    Returns:
        One line a printed cell, in the printed order: ``row``, ``metric``, ``value`` (float64) and ``printed`` (the
        digits as printed, from which the number of decimals is known).

    Raises:
        ValueError: unknown table, or a malformed file (names file, line and remedy).
        FileNotFoundError: the file is missing.
    """
    source(table)
    path = FOLDER / f"{table}.csv"
    seen: set[tuple[str, str]] = set()
    cells = []
    for line, (row, metric, printed) in _read(path, COLUMNS):
        if not _NUMBER.fullmatch(printed):
            raise ValueError(
                f"{path}:{line}: value {printed!r} is not a plain number; write the printed digits alone, "
                "and leave the line out if the cell is empty"
            )
        if (row, metric) in seen:
            raise ValueError(f"{path}:{line}: cell {row!r}, {metric!r} is there twice; keep one or complete the key")
        seen.add((row, metric))
        cells.append((row, metric, float(printed), printed))
    return pd.DataFrame(cells, columns=["row", "metric", "value", "printed"]).astype({"value": "float64"})


def errata() -> pd.DataFrame:
    """The printed numbers that do not follow from the papers' own rows, each with its likely cause."""
    return _frame("errata", ERRATA_COLUMNS)


def repeats() -> pd.DataFrame:
    """Rows that a paper prints again in another table: the same runs, so the same digits.

    ``metrics`` are those to compare, or ``all`` that both rows print. Left out are the tasks that have added sentences
    in Table C.2 and not in C.4, and averages that were taken before a table's other rounding.
    """
    return _frame("repeats", REPEAT_COLUMNS)


def departures() -> pd.DataFrame:
    """Where published code does something else than its paper says, with repository, commit, file and lines."""
    return _frame("code-departures", DEPARTURE_COLUMNS)


def _frame(name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame([cells for _, cells in _read(FOLDER / f"{name}.csv", columns)], columns=list(columns))


def _read(path: Path, columns: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """Lines of a CSV file, each with its line number; every cell must hold something."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; restore it from version control")
    lines = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if tuple(header) != columns:
            raise ValueError(f"{path}:1: header is {','.join(header)!r}; write {','.join(columns)!r}")
        for cells in reader:
            if len(cells) != len(columns) or not all(cell.strip() for cell in cells):
                raise ValueError(
                    f"{path}:{reader.line_num}: got {cells}; write {len(columns)} filled fields "
                    f"({','.join(columns)}) and quote a field that holds a comma"
                )
            lines.append((reader.line_num, cells))
    return lines
