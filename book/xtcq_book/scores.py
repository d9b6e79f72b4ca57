"""Our measurements beside the papers': same metric, same settings, each with its own teacher as the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, pstdev

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from xtcq.study.experiment import Experiment
from xtcq.study.records import Record, to_frame
from xtcq.tasks import task_spec
from xtcq_book import labels, published
from xtcq_book.labels import Labels, as_text
from xtcq_book.paper_rows import Row

# Columns of the papers' tables, by our task and metric.
PAPER_COLUMNS = {
    "cola": {"matthews": "CoLA Mcc"},
    "mnli": {"accuracy": "MNLI-m Acc", "accuracy_mm": "MNLI-mm Acc"},
    "mrpc": {"accuracy": "MRPC Acc", "f1": "MRPC F1"},
    "qnli": {"accuracy": "QNLI Acc"},
    "qqp": {"accuracy": "QQP Acc", "f1": "QQP F1"},
    "rte": {"accuracy": "RTE Acc"},
    "sst2": {"accuracy": "SST-2 Acc"},
    "stsb": {"pearson": "STS-B Pear", "spearman": "STS-B Spea"},
    "squad1": {"f1": "SQuAD v1.1 F1", "exact_match": "SQuAD v1.1 EM"},
    "squad2": {"f1": "SQuAD v2.0 F1", "exact_match": "SQuAD v2.0 EM"},
}
PAPER_TEACHER = ("xtc-c5", "BERT-base | n/a")
# The nine numbers of XTC's "Avg." (Tables C.2 to C.17). The paper does not state the rule; it was recovered from the
# rows of those tables. F1 and Spearman do not enter.
GLUE_NUMBERS: dict[str, tuple[str, ...]] = {
    "cola": ("matthews",),
    "mnli": ("accuracy", "accuracy_mm"),
    "mrpc": ("accuracy",),
    "qnli": ("accuracy",),
    "qqp": ("accuracy",),
    "rte": ("accuracy",),
    "sst2": ("accuracy",),
    "stsb": ("pearson",),
}


def paper_score(table: str, row: str, task: str, metric: str | None = None) -> float:
    """One printed score of a paper.

    Args:
        table: name of a published table, for example ``"xtc-c2"``.
        row: the printed row key.
        task: our name of the task.
        metric: our name of the metric; None for the task's primary one.

    Returns:
        The value, or NaN if the paper has no such row, task or metric.
    """
    primary = task_spec(task).primary_metric
    column = PAPER_COLUMNS.get(task, {}).get(metric or primary, "")
    # AdaQAT-BERT's Table 3 leaves out the name of some tasks' first metric.
    columns = [column, column.split()[0]] if column and metric in (None, primary) else [column]
    return _printed(table, row, columns)


def teachers(records: list[Record]) -> pd.DataFrame:
    """Teachers beside XTC's, one row for each metric of a task.

    Args:
        records: Records of teachers.

    Returns:
        Columns ``best``, ``last`` and ``paper``, indexed by ``task`` (as printed) and ``metric``.
    """
    found = [(record, record.experiment.task, metric) for record in records for metric in _metrics(record)]
    rows = [
        {"best": record.best[metric], "last": record.last[metric], "paper": paper_score(*PAPER_TEACHER, task, metric)}
        for record, task, metric in found
    ]
    index = [(task_spec(task).title, metric) for _, task, metric in found]
    return _frame(rows, ["best", "last", "paper"], index, ["task", "metric"])


def rates(records: list[Record]) -> pd.DataFrame:
    """A sweep over learning rates.

    Args:
        records: Records that differ in task and rate alone.

    Returns:
        The best score by task (as printed) and learning rate.
    """
    frame = to_frame(records)
    frame["task"] = frame["task"].map(lambda name: task_spec(name).title)
    return frame.pivot(index="task", columns="learning_rate", values="score").rename(columns=as_text)


def table(
    students: list[Record],
    teachers: list[Record],
    keys: Labels,
    paper: Callable[[Experiment], Row] | None = None,
    sizes: bool = False,
    paper_teacher: tuple[str, str] = PAPER_TEACHER,
    second: bool = False,
    deviations: Callable[[Experiment], Row] | None = None,
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
        second: show the tasks' further metrics (F1, Spearman, mismatched, exact match) in place of the primary one, at
            the evaluation that the primary one chose. The index has ``metric`` after the task.
        deviations: the printed table and row with the deviation of such a student over its seeds, or None.

    Returns:
        Columns ``best`` and ``last`` (means over seeds), ``± seeds`` (population deviation of the best) and ``seeds``
        where there are several, ``minus teacher`` (NaN without a Record of the teacher), ``paper minus teacher`` and
        ``paper ± seeds`` (where their rows are given) and the sizes.

    Raises:
        ValueError: if two students with the same keys differ in more than their seed.
    """
    reference = {record.experiment.task: record.best for record in teachers}
    rows, index = [], []
    for (title, *values), group in _groups(students, keys).items():
        experiment = group[0].experiment
        for metric in _metrics(group[0])[1:] if second else _metrics(group[0])[:1]:
            best = [record.best[metric] for record in group]
            row = {"best": fmean(best), "± seeds": pstdev(best) if len(best) > 1 else math.nan, "seeds": len(best)}
            row["last"] = fmean(record.last[metric] for record in group)
            row["minus teacher"] = row["best"] - reference.get(experiment.task, {}).get(metric, math.nan)
            places = [place(experiment) if place else None for place in (paper, deviations)]
            of_student, deviation, of_teacher = (
                paper_score(*place, experiment.task, metric) if place else math.nan
                for place in (*places, paper_teacher)
            )
            row |= {"paper minus teacher": of_student - of_teacher, "paper ± seeds": deviation}
            if sizes:
                size = group[0].size
                row |= {"nominal MiB": size["nominal_mib"], "packed MiB": size["packed_mib"]}
            rows.append(row)
            index.append((title, *([metric] if second else []), *values))
    columns = ["best", "± seeds", "seeds", "last", "minus teacher"]
    columns += ["paper minus teacher"] * (paper is not None) + ["paper ± seeds"] * (deviations is not None)
    columns += ["nominal MiB", "packed MiB"] * sizes
    result = _frame(rows, columns, index, ["task", *(["metric"] if second else []), *keys])
    return result if (result["seeds"] > 1).any() else result.drop(columns=["± seeds", "seeds"])


def averages(
    students: list[Record],
    teachers: list[Record] | None,
    keys: Labels,
    paper: Callable[[Experiment], Row] | None = None,
    paper_teacher: tuple[str, str] = PAPER_TEACHER,
) -> pd.DataFrame:
    """The GLUE average beside the paper's, or a mean over the tasks that both have.

    Both are means of the numbers that enter XTC's "Avg." (``GLUE_NUMBERS``). Where all eight
    tasks are there, the paper's is the printed one. A task without a teacher enters no mean.

    Args:
        students: Records, of other tasks too.
        teachers: Records of the tasks' full-precision teachers; None for an average of teachers themselves.
        keys: as for `table`.
        paper: as for `table`.
        paper_teacher: as for `table`.

    Returns:
        One row for each value of the keys with at least two tasks, the index ending in ``average``: what it is a mean
        of. Columns ``best`` and ``last``, ``paper`` where it is given, and with teachers ``minus teacher`` and
        ``paper minus teacher``.

    Raises:
        ValueError: as for `table`.
    """
    reference = None if teachers is None else {record.experiment.task: record.best for record in teachers}
    by_values: dict[tuple, dict[str, list[Record]]] = {}
    for (_, *values), group in _groups(students, keys).items():
        task = group[0].experiment.task
        if task in GLUE_NUMBERS and (reference is None or task in reference):
            by_values.setdefault(tuple(values), {})[task] = group
    rows, index = [], []
    for values, groups in by_values.items():
        places = _shared({task: paper(group[0].experiment) if paper else None for task, group in groups.items()})
        if len(places) < 2:
            continue
        best, last = (
            glue_average(
                {t: {m: fmean(getattr(r, which)[m] for r in groups[t]) for m in GLUE_NUMBERS[t]} for t in places}
            )
            for which in ("best", "last")
        )
        row = {"best": best, "last": last, "paper": _paper_mean(places)}
        if reference is not None:
            row["minus teacher"] = best - glue_average({task: reference[task] for task in places})
            row["paper minus teacher"] = row["paper"] - _paper_mean(dict.fromkeys(places, paper_teacher))
        rows.append(row)
        index.append((*values, _name_of_mean(places)))
    columns = ["best", "last"] + ["paper"] * (paper is not None) + ["minus teacher"] * (reference is not None)
    columns += ["paper minus teacher"] * (paper is not None and reference is not None)
    return _frame(rows, columns, index, [*keys, "average"])


def differences(
    students: list[Record],
    keys: Labels,
    of: str,
    base: object,
    paper: Callable[[Experiment], Row] | None = None,
    printed: Callable[[Experiment], Row] | None = None,
) -> pd.DataFrame:
    """What one choice adds to every metric, over pairs of runs with the same seed, beside what it adds in the paper.

    Args:
        students: Records.
        keys: as for `table`; one of them is what is compared.
        of: the name of that key.
        base: its value that the others are compared with.
        paper: as for `table`; the difference of two of its rows is the column ``paper``.
        printed: the row of the paper that prints the difference itself.

    Returns:
        One row for each metric of a task and value of the keys, and their mean over tasks as `averages` takes it:
        ``difference`` in points, ``pairs`` of seeds (the fewest of any task for a mean), ``paper`` and ``printed``.

    Raises:
        ValueError: as for `table`.
    """
    groups = _groups(students, keys)
    at = list(keys).index(of) + 1
    rows, index = [], []
    by_values: dict[tuple, dict[str, tuple]] = {}
    for values, group in groups.items():
        bases = {r.experiment.seed: r for r in groups.get((*values[:at], base, *values[at + 1 :]), [])}
        pairs = [(r, bases[r.experiment.seed]) for r in group if r.experiment.seed in bases and values[at] != base]
        if not pairs:
            continue
        task, (ours, theirs) = group[0].experiment.task, (record.experiment for record in pairs[0])
        asked = [(paper, ours), (paper, theirs), (printed, ours)]
        places = [place(experiment) if place else None for place, experiment in asked]
        gains = {metric: fmean(a.best[metric] - b.best[metric] for a, b in pairs) for metric in _metrics(group[0])}
        for metric, gain in gains.items():
            scores = [paper_score(*place, task, metric) if place else math.nan for place in places]
            rows.append(_difference(gain, len(pairs), *scores))
            index.append((values[0], metric, *values[1:]))
        if task in GLUE_NUMBERS:
            by_values.setdefault(values[1:], {})[task] = (gains, len(pairs), *places)
    for values, found in by_values.items():
        tasks = _shared({task: place for task, (_, _, place, _, _) in found.items()})
        if len(tasks) < 2:
            continue
        gains, pairs, *places = ({task: found[task][i] for task in tasks} for i in range(5))
        rows.append(_difference(glue_average(gains), min(pairs.values()), *map(_paper_mean, places)))
        index.append((_name_of_mean(tasks), "", *values))
    columns = ["difference", "pairs"] + ["paper"] * (paper is not None) + ["printed"] * (printed is not None)
    return _frame(rows, columns, index, ["task", "metric", *keys])


def tuned(students: list[Record], rates: Sequence[float] | None = None) -> list[Record]:
    """The runs of each configuration at its best learning rate.

    Args:
        students: Records over several rates.
        rates: peak learning rates that all must have been run, the only ones that count; each configuration's own if
            left out.

    Returns:
        For every configuration that has at least one seed at all of the rates, all its runs at the rate whose mean of
        the best score over those seeds is highest.
    """
    configurations: dict[Experiment, dict[float, dict[int, Record]]] = {}
    for record in students:
        experiment = record.experiment
        runs = configurations.setdefault(replace(experiment, seed=0, learning_rate=1.0), {})
        runs.setdefault(experiment.learning_rate, {})[experiment.seed] = record
    chosen = []
    for runs in configurations.values():
        compared = rates or list(runs)
        shared = set.intersection(*(set(runs.get(rate, {})) for rate in compared))
        if shared:
            best = max(compared, key=lambda rate: fmean(_score(runs[rate][seed]) for seed in shared))
            chosen += runs[best].values()
    return chosen


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
    if frame.empty:
        caption += " It is empty: no Record here has such a value."
    style = frame.style.set_caption(caption).format(precision=1, na_rep="–")
    style = style.set_table_styles([{"selector": "tbody th", "props": "white-space: nowrap"}])
    for level, name in enumerate(frame.index.names):
        if name == "learning rate":
            style = style.format_index(as_text, level=level)
    return style


def _groups(students: list[Record], keys: Labels) -> dict[tuple, list[Record]]:
    """Records by title of the task and values of the keys, tasks together; a group differs in its seed alone."""
    order = list(dict.fromkeys(record.experiment.task for record in students))
    groups: dict[tuple, list[Record]] = {}
    for record in sorted(students, key=lambda record: order.index(record.experiment.task)):
        values = (label(record.experiment) for label in keys.values())
        groups.setdefault((labels.task(record.experiment), *values), []).append(record)
    for group in groups.values():
        experiments = {replace(record.experiment, seed=0) for record in group}
        if len(experiments) > 1:
            found = "; ".join(sorted(map(str, experiments)))
            raise ValueError(
                f"the keys {list(keys)} do not tell these runs apart: {found}. Name what differs as a key."
            )
    return groups


def _frame(rows: list[dict], columns: list[str], index: list[tuple], names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns, index=pd.MultiIndex.from_tuples(index, names=names))


def _metrics(record: Record) -> list[str]:
    """The primary metric and what else was measured: a Record of MNLI has its second split's accuracy as well."""
    primary = task_spec(record.experiment.task).primary_metric
    return [primary, *(metric for metric in record.best if metric != primary)]


def _score(record: Record) -> float:
    return record.best[_metrics(record)[0]]


def _printed(table: str, row: str, columns: Iterable[str]) -> float:
    frame = published.load(table)
    found = frame.loc[(frame["row"] == row) & frame["metric"].isin(columns), "value"]
    return float(found.iloc[0]) if len(found) else math.nan


def _difference(gain: float, pairs: int, ours: float, base: float, printed: float) -> dict[str, float]:
    return {"difference": gain, "pairs": pairs, "paper": ours - base, "printed": printed}


def _shared(places: dict[str, Row]) -> dict[str, Row]:
    """The tasks, with their rows, for which the paper prints every number of its average; all where it has none."""
    return {task: place for task, place in places.items() if _numbers(task, place)} or places


def _numbers(task: str, place: Row) -> dict[str, float]:
    """What a row of the paper gives to the average of its row; nothing if it does not print all of it."""
    numbers = {metric: paper_score(*place, task, metric) for metric in GLUE_NUMBERS[task]} if place else {}
    return {} if any(map(math.isnan, numbers.values())) else numbers


def _paper_mean(places: dict[str, Row]) -> float:
    """The average that the paper prints in a row, or the mean over some tasks of it; NaN if a number is missing."""
    numbers = {task: _numbers(task, place) for task, place in places.items()}
    if not all(numbers.values()):
        return math.nan
    rows = set(places.values())
    whole = len(rows) == 1 and numbers.keys() == GLUE_NUMBERS.keys()
    printed = _printed(*rows.pop(), ["Avg."]) if whole else math.nan
    return glue_average(numbers) if math.isnan(printed) else printed


def glue_average(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Mean, over the tasks that are there, of the numbers that enter XTC's "Avg.", each number once."""
    return float(
        np.mean([scores[task][name] for task, names in GLUE_NUMBERS.items() if task in scores for name in names])
    )


def _name_of_mean(tasks: Iterable[str]) -> str:
    names = [task_spec(task).title for task in tasks]
    return "GLUE average" if len(names) == len(GLUE_NUMBERS) else f"mean of {len(names)} tasks: {', '.join(names)}"
