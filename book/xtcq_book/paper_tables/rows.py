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

# What the papers leave open, or say in a text that was not available, and what stands in its place here. The tables
# name these beside each of their rows.
ASSUMPTIONS = {
    "budgets": "XTC's budgets A and B, and C of all tasks but MNLI and QQP, are recalled, not verified",
    "teacher": "fine-tuned for 3 epochs, as TernaryBERT's authors advise, at 2e-5; neither paper says how",
    "vectors": "added sentences take GloVe's 42B vectors; TinyBERT's script names no file, and XTC none of its own",
    "plain": "without added sentences a student trains for as many steps as with them",
    "reduced": "full-precision students with fewer layers have Budget C, with 36 epochs of MNLI and QQP",
    "start": "a quantized student of fewer layers begins with the full-precision one of Table C.5 at 1e-4",
    "rate": "the rate is 2e-5, which Table C.13 prints for its neighbours and no row of Table C.11 contradicts",
    "quoted": "TernaryBERT's recipe and 3 epochs on the TinyBERT6 of Table C.5 at 1e-4; XTC quotes this row",
    "widths": "160,000 steps: 120,000 to explore, which 146 widths need at the published rate of 0.1, and 40,000 "
    "to refine; uniform widths have as many in all. AdaQAT-BERT names no length",
    "encoders": "TinyBERT6 and MiniLM6 are huawei-noah/TinyBERT_General_6L_768D and "
    "nreimers/MiniLMv2-L6-H768-distilled-from-BERT-Base of the hub; XTC names no files, and these were not tried",
    "ternarybert": "the settings of TernaryBERT's public script, without added sentences; AdaQAT-BERT names none",
}


@dataclass(frozen=True)
class Row:
    """Where the numbers of a printed row come from.

    Attributes:
        runs: experiments whose Records hold them, for a task.
        how: how they are computed from those runs; empty where each score is that of the only run.
        reason: why the row cannot be run.
        assumes: names in ``ASSUMPTIONS``.
        reference: the row that a drop of the average is measured from.
    """

    runs: Callable[[str], tuple[Experiment, ...]] = lambda task: ()
    how: str = ""
    reason: str = ""
    assumes: tuple[str, ...] = ()
    reference: Row | None = None

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
