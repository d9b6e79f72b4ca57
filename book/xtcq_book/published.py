"""The tables of the two papers as data.

One CSV file a table in ``book/published``: columns ``row,metric,value``, the value with every digit as printed. The row
key joins the printed keys with `` | `` in the table's own order; a cell without a value has no line. Marks that are no
digits (``×``, ``≈``, ``MB``) are left out, and so is the one cell that holds a word (the linear decay of AdaQAT-BERT
Table 6). Two more files, ``xtc-text`` and ``adaqat-text``, hold the numbers that captions and running text print.
"""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

XTC = "XTC"
ADAQAT = "AdaQAT-BERT"
COLUMNS = ("row", "metric", "value")
ERRATA_COLUMNS = ("table", "row", "metric", "printed", "recomputed", "rule", "cause")
DEPARTURE_COLUMNS = ("topic", "paper_says", "code_does", "repository", "commit", "file", "lines")

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")


@dataclass(frozen=True)
class Source:
    """Where a table stands: the paper, the place in it, and what the table shows in our words."""

    paper: str
    place: str
    caption: str


_SOURCES = {
    "xtc-c1": Source(XTC, "Table C.1, appendix C", "GLUE task sizes with and without augmentation, batch sizes"),
    "xtc-c2": Source(XTC, "Table C.2, appendix C", "1-bit BERT-base by budget, number of KD stages and learning rate"),
    "xtc-c3": Source(XTC, "Table C.3, appendix C", "2-bit BERT-base by budget, number of KD stages and learning rate"),
    "xtc-c4": Source(XTC, "Table C.4, appendix C", "1-bit BERT-base without data augmentation"),
    "xtc-c5": Source(XTC, "Table C.5, appendix C", "Full-precision students with fewer layers by learning rate"),
    "xtc-c6": Source(XTC, "Table C.6, appendix C", "Which six layers of the teacher the student keeps"),
    "xtc-c7": Source(XTC, "Table C.7, appendix C", "One-, two- and three-stage KD for six-layer students"),
    "xtc-c8": Source(XTC, "Table C.8, appendix C", "1- and 2-bit students with six, five and four layers"),
    "xtc-c9": Source(XTC, "Table C.9, appendix C", "1-bit Skip-BERT6 with and without LoRA, best learning rate"),
    "xtc-c10": Source(XTC, "Table C.10, appendix C", "2-bit Skip-BERT6 with and without LoRA, best learning rate"),
    "xtc-c11": Source(XTC, "Table C.11, appendix C", "1-bit Skip-BERT6 with and without LoRA, every learning rate"),
    "xtc-c12": Source(XTC, "Table C.12, appendix C", "2-bit Skip-BERT6 with and without LoRA, every learning rate"),
    "xtc-c13": Source(XTC, "Table C.13, appendix C", "LoRA for five- and four-layer students at 1 and 2 bits"),
    "xtc-c14": Source(XTC, "Table C.14, appendix C", "Training on from a 1- or 2-bit checkpoint, five and four layers"),
    "xtc-c15": Source(XTC, "Table C.15, appendix C", "A twelve-layer against a six-layer teacher"),
    "xtc-c16": Source(XTC, "Table C.16, appendix C", "1-bit students over three seeds"),
    "xtc-c17": Source(XTC, "Table C.17, appendix C", "2-bit Skip-BERT6 over three seeds"),
    "adaqat-t1": Source(ADAQAT, "Table 1, section 4", "What distillation adds to AdaQAT on SQuAD v2.0"),
    "adaqat-t2": Source(ADAQAT, "Table 2, section 4", "AdaQAT beside other methods on SQuAD (sizes, BitOPs, EM, F1)"),
    "adaqat-t3": Source(ADAQAT, "Table 3, section 4", "Other methods on GLUE (the tasks' measures are not printed)"),
    "adaqat-t4": Source(ADAQAT, "Table 4, section 4", "AdaQAT on GLUE, one learned configuration a task"),
    "adaqat-t5": Source(ADAQAT, "Table 5, section 4.4", "Bits of token, segment and position embeddings"),
    "adaqat-t6": Source(ADAQAT, "Table 6, appendix A.1", "Hyper-parameters of the training"),
    "xtc-text": Source(XTC, "captions and appendices B.3, B.4", "Numbers printed outside the tables' cells"),
    "adaqat-text": Source(ADAQAT, "sections 1, 4.3 and 4.4", "Numbers printed in the running text"),
}


def tables() -> list[str]:
    """Names of the papers' tables, in the order of the papers."""
    return [name for name in _SOURCES if not name.endswith("-text")]


def texts() -> list[str]:
    """Names of the files with the numbers that captions and running text print."""
    return [name for name in _SOURCES if name.endswith("-text")]


def source(table: str) -> Source:
    """Paper, place and subject of a table.

    Raises:
        ValueError: the papers have no such table.
    """
    if table not in _SOURCES:
        raise ValueError(f"table {table!r} is not published; expected one of {', '.join(_SOURCES)}")
    return _SOURCES[table]


def folder() -> Path:
    """Folder of the CSV files: ``$XTCQ_PUBLISHED``, else that beside this package.

    Raises:
        FileNotFoundError: it is not there.
    """
    override = os.environ.get("XTCQ_PUBLISHED")
    path = Path(override) if override else Path(__file__).resolve().parents[1] / "published"
    if not path.is_dir():
        raise FileNotFoundError(
            f"no folder of published tables at {path}; set XTCQ_PUBLISHED to the book/published of a checkout"
        )
    return path


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

    >>> from xtcq_book import published
    >>> published.load("xtc-c8").query("row == 'XTC-BERT6 | 1' and metric == 'Size ratio'")["printed"].item()
    '52.3'
    """
    source(table)
    path = folder() / f"{table}.csv"
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
    """The printed numbers that do not follow from the papers' own rows, each with its likely cause.

    Raises:
        ValueError: malformed file.
        FileNotFoundError: the file is missing.
    """
    return _frame("errata", ERRATA_COLUMNS)


def departures() -> pd.DataFrame:
    """Where published code does something else than its paper says, with repository, commit, file and lines.

    Raises:
        ValueError: malformed file.
        FileNotFoundError: the file is missing.
    """
    return _frame("code-departures", DEPARTURE_COLUMNS)


def _frame(name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame([cells for _, cells in _read(folder() / f"{name}.csv", columns)], columns=list(columns))


def _read(path: Path, columns: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """Lines of a CSV file, each with its line number; every cell must hold something."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; restore it from version control, or unset XTCQ_PUBLISHED")
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
