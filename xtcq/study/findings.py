"""What a chapter found, in sentences whose every number comes from Records."""

from __future__ import annotations

import math

import pandas as pd
from IPython.display import Markdown

from xtcq.study.beside import PAPER_TEACHER, paper_score
from xtcq.study.experiment import Experiment
from xtcq.study.records import Record, history_frame, to_frame
from xtcq.tasks import task_spec


def teachers(records: list[Record]) -> Markdown:
    """Whether each teacher had finished learning, and how it stands to the paper's.

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
        lines.append(line + ".")
    return Markdown(_list(lines))


def kd_stages(students: list[Record], teachers: list[Record]) -> Markdown:
    """Which plan won, by how much, and how much of that is within the noise of the development set.

    Args:
        students: Records of students, possibly over several learning rates.
        teachers: Records of their teachers.

    Returns:
        A list of sentences.
    """
    frame = to_frame(students)
    reference = to_frame(teachers).set_index("task")["score"]
    lines = []
    for (task, precision), group in frame.groupby(["task", "precision"], sort=False):
        tuned = group.loc[group.groupby("stages", sort=False)["score"].idxmax()].set_index("stages")
        best = tuned["score"].idxmax()
        top = tuned.loc[best]
        line = (
            f"**{task}, {precision}**: the best student is {best} at learning rate {top.learning_rate:g} with "
            f"{top.score:.1f} ({top.metric}), {top.score - reference[task]:+.1f} points from its teacher"
        )
        others = tuned["score"].drop(index=["one-stage"], errors="ignore")
        if "one-stage" in tuned.index and len(others):
            gap = tuned.loc["one-stage", "score"] - others.max()
            line += f"; one stage is {gap:+.1f} points from the better of the others ({others.idxmax()})"
        lines.append(line + "." + _noise(task, top))
    counts = [
        ("learning rate", frame["learning_rate"].nunique()),
        ("seed", frame["seed"].nunique()),
        ("budget", frame.groupby("task")["epochs"].nunique().max()),
    ]
    rates, seeds, budgets = (f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts)
    lines.append(f"This is {rates}, {seeds} and {budgets}: a difference within the noise decides nothing.")
    return Markdown(_list(lines))


def missing(grid: list[Experiment], records: list[Record]) -> Markdown:
    """Say which cells of a grid were not run.

    Args:
        grid: what the chapter asks for.
        records: what there is.

    Returns:
        One sentence, and the missing experiments if there are any.
    """
    there = {record.experiment for record in records}
    open_cells = [str(experiment) for experiment in grid if experiment not in there]
    if not open_cells:
        return Markdown(f"All {len(grid)} cells of the grid were run.")
    return Markdown(f"{len(open_cells)} of {len(grid)} cells of the grid were not run:\n\n" + _list(open_cells))


def _noise(task: str, row: pd.Series) -> str:
    """What an accuracy on the development set is worth: its standard error (binomial), and what no learning gives."""
    if row.metric != "accuracy":
        return ""
    spec = task_spec(task)
    examples = spec.rows[spec.evaluation_splits[0]]
    share = row.score / 100
    error = 100 * math.sqrt(share * (1 - share) / examples)
    noise = f" One standard error of an accuracy on its {examples} development examples is {error:.1f} points"
    if spec.majority is None:
        return noise + "."
    return noise + f"; always answering the most frequent class gives {100 * spec.majority / examples:.1f}."


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
