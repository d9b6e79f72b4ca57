"""Our measurements beside the papers': same metric, same settings, each with its own teacher as the reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
from pandas.io.formats.style import Styler

from xtcq.study import published
from xtcq.study.experiment import Experiment
from xtcq.study.labels import Labels, as_text
from xtcq.study.profiles import Profile
from xtcq.study.records import Record, to_frame
from xtcq.tasks import task_spec

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
    # AdaQAT-BERT's Table 3 leaves out the name of some metrics.
    columns = {PAPER_COLUMNS[task], PAPER_COLUMNS[task].split()[0]} if task in PAPER_COLUMNS else set()
    found = frame.loc[(frame["row"] == row) & frame["metric"].isin(columns), "value"]
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


def table(
    students: list[Record],
    teachers: list[Record],
    keys: Labels,
    paper: Callable[[Experiment], tuple[str, str] | None] | None = None,
    sizes: bool = False,
    paper_teacher: tuple[str, str] = PAPER_TEACHER,
) -> pd.DataFrame:
    """Students beside the paper's, one row for each value of the keys, seeds averaged.

    A score of MiniLM and one of BERT-base cannot be compared; what a compression costs can be: the student's score
    less that of the task's full-precision teacher.

    Args:
        students: Records of students.
        teachers: Records of the tasks' full-precision teachers, one a task.
        keys: what tells the rows apart, besides the task. Students with the same keys may differ in their seed alone.
        paper: the printed table and row that belongs to a student, or None where the paper has none.
        sizes: add the nominal and the packed size of the student, in MiB.
        paper_teacher: table and row of the full-precision model that the paper's students stand beside.

    Returns:
        Columns ``best`` and ``last`` (means over seeds), ``± seeds`` (population deviation of the best) and ``seeds``
        where there are several, ``minus teacher`` (NaN where the teacher has no Record), ``paper minus teacher`` (where
        ``paper`` is given) and the sizes.

    Raises:
        ValueError: if two students with the same keys differ in more than their seed.
    """
    if not students:
        return _without_rows(keys, paper is not None, sizes)
    order = list(dict.fromkeys(record.experiment.task for record in students))
    students = sorted(students, key=lambda record: order.index(record.experiment.task))
    frame = to_frame(students)
    frame["task"] = [task_spec(name).title for name in frame["task"]]
    for name, label in keys.items():
        frame[name] = [label(record.experiment) for record in students]
    reference = {record.experiment.task: record.best for record in teachers}
    rows = []
    for values, group in frame.groupby(["task", *keys], sort=False, dropna=False):
        experiments = {replace(record.experiment, seed=0) for record in group["record"]}
        if len(experiments) > 1:
            found = "; ".join(sorted(map(str, experiments)))
            raise ValueError(
                f"the keys {list(keys)} do not tell these runs apart: {found}. Name what differs as a key."
            )
        experiment = group["record"].iloc[0].experiment
        best = group["score"].mean()
        metric = task_spec(experiment.task).primary_metric
        row = {"best": best, "± seeds": group["score"].std(ddof=0) if len(group) > 1 else math.nan}
        row |= {"seeds": len(group), "last": group["last"].mean()}
        row["minus teacher"] = best - reference.get(experiment.task, {}).get(metric, math.nan)
        if paper is not None:
            row["paper minus teacher"] = _paper_difference(paper(experiment), paper_teacher, experiment.task)
        if sizes:
            row |= {"nominal MiB": group["nominal_mib"].iloc[0], "packed MiB": group["packed_mib"].iloc[0]}
        rows.append(row)
    result = pd.DataFrame(rows, index=_index(frame, keys))
    return result if (result["seeds"] > 1).any() else result.drop(columns=["± seeds", "seeds"])


def _without_rows(keys: Labels, paper: bool, sizes: bool) -> pd.DataFrame:
    columns = ["best", "last", "minus teacher"] + ["paper minus teacher"] * paper
    index = pd.MultiIndex.from_arrays([[]] * (1 + len(keys)), names=["task", *keys])
    return pd.DataFrame(columns=columns + ["nominal MiB", "packed MiB"] * sizes, index=index)


def _index(frame: pd.DataFrame, keys: Labels) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(frame[["task", *keys]].drop_duplicates())


def _paper_difference(row: tuple[str, str] | None, teacher: tuple[str, str], task: str) -> float:
    return math.nan if row is None else paper_score(*row, task) - paper_score(*teacher, task)


def kd_stages_row(profile: Profile) -> Callable[[Experiment], tuple[str, str] | None]:
    """The row of Tables C.2 and C.3 with a student's plan, learning rate and budget.

    Args:
        profile: the scale; names the budgets. A budget that is none of the paper's stands beside its shortest, A.

    Returns:
        A function for `table`.
    """

    def row(experiment: Experiment) -> tuple[str, str] | None:
        if experiment.precision not in PAPER_TABLES:
            return None
        budget = profile.budget_name(experiment)
        budget = budget if budget in PAPER_BUDGETS else PAPER_BUDGETS[0]
        rate = as_text(experiment.learning_rate)
        return PAPER_TABLES[experiment.precision], f"Budget-{budget} | {PAPER_PLANS[experiment.stages]} | {rate}"

    return row


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
        caption += " Every row: " + ", ".join(f"{name} {as_text(value)}" for name, value in constant.items()) + "."
        frame = frame.droplevel(list(constant))
    style = frame.style.set_caption(caption).format(precision=1, na_rep="–")
    style = style.set_table_styles([{"selector": "tbody th", "props": "white-space: nowrap"}])
    for level, name in enumerate(frame.index.names):
        if name == "learning rate":
            style = style.format_index(as_text, level=level)
    return style
