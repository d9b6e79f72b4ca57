"""What a chapter draws of its runs: scores over training, over learning rates, and side by side.

Everywhere here ``runs`` are rows of `xtcq_book.frame.to_frame`, ``hue`` is the column that tells lines apart, and
``by`` are the columns that name the panels, after the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from xtcq.distillation import Stage
from xtcq.tasks import standard_error
from xtcq.training import WARMUP
from xtcq_book.columns import as_text
from xtcq_book.drawing import Drawing, nothing, or_nothing, show, use_style
from xtcq_book.frame import evaluations
from xtcq_book.panels import METRIC_LABELS, colours, joined, legend_below, ordered, panels, references
from xtcq_book.scores import alike, tuned
from xtcq_book.svg import GREY, INK, WIDTH

__all__ = ["compare", "schedules", "score_over_rates", "score_over_steps", "show", "terms_over_steps", "use_style"]

_MARKERS = "osDP^vX*"
_BANDS = (
    "Bands: the range of the seeds; of a single seed and of the teacher, a standard error of the development score to "
    "either side (none is known for Matthews correlations)."
)


@or_nothing
def score_over_steps(runs: pd.DataFrame, hue: str = "plan", by: Sequence[str] = ("W-E-A",)) -> Drawing:
    """Development score against training cost, one line for runs that differ in their seed alone.

    The band is the range of the seeds, or where there is one the standard error of a score. Where a plan has several
    stages, a strip at the foot of the panel shows them. Cost is counted in optimizer steps: a step costs nearly the
    same in every plan, and the seconds of runs that shared a processor cannot be compared.
    """
    told, same = _varying_panels(runs, by)
    points = evaluations(runs).assign(panel=lambda points: joined(points, "task", *told))
    points["line"] = points["experiment"].map(alike)
    lines = spread(points, ["panel", hue, "line", "step", "stage"], "score")
    what = "training (optimizer steps)"
    grid = panels(lines, ["task", *told], "step", "score", hue, xlabel=what, units="line", estimator=None, band=True)
    shades = colours(lines[hue])
    for title, panel in lines.groupby("panel", sort=False):
        axes, strips = grid.axes_dict[title], 0
        axes.set_xlim(left=0)
        for (name, _), line in panel.groupby([hue, "line"], sort=False):
            ends = line.groupby("stage")["step"].max()
            if len(ends) > 1:
                _stages(axes, [0, *ends], shades[as_text(name)], strips)
                strips += 1
    columns = ["task", *by, hue, "step", "stage", "score", "low", "high", "seeds"]
    return Drawing(grid.figure, lines[list(dict.fromkeys(columns))], runs, same + _BANDS)


def _stages(axes: plt.Axes, ends: Sequence[int], shade: str, strip: int) -> None:
    """A strip at the foot of a panel, a rectangle a stage with its number."""
    place = {"transform": axes.get_xaxis_transform(), "zorder": 0.5}
    low = 0.01 + 0.085 * strip
    for number, (start, end) in enumerate(zip(ends, ends[1:], strict=False), start=1):
        axes.fill_between(
            [start, end], low, low + 0.075, color=shade, alpha=0.2 + 0.25 * (number % 2), linewidth=0, **place
        )
        axes.text(
            (start + end) / 2, low + 0.035, f"stage {number}", ha="center", va="center", fontsize=8, color=INK, **place
        )


@or_nothing
def terms_over_steps(runs: pd.DataFrame) -> Drawing:
    """The terms of the distillation loss over training, each in per cent of what it was when it was first written down.

    A plan with one stage has all of them from start to end. Nothing is drawn where no run has such terms.
    """
    points = [
        {"run": run, "term": term, "step": entry["step"], "share": 100 * entry[f"loss_{term}"] / first}
        for run, record in runs["record"].items()
        for term in ("hidden", "attention", "logits")
        if (first := next((entry[name] for entry in record.history if (name := f"loss_{term}") in entry), None))
        for entry in record.history
        if f"loss_{term}" in entry
    ]
    if not points:
        return nothing("Nothing to draw: none of these runs learns from hidden states, attentions or logits.")
    lines = pd.DataFrame(points).merge(runs, left_on="run", right_index=True)
    told, same = _varying_panels(runs, ["W-E-A"])
    what = {"xlabel": "training (optimizer steps)", "ylabel": "loss of a term (% of its first)"}
    grid = panels(lines, ["task", *told], "step", "share", "term", markers=False, **what)
    for axes in grid.axes_dict.values():
        axes.set(xlim=(0, None), ylim=(0, None))
    return Drawing(grid.figure, lines[["task", "W-E-A", "term", "step", "share"]], runs, same.strip())


def spread(runs: pd.DataFrame, keys: Sequence[str], score: str = "best") -> pd.DataFrame:
    """Means over seeds and how sure they are.

    Args:
        runs: one row a run, or a point of one, with its ``experiment``.
        keys: columns that are the same in runs that differ in their seed alone.
        score: column of their primary metric.

    Returns:
        The first row of each group with the mean ``score``, ``low`` and ``high``: the least and the most over seeds, of
        one seed the score less and plus its standard error where its metric has one; and the number of ``seeds``.
    """
    rows = []
    for _, group in runs.groupby(list(keys), sort=False):
        low, mean, high = group[score].agg(["min", "mean", "max"])
        if len(group) == 1:
            error = standard_error(group["experiment"].iloc[0].spec, mean) or 0
            low, high = mean - error, mean + error
        rows.append(group.iloc[0].to_dict() | {score: mean, "low": low, "high": high, "seeds": len(group)})
    return pd.DataFrame(rows)


@or_nothing
def schedules(plans: Mapping[str, Sequence[Stage]]) -> Drawing:
    """The learning rate of plans over their training, and which terms are summed when, as XTC's Figure 4 has it."""
    rows: list[dict[str, object]] = []
    for name, stages in plans.items():
        start, length = 0.0, sum(stage.epochs for stage in stages)
        for number, stage in enumerate(stages, start=1):
            share = 100 * stage.epochs / length
            what = {"plan": name, "stage": number, "terms": " + ".join(stage.terms)}
            corners = {start: 0.0, start + WARMUP * share: stage.lr_factor, start + share: 0.0}
            rows += [what | {"share": x, "learning rate": rate} for x, rate in corners.items()]
            start += share
    frame = pd.DataFrame(rows)
    axes_ = {"xlabel": "share of the training (%)", "ylabel": "learning rate (times the run's)"}
    grid = panels(frame, ["plan"], "share", "learning rate", "terms", style="terms", markers=False, share=None, **axes_)
    shades = colours(frame["terms"])
    for (name, terms), stage in frame.groupby(["plan", "terms"], sort=False):
        grid.axes_dict[name].fill_between(stage["share"], stage["learning rate"], color=shades[terms], alpha=0.2, lw=0)
    grid.set(xlim=(0, 100), ylim=(0, 1.1 * frame["learning rate"].max()))
    return Drawing(grid.figure, frame)


@or_nothing
def score_over_rates(runs: pd.DataFrame, hue: str = "plan", by: Sequence[str] = ("W-E-A",)) -> Drawing:
    """Best development score against the peak learning rate: means over seeds with the seeds as dots, see `spread`."""
    told, same = _varying_panels(runs, by)
    runs = runs.assign(panel=joined(runs, "task", *told))
    rates = sorted(runs["learning rate"].unique())
    means = spread(runs, ["panel", hue, "learning rate"])
    grid = panels(means, ["task", *told], "learning rate", "best", hue, xlabel="peak learning rate", band=True)
    for axes in grid.axes_dict.values():
        axes.set_xscale("log")
        axes.set_xlim(rates[0] / 1.3, rates[-1] * 1.3)
        axes.set_xticks(rates, map(as_text, rates), rotation=30 if len(rates) > 4 else 0)
        axes.minorticks_off()
    columns = list(dict.fromkeys(["task", *by, hue, "learning rate", "best", "low", "high", "seeds"]))
    return Drawing(grid.figure, means[columns], runs, same + _BANDS)


@or_nothing
def compare(runs: pd.DataFrame, across: str | Sequence[str], hue: str | Sequence[str], label: str) -> Drawing:
    """Best development score of what is compared, one panel a task and a row for each of its values.

    A dot is a mean over seeds, the bar through it as `spread` has it, and a grey line joins what stands in one row.
    Where runs differ in learning rate, those of the best rate are shown, see ``xtcq_book.scores.tuned``.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        across: columns that name the rows, in the order of the runs.
        hue: columns that tell the dots of a row apart.
        label: what the rows are.

    Raises:
        ValueError: if runs with the same labels differ in more than seed and learning rate.
    """
    across, hue = (_varying(runs, [names] if isinstance(names, str) else list(names)) for names in (across, hue))
    of = ", ".join(hue)
    rates = " Each at the best of its learning rates." if runs["learning rate"].nunique() > 1 else ""
    runs = runs.assign(row=ordered(joined(runs, *across)), **{of: ordered(joined(runs, *hue))})
    runs = tuned(runs)
    if runs.duplicated(["task", "row", of, "seed"]).any():
        raise ValueError("runs with the same labels differ in more than seed and learning rate: name what differs.")
    rows, shades = list(ordered(runs["row"]).cat.categories), colours(runs[of])
    means = spread(runs, ["task", "row", of])
    tasks = list(runs["task"].unique())
    wide, high = min(2, len(tasks)), 1.0 + 0.28 * len(rows) + 0.07 * len(rows) * len(shades)
    figure, grid = plt.subplots(
        -(-len(tasks) // wide), wide, squeeze=False, layout="constrained",
        figsize=(WIDTH * wide, high * -(-len(tasks) // wide)),
    )  # fmt: skip
    offsets = dict(zip(shades, np.linspace(-0.28, 0.28, len(shades)) if len(shades) > 1 else [0.0], strict=True))
    for axes, task in zip(grid.flat, tasks, strict=False):
        found = means[means["task"] == task]
        spec = found["experiment"].iloc[0].spec
        for row, compared in found.groupby("row", sort=False, observed=True):
            heights = rows.index(row) + compared[of].map(offsets).astype(float)
            axes.plot(compared["best"], heights, color=GREY, linewidth=0.8, zorder=1)
            for height, one in zip(heights, compared.to_dict("records"), strict=True):
                axes.plot([one["low"], one["high"]], [height] * 2, color=shades[one[of]], linewidth=2.4, alpha=0.35)
                axes.plot(one["best"], height, _MARKERS[list(shades).index(one[of]) % len(_MARKERS)],
                          color=shades[one[of]], label=one[of], zorder=3)  # fmt: skip
        teachers = {one.best[spec.primary_metric]: one for one in found["reference"].dropna()}.values()
        references(axes, spec, teachers, lowest=2 * found["best"].min() - found["best"].max(), across=True)
        axes.set_title(task, loc="left")
        axes.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
        axes.set(xlabel=METRIC_LABELS[spec.primary_metric], ylabel=fill(label, 24))
        axes.grid(visible=False, axis="y")
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    legend_below(figure, of)
    columns = dict.fromkeys(["task", *across, *hue, "learning rate", "best", "low", "high", "seeds"])
    return Drawing(figure, means[list(columns)], runs, _BANDS + rates)


def _varying_panels(runs: pd.DataFrame, by: Sequence[str]) -> tuple[list[str], str]:
    """The columns that panels are named by, and the sentence that says once what is the same in all of them."""
    same = {name: as_text(runs[name].iloc[0]) for name in by if runs[name].nunique() == 1}
    said = ", ".join(f"{name} {value}" for name, value in same.items())
    return [name for name in by if name not in same], f"Every panel: {said}. " if same else ""


def _varying(runs: pd.DataFrame, names: list[str]) -> list[str]:
    """Columns that tell runs apart; the first one if none does."""
    return [name for name in names if runs[name].nunique() > 1] or names[:1]
