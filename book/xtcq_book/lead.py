"""The book's first picture: what students lose against their teacher, over the bytes of their file.

Everywhere here ``runs`` are those of `students`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import altair as alt
import pandas as pd

from xtcq.quantization.cost import MB, MIB
from xtcq.study import full_teachers, load_profile, stored
from xtcq_book.arithmetic import table
from xtcq_book.chapters.cost import printed_sizes
from xtcq_book.columns import as_text, between, scale
from xtcq_book.frame import of_scale, to_frame
from xtcq_book.interactive import COLOURS, INK, html, still
from xtcq_book.panels import joined
from xtcq_book.paper_scores import PAPER_TEACHER
from xtcq_book.scores import tuned

# Where its files lie.
FOLDER = "book/_static/lead"
# What makes two runs the same recipe on two tasks; the learning rate is tuned for each task, and seeds are a sample.
RECIPE = ["layers", "W-E-A", "T-K-P", "recipe", "plan", "LoRA rank", "augmentation", "teacher", "begun with", "widths"]
RECIPE += ["exploration", "learns from", "planned steps"]
_HUES = [COLOURS["orange"], COLOURS["blue"], COLOURS["green"], COLOURS["pink"]]
# Sideways, so that the tasks of a recipe do not hide one another: they have the same size.
_SPREAD = 0.05
_ENOUGH = 3  # tasks that a recipe is compared on, if any was run on so many
# What the marks are.
_MARKS = [
    "◆ recipe, mean over shared tasks   ● student: MiniLM-L6",
    "grey: BERT-base in the papers   ○ printed   ● as a file",
]
_SIZES = [2, 3, 4, 5, 7, 10, 15, 20, 30, 40]


def students(profile: str = "mini") -> pd.DataFrame:
    """Every quantized student of a scale, at the best of its learning rates.

    Returns:
        Rows of ``xtcq_book.frame.to_frame``, one a seed, with ``digest``. Where widths were learned ``W-E-A`` says so,
        and ``bits`` are the mean of the weights' over the recipe, rounded.
    """
    scale = load_profile(profile)
    taught = [record for record in of_scale(scale) if record.experiment.teacher is not None]
    chosen = [record for record in taught if record.experiment.quantization.precision.weights < 32]
    runs = to_frame(chosen, stored(full_teachers(record.experiment for record in chosen)), scale)
    runs = tuned(runs[runs["minus teacher"].notna()])
    found = [record.exploration for record in runs["record"]]
    precision = [f"learned from {p}" if search else str(p) for p, search in zip(runs["W-E-A"], found, strict=True)]
    bits = [search["mean_weights"] if search else b for b, search in zip(runs["bits"], found, strict=True)]
    digest = [experiment.digest for experiment in runs["experiment"]]
    runs = runs.assign(**{"W-E-A": precision, "bits": bits, "digest": digest})
    return runs.assign(bits=runs.groupby(RECIPE)["bits"].transform("mean").round().astype(int))


def shared_tasks(lost: pd.DataFrame) -> list[str]:
    """The tasks over which recipes are averaged: those of all recipes that were tried on three, or on the most.

    Args:
        lost: a row a recipe and a column a task, NaN where it was not run.
    """
    count = lost.notna().sum(axis=1)
    tried = lost[count >= min(_ENOUGH, count.max())] if len(lost) else lost
    return [task for task in lost if tried[task].notna().all()]


def recipes(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a recipe: what it loses, as the mean over the `shared_tasks` of the mean over their seeds.

    Returns:
        The columns `RECIPE` and ``bits``; ``minus teacher`` in points, NaN for a recipe that lacks one of these tasks;
        ``packed MiB``, the mean over its tasks, whose heads differ by a few bytes; and ``seeds``, the fewest and the
        most of a task.
    """
    keys = [*RECIPE, "bits"]
    grouped = runs.groupby([*keys, "task"], sort=False)
    lost = grouped["minus teacher"].mean().unstack("task")
    mean = lost[shared_tasks(lost)].mean(axis=1, skipna=False)
    seeds = grouped["seed"].nunique().groupby(level=keys, sort=False).agg(between)
    size = runs.groupby(keys, sort=False)["packed MiB"].mean()
    return pd.DataFrame({"minus teacher": mean, "packed MiB": size, "seeds": seeds}).reset_index()


def papers() -> pd.DataFrame:
    """The papers' students of BERT-base, each at the size that is printed and at that of a file.

    Returns:
        ``paper``, ``layers``, ``bits``; ``minus teacher``, the difference of two printed averages over GLUE; the MiB
        that are ``printed``, and those of a ``file``. AdaQAT-BERT does not print the widths of its matrices, so how
        large its file would be is not known.
    """
    return pd.DataFrame(_papers(), columns=["paper", "layers", "bits", "minus teacher", "printed", "file"])


def _papers() -> Iterator[tuple[Any, ...]]:
    teacher = table(PAPER_TEACHER[0]).value(PAPER_TEACHER[1], "Avg.")
    rows = {(layers, bits): ("xtc-c8", f"XTC-BERT{layers} | {bits}") for bits in (1, 2) for layers in (4, 5, 6)}
    rows[12, 1] = "xtc-c2", "Budget-C | One-Stage | Best (above)"
    rows[12, 2] = "xtc-c3", "Budget-C | One-Stage | 2e-5"
    sizes = printed_sizes().xs(0, level="LoRA rank")
    for (layers, bits), (name, row) in rows.items():
        size = sizes.loc[layers, bits]
        yield "XTC", layers, bits, table(name).value(row, "Avg.") - teacher, size["printed"], size["packed"]
    learned, full, base = table("adaqat-t4"), table("adaqat-t3"), "BERT_BASE | FP32"
    cells = [(row, name) for row in learned.rows for name in learned.metrics(row) if full.has(base, name)]
    lost = [learned.value(*cell) - full.value(base, cell[1]) for cell in cells if cell[1] != "Size MB"]
    size = fmean(learned.value(row, "Size MB") for row in learned.rows) * MB / MIB
    yield "AdaQAT-BERT", 12, math.nan, fmean(lost), size, math.nan


def chart(runs: pd.DataFrame) -> alt.LayerChart:
    """The picture: every student a dot that leads to its Record, with a bar over the seeds of a task.

    Recipes are diamonds; in grey stands what the papers print.
    """
    x = alt.X("MiB:Q", title="size of the model (MiB)", scale=alt.Scale(type="log", domain=[1.8, 44], nice=False))
    y = alt.Y("lost:Q", title="points against its full-precision teacher", scale=alt.Scale(nice=False, padding=12))
    encoded = {"x": x.axis(values=_SIZES, grid=False), "y": y}
    teacher = alt.Chart(pd.DataFrame({"lost": [0], "MiB": [1.9], "text": ["the teacher, 32 bits"]}))
    level = teacher.mark_rule(strokeDash=[4, 3], opacity=0.6, color="currentColor").encode(y=y)
    named = teacher.mark_text(align="left", dy=-8, fontSize=11).encode(text="text", **encoded)
    layers = [level, named, *_of_papers(encoded), *(_of_students(runs, encoded) if len(runs) else ())]
    return alt.layer(*layers).properties(width=350, height=330, title=_MARKS)


def _of_papers(encoded: dict[str, Any]) -> Iterator[alt.Chart]:
    rows, grey = papers().rename(columns={"minus teacher": "lost"}), COLOURS["grey"]
    rows["what"] = rows["paper"] + rows["bits"].map({1: ", 1 bit", 2: ", 2 bits"}).fillna("")
    points = rows.melt(["what", "layers", "lost"], ["printed", "file"], "size", "MiB").dropna(subset="MiB")
    shown = ["what", "layers", "size", alt.Tooltip("MiB:Q", format=".1f"), alt.Tooltip("lost:Q", format="+.2f")]
    base = alt.Chart(points).encode(**encoded, tooltip=shown)
    dashes = alt.Scale(domain=["file", "printed"], range=[[1, 0], [2, 3]])
    dash = alt.StrokeDash("size:N", scale=dashes, legend=None)
    yield base.mark_line(color=grey, opacity=0.7).encode(detail="what:N", strokeDash=dash, order="layers:Q")
    fill = alt.condition("datum.size == 'file'", alt.value(grey), alt.value("transparent"))
    yield base.mark_point(stroke=grey, size=35, strokeWidth=1.5, opacity=1).encode(fill=fill)
    lowest = points[points["size"] == "file"].sort_values("lost").groupby("what").head(1)
    yield alt.Chart(lowest).mark_text(color=grey, dy=15, fontSize=11).encode(text="what", **encoded)
    learned = alt.Chart(points[points["what"] == "AdaQAT-BERT"])
    yield learned.mark_text(color=grey, align="right", dx=18, dy=15, fontSize=11).encode(text="what", **encoded)
    ends = points[(points["what"] == "XTC, 1 bit") & (points["size"] == "printed") & points["layers"].isin([4, 12])]
    ends = ends.assign(what=ends["layers"].map("{} layers".format))
    for depth, place in ((4, {"dy": 13}), (12, {"dx": -7, "align": "right"})):
        end = alt.Chart(ends[ends["layers"] == depth])
        yield end.mark_text(color=grey, fontSize=10, **place).encode(text="what", **encoded)


def _of_students(runs: pd.DataFrame, encoded: dict[str, Any]) -> Iterator[alt.Chart]:
    names = {bits: "1 bit" if bits == 1 else f"{bits} bits" for bits in sorted(set(runs["bits"]))}
    colour = alt.Color("bits:N", scale=alt.Scale(domain=list(names.values()), range=_HUES[: len(names)]), legend=None)
    tasks = list(dict.fromkeys(runs["task"]))
    aside = {task: 1 + _SPREAD * (2 * i / max(1, len(tasks) - 1) - 1) for i, task in enumerate(tasks)}
    dots = runs[["task", "W-E-A", "layers", "plan", "seed", "steps"]].assign(
        MiB=runs["packed MiB"] * runs["task"].map(aside),
        lost=runs["minus teacher"],
        bits=runs["bits"].map(names),
        recipe=joined(runs, *RECIPE),
        rate=runs["learning rate"].map(as_text),
        score=runs["best"].round(1),
        file=runs["packed MiB"].map("{:.2f} MiB".format),
        Record="book/records/" + runs["digest"] + ".json",
    )
    over = alt.selection_point(on="pointerover", fields=["recipe"], name="over", empty=True)
    base = alt.Chart(dots).encode(color=colour, opacity=alt.condition(over, alt.value(0.75), alt.value(0.12)))
    bars = base.transform_aggregate(low="min(lost)", high="max(lost)", groupby=["MiB", "recipe", "bits"])
    yield bars.mark_rule(strokeWidth=1.5).encode(x=encoded["x"], y="low:Q", y2="high:Q")
    points = alt.Tooltip("lost:Q", title="points", format="+.2f")
    shown = [points, "task", "score", "W-E-A", "layers", "plan", "rate", "seed", "steps", "file"]
    yield base.mark_circle(size=28, cursor="pointer").encode(**encoded, href="Record:N", tooltip=shown).add_params(over)

    means = recipes(runs).dropna(subset="minus teacher").rename(columns={"packed MiB": "MiB", "minus teacher": "lost"})
    means["bits"] = means["bits"].map(names)
    diamond = {"shape": "diamond", "size": 110, "filled": True, "stroke": "currentColor", "strokeWidth": 1}
    mean = alt.Tooltip("lost:Q", title="mean over shared tasks", format="+.2f")
    ours = alt.Chart(means[["MiB", "lost", "bits", "layers", "plan", "W-E-A", "seeds"]])
    ours = ours.mark_point(**diamond).encode(tooltip=[mean, "W-E-A", "layers", "plan", "seeds"])
    yield ours.encode(**encoded, color=colour)
    # A name for every size, at its best recipe.
    best = means.sort_values("lost").groupby(["bits", "layers"]).tail(1)
    best = best.assign(name=best["bits"] + "\n" + best["layers"].str.removeprefix("all ") + " layers")
    for one_bit, align, dx in ((True, "right", -14), (False, "left", 14)):
        named = alt.Chart(best.loc[(best["bits"] == "1 bit") == one_bit, ["MiB", "lost", "bits", "name"]])
        named = named.mark_text(align=align, dx=dx, dy=-7, lineBreak="\n", fontWeight="bold", fontSize=11)
        yield named.encode(**encoded, text="name", color=colour)


def scale_of(runs: pd.DataFrame) -> str:
    """What the students of some runs are: encoder, tasks, steps and seeds, for the sentence that tells a result."""
    if runs.empty:
        return "no student has a Record"
    seeds = runs.groupby([*RECIPE, "task"])["seed"].nunique()
    return scale(runs["encoder"], runs["task"], runs["steps"], seeds)


def page(runs: pd.DataFrame) -> str:
    """The picture for the landing page, as HTML with the scale of what it shows."""
    said = scale_of(runs)
    shared = shared_tasks(runs.groupby([*RECIPE, "task"], sort=False)["minus teacher"].mean().unstack("task"))
    caption = (
        f"Students of this book: {said}, each at the best of its learning rates. A bar spans the seeds of a task, and "
        f"a dot leads to its Record. A diamond is the mean over {', '.join(shared) or 'no task'}; recipes that lack "
        "one of these have none. The papers: averages over GLUE, one seed."
    )
    says = (
        f"Points lost against the full-precision teacher over the size of the model in MiB, for {len(runs)} students "
        f"({said}), beside the papers' students of BERT-base at their printed size and at that of a file. The table "
        "of the chapter «Which recipe for which budget» has the same numbers."
    )
    return html(chart(runs), "lead", says, caption)


def files(runs: pd.DataFrame) -> dict[str, str]:
    """Every file of the picture, by its name in `FOLDER`: the landing page's, and two still ones."""
    picture = chart(runs)
    return {"lead.html": page(runs) + "\n"} | {f"{theme}.svg": still(picture, ink) + "\n" for theme, ink in INK.items()}
