"""Every printed cell of the papers' tables as the experiment of the ``paper`` profile that gives its number.

A cell is one of three: the score of a run; a number that is computed from runs, or from nothing but a precision; or one
that cannot be had here, with the reason. `xtcq_book.paper_rows` asks the opposite question, at any scale: beside which
row may a run stand? A row that is found there need not be this experiment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from xtcq.study import Experiment
from xtcq_book import arithmetic
from xtcq_book.paper_tables import adaqat, xtc
from xtcq_book.paper_tables.rows import TASKS, Row

RULES = xtc.RULES | adaqat.RULES
_MEASURE = re.compile(r" (Mcc|Acc|F1|Pear|Spea|EM)$")
# Columns that need no run, whoever's the row is: bits and sizes that follow from the printed widths of the tables.
_OF_TABLES = ("Embedding size MB", "CR", "Bits E")
_COMPUTED = {
    "Avg.": "the mean of the row's nine scores",
    "Avg. w/o CoLA": "the mean of the row's eight scores without CoLA's",
    "Acc. drop": "the average less that of the row in full precision",
    "Bits W": "the mean width of the weights that the run learned",
    "Bits A": "the mean width of the activations that the run learned",
}


@dataclass(frozen=True)
class Cell:
    """A printed number, or what a figure draws.

    Attributes:
        table: name of the table, as in ``xtcq_book.published``, or of a figure.
        row: the printed row key.
        metric: the printed column; the task where a figure has none.
        experiments: the one run whose score it is, or those that it is computed from.
        how: how it is computed; empty for a score.
        reason: why it cannot be had; empty if it can.
        assumes: names in ``rows.ASSUMPTIONS``.
    """

    table: str
    row: str
    metric: str
    experiments: tuple[Experiment, ...] = ()
    how: str = ""
    reason: str = ""
    assumes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``"experiment"``, ``"computed"`` or ``"reason"``."""
        return "reason" if self.reason else "computed" if self.how else "experiment"

    @property
    def task(self) -> str | None:
        """Our name of the task whose score it is; None for averages, sizes and bits."""
        return TASKS.get(_MEASURE.sub("", self.metric))


def names() -> tuple[str, ...]:
    """Tables and figures whose runs are known: XTC's C.2 to C.17, 5 and 6, and AdaQAT-BERT's 1 to 6."""
    return tuple(RULES)


def cells(table: str, rows: str = "*", tasks: Sequence[str] = ()) -> list[Cell]:
    """The cells of a table.

    Args:
        table: one of `names`.
        rows: pattern of row keys with ``*`` and ``?``, found anywhere in the key, whatever the case.
        tasks: only scores of these tasks; all cells if empty.

    Returns:
        In the printed order.

    Raises:
        ValueError: an unknown table, a pattern that no row matches, or a task that the rows do not have.
    """
    if table not in RULES:
        raise ValueError(f"table {table!r} has no runs that are known: use one of {', '.join(RULES)}")
    printed = _printed(table)
    chosen = [row for row in printed if fnmatchcase(row.lower(), f"*{rows.lower()}*")]
    if not chosen:
        raise ValueError(f"no row of {table} matches {rows!r}: its rows are {'; '.join(printed)}")
    found = [cell for row in chosen for cell in _cells(table, row, printed[row])]
    if unknown := sorted(set(tasks) - {cell.task for cell in found}):
        known = dict.fromkeys(cell.task for cell in found if cell.task)
        raise ValueError(f"these rows of {table} have no task {', '.join(unknown)}: use one of {', '.join(known)}")
    return [cell for cell in found if not tasks or cell.task in tasks]


def experiments(found: Iterable[Cell]) -> list[Experiment]:
    """What is to be run for some cells, each once; not what those runs need."""
    return list(dict.fromkeys(run for cell in found for run in cell.experiments))


def _printed(table: str) -> dict[str, tuple[str, ...]]:
    """Columns by row."""
    if table in xtc.FIGURES:
        return dict.fromkeys(xtc.FIGURES[table], ("RTE",))
    found = arithmetic.table(table)
    return {row: tuple(found.metrics(row)) for row in found.rows}


def _cells(table: str, key: str, metrics: tuple[str, ...]) -> tuple[Cell, ...]:
    row = RULES[table](*key.split(" | "))
    row = replace(row, runs=cache(row.runs))
    bare = [Cell(table, key, metric) for metric in metrics]
    tasks = list(dict.fromkeys(cell.task for cell in bare if cell.task))
    return tuple(replace(cell, **_source(cell, row, tasks)) for cell in bare)


def _source(cell: Cell, row: Row, tasks: list[str]) -> dict[str, Any]:
    """What a cell is made from, given the tasks that its row has scores of."""
    if cell.metric in _OF_TABLES:
        return {"how": "what the bits of the embedding tables give"}
    rows = [row, row.reference] if row.reference and cell.metric == "Acc. drop" else [row]
    if reason := next((one.reason for one in rows if one.reason), ""):
        return {"reason": reason}
    if cell.task and row.runs(cell.task):
        return {"experiments": row.runs(cell.task), "how": row.how, "assumes": row.assumes}
    runs = tuple(run for one in rows for task in tasks for run in one.runs(task))
    if not runs:
        return {"how": row.how}
    if cell.metric in _COMPUTED:
        how = ", ".join(filter(None, (_COMPUTED[cell.metric], row.how)))
        return {"experiments": runs, "how": how, "assumes": row.assumes}
    if any(run.adaqat for run in runs):  # sizes and bit operations of widths that only the run knows
        return {"experiments": runs, "how": "what the widths give that the run learned", "assumes": row.assumes}
    return {"how": f"xtcq.quantization.cost_report of {', '.join(dict.fromkeys(map(_described, runs)))}"}


def _described(run: Experiment) -> str:
    """What the size of a run's student follows from."""
    terms = f" and LoRA of rank {run.lora_rank}" if run.lora_rank else ""
    return f"{run.precision} by {run.recipe} with {run.depth} layers{terms}"
