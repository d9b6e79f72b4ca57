"""Whether a search for bit-widths has the steps that it needs, and what those steps can find; nothing is trained.

AdaQAT-BERT says neither how long it explores nor at what rate. A rate that rises where steps are few lets the widths
jump over the values that they should be tried at, so a study keeps to limits: a rate of at most 1, no step above half
of it in bits, and the paper's ten oscillations. From these follows how many steps a search needs. One that has fewer is
refused, or marked where ``AdaQATSettings.short`` asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xtcq.adaqat import (
    ACTIVATIONS,
    GRANULARITIES,
    MOST_ETA,
    PUBLISHED_ETA,
    THRESHOLD,
    WEIGHTS,
    AdaQATSettings,
    WidthSearch,
    begin,
    pressures,
)
from xtcq.study.experiment import Experiment
from xtcq.training.settings import stage_steps

# What one step may move a width, in bits, at the greatest rate; in proportion below it. A rise of the loss by more than
# half a unit counts as half a unit, so that no single batch decides about a width and its way back has a known length.
MOST_REACH = 0.5
# Without so many updates a width was hardly looked at.
UPDATES = 20


def search_length(widths: WidthSearch) -> tuple[float, int]:
    r"""Steps that are enough for every width to come to rest, from where the widths are now.

    With a rate :math:`\eta \le 1`, a width i falls by :math:`\eta s_i` a step while nothing resists, where
    :math:`s_i = \min(\lambda p_i, 1/2)` and :math:`p_i` is its pressure. Where its last bit is needed, a step takes it
    up, by :math:`\eta/2` at most, and :math:`\lceil 1/(2 s_i) \rceil` steps at most take it down again; the K + 1st
    such oscillation freezes it. From :math:`N_i` bits that makes at most

    .. math:: \frac{N_i - least}{\eta s_i} + 1 + \max\Bigl(20,\;
        (K + 1) \Bigl(1 + \Bigl\lceil \frac{1}{2 s_i} \Bigr\rceil \Bigr)\Bigr)

    steps, and never fewer than the 20 updates without which a width was hardly looked at. It holds where the loss of
    the last bit costs at least twice the pressure, as a bit that is needed does; a width that nothing holds freezes at
    its bound earlier. Widths of groups move one after the other, so their steps are added: weights while activations
    are at their start, then activations, in the worst case while all weights are at ``least``. Widths that move
    together need the longest of these, with all pressures at ``least``.

    Returns:
        Steps on the way down at a rate of 1 (at a lower rate so many times more), and steps of the oscillations that
        end in freezing, at any rate.
    """
    falling, settling = [], []
    for role in (WEIGHTS, ACTIVATIONS):
        early = role == WEIGHTS and not widths.together
        other = [width.bits if early else widths.least for width in widths.activations]
        speeds = [
            min(widths.penalties[role] * pressure, MOST_REACH)
            for pressure in pressures(other, widths.sizes, widths.pressure)
        ]
        free = [(w, speed) for w, speed in zip(getattr(widths, role), speeds, strict=True) if not w.frozen]
        falling.append(sum((width.value - widths.least) / speed for width, speed in free))
        cycles = [(widths.oscillations + 1) * (1 + math.ceil(MOST_REACH / speed)) for _, speed in free]
        settling.append(sum(1 + max(UPDATES, steps) for steps in cycles))
    total = max if widths.together else sum
    return total(falling), total(settling)


class StudySettings(AdaQATSettings):
    """AdaQAT's settings in a study, with a bound on every step."""

    @property
    def reach(self) -> float:
        """Half of the rate, in bits."""
        return MOST_REACH * (self.eta or PUBLISHED_ETA)


def exploration_steps(experiment: Experiment) -> int:
    """Optimizer steps in which an experiment's widths may move."""
    return stage_steps(experiment.plan(), experiment.spec.epoch_steps)[0]


def search_settings(experiment: Experiment) -> StudySettings:
    """An experiment's settings with the learning rate and the reach that its search runs with.

    The rate is the given one, or the smallest from the published code's 0.1 to 1 with which the planned steps are
    enough; the reach is half of it.
    """
    settings = _adaqat(experiment)
    if settings.eta is None:
        falling, settling = search_length(start_widths(experiment, settings))
        spare = exploration_steps(experiment) - settling
        settings = replace(settings, eta=min(max(falling / spare, PUBLISHED_ETA), MOST_ETA) if spare > 0 else MOST_ETA)
    return StudySettings(**settings.to_dict())


def needed_steps(experiment: Experiment, **changes: Any) -> int:
    """Exploration steps that an experiment's search needs, see ``search_length``, at its own rate or else 1.

    ``changes`` are made to its settings: another ``granularity``, or the rate that it runs with.
    """
    settings = replace(_adaqat(experiment), **changes)
    falling, settling = search_length(start_widths(experiment, settings))
    return math.ceil(falling / (settings.eta or MOST_ETA)) + settling


def check(experiment: Experiment) -> None:
    """Refuse an experiment whose search has too few steps, before its teacher is trained, unless it is ``short``.

    Raises:
        ValueError: the steps are fewer than needed, or a width would freeze after fewer oscillations than the paper's;
            with the steps that are needed and what else could be done.
    """
    settings = experiment.adaqat
    if settings is None or settings.short:
        return
    asked = "short=True explores all the same, and marks the result"
    if settings.oscillations < THRESHOLD:
        raise ValueError(
            f"oscillations is {settings.oscillations}, and AdaQAT-BERT freezes a width after more than {THRESHOLD}: "
            f"raise it; {asked}"
        )
    steps, needed = exploration_steps(experiment), needed_steps(experiment, eta=search_settings(experiment).eta)
    if steps >= needed:
        return
    coarser = GRANULARITIES[GRANULARITIES.index(settings.granularity) + 1 :]
    needs = {name: needed_steps(experiment, granularity=name) for name in coarser}
    fit = ", ".join(f"{name!r} (needs {need})" for name, need in needs.items() if need <= steps)
    count = 2 * len(start_widths(experiment, settings).sizes)
    raise ValueError(
        f"{count} widths of granularity {settings.granularity!r} need {needed} exploration steps, and {steps} are "
        "planned: " + (f"choose granularity {fit}, or " if fit else "") + f"explore at least {needed} steps; {asked}"
    )


def judged(experiment: Experiment, report: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the report of a search what it lacked of the paper's regime.

    The paper's regime: a learning rate of at most 1 and no step above half a bit, which every search of a study keeps;
    more than ten oscillations before a width freezes; and at the end all widths frozen, or all that are not updated
    twenty times or more in an exploration that was long enough to freeze them.

    Returns:
        The report of ``xtcq.adaqat.AdaQAT.report`` with ``needed_steps``, at the rate of the search; ``in_regime``; and
        ``departures``, what it lacked, in words.
    """
    needed = needed_steps(experiment, eta=report["eta"])
    lacked = []
    if (oscillations := _adaqat(experiment).oscillations) < THRESHOLD:
        lacked.append(f"widths froze after more than {oscillations} oscillations, in the paper after {THRESHOLD}")
    pairs = [zip(report["updates"][role], report["frozen"][role], strict=True) for role in (WEIGHTS, ACTIVATIONS)]
    free = [count for role in pairs for count, frozen in role if not frozen]
    if free and report["planned_steps"] < needed:
        planned = report["planned_steps"]
        lacked.append(f"{_were(len(free))} not frozen, and {needed} steps are needed where {planned} were planned")
    if few := sum(count < UPDATES for count in free):
        lacked.append(f"{_were(few)} updated less than {UPDATES} times")
    return {**report, "needed_steps": needed, "in_regime": not lacked, "departures": lacked}


def _were(count: int) -> str:
    return f"{count} widths were" if count > 1 else f"{count} width was"


def finest(experiment: Experiment) -> Experiment:
    """Return an experiment with the finest granularity that its steps allow: layer, kind or network.

    Where they allow none it is the network, so that `check` refuses it with the least number of steps.
    """
    steps = exploration_steps(experiment)
    fitting = (name for name in ("layer", "kind") if needed_steps(experiment, granularity=name) <= steps)
    return replace(experiment, adaqat=replace(_adaqat(experiment), granularity=next(fitting, "network")))


def _adaqat(experiment: Experiment) -> AdaQATSettings:
    if experiment.adaqat is None:
        raise ValueError(f"{experiment} learns no bit-widths: give an experiment with adaqat=AdaQATSettings(...)")
    return experiment.adaqat


def start_widths(experiment: Experiment, settings: AdaQATSettings) -> WidthSearch:
    """The widths of an experiment's student at their start, by the settings of its search."""
    precision = experiment.quantization.precision
    start = dict.fromkeys(experiment.matrices, (precision.weights, precision.activations))
    return begin(settings, start, experiment.matrices)
