"""What it would take to decide a claim: seeds, runs and hours, if its effect here were the paper's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

import pandas as pd

from xtcq_book.claims.interval import quantile
from xtcq_book.claims.judge import CANNOT, DECIDED, Judgement
from xtcq_book.claims.ledger import LEAST_SEEDS, Claim, Contrast
from xtcq_book.scores import alike

# A tuned side is run at this many further rates, with one seed each.
_RATES = 2
# More than anybody will run; the search for a number of seeds ends there.
_MOST = 10_000


def deviations(runs: pd.DataFrame) -> pd.Series:
    """How far the best score moves with the seed, in points: by task, steadiest first.

    Args:
        runs: of ``xtcq_book.frame.to_frame``. Those that are alike but for their seed, and were taught by the same
            weights, are repetitions.

    Returns:
        The standard deviation of one run, pooled within the repeated ones of the task.
    """
    repeated = runs.groupby(["task", runs["experiment"].map(lambda e: alike(e).digest), "taught"], dropna=False)["best"]
    found = pd.DataFrame({"squares": repeated.var(), "freedom": repeated.size() - 1}).query("freedom > 0")
    found["squares"] *= found["freedom"]
    pooled = found.groupby(level="task").sum()
    return ((pooled["squares"] / pooled["freedom"]) ** 0.5).sort_values()


def seeds_needed(claim: Claim, effect: float, deviation: float) -> float:
    """Fewest seeds a task whose interval would lie on one side of the threshold, if the mean were ``effect``.

    The half width of the interval for other seeds (see ``interval``) over T equally noisy tasks with n seeds each is
    t(T (n - 1)) * deviation * sqrt(k / (T n)), for a claim that adds and subtracts k students.

    Args:
        claim: one about a ``Contrast``.
        effect: in points.
        deviation: of one run between seeds, in points.

    Returns:
        At least `LEAST_SEEDS`; infinity where 10,000 are too few.
    """
    margin, tasks, students = _margin(claim, effect), claim.least_tasks, len(claim.test.selectors)
    for seeds in range(LEAST_SEEDS, _MOST):
        if quantile(tasks * (seeds - 1)) * deviation * math.sqrt(students / (tasks * seeds)) <= margin:
            return seeds
    return math.inf


def _margin(claim: Claim, effect: float) -> float:
    threshold = claim.smallest_effect if claim.direction in ("greater", "not greater") else -claim.smallest_effect
    return abs(effect - threshold)


def to_decide(judgements: Iterable[Judgement], runs: pd.DataFrame) -> pd.DataFrame:
    """The bill of every claim about students that more seeds could decide, cheapest first.

    Args:
        judgements: the ledger.
        runs: as for `deviations`; over the tasks that are steadiest with the seed the bill is smallest.

    Returns:
        Indexed by ``claim``: the ``smallest effect``, the ``paper``'s effect, the ``seeds`` a task, the ``runs`` in
        all, further rates of what is tuned included, and their ``hours on a core`` and ``hours on a card`` by the
        median time of a run here. Empty where too few tasks have repetitions.
    """
    steadiest, rows = deviations(runs), {}
    on_core = runs["device"].str.startswith("CPU")
    hours = [float(runs.loc[device, "hours"].median()) for device in (on_core, ~on_core)]
    for found in judgements:
        claim, test = found.claim, found.claim.test
        if not isinstance(test, Contrast) or found.paper_effect is None or found.verdict in (*DECIDED, CANNOT):
            continue
        if len(steadiest) < claim.least_tasks:
            continue
        deviation = math.sqrt(fmean(steadiest.iloc[: claim.least_tasks] ** 2))
        seeds = seeds_needed(claim, found.paper_effect, deviation)
        students = claim.least_tasks * len(test.selectors) * (seeds + _RATES * (test.tune is not None))
        rows[claim.id] = (
            claim.smallest_effect,
            found.paper_effect,
            seeds,
            students,
            *(students * one for one in hours),
        )
    names = ["smallest effect", "paper", "seeds", "runs", "hours on a core", "hours on a card"]
    return (
        pd.DataFrame.from_dict(rows, orient="index", columns=names)
        .rename_axis("claim")
        .sort_values("runs", kind="stable")
    )
