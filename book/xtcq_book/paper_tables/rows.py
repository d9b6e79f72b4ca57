"""What a printed row of the papers is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from xtcq.study import Experiment, load_profile
from xtcq.tasks import task_spec

PAPER = load_profile("paper")
# Columns of the tables by the names that the papers give the tasks; MNLI has two.
TASKS = {task_spec(task).title: task for task in (*PAPER.tasks, *PAPER.question_tasks)}
TASKS |= dict.fromkeys(("MNLI-m", "MNLI-mm"), "mnli")


@dataclass(frozen=True)
class Row:
    """Where the numbers of a printed row come from.

    Attributes:
        runs: experiments whose Records hold them, for a task.
        how: how they are computed from those runs; empty where each score is that of the only run.
        reason: why the row cannot be run.
        assumes: names in ``xtcq.study.budgets.ASSUMPTIONS``.
        beside: the row that a drop of the average is measured from.
    """

    runs: Callable[[str], tuple[Experiment, ...]] = lambda task: ()
    how: str = ""
    reason: str = ""
    assumes: tuple[str, ...] = ()
    beside: Row | None = None

    def run(self, task: str) -> Experiment:
        """The only run of a task."""
        (run,) = self.runs(task)
        return run

    def assuming(self, name: str) -> Row:
        """The row with one more assumption."""
        return replace(self, assumes=(*self.assumes, name))


def one(make: Callable[[str], Experiment], *assumes: str) -> Row:
    """A row of one run for each task."""
    return Row(lambda task: (make(task),), assumes=assumes)


def best(rows: list[Row], of: str) -> Row:
    """A row that repeats, task by task, the best of other rows."""
    return combined(rows, f"the best of {of}, task by task")


def combined(rows: list[Row], how: str) -> Row:
    """A row that is computed from other rows, each of one run for each task."""
    return Row(
        lambda task: tuple(run for row in rows for run in row.runs(task)),
        how=how,
        assumes=tuple(dict.fromkeys(name for row in rows for name in row.assumes)),
    )
