"""What a chapter found, in sentences whose every number comes from Records."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
from IPython.display import Markdown

from xtcq.study.experiment import Experiment
from xtcq.study.gathering import full_teachers
from xtcq.study.records import OLD_SCHEMA, Record, history_frame, to_frame
from xtcq.study.students import is_trained
from xtcq.tasks import chance_level, has_learned, standard_error, task_spec
from xtcq_book import labels
from xtcq_book.labels import Label, as_text
from xtcq_book.scores import PAPER_TEACHER, paper_score, tuned


def bullets(lines: Iterable[str], otherwise: str = "None of these runs has a Record.") -> Markdown:
    """A list of sentences for the page.

    Args:
        lines: the sentences.
        otherwise: what is said where there is none.

    Returns:
        An object that a notebook renders.
    """
    return Markdown("\n".join(f"- {line}" for line in lines) or otherwise)


def teachers(records: list[Record]) -> Markdown:
    """Whether each teacher has learned its task and had finished, and how it stands to the paper's.

    Args:
        records: Records of teachers.

    Returns:
        A list of sentences.
    """
    lines = []
    points = history_frame(records)
    for row in to_frame(records).itertuples():
        curve = points.loc[points["task"] == row.task, "score"].to_list()
        line = f"**{row.task}**: best {row.score:.1f}, last {row.last:.1f} ({row.metric})"
        paper = paper_score(*PAPER_TEACHER, row.task)
        if not math.isnan(paper):
            line += f", {row.score - paper:+.1f} points from BERT-base"
        if len(curve) > 2 and curve[-1] == max(curve):
            line += "; the last evaluation is the best one, so longer training might help"
        if not has_learned(task_spec(row.task), row.score):
            line += ". **No better than chance: the task is unusable at this scale, and no student is judged on it**"
        lines.append(line + ".")
    return bullets(lines)


def kd_stages(students: list[Record], teachers: list[Record]) -> Markdown:
    """Which plan won, by how much, and how much of that is within the noise of the development set.

    Args:
        students: Records of students, possibly over several learning rates.
        teachers: Records of their teachers.

    Returns:
        A list of sentences.
    """
    if not students:
        return bullets([])
    frame, chosen = to_frame(students), to_frame(tuned(students))
    reference = to_frame(teachers).set_index("task")["score"]
    lines = []
    for (task, precision), group in chosen.groupby(["task", "precision"], sort=False):
        plans = group.groupby("stages", sort=False)
        means = plans[["learning_rate", "metric"]].first().assign(score=plans["score"].mean(), seeds=plans.size())
        best = means["score"].idxmax()
        top = means.loc[best]
        line = (
            f"**{task}, {precision}**: the best student is {best} at learning rate {top.learning_rate:g} with "
            f"{top.score:.1f} ({top.metric}{f', mean of {top.seeds} seeds' if top.seeds > 1 else ''})"
        )
        if task in reference:
            line += f", {top.score - reference[task]:+.1f} points from its teacher"
        others = means["score"].drop(index=["one-stage"], errors="ignore")
        if "one-stage" in means.index and len(others):
            gap = means.loc["one-stage", "score"] - others.max()
            line += f"; one stage is {gap:+.1f} points from the better of the others ({others.idxmax()})"
        lines.append(line + "." + _noise(task, top))
    counts = [
        ("learning rate", frame["learning_rate"].nunique()),
        ("seed", frame["seed"].nunique()),
        ("budget", frame.groupby("task")["epochs"].nunique().max()),
    ]
    rates, seeds, budgets = (f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts)
    lines.append(f"This is {rates}, {seeds} and {budgets}: a difference within the noise decides nothing.")
    return bullets(lines)


def effects(students: list[Record], of: Label, base: Any, by: Label | None = None, name: str = "{}") -> Markdown:
    """What each value of a label gains or loses against one of them, over pairs of runs that are otherwise alike.

    Args:
        students: Records.
        of: what is compared, for example ``labels.rank``.
        base: the value that the others are compared with.
        by: split by this as well, for example ``labels.width``.
        name: how a value is written, for example ``"rank {}"``.

    Returns:
        One sentence for each task, value and value of ``by``: the mean difference in points over all pairs with the
        same seed, learning rate and length, its range, and the standard error of one score.

    Raises:
        ValueError: if runs with the same labels differ in more than seed, learning rate and length.
    """
    lines = []

    def named(value: Any) -> str:
        return name.format(as_text(value))

    frame = to_frame(students).assign(
        task_name=[labels.task(record.experiment) for record in students],
        of=[of(record.experiment) for record in students],
        by=[by(record.experiment) if by else "" for record in students],
    )
    for (task, group_by), group in frame.groupby(["task_name", "by"], sort=False):
        runs = group.set_index(["learning_rate", "seed", "epochs", "of"])["score"]
        if not runs.index.is_unique:
            raise ValueError(f"runs of {task} {group_by} differ in more than the label: split them by another one.")
        scores = runs.unstack("of")
        for value in [value for value in group["of"].unique() if value != base and base in scores]:
            differences = (scores[value] - scores[base]).dropna()
            if differences.empty:
                continue
            where = f"**{task}{f', {group_by}' if group_by != '' else ''}**"
            line = f"{where}: {named(value)} is {differences.mean():+.1f} points from {named(base)}"
            if len(differences) > 1:
                line += f" (mean of {len(differences)} pairs, {differences.min():+.1f} to {differences.max():+.1f})"
            lines.append(line + ".")
    frame = frame.drop_duplicates("task").set_index("task")
    lines += [f"{row.task_name}:{noise}" for key, row in frame.iterrows() if (noise := _noise(key, row))]
    return bullets(lines, "No two of these runs differ in this alone.")


def spreads(students: list[Record], by: Label) -> Markdown:
    """How far the score of one configuration moves with its seed.

    Args:
        students: Records over several seeds.
        by: what tells configurations apart, besides the task.

    Returns:
        One sentence for each task and configuration with more than one seed, and the largest deviation of each task.
    """
    lines = []
    frame = to_frame(students).assign(
        task_name=[labels.task(record.experiment) for record in students],
        by=[by(record.experiment) for record in students],
    )
    for name, of_task in frame.groupby("task_name", sort=False):
        deviations = {}
        for configuration, group in of_task.groupby("by", sort=False):
            if len(group) > 1:
                deviations[configuration] = group["score"].std(ddof=0)
                lines.append(
                    f"**{name}, {configuration}**: {group['score'].mean():.1f} ± {deviations[configuration]:.1f} over "
                    f"{len(group)} seeds, from {group['score'].min():.1f} to {group['score'].max():.1f}."
                )
        if deviations:
            widest = max(deviations, key=deviations.get)
            lines.append(f"{name} moves most with {widest}.{_noise(of_task['task'].iloc[0], of_task.iloc[0])}")
    return bullets(lines, "No configuration was run with more than one seed.")


def missing(grid: list[Experiment], records: list[Record]) -> Markdown:
    """Say what a page lacks: cells of its grid that were not run, and teachers; and what of it is old.

    Args:
        grid: what the chapter asks for.
        records: what there is, of the grid and of its teachers.

    Returns:
        A sentence on the cells, one on the teachers if one is missing, both with the experiments, and `earlier`.
    """
    there = {record.experiment for record in records}
    cells = [experiment for experiment in grid if experiment not in there]
    teachers = [teacher for teacher in full_teachers(grid) if teacher not in there]
    parts = [f"All {len(grid)} cells of the grid were run." if grid else "The grid has no cell."]
    if cells:
        parts = [f"{len(cells)} of {len(grid)} cells of the grid were not run:", _folded(cells)]
    if teachers:
        what = "Left out is what is measured against teachers that were not trained:"
        parts += [what, _folded(teachers)]
    return Markdown("\n\n".join(part for part in (*parts, earlier(records).data) if part))


def without_weights(experiments: Iterable[Experiment]) -> Markdown:
    """Say which trained models a page would load and cannot: their weights are not published with their Records.

    Args:
        experiments: whose weights are needed.

    Returns:
        A sentence with the experiments, nothing if all are there.
    """
    lacking = [experiment for experiment in dict.fromkeys(experiments) if not is_trained(experiment)]
    if not lacking:
        return Markdown("")
    what = "Left out is what needs trained weights that are not on this machine; `train=True` trains them:"
    return Markdown(f"{what}\n\n{_folded(lacking)}")


def earlier(records: list[Record]) -> Markdown:
    """Mark results of the earlier edition, whose students were short and were scored by another rule.

    Args:
        records: all Records that a page draws from.

    Returns:
        One line, nothing if no Record is old.
    """
    old = [record for record in records if record.schema == OLD_SCHEMA]
    steps = {record.history[-1]["step"] for record in old if record.experiment.teacher is not None}
    if not old:
        return Markdown("")
    students = f"students of {_range(steps)} optimizer steps" if steps else "runs"
    return Markdown(
        f"> **Earlier edition:** {len(old)} of {len(records)} Records behind this page come from the earlier edition: "
        f"{students} under an earlier rule of scoring; no verdict is computed from them."
    )


def _folded(experiments: list[Experiment], most: int = 6) -> str:
    """A list of experiments, which a reader opens where it is longer than a few lines."""
    lines = bullets(map(str, experiments)).data
    return lines if len(experiments) <= most else f"<details><summary>which</summary>\n\n{lines}\n\n</details>"


def _range(numbers: set[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least}" if least == most else f"{least} to {most}"


def _noise(task: str, row: pd.Series) -> str:
    """What an accuracy on the development set is worth: its standard error, and what no learning gives."""
    spec = task_spec(task)
    if row.metric != "accuracy":
        return ""
    examples, error = spec.rows[spec.evaluation_splits[0]], standard_error(spec, row.score)
    noise = f" One standard error of an accuracy on its {examples} development examples is {error:.1f} points"
    if (level := chance_level(spec)) is None:
        return noise + "."
    return noise + f"; always answering the most frequent class gives {level:.1f}."
