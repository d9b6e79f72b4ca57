"""The comparison of allocators: its students, its table and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from xtcq.allocation import Allocation, SearchSpace, uniform
from xtcq.quantization import Precision
from xtcq.study.experiment import Experiment
from xtcq.study.profiles import Profile
from xtcq.study.records import Record
from xtcq.tasks import task_spec
from xtcq_book.findings import bullets

UNIFORM = "uniform"
# What a reader calls a method. Figures give colours and marks in this order, so that they mean the same everywhere.
NAMES = {
    UNIFORM: "uniform",
    "random": "random",
    "fisher": "sensitivity (Fisher)",
    "hessian": "sensitivity (Hessian)",
    "fracbits": "FracBits",
    "adaqat": "AdaQAT",
}
# Methods, budgets and factors of AdaQAT's pressure that a profile compares unless a notebook says otherwise.
_FULL = (tuple(NAMES), (8.0, 12.0, 16.0), (0.5, 1.0, 2.0))
_SCALES = {"demo": ((UNIFORM, "fracbits"), (8.0,), (1.0,))}
LEAST = Allocation(method="random", budget=8.0).least
COSTS = ("explored steps", "extra passes", "seconds")
_COLUMNS = ["task", "method", "asked", "seed", "score", "W", "A", "bits²", "GBitOPs", *COSTS]


def students(
    profile: Profile,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    budgets: Sequence[float] = (),
    factors: Sequence[float] = (),
    seeds: Sequence[int] = (42,),
) -> list[Experiment]:
    """The grid of the comparison: every method at every budget, and AdaQAT at several pressures.

    A budget of two bits for everything is asked of uniform widths alone.

    Args:
        profile: the scale; gives what is left empty.
        tasks: names of tasks.
        methods: keys of ``NAMES``.
        budgets: mean bits squared per weight, see `student`.
        factors: of AdaQAT's pressure, see ``Profile.learned``.
        seeds: of students.

    Returns:
        The experiments, all of one length.

    Raises:
        ValueError: what `student` raises.
    """
    default = _SCALES.get(profile.name, _FULL)
    methods, budgets, factors = methods or default[0], budgets or default[1], factors or default[2]
    places = list(product(tasks or profile.width_tasks, seeds))
    grid = [
        student(profile, task, name, budget, seed=seed)
        for (task, seed), budget, name in product(places, budgets, methods)
        # Where all widths are the narrowest there is nothing to choose.
        if name == UNIFORM or (name != "adaqat" and budget > LEAST**2)
    ]
    if "adaqat" in methods:
        grid += [profile.learned(task, factor, seed=seed) for (task, seed), factor in product(places, factors)]
    # Two budgets may have the same widest uniform pair.
    return list(dict.fromkeys(grid))


def student(profile: Profile, task: str, method: str, budget: float, embeddings: int = 4, **fields: Any) -> Experiment:
    """A student of recipe ``adaqat`` whose widths one method chooses for one budget, trained as long as all others.

    Args:
        profile: the scale.
        task: name of the task.
        method: a key of ``NAMES`` but ``"adaqat"``, which has no budget.
        budget: mean bits squared per weight; a uniform student takes the widest pair within it.
        embeddings: bits of the token embedding, which is not allocated.
        **fields: as for ``Profile.student``. ``seed`` also seeds a random allocation and the data of a sensitivity.

    Returns:
        The experiment.

    Raises:
        ValueError: method unknown, or a budget below what two bits cost, besides what ``Profile.student`` raises.
    """
    if method not in NAMES or method == "adaqat":
        known = ", ".join(repr(name) for name in NAMES if name != "adaqat")
        raise ValueError(f"method {method!r} is unknown: use one of {known}")
    fields = {"recipe": "adaqat", "stages": "one-stage", "budget": profile.width_budget} | fields
    if method == UNIFORM:
        ((weights, activations),) = uniform(SearchSpace({"": 1}), budget).values()
        return profile.student(task, precision=f"{weights}-{embeddings}-{activations}", **fields)
    seed = fields.get("seed", 42)
    settings = {
        "random": {"method": "random", "seed": seed},
        "fisher": {"method": "sensitivity", "seed": seed},
        "hessian": {"method": "sensitivity", "metric": "hessian", "seed": seed},
        "fracbits": {"method": "fracbits", "share": profile.width_share},
    }[method]
    allocation = Allocation(budget=budget, **settings)
    return profile.student(task, precision=f"8-{embeddings}-8", allocation=allocation, **fields)


def method(experiment: Experiment) -> str:
    """A label: which method chose the widths, as ``NAMES`` writes it."""
    if experiment.adaqat is not None:
        return NAMES["adaqat"]
    if experiment.allocation is None:
        return NAMES[UNIFORM]
    settings = experiment.allocation
    return NAMES[settings.metric if settings.method == "sensitivity" else settings.method]


def asked(experiment: Experiment) -> str:
    """A label: the budget that a method was given, in bits squared per weight, or AdaQAT's pressure on weights."""
    if experiment.adaqat is not None:
        return f"λ {experiment.adaqat.lambda_weights:g}"
    precision = Precision.parse(experiment.precision)
    uniform_budget = precision.weights * precision.activations
    return f"{uniform_budget if experiment.allocation is None else experiment.allocation.budget:g} bits²"


def to_frame(records: list[Record]) -> pd.DataFrame:
    """One row a run: what was asked for, what came out, and what choosing the widths cost.

    Args:
        records: Records of students.

    Returns:
        ``task``, ``method``, ``asked``, ``seed``, ``score`` (best, primary metric), ``W`` and ``A`` (means of the
        widths over layers, without regard to their sizes), ``bits²`` (mean per weight), ``GBitOPs`` (10^9, per token),
        ``explored steps`` of the optimizer, which are part of the training, ``extra passes`` over a batch beside the
        training's own (forward and backward count one each), and ``seconds`` of both.
    """
    rows = []
    for record in records:
        experiment, found = record.experiment, record.exploration
        precision = Precision.parse(experiment.precision)
        if found is None:
            bits = (precision.weights, precision.activations, precision.weights * precision.activations)
            cost = (0, 0, 0.0)
        else:
            bits = (found["mean_weights"], found["mean_activations"], found["average"])
            # AdaQAT runs one more forward pass for every width that it moves; FracBits learns from the gradient.
            passes = found["passes"] if "passes" in found else len(found["trace"]) * (experiment.adaqat is not None)
            spent = [e["train_seconds"] for e in record.history if e["stage"] == 0] if found["steps"] else []
            cost = (found["steps"], passes, max(spent, default=found.get("seconds", 0.0)))
        row = {"task": experiment.task, "method": method(experiment), "asked": asked(experiment)}
        row |= {"seed": experiment.seed, "score": record.best[task_spec(experiment.task).primary_metric]}
        row |= dict(zip(("W", "A", "bits²"), bits, strict=True)) | {"GBitOPs": record.bitops / 1e9}
        rows.append(row | dict(zip(COSTS, cost, strict=True)))
    return pd.DataFrame(rows, columns=_COLUMNS)


def table(records: list[Record], teachers: list[Record]) -> pd.DataFrame:
    """What each method reached, at what cost: one row a task, budget and method, means over seeds.

    Args:
        records: Records of students.
        teachers: Records of the tasks' full-precision teachers.

    Returns:
        Columns of ``to_frame``, ``minus teacher`` beside the score (NaN where the teacher has no Record), and the
        number of ``seeds``.

    Raises:
        ValueError: two runs with the same labels and seed.
    """
    frame = to_frame(records)
    keys = ["task", "asked", "method"]
    if frame.duplicated([*keys, "seed"]).any():
        raise ValueError("runs with the same method and budget differ in more than their seed: show them apart.")
    reference = {r.experiment.task: r.best[task_spec(r.experiment.task).primary_metric] for r in teachers}
    frame["minus teacher"] = frame["score"] - frame["task"].map(reference)
    frame["task"] = [task_spec(name).title for name in frame["task"]]
    grouped = frame.groupby(keys, sort=False)
    means = grouped[["score", "minus teacher", "W", "A", "bits²", "GBitOPs", *COSTS]].mean()
    means.insert(2, "seeds", grouped.size())
    return means


def show(frame: pd.DataFrame, caption: str) -> Styler:
    """A table for the page, each number with the digits that it is worth.

    Args:
        frame: of ``table``.
        caption: what stands above it; names the scale.

    Returns:
        An object that a notebook renders.
    """
    digits = {"W": "{:.2f}", "A": "{:.2f}", "bits²": "{:.2f}", "GBitOPs": "{:.3f}"}
    digits |= dict.fromkeys(["score", "minus teacher", "seconds"], "{:.1f}")
    digits |= dict.fromkeys(["seeds", "explored steps", "extra passes"], "{:.0f}")
    if frame["seeds"].eq(1).all():
        caption += " One seed."
        frame, digits = frame.drop(columns="seeds"), {name: form for name, form in digits.items() if name != "seeds"}
    style = frame.style.set_caption(caption).format(digits, na_rep="–")
    return style.set_table_styles([{"selector": "tbody th", "props": "white-space: nowrap"}])


def beyond_uniform(records: list[Record]) -> Markdown:
    """What each method gains over uniform widths of the same BitOPs.

    The score of uniform widths at another method's BitOPs is read from the straight line between its neighbours, seed
    by seed; where one of them is missing or the BitOPs lie outside the curve, the run is left out.

    Args:
        records: Records of students, uniform ones among them.

    Returns:
        One sentence for each task and method: the mean gain in points over all such runs, and its range; how many runs
        could not be compared.
    """
    lines = []
    frame = to_frame(records)
    for task, of_task in frame.groupby("task", sort=False):
        gains: dict[str, list[float]] = {}
        left_out: dict[str, int] = {}
        for seed, runs in of_task.groupby("seed", sort=False):
            curve = runs[runs["method"] == NAMES[UNIFORM]].groupby("GBitOPs")["score"].mean()
            for row in runs[runs["method"] != NAMES[UNIFORM]].itertuples():
                if len(curve) and curve.index[0] * 0.99 <= row.GBitOPs <= curve.index[-1] * 1.01:
                    at = float(np.interp(row.GBitOPs, curve.index, curve))
                    gains.setdefault(row.method, []).append(row.score - at)
                else:
                    left_out[row.method] = left_out.get(row.method, 0) + 1
        for name in dict.fromkeys([*gains, *left_out]):
            found = gains.get(name, [])
            line = f"**{task_spec(task).title}, {name}**: "
            if found:
                line += f"{np.mean(found):+.1f} points from uniform widths of the same BitOPs"
                if len(found) > 1:
                    line += f" (mean of {len(found)} runs, {min(found):+.1f} to {max(found):+.1f})"
            if name in left_out:
                count = left_out[name]
                line += f"{'; ' if found else ''}{count} run{'s' * (count > 1)} beyond the uniform curve, not compared"
            lines.append(line + ".")
    return bullets(lines, "No run beside uniform ones has a Record.")
