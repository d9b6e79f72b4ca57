"""Which recipe for which budget: what every size loses, what an hour buys, and what is not known.

Everywhere here ``runs`` are students of `xtcq_book.lead.students`, and ``lost`` is the table of `by_task`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

import pandas as pd

from xtcq.quantization import cost_report
from xtcq_book import provenance
from xtcq_book.arithmetic import table
from xtcq_book.chapters.benchmarks import INT8, OURS, PYTORCH, Result
from xtcq_book.claims.judge import CANNOT, DECIDED, NOT_RUN, Judgement
from xtcq_book.columns import ENCODERS, between
from xtcq_book.lead import RECIPE, shared_tasks

# Columns of the benchmark of inference.
_FASTER, _FIRST = "times as fast as ", "processor (s)"
_PEERS = (PYTORCH, INT8)
# What every recipe is called by.
_TOLD = ("layers", "W-E-A", "plan")


def by_task(runs: pd.DataFrame) -> pd.DataFrame:
    """What every recipe loses on every task.

    Returns:
        Indexed by what tells the recipes apart, smallest file first: ``MiB``, and for each task the points against the
        teacher, means over seeds, NaN where it was not run; ``seeds``, the fewest and the most of a task; ``Records``.
    """
    told = _told_apart(runs)
    tasks = list(dict.fromkeys(runs["task"]))
    whole, grouped = runs.groupby(told, sort=False), runs.groupby([*told, "task"], sort=False)
    lost = grouped["minus teacher"].mean().unstack("task").reindex(columns=tasks)
    lost.insert(0, "MiB", whole["packed MiB"].mean())
    lost["seeds"] = grouped["seed"].nunique().groupby(level=told, sort=False).agg(between)
    lost["Records"] = whole["record"].agg(list)
    return lost.sort_values("MiB", kind="stable")


def _told_apart(runs: pd.DataFrame) -> list[str]:
    """Layers, bits and plan, and what else it takes to tell the recipes apart."""
    told = list(_TOLD)
    for name in RECIPE:
        if name not in told and runs.groupby(told)[name].nunique().gt(1).any():
            told.append(name)
    return told


def tasks_of(lost: pd.DataFrame) -> list[str]:
    """The columns of `by_task`, or of a `staircase`, that are tasks."""
    return [name for name in lost if name not in ("MiB", "seeds", "Records", "mean", "elsewhere")]


def staircase(lost: pd.DataFrame) -> pd.DataFrame:
    """The best recipe for each size of file: a step is a recipe that loses less than every smaller one.

    Returns:
        The rows of ``lost`` that are steps, with ``mean``, over the `xtcq_book.lead.shared_tasks`, and ``elsewhere``:
        in words the points on tasks that not all recipes have, in place of their columns.
    """
    tasks = tasks_of(lost)
    shared = shared_tasks(lost[tasks])
    tried = lost.assign(mean=lost[shared].mean(axis=1, skipna=False)).dropna(subset="mean")
    tried = tried.sort_values(["MiB", "mean"], ascending=[True, False])
    # Heads of other tasks change a file by a few bytes: that is no larger file.
    size, mean = tried["MiB"].round(1), tried["mean"]
    steps = [row for row in range(len(tried)) if mean.iloc[row] >= mean[size <= size.iloc[row]].max()]
    found, others = tried.iloc[steps], [task for task in tasks if task not in shared]
    rest = found[others].apply(
        lambda row: ", ".join(f"{task} {lost:+.1f}" for task, lost in row.dropna().items()), axis=1
    )
    return found.drop(columns=others).assign(elsewhere=rest)


def advice(steps: pd.DataFrame, scale: str) -> str:
    """The steps of a `staircase` in words, with the scale that they were measured at."""
    if steps.empty:
        return "<p>Nothing can be advised: no student of this scale has a Record.</p>"
    shared = ", ".join(tasks_of(steps))
    lines = []
    for key, row in steps.iterrows():
        labels = dict(zip(steps.index.names, key, strict=True))
        further = [f"{name} {labels[name]}" for name in labels if name not in _TOLD]
        recipe = ", ".join([f"{labels['W-E-A']}, {labels['layers']} layers, {labels['plan']}", *further])
        elsewhere = f"; on {row['elsewhere']}" if row["elsewhere"] else ""
        lines.append(
            f"<strong>from {row['MiB']:.1f} MiB</strong>: {escape(recipe)}; {row['mean']:+.1f} points against the "
            f"teacher{elsewhere} ({row['seeds']} seeds a task)"
        )
    head, listed = escape(f"Means over {shared}; students: {scale}."), "".join(f"<li>{line}</li>" for line in lines)
    return f"<p>{head}</p><ul>{listed}</ul><p>Below {steps['MiB'].min():.1f} MiB nothing was trained.</p>"


def sizes(architecture: str, depths: Iterable[int], recipes: Mapping[str, str]) -> pd.DataFrame:
    """What a file takes, trained or not: MiB, one row a W-E-A, with its recipe, and one column a number of layers."""
    files = {
        f"{depth} layers": {
            p: cost_report(architecture, p, how, layers=depth)["packed_mib"] for p, how in recipes.items()
        }
        for depth in depths
    }
    return pd.DataFrame(files).rename_axis("W-E-A")


def hours(runs: pd.DataFrame) -> pd.DataFrame:
    """What training takes, by device.

    Returns:
        Indexed by ``device`` and how many runs shared it (``side by side``): ``runs``, and medians of ``steps`` and of
        the ``minutes`` of a run; ``a choice (hours)``: five such runs, three rates and two more seeds at the best.
    """
    grouped = runs.assign(minutes=60 * runs["hours"]).groupby(["device", "side by side"], sort=False)
    found = grouped.agg(runs=("steps", "size"), steps=("steps", "median"), minutes=("minutes", "median"))
    found["a choice (hours)"] = 5 * found["minutes"] / 60
    return found.sort_values("minutes")


def gain_from_length() -> dict[int, float]:
    """Points that XTC's one-stage students gain from its shortest to its longest budget, by bits, from its tables.

    The best rate of each at 1 bit, and 2e-5 on both sides at 2 bits.
    """
    # At 2 bits the longest budget has one rate only.
    rows = {1: ("xtc-c2", "Best (above)"), 2: ("xtc-c3", "2e-5")}
    return {
        bits: table(name).value(f"Budget-C | One-Stage | {rate}", "Avg.")
        - table(name).value(f"Budget-A | One-Stage | {rate}", "Avg.")
        for bits, (name, rate) in rows.items()
    }


def open_questions(judgements: Iterable[Judgement]) -> pd.DataFrame:
    """How much of each chapter's question is answered.

    Returns:
        Indexed by ``chapter``: the number of ``claims``, and of these the ``decided``, ``undecided``, ``not run`` and
        those that ``cannot be tested here``.
    """
    rows = pd.DataFrame([(j.claim.chapter, _how(j.verdict)) for j in judgements], columns=["chapter", "how"])
    found = pd.crosstab(rows["chapter"], rows["how"]).reindex(columns=_HOW, fill_value=0)
    found.insert(0, "claims", found.sum(axis=1))
    return found.loc[list(dict.fromkeys(rows["chapter"]))].rename_axis(columns=None)


_HOW = ["decided", "undecided", NOT_RUN, CANNOT]


def _how(verdict: str) -> str:
    return "decided" if verdict in DECIDED else verdict if verdict in (NOT_RUN, CANNOT) else "undecided"


def speed(found: Mapping[str, Result]) -> str:
    """How fast a packed model answers beside its peers, by what the script of `benchmarks` wrote.

    Returns:
        HTML: a row a processor, model and size of batch, the time to the first answer, and the machines.
    """
    results = [result for name, result in found.items() if name.startswith(("inference", "first_answer"))]
    ratios, first = {}, []
    for device, place, ways in ((_short(result), *pair) for result in results for pair in result.tables()):
        if OURS in ways.index and {f"{_FASTER}{peer}" for peer in _PEERS} <= set(ways):
            model, shape, threads = place.removeprefix("batches ").split(", ")
            for peer in _PEERS:
                count = "1 thread" if threads == "1 threads" else threads
                row = device, _in_words(model), shape.replace("x", " × ")
                ratios[*row, peer, count] = ways.loc[OURS, f"{_FASTER}{peer}"]
        elif _FIRST in ways:
            seconds = (ways.loc[name, _FIRST] for name in ("xtcq", INT8, PYTORCH))
            first.append((_in_words(place.removeprefix("load ")), device, *seconds))
    if not ratios:
        return "<p>How fast it is was not measured yet.</p>"
    said = "; ".join("{} on {}, {:.2f}, {:.2f} and {:.2f} s".format(*told) for told in first)
    frame = pd.Series(ratios).unstack([3, 4], sort=False)[[*_PEERS]]
    frame = frame.rename_axis(["processor", "model", "texts × tokens"])
    table = (
        frame.style.format("{:.2f}", na_rep="–")
        .set_uuid("speed")
        .set_caption(f"A 1-bit model: how many times as fast as {' and as '.join(_PEERS)} (medians; below 1 is slower)")
    )
    until = f"<p>Processor time until the first answer, imports included, of xtcq, {INT8} and {PYTORCH}: {said}.</p>"
    files = dict.fromkeys(f"{result.name}.json" for result in results)
    return provenance.under(table, f"benchmarks/results: {', '.join(files)}.").data + until * bool(said)


def _short(result: Result) -> str:
    """The processor without what every processor's name says."""
    return result.data["device"].replace("(R)", "").replace(" Processor", "")


def _in_words(model: str) -> str:
    """The shape of a model that the benchmark timed, as ``"bert-base of 3 layers"``."""
    name, _, cut = model.partition(" of ")
    return f"{ENCODERS.get(name, name)}'s width, {cut}" if cut else ENCODERS.get(name, name)
