"""What a small model costs: device time, compared only where it can be, and bytes, printed and packed.

Everywhere here ``runs`` are rows of `xtcq_book.frame.to_frame`, and ``sizes`` those of `printed_sizes`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from scipy.stats import t

from xtcq.quantization import cost_report
from xtcq.quantization.cost import MIB
from xtcq.study import Profile
from xtcq.study.records import Record
from xtcq_book import published
from xtcq_book.arithmetic import table, xtc_model
from xtcq_book.chapters.errata import printed_configurations
from xtcq_book.columns import ENCODERS, as_text
from xtcq_book.drawing import Drawing, nothing, or_nothing
from xtcq_book.frame import DEVICE, of_scale
from xtcq_book.panels import joined, panels
from xtcq_book.svg import GREY

# What a recipe chooses, and the value that the others are compared with.
BASES = {"plan": "one-stage", "layers": "all", "W-E-A": "1-1-8", "LoRA rank": 0, "augmentation": "none"}
# Together with the task and the device, everything that can change what a step costs.
_CONFIGURATION = [*BASES, "encoder", "recipe", "teacher"]
LORA_RANK = 1
_KEY = ["layers", "bits", "LoRA rank"]
HALF_UNIT = 0.05
# Bytes of a LoRA weight beside weights of 1 and of 2 bits: the readings that were tried.
_LORA_READINGS = {"2 bytes": (2, 2), "4 bytes": (4, 4), "2 bytes at 1 bit, 4 bytes at 2 bits": (2, 4)}
_EMBEDDED = {name: ENCODERS[name] for name in ("bert-base", "minilm-l6")}


def records_of(profile: Profile) -> list[Record]:
    """The Records of a scale in the order of their tasks, but for runs whose bit-widths were learned or allocated.

    Of those a precision does not say what they cost.
    """
    chosen = [record for record in of_scale(profile) if record.experiment.width_source == "uniform"]
    order = {task: i for i, task in enumerate(profile.tasks)}
    return sorted(chosen, key=lambda r: (order.get(r.experiment.task, len(order)), r.experiment.task))


def teachers_of(records: list[Record]) -> list[Record]:
    """The fine-tuned models that others of these learned from; of several of a task the one with most students last."""
    taught = Counter(record.experiment.teacher for record in records)
    fine_tuned = [r for r in records if r.experiment.stages == "finetune" and taught[r.experiment]]
    return sorted(fine_tuned, key=lambda record: taught[record.experiment])


def totals(runs: pd.DataFrame) -> pd.DataFrame:
    """Device hours by group of comparable times and by task.

    Returns:
        ``runs``, ``steps``, ``hours`` of training steps, and ``% of wall time``: their share of the time from the first
        batch to the last evaluation.
    """
    grouped = runs.groupby([*DEVICE, "task"], sort=False)
    sums = grouped[["steps", "hours", "wall hours"]].sum()
    sums.insert(0, "runs", grouped.size())
    sums["% of wall time"] = 100 * sums["hours"] / sums.pop("wall hours")
    return sums.sort_index(level=DEVICE, sort_remaining=False)


def spread(runs: pd.DataFrame) -> pd.DataFrame:
    """How far apart the times of runs are whose steps should cost the same: what else a machine did.

    Returns:
        One row a group of comparable times: ``configurations`` with several runs, which differ in rate, seed or length
        alone, and the ``median`` and the ``largest`` ratio of their slowest to their fastest step.
    """
    steps = runs.groupby([*DEVICE, "task", *_CONFIGURATION], sort=False)["ms per step"].agg(["min", "max", "size"])
    steps = steps[steps["size"] > 1]
    ratios = (steps["max"] / steps["min"]).groupby(level=DEVICE)
    return ratios.agg(configurations="size", median="median", largest="max")


def relative_cost(runs: pd.DataFrame) -> pd.DataFrame:
    """What one choice of a recipe does to the cost of a step, over pairs of runs that differ in that choice alone.

    Both runs of a pair have the same device and company, task, length, learning rate and seed, and everything else of
    the configuration. Several runs that are equal in all of that count as one, with the geometric mean of their times.

    Returns:
        One row a device, aspect and value of it: ``against`` (the value compared with, of `BASES`), ``times``
        (geometric mean of the ratios of the two step times), ``low`` and ``high`` (95 % interval of Student's t on the
        logarithms; NaN for fewer than three pairs), ``pairs``, and ``below 1``: the pairs whose step got cheaper.
    """
    runs = runs.assign(layers=runs["layers"].str.replace(r"^all .*", "all", regex=True))
    every = [*DEVICE, "task", *_CONFIGURATION, "epochs", "learning rate", "seed"]
    logs = np.log(runs["ms per step"]).groupby([runs[name] for name in every], sort=False).mean().rename("log")
    logs, rows = logs.reset_index(), []
    for aspect, base in BASES.items():
        equal = [name for name in every if name != aspect]
        pairs = logs[logs[aspect] != base].merge(logs[logs[aspect] == base], on=equal, suffixes=("", " of base"))
        ratios = (pairs["log"] - pairs["log of base"]).groupby([pairs[name] for name in (*DEVICE, aspect)], sort=False)
        for (*device, value), ratio in ratios:
            low, high = (
                t.interval(0.95, len(ratio) - 1, ratio.mean(), ratio.sem()) if len(ratio) > 2 else [math.nan] * 2
            )
            numbers = [*np.exp([ratio.mean(), low, high]), len(ratio), (ratio < 0).sum()]
            rows.append([*device, aspect, as_text(value), as_text(base), *numbers])
    columns = [*DEVICE, "aspect", "value", "against", "times", "low", "high", "pairs", "below 1"]
    return pd.DataFrame(rows, columns=columns).sort_values(DEVICE, kind="stable").set_index(columns[:5])


@or_nothing
def lost_over_minutes(runs: pd.DataFrame) -> Drawing:
    """What students lose over the minutes that they trained, one point a run and one panel for comparable times.

    Students without a Record of their teacher are left out, and so are teachers. Colours are weights, embeddings and
    activations, marks are plans.
    """
    minutes, lost = "training (minutes of optimizer steps)", "points lost to the teacher"
    students = runs[runs["minus teacher"].notna() & (runs["plan"] != "finetune")]
    students = students.assign(**{minutes: 60 * students["hours"], lost: -students["minus teacher"]})
    students = students.assign(machine=joined(students, *DEVICE) + " side by side")
    students = students[students.groupby("machine")["machine"].transform("size") > 1]
    if students.empty:
        return nothing("Nothing to draw: no two runs have times that can be compared.")
    look = {"kind": sns.scatterplot, "style": "plan", "s": 26, "share": None}
    grid = panels(students, ["machine"], minutes, lost, "W-E-A", xlabel=minutes, ylabel=lost, **look)
    for axes in grid.axes.flat:
        axes.set_xlim(left=0)
    return Drawing(grid.figure, students[["task", "W-E-A", "plan", *DEVICE, minutes, lost]], students)


@or_nothing
def score_over_size(runs: pd.DataFrame) -> Drawing:
    """Best development score over packed size, one point a run: colours are plans, marks are weights and layers.

    The axis is logarithmic, and a line joins the runs that no smaller or equally small one beats.
    """
    size = "packed MiB"
    fewer = np.where(runs["layers"].str.startswith("all"), "", ", fewer layers")
    runs = runs.assign(weights=runs["bits"].astype(str) + "-bit" + fewer)
    look = {"kind": sns.scatterplot, "style": "weights", "s": 26}
    grid = panels(runs, ["task"], size, "best", "plan", xlabel="packed size (MiB)", **look)
    for title, axes in grid.axes_dict.items():
        group = runs[runs["task"] == title].sort_values([size, "best"], ascending=[True, False])
        front = group[group["best"] > group["best"].cummax().shift(fill_value=-math.inf)]
        axes.plot(front[size], front["best"], color=GREY, linewidth=1, zorder=0)
        axes.set_xscale("log")
        axes.set_xlim(runs[size].min() / 1.3, runs[size].max() * 1.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    return Drawing(grid.figure, runs[["task", "weights", "layers", "plan", "seed", size, "best"]], runs)


def printed_sizes() -> pd.DataFrame:
    """Every size that XTC prints, one row a configuration, recomputed for BERT-base.

    ``rule`` is found by trying, in this order: the nominal size; twice the printed 1-bit size; the ratio printed beside
    it. A size follows a rule if it is that value rounded to one decimal.

    Returns:
        Indexed by ``layers``, ``bits`` and ``LoRA rank``: ``tables`` that print it, ``printed`` size and
        ``printed ratio``, ``nominal`` (``cost_report``), ``printed - nominal``, ``rule``, ``packed`` and
        ``packed ratio`` to BERT-base in 32 bits. Sizes are MiB, although the tables say MB.
    """
    printed, rows = pd.DataFrame(_printed(), columns=[*_KEY, "tables", "printed", "printed ratio"]), []
    full = xtc_model(12, 32)
    one_bit = printed[printed["bits"] == 1].groupby(["layers", "LoRA rank"])["printed"].first()
    for key, cells in printed.groupby(_KEY):
        # Whatever tables print it, they print the same.
        (size,), ratios, report = cells["printed"].unique(), cells["printed ratio"].dropna(), xtc_model(*key)
        row = {"tables": ", ".join(f"C.{number}" for number in sorted(cells["tables"].unique())), "printed": size}
        row |= {"printed ratio": ratios.iloc[0] if len(ratios) else math.nan, "nominal": report["nominal_mib"]}
        half = one_bit.get((key[0], key[2])) if key[1] == 2 else None
        row["printed - nominal"] = size - row["nominal"]
        row["rule"] = _rule(row, half, full["nominal_mib"])
        row |= {"packed": report["packed_mib"], "packed ratio": full["packed_mib"] / report["packed_mib"]}
        rows.append(dict(zip(_KEY, key, strict=True)) | row)
    return pd.DataFrame(rows).sort_values(_KEY, ascending=[False, False, True]).set_index(_KEY)


def _printed() -> Iterator[tuple]:
    for name, row, layers, bits, lora in printed_configurations():
        place = published.source(name).place.partition(",")[0] if name in published.tables() else row
        number = int(place.rpartition("Table C.")[2])
        ratio = table(name).value(row, "Size ratio") if table(name).has(row, "Size ratio") else math.nan
        yield layers, bits, LORA_RANK if lora else 0, number, table(name).value(row, "Size MB"), ratio


def _rule(row: dict[str, Any], one_bit: float | None, full: float) -> str:
    if abs(row["printed - nominal"]) <= HALF_UNIT:
        return "matrices at their bits"
    if one_bit is not None and abs(row["printed"] - 2 * one_bit) < 1e-9:
        return f"twice the printed {one_bit:.1f}"
    if abs(full / (ratio := row["printed ratio"]) - row["nominal"]) <= HALF_UNIT:
        return f"none; the ratio {ratio:.1f} fits the computed size: a misprint"
    return "none"


def rules(sizes: pd.DataFrame) -> pd.DataFrame:
    """How many printed sizes follow which rule, and how far a file on disk is from them.

    Returns:
        Indexed by ``rule``: ``sizes``, the farthest ``printed - nominal`` in MiB, and the least and the most that the
        packed file takes as a multiple of the printed size.
    """
    rule = sizes["rule"].replace({r"^twice.*": "twice the printed 1-bit size", r"^none.*": "none"}, regex=True)
    ratio = sizes["packed"] / sizes["printed"]
    grouped = sizes.assign(ratio=ratio, off=sizes["printed - nominal"].abs()).groupby(rule, sort=False)
    return grouped.agg(sizes=("off", "size"), farthest=("off", "max"), least=("ratio", "min"), most=("ratio", "max"))


def lora_readings(sizes: pd.DataFrame) -> pd.DataFrame:
    """How many printed sizes and ratios of models with LoRA each reading of a LoRA weight's bytes gives.

    ``cost_report`` counts by the last one, which gives the most.

    Returns:
        Indexed by ``a LoRA weight takes``: ``sizes`` and ``ratios`` that are the computed value rounded to one decimal,
        each for 1 and for 2 bits, and ``all`` of them.
    """
    full = xtc_model(12, 32)["nominal_mib"]
    printed = sizes[sizes.index.get_level_values("LoRA rank") > 0].sort_index(level="bits")
    tried = []
    for reading, widths in _LORA_READINGS.items():
        for (layers, bits, rank), row in printed.iterrows():
            plain, whole = xtc_model(layers, bits), xtc_model(layers, bits, rank)
            size = plain["nominal_mib"] + widths[bits - 1] * (whole["parameters"] - plain["parameters"]) / MIB
            of = f"{bits} bit{'s' * (bits > 1)}"
            tried.append((reading, f"sizes, {of}", row["printed"], size))
            tried.append((reading, f"ratios, {of}", row["printed ratio"], full / size))
    frame = pd.DataFrame(tried, columns=["a LoRA weight takes", "what", "printed", "computed"]).dropna()
    fits = (frame["printed"] - frame["computed"]).abs() <= HALF_UNIT
    by = [frame["a LoRA weight takes"], frame["what"]]
    counts = fits.groupby(by, sort=False).agg(_of).unstack(sort=False)
    return counts.assign(all=fits.groupby(by[0]).agg(_of)).rename_axis(columns=None)


def _of(fits: pd.Series) -> str:
    return f"{fits.sum()} of {len(fits)}"


def embedding_tables() -> pd.DataFrame:
    """Embedding tables of AdaQAT-BERT's Table 5 at their bits, without step sizes.

    Returns:
        Indexed by ``T-K-P``: the ``printed`` size in MB (10^6 bytes), what BERT-base and MiniLM-L6 compute to, and the
        ``printed CR`` (compression ratio to 32 bits) beside BERT-base's.
    """
    cells, rows = table("adaqat-t5"), {}
    for row in cells.rows:
        tables = row.rpartition(" | ")[2].replace("FP32", "32-32-32")
        printed = {"printed": cells.value(row, "Embedding size MB"), "printed CR": cells.value(row, "CR")}
        computed = {
            name: cost_report(model, "32-32", "adaqat", embeddings=tables)["embedding_mb"]
            for model, name in _EMBEDDED.items()
        }
        rows.setdefault(tables, printed | computed)
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("T-K-P")
    frame["CR"] = frame.loc["32-32-32", "BERT-base"] / frame["BERT-base"]
    return frame[["printed", *_EMBEDDED.values(), "printed CR", "CR"]].sort_values("printed", ascending=False)


def students(runs: pd.DataFrame) -> pd.DataFrame:
    """Our models, one row for each size and length of training: the best of their plans and learning rates.

    Returns:
        Indexed by ``task``, ``layers``, ``W-E-A``, ``recipe``, ``LoRA rank`` and ``steps``: ``nominal MiB``,
        ``packed MiB``, ``best`` (mean over seeds of the best plan, rate, teacher and augmentation), ``of``
        (configurations it was chosen from) and ``minus teacher`` (NaN if there is no Record of it). Smallest models
        first.
    """
    key = ["task", "layers", "W-E-A", "recipe", "LoRA rank", "steps"]
    tried = [*key, "plan", "learning rate", "teacher", "augmentation"]
    numbers = ["nominal MiB", "packed MiB", "best", "minus teacher"]
    means = runs.groupby(tried, sort=False)[numbers].mean().reset_index()
    grouped = means.groupby(key, sort=False)
    best = means.loc[grouped["best"].idxmax()].set_index(key)
    best["of"] = grouped.size()
    tasks = best.index.get_level_values("task")
    order = {task: place for place, task in enumerate(runs["task"].unique())}
    best = best.assign(place=tasks.map(order)).sort_values(["place", "packed MiB"])
    return best[["nominal MiB", "packed MiB", "best", "of", "minus teacher"]]
