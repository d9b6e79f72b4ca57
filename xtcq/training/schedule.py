"""How long the stages of a plan are in optimizer steps, and after which of them the student is evaluated."""

from __future__ import annotations

from collections.abc import Sequence

from xtcq.distillation import Stage


def stage_steps(stages: Sequence[Stage], epoch_steps: int) -> list[int]:
    """Optimizer steps of every stage.

    The ends of stages are rounded to steps, not their lengths: plans of equal length have equally many steps, however
    many stages share them.

    Args:
        stages: the plan, in passes over the training set.
        epoch_steps: optimizer steps of one pass.

    Returns:
        One number a stage, at least 1.

    Raises:
        ValueError: the plan is so short that a stage has no step.

    Example:
        >>> from xtcq.distillation import one_stage, three_stage
        >>> stage_steps(one_stage(1.0), 1000), stage_steps(three_stage(1.0), 1000)
        ([1000], [333, 334, 333])
    """
    ends, passed = [0], 0.0
    for stage in stages:
        passed += stage.epochs
        ends.append(round(passed * epoch_steps))
    lengths = [end - begin for begin, end in zip(ends, ends[1:], strict=False)]
    if min(lengths) < 1:
        raise ValueError(
            f"{passed:g} passes of {epoch_steps} steps give the {len(stages)} stages {lengths} steps, and each needs "
            "one: train longer, or in fewer stages"
        )
    return lengths


def evaluation_steps(total: int, evaluations: int) -> list[int]:
    """Steps of a whole plan after which the student is evaluated: evenly spaced, the last one at the end.

    They know nothing of stages, so that two plans of one length are evaluated equally often and at the same steps, and
    the best of either is a maximum over as many values.

    Args:
        total: optimizer steps of the plan.
        evaluations: how many; fewer if the plan has fewer steps.

    Returns:
        Rising steps, counted from 1.

    Example:
        >>> evaluation_steps(1000, 6)
        [167, 333, 500, 667, 833, 1000]
    """
    return sorted({max(1, round(total * i / evaluations)) for i in range(1, evaluations + 1)})
