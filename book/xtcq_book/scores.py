"""Our measurements beside the papers': same metric, same settings, each with its own teacher as the reference.

A score of MiniLM and one of BERT-base cannot be compared; what a compression costs can be: the student's score less
that of the task's full-precision teacher.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from pandas.io.formats.style import Styler

from xtcq.study.experiment import Experiment
from xtcq.tasks import has_learned, task_spec
from xtcq_book import arithmetic
from xtcq_book.columns import as_text
from xtcq_book.paper_rows import Row
from xtcq_book.paper_scores import GLUE_NUMBERS, PAPER_TEACHER, glue_average, paper_score
from xtcq_book.provenance import Source, is_yours, links, records_of, stated, under

Place = Callable[[Experiment], Row]
# How a mean over a part of the tasks is named, before the colon and their names.
_MEAN = "mean of "
# What can be said of a score of one task, and of no mean.
_NOISE = ("standard error", "chance")


def table(
    runs: pd.DataFrame,
    keys: Sequence[str],
    paper: Place | None = None,
    *,
    paper_teacher: Row = PAPER_TEACHER,
    deviations: Place | None = None,
    sizes: bool = False,
    further: bool = False,
    noise: bool = False,
) -> pd.DataFrame:
    """Students beside the paper's, one row for each task and value of the keys, seeds averaged.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        keys: columns that tell the rows of a task apart. Runs that are alike in them may differ in their seed alone.
        paper: the printed table and row that belongs to a student, or None where the paper has none.
        paper_teacher: table and row of the full-precision model that the paper's students stand beside.
        deviations: the printed table and row with the deviation of such a student over its seeds, or None.
        sizes: add the nominal and the packed size of the student, in MiB.
        further: show the tasks' further metrics (F1, Spearman, mismatched, exact match) in place of the primary one, at
            the evaluation that the primary one chose. The index has ``metric`` after the task.
        noise: add the ``standard error`` of one score, in points, and what ``chance`` gives.

    Returns:
        Columns ``best`` and ``last`` (means over seeds), ``± seeds`` (population deviation of the best) and ``seeds``
        where there are several, ``minus teacher`` (NaN without a Record of the teacher), ``teachers`` (how many
        trainings of the teacher the seeds learned from, where any has several), ``paper minus teacher`` and
        ``paper ± seeds`` (where their rows are given), the sizes and the noise; and the ``Records`` of the row. Where
        some Records are the edition's and others the reader's, ``yours`` marks the rows with one of the latter.

    Raises:
        ValueError: if two runs with the same keys differ in more than their seed.
    """
    cells = _cells(runs, keys, {"paper": paper, "paper ± seeds": deviations, "paper teacher": lambda _: paper_teacher})
    cells = cells[cells["primary"] != further]
    cells["paper minus teacher"] = cells["paper"] - cells["paper teacher"]
    columns = ["best", "± seeds", "seeds", "last", "minus teacher"] if (cells["seeds"] > 1).any() else []
    columns = columns or ["best", "last", "minus teacher"]
    columns += ["teachers"] * bool((cells["teachers"] > 1).any())
    columns += ["paper minus teacher"] * (paper is not None) + ["paper ± seeds"] * (deviations is not None)
    columns += ["nominal MiB", "packed MiB"] * sizes + ["standard error", "chance"] * noise
    columns += ["yours"] * (cells["yours"].nunique() > 1) + ["Records"]
    return _gathered(cells.set_index(["task", *(["metric"] if further else []), *keys])[columns])


def averages(
    runs: pd.DataFrame,
    keys: Sequence[str],
    paper: Place | None = None,
    *,
    minus_teacher: bool = True,
) -> pd.DataFrame:
    """The GLUE average beside the paper's, or a mean over the tasks that both have.

    Both are means of the numbers that enter XTC's "Avg." (``GLUE_NUMBERS``). Where all eight tasks are
    there, the paper's is the printed one.

    Args:
        runs: of ``xtcq_book.frame.to_frame``, of other tasks too.
        keys: as for `table`.
        paper: as for `table`.
        minus_teacher: subtract teachers; a task without a Record of its teacher then enters no mean.

    Returns:
        One row for each value of the keys with at least two tasks, or with the only one of all runs, the index ending
        in ``average``: what it is a mean of. Columns ``best`` and ``last``, ``paper`` where it is given, ``minus
        teacher`` and ``paper minus teacher``, and the ``Records``.

    Raises:
        ValueError: as for `table`.
    """
    cells = _cells(runs, keys, {"paper": paper, "paper teacher": lambda _: PAPER_TEACHER})
    fewest = 2 if cells.loc[cells["name"].isin(GLUE_NUMBERS), "task"].nunique() > 1 else 1
    if minus_teacher:
        cells = cells[cells["minus teacher"].notna()]
    ours = ["best", "last", *(["minus teacher"] if minus_teacher else [])]
    means = _over_tasks(cells, list(keys), ours, ["paper", "paper teacher"], fewest=fewest)
    means["paper minus teacher"] = means["paper"] - means["paper teacher"]
    columns = ["best", "last"] + ["paper"] * (paper is not None) + ["minus teacher"] * minus_teacher
    columns += ["paper minus teacher"] * (paper is not None and minus_teacher) + ["Records"]
    return _gathered(means.set_index([*keys, "average"])[columns])


def differences(
    runs: pd.DataFrame,
    of: str,
    base: object,
    keys: Sequence[str] = (),
    paper: Place | None = None,
    printed: Place | None = None,
) -> pd.DataFrame:
    """What each value of one label adds, over pairs of runs with the same seed, learning rate and length.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        of: the column that is compared.
        base: its value that the others are compared with.
        keys: further columns that tell the runs of a task apart.
        paper: as for `table`; the difference of two of its rows is the column ``paper``.
        printed: the row of the paper that prints the difference itself.

    Returns:
        One row for each metric of a task and value of the labels, and their mean over tasks as `averages` takes it:
        ``difference`` in points, the ``least`` and ``most`` where there are several ``pairs`` (a mean over tasks has
        none, and the pairs of the task with fewest), ``paper`` and ``printed`` where they are given, and the
        ``standard error`` of one score and what ``chance`` gives where they are known; and the ``Records``.

    Raises:
        ValueError: if runs that are alike in task, labels, seed, learning rate and length differ in anything else.
    """
    labels = [*keys, *([] if of in keys else [of])]
    places = {"paper": paper, "printed": printed}
    cells = _cells(runs, list(dict.fromkeys([*labels, "learning rate", "epochs", "seed"])), places)
    match = [
        name for name in dict.fromkeys(["task", "metric", *labels, "learning rate", "epochs", "seed"]) if name != of
    ]
    of_base = cells.loc[cells[of] == base, [*match, "best", "paper", "row of paper", "Records"]]
    pairs = cells[cells[of] != base].merge(of_base, on=match, suffixes=("", " of base"))
    pairs["difference"] = pairs["best"] - pairs["best of base"]
    pairs["Records"] += pairs["Records of base"]
    by = ["task", "metric", *labels]
    kinds = {"difference": "mean", "least": "min", "most": "max", "pairs": "size"}
    summary: dict[str, tuple[str, Any]] = {name: ("difference", kind) for name, kind in kinds.items()}
    summary |= {name: (name, "mean") for name in ("standard error", "chance")}
    same = ["name", "paper", "paper of base", "printed", "row of paper", "row of paper of base", "row of printed"]
    summary |= {name: (name, _only) for name in same} | {"Records": ("Records", "sum")}
    found = pairs.groupby(by, sort=False).agg(**summary).reset_index()
    means = _over_tasks(found, labels, ["difference"], ["paper", "paper of base", "printed"], smallest="pairs")
    result = pd.concat([found, means.rename(columns={"average": "task"}).assign(metric="")], ignore_index=True)
    result["paper"] -= result["paper of base"]
    columns = ["difference", *(["least", "most"] if (result["pairs"] > 1).any() else []), "pairs"]
    columns += ["paper"] * (paper is not None)
    columns += ["printed"] * (printed is not None) + ["standard error", "chance", "Records"]
    return _gathered(result.astype({"pairs": int}).set_index(by)[columns])


def alike(experiment: Experiment, **fields: Any) -> Experiment:
    """What runs have in common that differ in their seed, and in these fields."""
    return replace(experiment, seed=0, **fields)


def tuned(runs: pd.DataFrame, rates: Sequence[float] | None = None) -> pd.DataFrame:
    """The runs of each configuration at its best learning rate.

    Args:
        runs: of ``xtcq_book.frame.to_frame``, over several rates.
        rates: peak learning rates that all must have been run, the only ones that count; each configuration's own if
            left out.

    Returns:
        For every configuration that has at least one seed at all of the rates, all its runs at the rate whose mean of
        the best score over those seeds is highest.
    """
    chosen = []
    for _, group in runs.groupby(runs["experiment"].map(partial(alike, learning_rate=1.0)), sort=False):
        compared = list(rates or group["learning rate"].unique())
        scores = group.pivot(index="seed", columns="learning rate", values="best").reindex(columns=compared).dropna()
        if len(scores):
            chosen.append(group[group["learning rate"] == scores.mean().idxmax()])
    return pd.concat(chosen) if chosen else runs.iloc[:0]


def teachers(runs: pd.DataFrame) -> pd.DataFrame:
    """Teachers beside XTC's, one row for each metric of a task.

    Returns:
        Columns ``best``, ``last`` and ``paper``; for the primary metric what ``chance`` gives, whether the task is
        ``usable`` (the teacher is better than chance; no student is judged on another), and whether the score was still
        ``rising``: the last of several evaluations is the best, and longer training might help; and the ``Records``.
    """
    cells = _cells(runs, [], {"paper": lambda _: PAPER_TEACHER})
    learned = [has_learned(task_spec(name), best) for name, best in zip(cells["name"], cells["best"], strict=True)]
    rising = [len(record.evaluations) > 2 and record.best == record.last for record in cells["record"]]
    said = {"usable": learned, "rising": rising}
    for name, values in said.items():
        cells[name] = np.where(cells["primary"], np.where(values, "yes", "no"), "")
    return cells.set_index(["task", "metric"])[["best", "last", "paper", "chance", "usable", "rising", "Records"]]


def show(
    frame: pd.DataFrame,
    caption: str,
    precision: int = 1,
    digits: Mapping[str, int | str] | None = None,
    source: Source | None = None,
) -> HTML:
    """A table for the page: learning rates as printed, a dash where there is no value, and where it comes from.

    A key that is the same in every row is said once, in the caption, as is that the paper has none of the rows: a phone
    has no room for it.

    Args:
        frame: the table. A column ``Records`` becomes links to them, and is the source.
        caption: what stands above it; names the scale of each column.
        precision: decimals of its numbers.
        digits: other decimals, or a format such as ``"{:.3g}"``, by column.
        source: of a table without that column, see ``xtcq_book.provenance``.

    Raises:
        ValueError: a table that does not say where it comes from.
    """
    if source is None and "Records" in frame:
        source = [record for of_row in frame["Records"] for record in of_row]
    source = stated(source, f"table «{caption}»")
    empty = [name for name in frame if frame[name].isna().all() and (name in _NOISE or str(name).startswith("paper"))]
    frame = frame.drop(columns=empty)
    if len(frame) and set(empty) - set(_NOISE):
        caption += " The paper has no such row."
    levels = {name: frame.index.unique(name) for name in frame.index.names}
    constant = {name: values[0] for name, values in levels.items() if len(values) == 1}
    if constant and len(constant) < len(levels):
        said = {name: as_text(value) for name, value in constant.items()}
        # A mean says what it is a mean of, and has no metric of its own.
        named = [text if text.startswith(_MEAN) else f"{name} {text}" for name, text in said.items() if text]
        caption += f" Every row: {', '.join(named)}."
        frame = frame.droplevel(list(constant))
    frame, means = _short_means(frame)
    caption += means
    if frame.empty:
        caption += " It is empty: no Record here has such a value."
    decimals = dict.fromkeys(frame.select_dtypes("float"), precision) | dict(digits or {})
    # Nothing that is rounded to zero has a sign.
    formats: dict[Any, Any] = {
        name: f"{{:z.{how}f}}" if isinstance(how, int) else how for name, how in decimals.items()
    } | {"Records": links}
    # The same table has the same name whenever it is made; no rule below is for a single cell.
    name = hashlib.sha256(caption.encode()).hexdigest()[:6]
    style = Styler(frame, uuid=name, cell_ids=False, caption=caption, precision=precision, na_rep="–")
    style = style.format(formats, na_rep="–", subset=[name for name in formats if name in frame])
    style = style.set_table_styles([{"selector": "tbody th", "props": "white-space: nowrap"}])
    for level, name in enumerate(frame.index.names):
        if name == "learning rate":
            style = style.format_index(as_text, level=level)
    return under(style, source)


def _gathered(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that have a label in common stand together, labels in the order in which they come; rates from low to high.

    A grid goes through its values as it was written, and a reader looks down a column.
    """
    places = [
        level if name == "learning rate" else pd.factorize(level)[0]
        for name in frame.index.names
        for level in [frame.index.get_level_values(name)]
    ]
    return frame.iloc[np.lexsort(places[::-1])]


def _short_means(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table with short names for its means over tasks, and the sentence that says which tasks those are."""
    values = {value for name in frame.index.names for value in frame.index.unique(name)}
    short = {text: text.partition(":")[0] for text in sorted(map(str, values)) if text.startswith(_MEAN)}
    if len(set(short.values())) < len(short):  # over equally many tasks, and not the same
        return frame, ""
    return frame.rename(index=short), "".join(f" {text[0].upper()}{text[1:]}." for text in short)


def _cells(runs: pd.DataFrame, keys: Sequence[str], places: Mapping[str, Place | None]) -> pd.DataFrame:
    """One row for each task, value of the keys and metric: means over seeds, and what the paper prints there."""
    runs = runs.sort_values("task", key=lambda tasks: pd.Series(pd.factorize(tasks)[0], tasks.index), kind="stable")
    for _, group in runs.groupby(["task", *keys], sort=False):
        if len(differing := set(map(alike, group["experiment"]))) > 1:
            listed = "; ".join(sorted(map(str, differing)))
            raise ValueError(
                f"the keys {list(keys)} do not tell these runs apart: {listed}. Name what differs as a key."
            )
    scores = [
        run
        | {"metric": metric, "primary": metric == run["metric"], "yours": "yes" if is_yours(run["record"]) else ""}
        | {score: getattr(run["record"], score)[metric] for score in ("best", "last")}
        | {"name": run["experiment"].task, "level": run["reference"].best[metric] if run["reference"] else math.nan}
        for run in runs.to_dict("records")
        for metric in sorted(run["record"].best, key=lambda name: name != run["metric"])
    ]
    columns = dict.fromkeys([*runs, "primary", "yours", "name", "level"])
    same = ["name", "experiment", "record", "primary", "nominal MiB", "packed MiB", "standard error", "chance"]
    summary: dict[str, tuple[str, Any]] = {name: (name, "first") for name in same} | {"Records": ("record", tuple)}
    summary |= {name: (name, _mean) for name in ("best", "last", "level")} | {"yours": ("yours", "max")}
    summary |= {"seeds": ("best", "size"), "± seeds": ("best", _deviation), "teachers": ("taught", "nunique")}
    grouped = pd.DataFrame(scores, columns=list(columns)).groupby(["task", *keys, "metric"], sort=False)
    cells = grouped.agg(**summary).reset_index()
    cells["minus teacher"] = cells["best"] - cells["level"]
    cells.loc[~cells["primary"].astype(bool), ["standard error", "chance"]] = math.nan
    for name, place in places.items():
        cells[f"row of {name}"] = [place(experiment) if place else None for experiment in cells["experiment"]]
        printed = zip(cells[f"row of {name}"], cells["name"], cells["metric"], strict=True)
        cells[name] = [paper_score(*row, task, metric) if row else math.nan for row, task, metric in printed]
    numbers = ["best", "last", "± seeds", "minus teacher", *same[4:], *places]
    return cells.astype(dict.fromkeys(numbers, float) | {"primary": bool, "seeds": int})


def _mean(values: pd.Series) -> float:
    """Where one is missing the mean is missing."""
    return float(values.to_numpy(float).mean())


def _deviation(values: pd.Series) -> float:
    return float(values.to_numpy(float).std()) if len(values) > 1 else math.nan


def _over_tasks(
    cells: pd.DataFrame, keys: list[str], ours: list[str], papers: list[str], *, fewest: int = 2, smallest: str = ""
) -> pd.DataFrame:
    """Means of the numbers of XTC's "Avg." over so many tasks or more: those of which the paper prints all, or all.

    Of the column ``smallest`` a mean has the smallest number of its tasks.
    """
    rows = []
    cells = cells[cells["name"].isin(GLUE_NUMBERS)]
    for values, group in cells.groupby(keys, sort=False) if keys else [((), cells)]:
        further = [
            metric not in GLUE_NUMBERS[name] for name, metric in zip(group["name"], group["metric"], strict=True)
        ]
        complete = (group[papers[0]].notna() | np.array(further)).groupby(group["name"]).transform("all")
        group = group[complete] if complete.any() else group
        tasks = {title: of_task for title, of_task in group.groupby("task", sort=False)}
        if len(tasks) < fewest:
            continue
        whole = len(tasks) == len(GLUE_NUMBERS)
        what = f"mean of {len(tasks)} tasks: {', '.join(tasks)}" if len(tasks) > 1 else f"{next(iter(tasks))} alone"
        what = "GLUE average" if whole else what
        row = dict(zip(keys, values, strict=True)) | {"average": what}
        for name in (*ours, *papers):
            numbers = {one["name"].iloc[0]: dict(zip(one["metric"], one[name], strict=True)) for one in tasks.values()}
            row[name] = glue_average(numbers)
        for name in papers if whole else ():
            if len(places := set(group[f"row of {name}"])) == 1 and (place := places.pop()):
                found = arithmetic.table(place[0])
                row[name] = found.value(place[1], "Avg.") if found.has(place[1], "Avg.") else row[name]
        row["Records"] = tuple(records_of(chain.from_iterable(group["Records"])))
        rows.append(row | ({smallest: group[smallest].min()} if smallest else {}))
    return pd.DataFrame(rows, columns=[*keys, "average", *ours, *papers, *([smallest] if smallest else []), "Records"])


def _only(values: pd.Series) -> Any:
    """The first value if all are the same, else nothing: pairs at several rates have no single row of the paper."""
    return values.iloc[0] if values.nunique(dropna=False) == 1 else None
