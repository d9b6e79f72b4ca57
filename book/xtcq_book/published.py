"""The tables of the two papers as data.

One CSV file a table in ``book/published``: columns ``row,metric,value``, the value with every digit as printed. The row
key joins the printed keys with `` | `` in the table's own order; a cell without a value has no line. Marks that are no
digits (``×``, ``≈``, ``MB``) are left out, and so is the one cell that holds a word (the linear decay of AdaQAT-BERT
Table 6). Two more files, ``xtc-text`` and ``adaqat-text``, hold the numbers that captions and running text print.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import pandas as pd

XTC = "XTC"
ADAQAT = "AdaQAT-BERT"
# The CSV files, beside this package.
FOLDER = Path(__file__).resolve().parents[1] / "published"
ERRATA_COLUMNS = ("table", "row", "metric", "printed", "recomputed", "rule", "cause")


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
    """
    source(table)
    frame = _read(table, "row", "metric", "value")
    number = frame["value"].str.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
    digits = "its value is not a plain number; write the printed digits alone, and no line for an empty cell"
    _refuse(table, frame, ~number, digits)
    _refuse(table, frame, frame.duplicated(["row", "metric"]), "its cell is there twice; keep one or complete the key")
    frame["printed"] = frame["value"]
    return frame.astype({"value": "float64"})


def errata() -> pd.DataFrame:
    """The printed numbers that do not follow from the papers' own rows, each with its likely cause."""
    return _read("errata", *ERRATA_COLUMNS)


def repeats() -> pd.DataFrame:
    """Rows that a paper prints again in another table: the same runs, so the same digits.

    ``metrics`` are those to compare, or ``all`` that both rows print. Left out are the tasks that have added sentences
    in Table C.2 and not in C.4, and averages that were taken before a table's other rounding.
    """
    return _read("repeats", "table", "row", "other_table", "other_row", "metrics")


def departures() -> pd.DataFrame:
    """Where published code does something else than its paper says, with repository, commit, file and lines."""
    where = ("repository", "commit", "file", "lines")
    return _read("code-departures", "topic", "paper_says", "code_does", *where)


def _read(name: str, *columns: str) -> pd.DataFrame:
    """A CSV file as text; every cell must hold something."""
    path = FOLDER / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file, strict=True)
    if tuple(header) != columns:
        raise ValueError(f"{path}:1: header is {','.join(header)!r}; write {','.join(columns)!r}")
    for number, line in enumerate(lines, 2):
        if len(line) != len(columns) or not all(map(str.strip, line)):
            raise ValueError(
                f"{path}:{number}: got {line}; write {len(columns)} filled fields ({','.join(columns)}), and quote one "
                "that holds a comma"
            )
    return pd.DataFrame(lines, columns=list(columns))


def _refuse(name: str, frame: pd.DataFrame, wrong: pd.Series, remedy: str) -> None:
    if wrong.any():
        row = wrong.idxmax()
        raise ValueError(f"{FOLDER / name}.csv:{row + 2}: got {frame.loc[row].tolist()}; {remedy}")
