"""Judges the ledger of claims: the papers' effects from their tables, ours from Records, a verdict by one rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
from scipy.stats import bootstrap

from xtcq.study.arithmetic import Table
from xtcq.study.evidence import LEAST_SEEDS, LEAST_TASKS, LEAST_VALUES, Pair, find_pairs
from xtcq.study.ledger import Claim, Rows, Spread
from xtcq.study.ledger_file import load_claims
from xtcq.study.records import Record, load_record, records_folder

REPRODUCED, CONTRADICTED, INCONCLUSIVE = "reproduced", "contradicted", "inconclusive"
NOT_TESTED = "not tested at this scale"
VERDICTS = (REPRODUCED, CONTRADICTED, INCONCLUSIVE, NOT_TESTED)
LEAST_PAIRS = 3
LEAST_AVERAGED = 4
LEVEL = 0.95
PAPER_MODEL = "bert-base-uncased"
RULE = f"""\
A claim names a direction and the smallest effect of interest *d*, in points. *Greater* says that the effect is at least
+*d*, *not less* at least -*d*, *not greater* at most +*d*, *less* at most -*d*.

Our effect is the mean difference between Records that are equal in everything but what the claim compares. A score is
the best value of the task's first metric on its development set. All differences of one task and seed are averaged:
that is one pair. The interval is a {LEVEL:.0%} percentile bootstrap over the pairs. Where a setting is tuned, the best
is taken over the values that both sides have, {LEAST_VALUES} or more. For a claim about the spread over seeds, the
effect is the standard deviation over {LEAST_SEEDS} seeds or more of the average over tasks, and a pair is one
configuration; tasks are averaged if they were trained for the same budget, or for as many steps. An average over
fewer than {LEAST_AVERAGED} tasks deviates by more than the papers' over eight, and decides nothing; over four it may
still deviate by 1.4 times as much.

The verdict is **{REPRODUCED}** if the whole interval lies on the claimed side of the threshold, **{CONTRADICTED}** if
it lies on the other side, and **{INCONCLUSIVE}** if it holds the threshold, or if there are fewer than {LEAST_PAIRS}
pairs or {LEAST_TASKS} tasks. It is **{NOT_TESTED}** if no Records can be compared. A verdict speaks for the encoder,
tasks, training length and seeds beside it: encoders are never mixed, and generated tasks count for nothing."""


@dataclass(frozen=True)
class Judgement:
    """A claim beside the evidence.

    Attributes:
        claim: what is claimed.
        paper_effect: in points, computed from the published tables.
        paper_interval: bootstrap interval over the table's metrics; None for fewer than three.
        our_effect: in points; None where it was not tested.
        interval: bootstrap interval over the pairs; None for too few.
        pairs: number of (task, seed) pairs, or of configurations for a spread.
        scale: encoder, tasks, training length and seeds of our effect; empty where there is none.
        verdict: one of `VERDICTS`.
    """

    claim: Claim
    paper_effect: float
    paper_interval: tuple[float, float] | None
    our_effect: float | None
    interval: tuple[float, float] | None
    pairs: int
    scale: str
    verdict: str


def judge_all(path: Path | None = None) -> list[Judgement]:
    """Judge the whole ledger by the Records of `records_folder`.

    Args:
        path: another ledger than the book's.

    Returns:
        One judgement a claim, in the ledger's order.

    Raises:
        ClaimError: a malformed ledger.
        RecordError: a Record that cannot be used.
        ValueError: a published row or metric that does not exist, or a malformed table.
        FileNotFoundError: a published table is missing.
    """
    records = [load_record(file) for file in sorted(records_folder().glob("*.json"))]
    tables: dict[str, Table] = {}
    return [judge(claim, records, tables) for claim in load_claims(path)]


def judge(claim: Claim, records: Sequence[Record], tables: dict[str, Table] | None = None) -> Judgement:
    """Judge one claim by `RULE`.

    Args:
        claim: the claim.
        records: any Records; those that do not bear on the claim are left aside.
        tables: published tables read so far; filled on the way.

    Returns:
        The judgement.

    Raises:
        ValueError: a published row or metric that does not exist, or a malformed table.
    """
    printed = list(paper_effects(claim, tables).values())
    paper = fmean(printed), interval(printed)
    by_model: dict[str, list[Pair]] = defaultdict(list)
    for pair in find_pairs(claim.test, records):
        by_model[pair.model].append(pair)
    if not by_model:
        return Judgement(claim, *paper, None, None, 0, "", NOT_TESTED)
    # The papers' own encoder speaks first, but not if it has too little to say.
    model, pairs = max(
        by_model.items(), key=lambda item: (_enough(claim, item[1]), item[0] == PAPER_MODEL, len(item[1]))
    )
    effects = [pair.effect for pair in pairs]
    bounds = interval(effects)
    sides = {claim.holds_at(bound) for bound in bounds or ()}
    verdict = INCONCLUSIVE
    if _enough(claim, pairs) and len(sides) == 1:
        verdict = REPRODUCED if sides.pop() else CONTRADICTED
    return Judgement(claim, *paper, fmean(effects), bounds, len(pairs), _scale(model, pairs), verdict)


def paper_effects(claim: Claim, tables: dict[str, Table] | None = None) -> dict[str, float]:
    """The paper's effect, metric by metric.

    Args:
        claim: the claim.
        tables: published tables read so far; filled on the way.

    Returns:
        Points by metric, each the mean over the effect's cases.

    Raises:
        ValueError: a row or a metric does not exist (names claim, table and what there is), or a malformed table.
    """
    tables = {} if tables is None else tables

    def value(term: Rows, metric: str) -> float:
        cells = [_printed(claim, tables, table, row, metric) for table, row in term.cells]
        return {"best": max, "std": pstdev, None: fmean}[term.reduction](cells)

    return {
        metric: fmean(
            sum(value(term, metric) for term in plus) - sum(value(term, metric) for term in minus)
            for plus, minus in claim.effect.cases
        )
        for metric in claim.effect.metrics
    }


def _printed(claim: Claim, tables: dict[str, Table], name: str, pattern: str, metric: str) -> float:
    if name not in tables:
        tables[name] = Table(name)
    table = tables[name]
    rows = [row for row in table.rows if fnmatchcase(row, pattern)]
    if not rows:
        raise ValueError(f"claim {claim.id!r}: {name} has no row {pattern!r}; write one of {'; '.join(table.rows)}")
    printing = [row for row in rows if table.has(row, metric)]
    if len(printing) != 1:
        known = sorted({known for row in rows for known in table.metrics(row)})
        raise ValueError(
            f"claim {claim.id!r}: {len(printing)} rows {pattern!r} of {name} print the metric {metric!r}, and one is "
            f"expected; write a metric of {', '.join(known)}, or the whole row"
        )
    return table.value(printing[0], metric)


def interval(effects: Sequence[float]) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a mean (SciPy, fixed seed).

    Args:
        effects: independent observations.

    Returns:
        Lower and upper bound at `LEVEL`; None for fewer than `LEAST_PAIRS` observations.
    """
    if len(effects) < LEAST_PAIRS:
        return None
    drawn = bootstrap(
        (np.asarray(effects),),
        np.mean,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(0),
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def _enough(claim: Claim, pairs: Sequence[Pair]) -> bool:
    if isinstance(claim.test, Spread) and min(len(pair.tasks) for pair in pairs) < LEAST_AVERAGED:
        return False
    return len(pairs) >= LEAST_PAIRS and len(frozenset().union(*(pair.tasks for pair in pairs))) >= LEAST_TASKS


def _scale(model: str, pairs: Sequence[Pair]) -> str:
    tasks, seeds, epochs = (
        sorted(frozenset().union(*sets))
        for sets in ([p.tasks for p in pairs], [p.seeds for p in pairs], [p.epochs for p in pairs])
    )
    length = f"{epochs[0]:.2g}" if len(epochs) == 1 else f"{epochs[0]:.2g} to {epochs[-1]:.2g}"
    many = "s" * (len(seeds) > 1)
    return f"{model}; {', '.join(tasks)}; {length} epochs; seed{many} {', '.join(map(str, seeds))}"


def counts(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Number of claims by verdict, in the order of `VERDICTS`."""
    found = [judgement.verdict for judgement in judgements]
    return {verdict: found.count(verdict) for verdict in VERDICTS}
