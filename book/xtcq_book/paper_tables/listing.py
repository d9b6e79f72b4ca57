"""The papers' tables as lines of text: rows with their runs, what is to be trained, and what that takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from xtcq.study import Experiment, record_path
from xtcq.study.queue import with_needed
from xtcq_book.paper_tables import Cell, cells, experiments, names
from xtcq_book.paper_tables.estimate import CARDS, SHARES, estimate
from xtcq_book.paper_tables.rows import ASSUMPTIONS


def rows(found: Iterable[Cell]) -> Iterator[str]:
    """Each row with its runs by digest, or how it is computed, or why it cannot be run; then what is assumed."""
    by_row: dict[str, dict[tuple, list[str]]] = defaultdict(lambda: defaultdict(list))
    assumed: dict[str, None] = {}
    for cell in found:
        by_row[cell.row][cell.experiments, cell.how, cell.reason].append(cell.metric)
        assumed |= dict.fromkeys(cell.assumes)
    for row, sources in by_row.items():
        yield row
        for (runs, how, reason), metrics in sources.items():
            yield f"  {', '.join(metrics)}: {reason and f'not run, {reason}' or _source(runs, how)}"
    yield from (f"assumed: {ASSUMPTIONS[name]}" for name in assumed)


def _source(runs: Sequence[Experiment], how: str) -> str:
    if how:
        return f"computed, {how}" + (f", of {len(runs)} runs" if runs else "")
    (run,) = runs
    return f"{run.digest} {run}" + (", which has a Record" if record_path(run).exists() else "")


def to_train(found: Iterable[Cell]) -> Iterator[str]:
    """What is trained for some cells, in an order in which it can be: digest, steps and the experiment."""
    left = with_needed(experiments(found))
    yield from (f"{run.digest} {run.steps:>9,} steps  {run}" for run in left)
    yield f"{len(left)} runs, {sum(run.steps for run in left):,} steps"


def bill(found: Iterable[Cell], card: str, shares: tuple[float, float]) -> Iterator[str]:
    """What the runs of some cells take; the rates are those of ``Estimate.hours``."""
    took = estimate(experiments(found))
    hours = took.hours(card, shares)
    yield f"{took.runs:,} runs with the teachers and starts that they need, {took.steps:,} optimizer steps"
    yield (
        f"{took.operations:.2e} operations of students, {took.fp32_operations:.2e} in fp32 of teachers and explorations"
    )
    yield f"{hours:,.1f} GPU-hours: {rate(card, shares)}"
    if took.recorded:
        yield f"{took.recorded} of them have Records, whose training took {took.measured_hours:.1f} hours"


def rate(card: str, shares: tuple[float, float] = SHARES) -> str:
    """The rates in words."""
    (bf16, fp32), (share, fp32_share) = CARDS[card], shares
    return (
        f"operations over rates, {share:.0%} of {bf16:g} TFLOP/s in bf16 (XTCQ_COMPUTE=bf16) and {fp32_share:.0%} of "
        f"{fp32:g} in fp32, of one {card}"
    )


def overview(card: str = "", shares: tuple[float, float] = SHARES) -> pd.DataFrame:
    """All tables.

    Returns:
        Indexed by table: printed ``cells``, those with an ``experiment``, ``computed`` ones and those with a
        ``reason``, and distinct ``runs``; with a card, ``runs`` with all that they need, ``steps`` in millions and
        ``GPU-hours``, see ``Estimate.hours``. In the last row runs that tables share count once.
    """
    found = {name: cells(name) for name in names()}
    lines = {name: _line(of_table, card, shares) for name, of_table in found.items()}
    lines["all"] = _line([cell for of_table in found.values() for cell in of_table], card, shares)
    return pd.DataFrame.from_dict(lines, orient="index")


def _line(found: Sequence[Cell], card: str, shares: tuple[float, float]) -> dict[str, float]:
    kinds = [cell.kind for cell in found]
    counted = {kind: kinds.count(kind) for kind in ("experiment", "computed", "reason")}
    line: dict[str, float] = {"cells": len(found), **counted}
    if not card:
        return line | {"runs": len(experiments(found))}
    took = estimate(experiments(found))
    cost = {"1e6 steps": round(took.steps / 1e6, 2), "GPU-hours": round(took.hours(card, shares), 1)}
    return line | {"runs": took.runs} | cost
