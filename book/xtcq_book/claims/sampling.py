"""How many of the papers' printed differences exceed what other examples of the same number would move them by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pandas as pd
from scipy.stats import norm

from xtcq.tasks import task_spec
from xtcq_book.claims.interval import LEVEL
from xtcq_book.claims.judging import paper_effects
from xtcq_book.claims.ledger import Claim, Effect, Stated

# Accuracies and exact matches, which are shares of examples: the task and which of its development sets.
SHARES = {
    "MNLI-m Acc": ("mnli", 0),
    "MNLI-mm Acc": ("mnli", 1),
    "MRPC Acc": ("mrpc", 0),
    "QNLI Acc": ("qnli", 0),
    "QQP Acc": ("qqp", 0),
    "RTE Acc": ("rte", 0),
    "SST-2 Acc": ("sst2", 0),
    "SQuAD v1.1 EM": ("squad1", 0),
    "SQuAD v2.0 EM": ("squad2", 0),
}
BEYOND, OPEN, WITHIN = "beyond", "open", "within"
# A two-sided sign test takes so many examples, all going one way, for more than chance: 2 / 2^6 is below 1 / 20.
FEWEST = 6


def differences(claims: Iterable[Claim]) -> pd.DataFrame:
    """The differences of two printed shares that the claims are computed from, each held against its sampling error.

    Both models were evaluated on the same examples, but the papers do not print on which they agree. Two bounds need
    nothing else. Unpaired, as if each had examples of its own: its standard error is too large wherever two models tend
    to fail on the same examples, so a difference beyond it is beyond the true one. And the fewest: all examples on
    which they differ go one way, and a sign test on these needs six of them.

    Args:
        claims: of the ledger.

    Returns:
        One row a difference: ``metric``, ``plus``, ``minus`` (table and row), ``examples``, ``difference`` in points,
        ``unpaired`` and ``fewest`` (the two bounds, in points) and ``word``: `BEYOND` the unpaired bound, `WITHIN` the
        other, or `OPEN`.

    Raises:
        ValueError: a row or a metric does not exist.
    """
    rows, tables = {}, {}
    for claim in claims:
        for case in () if isinstance(claim.effect, Stated) else claim.effect.cases:
            if any(len(side) != 1 or side[0].reduction for side in case):
                continue
            plus, minus = (" / ".join(term.cells[0]) for (term,) in case)
            for metric in sorted(set(claim.effect.metrics) & set(SHARES)):
                alone = [replace(claim, effect=Effect((metric,), ((side, ()),))) for side in case]
                shares = [paper_effects(one, tables)[metric] for one in alone]
                rows[metric, plus, minus] = {"metric": metric, "plus": plus, "minus": minus} | _bounds(metric, *shares)
    return pd.DataFrame(rows.values())


def _bounds(metric: str, one: float, two: float) -> dict[str, object]:
    task, split = SHARES[metric]
    spec = task_spec(task)
    examples = spec.rows[spec.evaluation_splits[split]]
    variance = sum(share * (100 - share) for share in (one, two)) / examples
    unpaired = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(variance)
    fewest, size = 100 * FEWEST / examples, abs(one - two)
    # The shares are rounded, to a tenth of a point at most.
    word = BEYOND if size > unpaired else WITHIN if size < fewest - 0.1 else OPEN
    return {"examples": examples, "difference": one - two, "unpaired": unpaired, "fewest": fewest, "word": word}


def by_metric(found: pd.DataFrame) -> pd.DataFrame:
    """Count the words of `differences` by metric.

    Args:
        found: what `differences` returns.

    Returns:
        Indexed by metric, fewest examples first: ``examples``, ``differences``, the median ``size`` in points, the two
        bounds (medians), and how many differences are ``beyond``, ``open`` and ``within``.
    """
    groups = found.assign(size=found["difference"].abs()).groupby("metric")
    summary = groups[["examples", "size", "unpaired", "fewest"]].median()
    counts = groups["word"].value_counts().unstack(fill_value=0).reindex(columns=[BEYOND, OPEN, WITHIN], fill_value=0)
    summary = summary.assign(examples=summary["examples"].astype(int), differences=groups.size())
    return summary.join(counts).sort_values("examples")
