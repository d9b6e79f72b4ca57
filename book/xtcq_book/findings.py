"""What a page lacks: cells that were not run, and teachers and weights that are not here."""

from __future__ import annotations

from collections.abc import Iterable

from IPython.display import Markdown

from xtcq.study import full_teachers
from xtcq.study.experiment import Experiment
from xtcq.study.records import Record
from xtcq.study.students import is_trained


def missing(grid: list[Experiment], records: list[Record]) -> Markdown:
    """Say what a page lacks: cells of its grid that were not run, and teachers.

    Returns:
        A sentence on the cells, and one on the teachers if one is missing, both with the experiments. Its metadata say
        the same to whoever renders the page: the number of ``cells``, and the digests that are ``missing``.
    """
    there = {record.experiment for record in records}
    cells = [experiment for experiment in grid if experiment not in there]
    teachers = [teacher for teacher in full_teachers(grid) if teacher not in there]
    of_grid = {0: "The grid has no cell.", 1: "The one cell of the grid was run."}
    parts = [of_grid.get(len(grid), f"All {len(grid)} cells of the grid were run.")]
    if cells:
        parts = [f"{len(cells)} of {len(grid)} cells of the grid were not run:", _folded(cells)]
    if teachers:
        what = "Left out is what is measured against teachers that were not trained:"
        parts += [what, _folded(teachers)]
    state = {"cells": len(grid), "missing": [experiment.digest for experiment in (*cells, *teachers)]}
    return Markdown("\n\n".join(parts), metadata={"xtcq": state})


def without_weights(experiments: Iterable[Experiment]) -> Markdown | None:
    """Say which trained models a page would load and cannot: their weights are not published with their Records."""
    lacking = [experiment for experiment in dict.fromkeys(experiments) if not is_trained(experiment)]
    if not lacking:
        return None
    what = "Left out is what needs trained weights that are not on this machine; `train=True` trains them:"
    return Markdown(f"{what}\n\n{_folded(lacking)}")


def _folded(experiments: list[Experiment], most: int = 6) -> str:
    """A list of experiments, which a reader opens where it is longer than a few lines."""
    lines = "\n".join(f"- {experiment}" for experiment in experiments)
    return lines if len(experiments) <= most else f"<details><summary>which</summary>\n\n{lines}\n\n</details>"
