"""The comparison of allocators: its students, its table and figures, and what they gain."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML

from xtcq.study import Profile
from xtcq.study.experiment import Experiment
from xtcq_book import columns, scores
from xtcq_book.allocators import choices
from xtcq_book.allocators.space import LEAST, uniform
from xtcq_book.arithmetic import adaqat_model
from xtcq_book.arithmetic import table as printed
from xtcq_book.drawing import Drawing, nothing, or_nothing
from xtcq_book.panels import colours, panels
from xtcq_book.paper_scores import paper_score
from xtcq_book.provenance import Source
from xtcq_book.svg import GREY

# What a reader calls a method. Figures give colours and marks in this order, so that they mean the same everywhere.
NAMES = {
    "uniform": "uniform",
    "random": "random",
    "fisher": "sensitivity (Fisher)",
    "hessian": "sensitivity (Hessian)",
    "fracbits": "FracBits",
    "adaqat": "AdaQAT",
}
_CHOSEN = ("random", "fisher", "hessian", "fracbits")
# Methods, budgets and factors of AdaQAT's pressure that a profile compares unless a notebook says otherwise.
_FULL = (tuple(NAMES), (8.0, 12.0, 16.0), (0.5, 1.0, 2.0))
_SCALES = {"demo": (("uniform", "fracbits"), (8.0,), (1.0,))}
COSTS = ("explored steps", "extra passes", "seconds")
_COMPARED = ("at the budget", "at the BitOPs")
_BASE = "BERT_BASE | FP32"
# Tasks made of SQuAD's validation splits, beside the release that they are of.
_SQUAD = {"squad-articles": "squad1", "squad2-articles": "squad2"}


@dataclass(frozen=True)
class Choice:
    """How a student got its widths.

    Attributes:
        method: as ``NAMES`` writes it.
        asked: the budget that the method was given, in bits squared, or AdaQAT's pressure on weights.
        cost: optimizer steps of exploration, passes over a batch beside them, and seconds of both; what AdaQAT needed
            stands in its Record.
    """

    method: str
    asked: str
    cost: tuple[int, int, float] = (0, 0, 0.0)


def students(
    profile: Profile,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    budgets: Sequence[float] = (),
    factors: Sequence[float] = (),
    seeds: Sequence[int] = (42,),
    length: str = "",
) -> dict[Experiment, Choice]:
    """The grid of the comparison: every method at every budget, and AdaQAT at several pressures.

    A budget of two bits for everything is asked of uniform widths alone. Where widths were not found yet, see `find`,
    a student is left out. Of two choices of the same widths, which are one student, the first one names it.

    Args:
        profile: the scale; gives what is left empty.
        tasks: names of tasks.
        methods: keys of ``NAMES``.
        budgets: mean bits squared per weight; a uniform student takes the widest pair within it.
        factors: of AdaQAT's pressure, see ``Profile.learned``.
        seeds: of students, and of a random choice and the data of a sensitivity.
        length: of all students, one of the profile's; that of its learned widths if left out.

    Returns:
        The experiments, all of one length.

    Raises:
        ValueError: a method unknown, or a budget below what two bits cost.
    """
    methods, budgets, factors = _scale(profile, methods, budgets, factors)
    length = length or profile.width_budget
    places = list(product(tasks or profile.width_tasks, seeds))
    found: dict[Experiment, Choice] = {}
    for (task, seed), budget, name in product(places, budgets, methods):
        if name == "uniform":
            weights, inputs = uniform(budget)
            choice = Choice(NAMES[name], f"{weights * inputs} bits²")
            found.setdefault(_student(profile, task, seed, f"{weights}-4-{inputs}", length), choice)
            continue
        if name == "adaqat" or not _asks(budget):
            continue
        student = _student(profile, task, seed, "8-4-8", length)
        if row := choices.kept(task).get(choices.key(student, name, budget, profile.width_share)):
            choice = Choice(NAMES[name], f"{budget:g} bits²", (row["steps"], row["passes"], row["seconds"]))
            found.setdefault(dataclasses.replace(student, allocation=row["widths"]), choice)
    if "adaqat" in methods:
        for (task, seed), factor in product(places, factors):
            experiment = profile.learned(task, factor, seed=seed, budget=length)
            found[experiment] = Choice(NAMES["adaqat"], f"λ {experiment.adaqat.lambda_weights:g}")
    return found


def find(
    profile: Profile,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    budgets: Sequence[float] = (),
    seeds: Sequence[int] = (42,),
    length: str = "",
) -> None:
    """Find and keep the widths that `students` lacks. Teachers are trained first if they were not."""
    methods, budgets, _ = _scale(profile, methods, budgets, ())
    wanted = [(name, budget) for name, budget in product(methods, budgets) if name in _CHOSEN and _asks(budget)]
    for task, seed in product(tasks or profile.width_tasks, seeds):
        student = _student(profile, task, seed, "8-4-8", length or profile.width_budget)
        keys = {pair: choices.key(student, *pair, profile.width_share) for pair in wanted}
        if lacking := [pair for pair, key in keys.items() if key not in choices.kept(task)]:
            choices.choose(student, lacking, profile.width_share)


def _scale(profile: Profile, methods: Sequence[str], budgets: Sequence[float], factors: Sequence[float]) -> tuple:
    if unknown := set(methods) - set(NAMES):
        raise ValueError(f"method {unknown.pop()!r} is unknown: use one of {', '.join(map(repr, NAMES))}")
    if below := [budget for budget in budgets if not budget >= LEAST**2]:
        raise ValueError(f"budget={below[0]!r} is below {LEAST**2}, what {LEAST} bits everywhere cost: raise it")
    default = _SCALES.get(profile.name, _FULL)
    return methods or default[0], budgets or default[1], factors or default[2]


def _asks(budget: float) -> bool:
    """Whether a budget leaves a choice: where all widths are the narrowest there is none."""
    return budget > LEAST**2


def _student(profile: Profile, task: str, seed: int, precision: str, length: str) -> Experiment:
    return profile.student(task, seed=seed, precision=precision, recipe="adaqat", stages="one-stage", budget=length)


def to_frame(runs: pd.DataFrame, chosen: Mapping[Experiment, Choice]) -> pd.DataFrame:
    """Say of every run what was asked for, what came out, and what choosing the widths cost.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        chosen: of `students`.

    Returns:
        Those columns, with ``method``, ``asked``, ``W`` and ``A`` (means of the widths over matrices, without regard to
        their sizes), ``GBitOPs`` (10^9, per token), ``explored steps`` of the optimizer, ``extra passes`` over a batch
        beside training steps (forward and backward count one each), and ``seconds`` of both.
    """
    rows = []
    for record in runs["record"]:
        experiment, choice, cost = record.experiment, chosen[record.experiment], chosen[record.experiment].cost
        precision = experiment.quantization.precision
        widths = experiment.allocation or {"all": (precision.weights, precision.activations)}
        if experiment.adaqat is not None:
            widths = record.exploration["widths"]
            seconds = [entry["train_seconds"] for entry in record.history if entry["stage"] == 0]
            # AdaQAT runs one more forward pass for every width that it moves.
            cost = (record.exploration["steps"], len(record.exploration["trace"]), max(seconds, default=0.0))
        means = [sum(side) / len(widths) for side in zip(*widths.values(), strict=True)]
        rows.append((choice.method, choice.asked, *means, record.bitops / 1e9, *cost))
    return runs.join(pd.DataFrame(rows, runs.index, ["method", "asked", "W", "A", "GBitOPs", *COSTS]))


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """What each method reached, at what cost: one row a task, budget and method, means over seeds.

    Returns:
        ``best``, ``minus teacher``, the number of ``seeds``, ``bits²``, and the columns of `to_frame`.
    """
    grouped = frame.groupby(["task", "asked", "method"], sort=False)
    means = grouped[["best", "minus teacher", "W", "A", "bits²", "GBitOPs", *COSTS]].mean()
    means.insert(2, "seeds", grouped.size())
    return means


@or_nothing
def score_over_bitops(frame: pd.DataFrame) -> Drawing:
    """Best development score over BitOPs, one curve a method and one panel a task.

    A dot is a run; a line joins the means over seeds of one method, in order of BitOPs.
    """
    means = frame.groupby(["task", "method", "asked"], sort=False)
    means = means.agg({"GBitOPs": "mean", "best": "mean", "experiment": "first", "reference": "first"}).reset_index()
    means["method"] = pd.Categorical(means["method"], [*NAMES.values()])
    what = {"xlabel": "BitOPs per token ($10^9$)", "estimator": None}
    grid, shades = panels(means, ["task"], "GBitOPs", "best", "method", **what), colours(means["method"])
    for title, axes in grid.axes_dict.items():
        runs = frame[frame["task"] == title]
        axes.scatter(runs["GBitOPs"], runs["best"], s=12, color=runs["method"].map(shades), alpha=0.5)
    return Drawing(grid.figure, frame[["task", "method", "asked", "seed", "W", "A", "GBitOPs", "best"]], frame)


@or_nothing
def score_over_size(frame: pd.DataFrame) -> Drawing:
    """What students lose over how small they are, beside the rows of the paper: its Figures 1 and 2, one panel a task.

    Encoders differ, so both axes are relative: points to the teacher, and size to the teacher's 32 bits.

    Args:
        frame: of `to_frame`, of any tasks; runs whose teacher has no Record are left out.
    """
    runs = frame[frame["reference"].notna()]
    if runs.empty:
        return nothing()
    # What the paper compares; how the rivals of this chapter choose is told apart where they stand beside one another.
    kinds = runs["method"].where(runs["method"].isin([NAMES["uniform"], NAMES["adaqat"]]), "other allocators")
    full = runs["reference"].map(lambda teacher: teacher.size["packed_mib"])
    ours = runs[["task", "minus teacher", "bits²"]].assign(method=kinds + ", here", smaller=full / runs["packed MiB"])
    names = dict.fromkeys(zip(runs["task"], (experiment.task for experiment in runs["experiment"]), strict=True))
    rows = [{"task": title} | row for title, name in names for row in _printed(name)]
    points = pd.concat([ours, pd.DataFrame(rows, columns=ours.columns)]).dropna().reset_index(drop=True)
    what = {"xlabel": "times smaller than in 32 bits", "ylabel": "points against its teacher"}
    look = {"kind": sns.scatterplot, "share": None, "s": 50, "edgecolor": "none"}
    grid = panels(points, ["task"], "smaller", "minus teacher", "method", **what, **look)
    for axes in grid.axes_dict.values():
        axes.axhline(0, color=GREY, linestyle="--", linewidth=1)
    encoders = ", ".join(columns.ENCODERS.get(name, name) for name in runs["encoder"].unique())
    note = f"Here: {encoders}, packed files, a mark a run. Printed: BERT-base, Tables 2 to 4 of AdaQAT-BERT."
    return Drawing(grid.figure, points, runs, note)


def _printed(task: str) -> Iterator[dict[str, str | float]]:
    """Rows of AdaQAT-BERT's Tables 2 to 4 with the size and the score of a task, or of the one that it stands for."""
    like = _SQUAD.get(task, task)
    full = "adaqat-t2" if like in _SQUAD.values() else "adaqat-t3"
    weights = adaqat_model("32-32-32")["bitops"] / 32**2
    for name in (full, "adaqat-t4"):
        cells = printed(name)
        for row in cells.rows:
            if cells.has(row, "BitOPs 1e9"):
                method = row.partition(" | ")[0] if name == full else NAMES["adaqat"]
                yield {
                    "method": f"{method}, printed",
                    "minus teacher": paper_score(name, row, like) - paper_score(full, _BASE, like),
                    "bits²": 1e9 * cells.value(row, "BitOPs 1e9") / weights,
                    "smaller": printed(full).value(_BASE, "Size MB") / cells.value(row, "Size MB"),
                }


def gains(frame: pd.DataFrame) -> pd.DataFrame:
    """What each method gains over uniform widths, asked for the same budget and at the same BitOPs.

    The score of uniform widths at another method's BitOPs is read from the straight line between its neighbours, seed
    by seed; where the BitOPs lie outside the curve, the run is left out.

    Returns:
        Indexed by task and method; in points, ``at the budget`` and ``at the BitOPs``, each with the ``mean`` of the
        ``runs`` that could be compared, and the ``least`` and the ``most`` of them.
    """
    rows = []
    for (task, _), runs in frame.groupby(["task", "seed"], sort=False):
        even = runs[runs["method"] == NAMES["uniform"]]
        curve, asked = even.groupby("GBitOPs")["best"].mean(), even.set_index("asked")["best"]
        for run in runs[runs["method"] != NAMES["uniform"]].itertuples():
            within = len(curve) and curve.index[0] * 0.99 <= run.GBitOPs <= curve.index[-1] * 1.01
            level = np.interp(run.GBitOPs, curve.index, curve) if within else np.nan
            gained = run.best - asked.get(run.asked, np.nan), run.best - level
            row = {"task": task, "method": run.method}
            rows += [row | {"": to, "gain": gain} for to, gain in zip(_COMPARED, gained, strict=True)]
    long = pd.DataFrame(rows, columns=["task", "method", "", "gain"])
    grouped = long.groupby(["task", "method", ""], sort=False)["gain"]
    found = grouped.agg(mean="mean", least="min", most="max", runs="count").unstack("")
    return found.swaplevel(axis=1).reindex(columns=pd.MultiIndex.from_product([_COMPARED, found.columns.levels[0]]))


def show(frame: pd.DataFrame, caption: str, source: Source) -> HTML:
    """A table for the page, each number with the digits that it is worth."""
    digits = {"W": "{:.2f}", "A": "{:.2f}", "bits²": "{:.2f}", "GBitOPs": "{:.3f}"}
    digits |= dict.fromkeys(["best", "minus teacher", "seconds"], "{:.1f}")
    digits |= dict.fromkeys(["seeds", "explored steps", "extra passes"], "{:.0f}")
    if frame["seeds"].eq(1).all():
        caption += " One seed."
        frame, digits = frame.drop(columns="seeds"), {name: form for name, form in digits.items() if name != "seeds"}
    return scores.show(frame, caption, digits=digits, source=source)
