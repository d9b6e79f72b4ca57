"""What training cost: device time of the Records, compared only where times can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from IPython.display import Markdown

from xtcq.study.profiles import Profile
from xtcq.study.records import Record, load_record, old_records, records_folder
from xtcq.tasks import task_spec
from xtcq_book import labels
from xtcq_book.claims.interval import quantile
from xtcq_book.findings import bullets
from xtcq_book.labels import as_text

# Times are comparable within one of these groups.
DEVICE = ["device", "side_by_side"]
# What a recipe chooses, and the value that the others are compared with: one stage, full depth, and so on.
BASES = {"plan": "one-stage", "layers": "all", "W-E-A": "1-1-8", "LoRA rank": 0, "augmentation": "none"}
# Together with the task and the device, everything that can change what a step costs.
_CONFIGURATION = [*BASES, "model", "recipe", "teacher"]
_COLUMNS = [
    "task", "metric", *_CONFIGURATION, "depth", "learning rate", "seed", "epochs", *DEVICE, "steps", "hours",
    "wall hours", "ms per step", "score", "nominal MiB", "packed MiB", "record",
]  # fmt: skip


def records_of(profile: Profile) -> list[Record]:
    """Every Record that there is of a profile's encoders and kind of task, whichever chapter asked for it.

    Runs whose bit-widths were learned or allocated are left out: a precision does not say what they cost.

    Args:
        profile: the scale.

    Returns:
        Records in the order of their tasks. Where there is none, those of schema 1: whoever shows them says so.

    Raises:
        RecordError: if a stored Record cannot be used.
    """
    models = (profile.model, *profile.small_encoders)
    synthetic = task_spec(profile.tasks[0]).synthetic

    def of_profile(records: Iterable[Record]) -> list[Record]:
        uniform = [r for r in records if r.experiment.width_source == "uniform"]
        return [r for r in uniform if r.experiment.model in models and _synthetic(r) == synthetic]

    new = (load_record(path) for path in sorted(records_folder().glob("*.json")))
    chosen = of_profile(new) or of_profile(old_records().values())
    order = {task: i for i, task in enumerate(profile.tasks)}
    return sorted(chosen, key=lambda r: (order.get(r.experiment.task, len(order)), r.experiment.task))


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a run: what decides its cost, what it cost, and its result.

    Args:
        records: any Records.

    Returns:
        ``task`` as printed; the configuration (``layers`` is ``"all"`` at full depth); ``depth`` as the labels write
        it; ``epochs`` of the plan; ``device`` (with the number format where the Record has it) and ``side_by_side``;
        ``steps`` of the optimizer; ``hours`` of training steps alone and ``wall hours`` with evaluations and saving
        (NaN where an early Record lost count of them, see ``Record.wall_seconds``); ``score`` (best, primary metric);
        sizes.
    """
    rows = []
    for record in records:
        experiment = record.experiment
        steps, depth = record.history[-1]["step"], labels.layers(experiment)
        metric = task_spec(experiment.task).primary_metric
        rows.append(
            {
                "task": labels.task(experiment),
                "metric": metric,
                "plan": labels.plan(experiment),
                "layers": "all" if experiment.kept is None else depth,
                "W-E-A": labels.precision(experiment),
                "LoRA rank": labels.rank(experiment),
                "augmentation": labels.augmentation(experiment),
                "model": experiment.model,
                "recipe": experiment.recipe,
                "teacher": labels.teacher(experiment) if experiment.teacher else "none",
                "depth": depth,
                "learning rate": experiment.learning_rate,
                "seed": experiment.seed,
                "epochs": experiment.epochs,
                # A step in another number format costs another time.
                "device": ", ".join(filter(None, (record.device, record.compute))),
                "side_by_side": record.side_by_side,
                "steps": steps,
                "hours": record.train_seconds / 3600,
                "wall hours": record.wall_seconds / 3600 if record.wall_seconds >= record.train_seconds else math.nan,
                "ms per step": 1000 * record.train_seconds / steps,
                "score": record.best[metric],
                "nominal MiB": record.size["nominal_mib"],
                "packed MiB": record.size["packed_mib"],
                "record": record,
            }
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def totals(frame: pd.DataFrame) -> pd.DataFrame:
    """Device hours by group of comparable times and by task.

    Args:
        frame: of `to_frame`.

    Returns:
        ``runs``, ``steps``, ``hours`` of training steps.
    """
    grouped = frame.groupby([*DEVICE, "task"], sort=False)
    sums = grouped[["steps", "hours"]].sum()
    return pd.concat([grouped.size().rename("runs"), sums], axis=1).sort_index(level=DEVICE, sort_remaining=False)


def step_cost(frame: pd.DataFrame) -> pd.DataFrame:
    """Time of an optimizer step of every configuration, runs averaged that differ in rate, seed or length alone.

    Args:
        frame: of `to_frame`.

    Returns:
        The device, the task, the configuration, ``ms`` (mean), ``least``, ``most`` and ``runs``.
    """
    grouped = frame.groupby([*DEVICE, "task", *_CONFIGURATION], sort=False)["ms per step"]
    found = grouped.agg(["mean", "min", "max", "size"]).reset_index()
    return found.rename(columns={"mean": "ms", "min": "least", "max": "most", "size": "runs"})


def relative_cost(frame: pd.DataFrame) -> pd.DataFrame:
    """What one choice of a recipe does to the cost of a step, over pairs of runs that differ in that choice alone.

    Both runs of a pair have the same device and company, task, length, learning rate and seed, and everything else of
    the configuration. Several runs that are equal in all of that count as one, with the geometric mean of their times.

    Args:
        frame: of `to_frame`.

    Returns:
        One row a device, aspect and value of it: ``against`` (the value compared with, of `BASES`), ``times``
        (geometric mean of the ratios of the two step times), ``low`` and ``high`` (95 % interval of Student's t on the
        logarithms; NaN for a single pair), ``pairs``, and ``below 1``: the pairs whose step got cheaper.
    """
    every = [*DEVICE, "task", *_CONFIGURATION, "epochs", "learning rate", "seed"]
    logs = np.log(frame["ms per step"].astype(float)).groupby([frame[name] for name in every], sort=False).mean()
    runs = logs.rename("log").reset_index()
    rows = []
    for aspect, base in BASES.items():
        equal = [name for name in every if name != aspect]
        bases = runs.loc[runs[aspect] == base, [*equal, "log"]]
        others = runs.loc[runs[aspect] != base, [*equal, aspect, "log"]]
        pairs = others.merge(bases, on=equal, suffixes=("", " base"))
        ratios = (pairs["log"] - pairs["log base"]).groupby([pairs[name] for name in (*DEVICE, aspect)], sort=False)
        for (device, side_by_side, value), ratio in ratios:
            row = {"device": device, "side_by_side": side_by_side, "aspect": aspect, "value": as_text(value)}
            row |= {"against": as_text(base), "times": math.exp(ratio.mean())}
            row |= dict(zip(("low", "high"), _interval(ratio), strict=True))
            rows.append(row | {"pairs": len(ratio), "below 1": int((ratio < 0).sum())})
    columns = [*DEVICE, "aspect", "value", "against", "times", "low", "high", "pairs", "below 1"]
    return pd.DataFrame(rows, columns=columns).sort_values(DEVICE, kind="stable").set_index(columns[:5])


def _interval(logs: pd.Series) -> tuple[float, float]:
    """Interval of Student's t for the mean of logarithms, as factors."""
    if len(logs) < 2:
        return math.nan, math.nan
    reach = quantile(len(logs) - 1) * logs.sem()
    return math.exp(logs.mean() - reach), math.exp(logs.mean() + reach)


def findings(frame: pd.DataFrame) -> Markdown:
    """What was spent, what a choice costs a step, and how exact these times are.

    Args:
        frame: of `to_frame`.

    Returns:
        Sentences for each group of comparable times.
    """
    lines = []
    relative, costs = relative_cost(frame).reset_index(), step_cost(frame)
    for (device, side_by_side), group in frame.groupby(DEVICE):
        counted = group.dropna(subset="wall hours")
        line = f"**{device}, {side_by_side} side by side**: {len(group)} runs took "
        line += f"{group['hours'].sum():.1f} device hours of training steps"
        if len(counted):
            share = 100 * counted["hours"].sum() / counted["wall hours"].sum()
            line += f", {share:.0f} % of the time from first batch to last; the rest is evaluation and saving"
        if uncounted := len(group) - len(counted):
            line += f" (without {uncounted} that lost count of that time when cut off)"
        lines.append(line + ".")
        alike = _of(costs, device, side_by_side).query("runs > 1")
        if len(alike):
            spread = alike["most"] / alike["least"]
            lines.append(
                f"Runs whose steps should cost the same are a factor of {spread.median():.2f} apart (median of "
                f"configurations: {len(alike)}), and {spread.max():.2f} at most: what else the machine did is in these "
                "times."
            )
        for row in _of(relative, device, side_by_side).to_dict("records"):
            line = (
                f"A step with {row['aspect']} {row['value']} costs {row['times']:.2f} times one with {row['against']}"
            )
            lines.append(f"{line} ({_evidence(row)}).")
    return bullets(lines)


def _evidence(row: dict[str, object]) -> str:
    """How sure a ratio is: its interval and on how many pairs' side of 1 it lies."""
    if row["pairs"] == 1:
        return "one pair"
    below = row["times"] < 1
    agree = row["below 1"] if below else row["pairs"] - row["below 1"]
    interval = f"{row['low']:.2f} to {row['high']:.2f} over {row['pairs']} pairs"
    side = f"{agree} of {row['pairs']} {'below' if below else 'above'} 1"
    return f"{interval}, {side}" + ("; not told apart from 1" if row["low"] <= 1 <= row["high"] else "")


def _of(frame: pd.DataFrame, device: str, side_by_side: int) -> pd.DataFrame:
    return frame[(frame["device"] == device) & (frame["side_by_side"] == side_by_side)]


def _synthetic(record: Record) -> bool:
    return task_spec(record.experiment.task).synthetic
