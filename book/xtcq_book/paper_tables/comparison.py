"""The papers' tables with our scores beside theirs: what a chapter runs at the papers' scale, and what it shows then.

At another scale no run stands in a cell of these tables; what can be compared there, see `xtcq_book.paper_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML

from xtcq.study import Experiment, Profile, stored
from xtcq.study.records import Record
from xtcq_book import arithmetic, published
from xtcq_book.paper_scores import GLUE_NUMBERS, PAPER_COLUMNS, glue_average
from xtcq_book.paper_tables import Cell, cells, experiments
from xtcq_book.paper_tables.rows import PAPER
from xtcq_book.scores import show

# How a score is computed from those of several runs, by how the cell says it.
_RULES: Mapping[str, Callable[[list[float]], float]] = {
    "the best of": max,
    "the mean over": lambda scores: float(np.mean(scores)),
    "the deviation over": lambda scores: float(np.std(scores)),
    "the difference of": lambda scores: scores[0] - scores[1],
}
_METRICS = {column: metric for columns in PAPER_COLUMNS.values() for metric, column in columns.items()}


def runs(*tables: str, **only: Sequence[Any]) -> list[Experiment]:
    """The experiments of the papers' tables, and of those some.

    Args:
        *tables: names, see ``xtcq_book.paper_tables.names``.
        **only: values by field of ``Experiment``, and of ``budget``; an empty list stands for any. What is in full
            precision, which quantized students begin with, has every precision.

    Returns:
        Each once, in the order of the tables.

    Raises:
        ValueError: an unknown table, or values that none of its runs has.
    """
    found = experiments(cell for name in tables for cell in cells(name))
    for name, wanted in only.items():
        of = PAPER.budget_name if name == "budget" else attrgetter(name)
        kept = [run for run in found if not wanted or of(run) in wanted or (name == "precision" and not run.quantized)]
        if not kept:
            there = ", ".join(map(str, dict.fromkeys(map(of, found))))
            raise ValueError(f"no run of {', '.join(tables)} has {name} among {list(wanted)}: there are {there}")
        found = kept
    return found


def table(name: str, tasks: Sequence[str] = ()) -> tuple[pd.DataFrame, list[Record]]:
    """A printed table with our scores beside it, empty where a run has no Record.

    Returns:
        Rows as printed; columns ``(metric, "paper")`` and ``(metric, "ours")``. And the Records.
    """
    found = [cell for cell in cells(name) if (cell.task in tasks if tasks else cell.task or cell.metric == "Avg.")]
    records = {record.experiment: record for record in stored(experiments(found))}
    values: dict[tuple[str, str], dict[str, float]] = {}
    for cell in found:
        values.setdefault((cell.metric, "paper"), {})[cell.row] = arithmetic.table(name).value(cell.row, cell.metric)
        values.setdefault((cell.metric, "ours"), {})[cell.row] = _ours(cell, records)
    frame = pd.DataFrame(values, index=list(dict.fromkeys(cell.row for cell in found)))
    return frame.rename_axis(published.source(name).place.partition(",")[0]), list(records.values())


def _ours(cell: Cell, records: Mapping[Experiment, Record]) -> float:
    if not cell.experiments or not all(run in records for run in cell.experiments):
        return np.nan
    if cell.metric == "Avg.":
        of_tasks = {run.task: records[run].best for run in cell.experiments}
        plain = len(of_tasks) == len(cell.experiments) == len(GLUE_NUMBERS)
        return glue_average(of_tasks) if plain else np.nan
    # AdaQAT-BERT's Table 3 leaves out the name of some tasks' first metric.
    scores = [records[run].best[_METRICS.get(cell.metric, run.spec.primary_metric)] for run in cell.experiments]
    rule = next((rule for said, rule in _RULES.items() if cell.how.startswith(said)), None)
    return rule(scores) if rule else scores[0]


def comparison(profile: Profile, *tables: str, tasks: Sequence[str] = ()) -> HTML | None:
    """The papers' tables of a chapter at their own scale, every row that they have; nothing at another scale."""
    if profile.name != PAPER.name:
        return None
    shown = []
    for name in tables:
        frame, records = table(name, tasks)
        reasons = dict.fromkeys(f"{cell.row}: {cell.reason}" for cell in cells(name) if cell.reason)
        said = f" Not run: {'; '.join(reasons)}." if reasons else ""
        caption = f"{published.source(name).place}. Ours beside it, empty where there is no Record.{said}"
        shown.append(show(frame, caption, source=records).data)
    return HTML("".join(shown))
