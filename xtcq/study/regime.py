"""Whether a search for bit-widths has the steps that it needs, and what those steps can find; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from xtcq.adaqat import ACTIVATIONS, GRANULARITIES, WEIGHTS, AdaQATSettings, WidthSearch, begin, departures
from xtcq.adaqat import needed_steps as steps_of
from xtcq.quantization import Precision
from xtcq.study.experiment import Experiment
from xtcq.training.settings import stage_steps

NEEDS = (2, 3, 4)
# What a bit less than the need costs in a planted search, in units of the loss; half a nat is one bad answer in a few.
RISE = 0.5


def exploration_steps(experiment: Experiment) -> int:
    """Optimizer steps in which an experiment's widths may move."""
    return stage_steps(experiment.plan(), experiment.epoch_steps)[0]


def needed_steps(experiment: Experiment, granularity: str | None = None) -> int:
    """Exploration steps that an experiment's search needs, or would need at another granularity; see `WidthSearch`."""
    return steps_of(_paper(experiment, granularity), *student_layers(experiment))


def check(experiment: Experiment) -> None:
    """Refuse an experiment whose search has too few steps, before its teacher is trained.

    Args:
        experiment: any; one that learns no widths by AdaQAT passes.

    Raises:
        ValueError: as `xtcq.adaqat.begin`, which names the steps and the remedy.
    """
    if experiment.adaqat is not None:
        begin(experiment.adaqat, *student_layers(experiment), exploration_steps(experiment))


def finest(experiment: Experiment) -> Experiment:
    """Return an experiment with the finest granularity that its steps allow: layer, kind or network.

    Where they allow none it is the network, so that `check` refuses it with the least number of steps.
    """
    steps = exploration_steps(experiment)
    fitting = (name for name in ("layer", "kind") if needed_steps(experiment, name) <= steps)
    return replace(experiment, adaqat=replace(experiment.adaqat, granularity=next(fitting, "network")))


def resolution(experiments: Iterable[Experiment]) -> pd.DataFrame:
    """What the steps of each search are enough for.

    Args:
        experiments: those without AdaQAT are left out; several of one length and one kind of search are one row.

    Returns:
        Indexed by the number of ``exploration steps`` and the ``granularity``: how many ``widths`` that is, the steps
        that it ``needs``, the ``finest`` granularity that the steps are enough for ("none" if not even the network's),
        and ``updates a width`` if all get equally many.
    """
    rows = {}
    for experiment in experiments:
        if experiment.adaqat is None:
            continue
        steps, name = exploration_steps(experiment), experiment.adaqat.granularity
        search = begin(_paper(experiment), *student_layers(experiment), steps)
        fitting = [other for other in GRANULARITIES if needed_steps(experiment, other) <= steps]
        widths = 2 * len(search.sizes)
        rows[steps, name] = {
            "widths": widths,
            "needs": needed_steps(experiment),
            "finest": (*fitting, "none")[0],
            "updates a width": steps if search.together else steps / widths,
        }
    return pd.DataFrame(list(rows.values()), _index(rows))


def explore(search: WidthSearch, needs: dict[tuple[str, int], int], steps: int, rise: float = RISE) -> WidthSearch:
    """Run a search on a loss that is known: it rises by `rise` for every bit that a width lacks to what it needs.

    Widths that are not updated together take turns, since there are no tensors whose error could be compared.

    Args:
        search: at its beginning; changed in place.
        needs: bits by coordinate.
        steps: length of the exploration.
        rise: of the loss, a bit.

    Returns:
        The search at its end.
    """
    for step in range(steps):
        if search.finished:
            break
        free = search.candidates()
        chosen = free if search.together else [free[step % len(free)]]
        search.update({one: -rise if search[one].bits <= needs[one] else 0.0 for one in chosen})
    return search


def planted(experiments: Iterable[Experiment]) -> pd.DataFrame:
    """What the search of each experiment finds where the need is known, see `explore`.

    Args:
        experiments: as for `resolution`.

    Returns:
        Indexed as by `resolution`; one column for every planted need of 2, 3 and 4 bits of ``weights`` (with
        activations that need 4) and of ``activations`` (with weights that need 2): the mean width found. The last
        column is ``in regime``, whether all six searches lacked nothing of the paper's.
    """
    cases = [(role, need) for role in (WEIGHTS, ACTIVATIONS) for need in NEEDS]
    rows = {}
    for experiment in experiments:
        if experiment.adaqat is None or (exploration_steps(experiment), experiment.adaqat.granularity) in rows:
            continue
        steps, found, lacked = exploration_steps(experiment), [], []
        for role, need in cases:
            search = begin(replace(experiment.adaqat, short=True), *student_layers(experiment), steps)
            needed = search.length().steps(search.eta)
            bits = {WEIGHTS: 2, ACTIVATIONS: 4} | {role: need}
            needs = {(side, group): bits[side] for side in bits for group in range(len(search.sizes))}
            explore(search, needs, steps)
            lacked += departures(search, steps, needed)
            found.append(sum(width.bits for width in getattr(search, role)) / len(search.sizes))
        rows[steps, experiment.adaqat.granularity] = [*found, not lacked]
    columns = pd.MultiIndex.from_tuples([*((role, f"needs {need}") for role, need in cases), ("in regime", "")])
    return pd.DataFrame(list(rows.values()), _index(rows), columns)


def _index(rows: Iterable[tuple[int, str]]) -> pd.MultiIndex:
    places = list(zip(*rows, strict=True)) or [[], []]  # no tuples, no levels
    return pd.MultiIndex.from_arrays(places, names=["exploration steps", "granularity"])


def _paper(experiment: Experiment, granularity: str | None = None) -> AdaQATSettings:
    """The experiment's settings with the paper's threshold, whatever they have, and not refused."""
    settings = experiment.adaqat
    threshold = max(settings.oscillations, AdaQATSettings().oscillations)
    return replace(settings, oscillations=threshold, granularity=granularity or settings.granularity, short=True)


def student_layers(experiment: Experiment) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Return start widths and numbers of weights of a student's linear layers, known without building it."""
    precision = Precision.parse(experiment.precision)
    return dict.fromkeys(experiment.matrices, (precision.weights, precision.activations)), experiment.matrices
