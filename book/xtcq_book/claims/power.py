"""What it would take to decide a claim: seeds, runs and hours, if its effect here were the paper's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

import pandas as pd
from scipy.stats import t as student_t

from xtcq.pretrained import PUBLISHED
from xtcq.tasks import task_spec
from xtcq_book.claims.interval import quantile
from xtcq_book.claims.judge import CANNOT, DECIDED, Judgement, word_for
from xtcq_book.claims.ledger import LEAST_SEEDS, Claim, Contrast
from xtcq_book.scores import alike

# How many of such studies are to end with a verdict.
POWER = 0.8
# A tuned side is run at this many further rates, with one seed each.
_RATES = 2
# More than anybody will run; the search for a number of seeds ends there.
_MOST = 100_000


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
    """Fewest seeds a task of which `POWER` of all studies would end with a verdict, if the mean were ``effect``.

    Over T equally noisy tasks with n seeds each an effect of k students has the standard error s = deviation *
    sqrt(k / (T n)) and T (n - 1) degrees of freedom. Its interval (see ``interval``) ends within the `margin` in that
    share of studies where (t(0.975) + t(0.8)) s is no more than the margin.

    Args:
        claim: one about a ``Contrast``.
        effect: in points.
        deviation: of one run between seeds, in points.

    Returns:
        At least `LEAST_SEEDS`; infinity where 100,000 are too few.
    """
    most, tasks = margin(claim, effect), claim.least_tasks
    error = deviation * math.sqrt(len(claim.test.selectors) / tasks)

    def enough(seeds: int) -> bool:
        freedom = tasks * (seeds - 1)
        return (quantile(freedom) + student_t.ppf(POWER, freedom)) * error / math.sqrt(seeds) <= most

    low, high = LEAST_SEEDS - 1, LEAST_SEEDS
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def margin(claim: Claim, effect: float) -> float:
    """The largest half width, in points, of an interval around an effect that gives the claim a verdict."""
    ends = (abs(effect - claim.smallest_effect), abs(effect + claim.smallest_effect), abs(effect))
    # A hair within: an interval that ends on a threshold lies on neither side.
    return max(
        (end for end in ends if word_for(claim, (effect - 0.999999 * end, effect + 0.999999 * end), False)), default=0.0
    )


def is_open(found: Judgement) -> bool:
    """Whether more runs could give a claim a verdict that it does not have."""
    return found.verdict not in (*DECIDED, CANNOT)


def _can_run(test: Contrast, encoders: set[str]) -> bool:
    """Whether what is compared can be trained of these encoders at a length of this scale.

    One that names a budget of the paper takes runs of many times the steps that are priced here.
    """
    if test.length:
        return False
    for term in test.selectors:
        asked = dict(test.where) | dict(term)
        models = encoders & set(asked.get("model", encoders))
        layers = max((PUBLISHED[model].layers for model in models), default=0)
        for name in ("kept", "teacher.kept", "start.kept"):
            if not any(kept is None or max(kept) < layers for kept in asked.get(name, (None,))):
                return False
        if not layers:
            return False
    return True


def _has(found: Judgement, seeds: float) -> bool:
    """Whether enough tasks have so many seeds already, so that something else keeps the claim open."""
    there = [len(of_task) >= seeds for of_task in (found.evidence.seeds if found.evidence else {}).values()]
    return sum(there) >= found.claim.least_tasks


def to_decide(judgements: Iterable[Judgement], runs: pd.DataFrame) -> pd.DataFrame:
    """The bill of every claim about students that more seeds could decide, cheapest first.

    Args:
        judgements: the ledger.
        runs: as for `deviations`. A claim is counted over the tasks that it may be about and that are steadiest with
            the seed, where the bill is smallest.

    Returns:
        Indexed by ``claim``: the ``smallest effect``, the ``paper``'s effect, the ``seeds`` a task, the ``runs`` in
        all, control arms and further rates of what is tuned included (teachers and runs to begin with come on top), and
        their ``hours on a core`` and ``hours on a card`` by the median time of a run here. A claim whose tasks were not
        repeated here is left out, one that asks for another encoder or a budget of the paper's, and one that has its
        seeds already.
    """
    moves, rows, encoders = deviations(runs), {}, set(runs["encoder"])
    on_core = runs["device"].str.startswith("CPU")
    hours = [float(runs.loc[device, "hours"].median()) for device in (on_core, ~on_core)]
    for found in judgements:
        claim, test = found.claim, found.claim.test
        if not isinstance(test, Contrast) or found.paper_effect is None or not is_open(found):
            continue
        if not _can_run(test, encoders):
            continue
        asked = [task_spec(name).title for name in test.where.get("task", ())]
        steadiest = moves[moves.index.isin(asked)] if asked else moves
        if len(steadiest) < claim.least_tasks:
            continue
        deviation = math.sqrt(fmean(steadiest.iloc[: claim.least_tasks] ** 2))
        seeds = seeds_needed(claim, found.paper_effect, deviation)
        if _has(found, seeds):
            continue
        arms = len(test.selectors) + (test.control is not None)
        students = claim.least_tasks * arms * (seeds + _RATES * (test.tune is not None))
        cost = [students * one for one in hours]
        rows[claim.id] = (claim.smallest_effect, found.paper_effect, seeds, students, *cost)
    names = ["smallest effect", "paper", "seeds", "runs", "hours on a core", "hours on a card"]
    bill = pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("claim")
    return bill.sort_values("runs", kind="stable")
