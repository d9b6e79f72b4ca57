"""The history of a plan, put together from the logs of its stages."""

from __future__ import annotations

import re
from typing import Any

from xtcq.distillation import Stage

# In every line of the log: seconds of training steps alone, and with the evaluations and checkpoints between them.
CLOCKS = ("train_seconds", "wall_seconds")
_METRIC = re.compile(r"eval_validation(_matched|_mismatched)?_(.+)")
_SPEEDS = ("loss", "runtime", "samples_per_second", "steps_per_second")


def place_stage(
    log: list[dict[str, Any]], index: int, stage: Stage, before: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Turn one stage's log into entries of the whole plan's history.

    Args:
        log: the Trainer's log of the stage.
        index: position of the stage in the plan.
        stage: the stage.
        before: entries of the stages before it; steps, epochs and seconds go on from its end.

    Returns:
        Entries as ``TrainingResult.history`` describes them.
    """
    offset = {name: before[-1][name] if before else 0 for name in ("step", "epoch", *CLOCKS)}
    entries: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in log:
        evaluated = any(name.startswith("eval_") for name in line)
        if not evaluated and "loss" not in line:
            continue  # the Trainer's closing summary
        key = (line["step"], evaluated)
        entry = entries.setdefault(
            key, {"stage": index, "stage_name": stage.name} | {name: line[name] + offset[name] for name in offset}
        )
        if evaluated:
            entry.setdefault("metrics", {}).update(_metrics(line))
        else:
            entry |= {k: v for k, v in line.items() if k.startswith("loss") or k == "learning_rate"}
    return list(entries.values())


def _metrics(line: dict[str, Any]) -> dict[str, float]:
    """Metrics of one evaluation line; a second split's are told apart by its suffix, as in ``accuracy_mm``."""
    result = {}
    for name, value in line.items():
        found = _METRIC.fullmatch(name)
        if found and found[2] not in _SPEEDS:
            result[found[2] + ("_mm" if found[1] == "_mismatched" else "")] = value
    return result
