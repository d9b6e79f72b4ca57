"""Our measurements beside the papers': same metric, same settings, each with its own teacher as the reference."""

from __future__ import annotations

import math

import pandas as pd
from pandas.io.formats.style import Styler

from xtcq.study import published
from xtcq.study.profiles import Profile
from xtcq.study.records import Record, to_frame

# Columns of XTC's tables, by our task and primary metric.
PAPER_COLUMNS = {
    "cola": "CoLA Mcc",
    "mnli": "MNLI-m Acc",
    "mrpc": "MRPC Acc",
    "qnli": "QNLI Acc",
    "qqp": "QQP Acc",
    "rte": "RTE Acc",
    "sst2": "SST-2 Acc",
    "stsb": "STS-B Pear",
}
PAPER_PLANS = {"one-stage": "One-Stage", "two-stage": "Two-Stage", "three-stage": "Three-Stage"}
# 1-bit and 2-bit results of XTC by plan, budget and learning rate.
PAPER_TABLES = {"1-1-8": "xtc-c2", "2-2-8": "xtc-c3"}
PAPER_BUDGETS = ("A", "B", "C")
PAPER_TEACHER = ("xtc-c5", "BERT-base | n/a")


def paper_score(table: str, row: str, task: str) -> float:
    """One printed score of a paper.

    Args:
        table: name of a published table, for example ``"xtc-c2"``.
        row: the printed row key.
        task: our name of the task; the value is that of its primary metric.

    Returns:
        The value, or NaN if the paper has no such row or task.
    """
    frame = published.load(table)
    found = frame.loc[(frame["row"] == row) & (frame["metric"] == PAPER_COLUMNS.get(task)), "value"]
    return float(found.iloc[0]) if len(found) else math.nan


def teachers(records: list[Record]) -> pd.DataFrame:
    """Teachers beside XTC's, one row a task.

    Args:
        records: Records of teachers.

    Returns:
        Columns ``metric``, ``best``, ``last`` and ``paper``, indexed by task.
    """
    frame = to_frame(records)
    frame["paper"] = [paper_score(*PAPER_TEACHER, task) for task in frame["task"]]
    return frame.set_index("task")[["metric", "score", "last", "paper"]].rename(columns={"score": "best"})


def kd_stages(profile: Profile, students: list[Record], teachers: list[Record]) -> pd.DataFrame:
    """Students of the three plans beside XTC's Tables C.2 and C.3.

    Args:
        profile: the scale; names the budgets.
        students: Records of students.
        teachers: Records of their teachers.

    Returns:
        One row a student: ``best`` and ``last`` score, ``minus teacher`` (points lost to quantization) and
        ``paper minus teacher``: the same difference in the paper at that learning rate and budget, or at its shortest
        budget A where ours is none of the paper's; NaN where it has no such row.
    """
    frame = to_frame(students)
    reference = to_frame(teachers).set_index("task")["score"]
    lengths = {(task, profile.epochs(task, name)): name for task in frame["task"].unique() for name in profile.budgets}
    frame["budget"] = [
        lengths.get(key, f"{key[1]:g} epochs") for key in zip(frame["task"], frame["epochs"], strict=True)
    ]
    frame["minus teacher"] = frame["score"] - frame["task"].map(reference)
    frame["paper minus teacher"] = [_paper_drop(row) for row in frame.itertuples()]
    keys = ["task", "precision", "budget", "learning_rate", "seed", "stages"]
    frame = frame.set_index(keys)[["score", "last", "minus teacher", "paper minus teacher"]]
    return frame.rename(columns={"score": "best"}).rename_axis(
        ["task", "W-E-A", "budget", "learning rate", "seed", "plan"]
    )


def _paper_drop(row) -> float:
    if row.precision not in PAPER_TABLES:
        return math.nan
    budget = row.budget if row.budget in PAPER_BUDGETS else PAPER_BUDGETS[0]
    key = f"Budget-{budget} | {PAPER_PLANS.get(row.stages)} | {as_printed(row.learning_rate)}"
    return paper_score(PAPER_TABLES[row.precision], key, row.task) - paper_score(*PAPER_TEACHER, row.task)


def as_printed(rate: float) -> str:
    """A learning rate as the papers print it: 2e-5 rather than 2e-05."""
    mantissa, exponent = f"{rate:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def show(frame: pd.DataFrame, caption: str) -> Styler:
    """A table for the page: one decimal, learning rates as printed, a dash where there is no value.

    A key that is the same in every row is said once, in the caption: a phone has no room for it.

    Args:
        frame: the table.
        caption: what stands above it; names the scale of each column.

    Returns:
        An object that a notebook renders.
    """
    levels = {name: frame.index.unique(name) for name in frame.index.names}
    constant = {name: values[0] for name, values in levels.items() if len(values) == 1}
    if constant and len(constant) < len(levels):
        caption += " Every row: " + ", ".join(f"{name} {value}" for name, value in constant.items()) + "."
        frame = frame.droplevel(list(constant))
    style = frame.style.set_caption(caption).format(precision=1, na_rep="–")
    style = style.set_table_styles([{"selector": "tbody th", "props": "white-space: nowrap"}])
    for level, name in enumerate(frame.index.names):
        if name == "learning rate":
            style = style.format_index(as_printed, level=level)
    return style
