"""The papers' side of a claim: the effect in their tables, its interval, and what other examples would move it by."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from statistics import fmean, pstdev, stdev
from typing import Annotated, Literal

import pandas as pd
from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from xtcq.tasks import task_spec
from xtcq_book import published
from xtcq_book.arithmetic import table
from xtcq_book.claims.interval import deviation, quantile
from xtcq_book.paper_scores import NINE, PAPER_COLUMNS

Reduction = Literal["best", "std"]
Texts = Annotated[tuple[str, ...], Field(min_length=1)]
# XTC's runs with three seeds.
SEEDS = ("xtc-c16", "xtc-c17")
# Accuracies and exact matches, which are shares of examples: the task and which of its development sets.
SHARES = {
    column: (task, int(metric == "accuracy_mm"))
    for task, columns in PAPER_COLUMNS.items()
    for metric, column in columns.items()
    if metric in ("accuracy", "accuracy_mm", "exact_match")
}
BEYOND, OPEN, WITHIN = "beyond", "open", "within"
# A two-sided sign test takes so many examples, all going one way, for more than chance: 2 / 2^6 is below 1 / 20.
FEWEST = 6


@dataclasses.dataclass(frozen=True)
class Rows:
    """Printed rows that give one value a metric.

    Attributes:
        cells: (table, row) pairs; a row may hold ``*``, and is then the one matching row that prints the metric.
        reduction: ``None`` for a single row, ``"best"`` for the maximum, ``"std"`` for the population deviation.
    """

    cells: tuple[tuple[str, str], ...]
    reduction: Reduction | None = None


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Effect:
    """The paper's effect: mean over cases and metrics of the sum of ``plus`` less the sum of ``minus``.

    Attributes:
        metrics: columns of the tables; ``"nine"`` stands for those that XTC's average is the mean of.
        plus: terms, each ``"table / row"``, or a mapping from a reduction to a list of such texts.
        minus: the same.
        over: names, which may stand in braces in a term, with the values that are put in for them.
    """

    metrics: Annotated[Texts, BeforeValidator(lambda value: NINE if value == "nine" else value)]
    plus: Annotated[tuple[str | dict[Reduction, Texts], ...], Field(min_length=1)]
    minus: tuple[str | dict[Reduction, Texts], ...] = ()
    over: dict[str, Texts] = Field(default_factory=dict)

    @cached_property
    def cases(self) -> tuple[tuple[tuple[Rows, ...], tuple[Rows, ...]], ...]:
        """Plus and minus of each case that ``over`` spells out."""
        named = [dict(zip(self.over, values, strict=True)) for values in itertools.product(*self.over.values())]
        return tuple(
            tuple(tuple(_rows(term, names) for term in side) for side in (self.plus, self.minus)) for names in named
        )

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that the effect is computed from, in order."""
        rows = itertools.chain.from_iterable(plus + minus for plus, minus in self.cases)
        return tuple(dict.fromkeys(table for term in rows for table, _ in term.cells))

    @property
    def paper(self) -> str:
        """`published.XTC` or `published.ADAQAT`."""
        return published.source(self.tables[0]).paper

    @property
    def source(self) -> str:
        """Paper and tables, as a reader would cite them."""
        places = {name: published.source(name).place for name in self.tables}
        shown = [place if name in published.texts() else place.partition(",")[0] for name, place in places.items()]
        return f"{self.paper}, {', '.join(dict.fromkeys(shown))}"

    def values(self) -> dict[str, float]:
        """The effect in points by metric, each the mean over the cases; errors are those of `printed`."""
        return {
            metric: fmean(
                sum(_value(term, metric) for term in plus) - sum(_value(term, metric) for term in minus)
                for plus, minus in self.cases
            )
            for metric in self.metrics
        }

    def borrowed_interval(self) -> tuple[float, float]:
        """Interval of an effect of XTC, whose runs have one seed, with the deviations of those that have three.

        It is of the mean over the metrics, in points, as if all runs deviated like the five of Tables C.16 and C.17.
        """
        variances = []
        for name in SEEDS:
            for row in (row.removesuffix("42") for row in table(name).rows if row.endswith("| 42")):
                values = [[printed(name, row + seed, m) for m in self.metrics] for seed in ("42", "111", "222")]
                variances.append(stdev(map(fmean, values)) ** 2)
        weights: Counter[Rows] = Counter()
        for plus, minus in self.cases:
            for sign, side in ((+1, plus), (-1, minus)):
                for term in side:
                    weights[term] += sign / len(self.cases)
        variance = sum(weight**2 for weight in weights.values()) * fmean(variances)
        effect, half = fmean(self.values().values()), quantile(2 * len(variances)) * variance**0.5
        return effect - half, effect + half

    def pooled_deviation(self) -> tuple[float, tuple[float, float]]:
        """Deviation over the printed seeds of the effect's terms, pooled, and its interval."""
        groups = [[printed(*cell, self.metrics[0]) for cell in term.cells] for plus, _ in self.cases for term in plus]
        return deviation([stdev(group) ** 2 for group in groups], [len(group) - 1 for group in groups])

    @model_validator(mode="after")
    def _of_one_paper(self) -> Effect:
        if len({published.source(name).paper for name in self.tables}) != 1:
            raise ValueError(f"write tables of one paper, not {', '.join(self.tables)}")
        return self


def _rows(term: str | Mapping[Reduction, tuple[str, ...]], names: Mapping[str, str]) -> Rows:
    [(reduction, texts)] = term.items() if isinstance(term, Mapping) else [(None, (term,))]
    cells = []
    for text in texts:
        try:
            name, separator, row = text.format_map(names).partition(" / ")
        except (KeyError, ValueError, IndexError):
            name = separator = row = ""
        if not separator or name not in (*published.tables(), *published.texts()):
            expected = f"'table / row' with names of 'over' in braces; tables are {', '.join(published.tables())}"
            raise ValueError(f"{text!r} is no row; write {expected}")
        cells.append((name, row))
    return Rows(tuple(cells), reduction)


def _value(term: Rows, metric: str) -> float:
    return {"best": max, "std": pstdev, None: fmean}[term.reduction](printed(*cell, metric) for cell in term.cells)


def printed(name: str, pattern: str, metric: str) -> float:
    """The number that a table prints in the one row of a pattern, in which ``*`` and ``?`` stand for any text.

    Raises:
        ValueError: no row, or not one row, prints it; or a malformed table.
    """
    cells = table(name)
    rows = [row for row in cells.rows if fnmatchcase(row, pattern)]
    if not rows:
        raise ValueError(f"{name} has no row {pattern!r}; write one of {'; '.join(cells.rows)}")
    printing = [row for row in rows if cells.has(row, metric)]
    if len(printing) != 1:
        known = sorted({known for row in rows for known in cells.metrics(row)})
        raise ValueError(
            f"{len(printing)} rows {pattern!r} of {name} print the metric {metric!r}, and one is expected; write a "
            f"metric of {', '.join(known)}, or the whole row"
        )
    return cells.value(printing[0], metric)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Stated:
    """A claim that the paper makes in words or in a figure, without numbers.

    Attributes:
        stated: the paper, a comma and the place.
    """

    stated: Annotated[str, Field(pattern=f"^({published.XTC}|{published.ADAQAT}), .")]

    @property
    def paper(self) -> str:
        """`published.XTC` or `published.ADAQAT`."""
        return self.stated.partition(",")[0]

    @property
    def source(self) -> str:
        """Paper and place."""
        return self.stated


def differences(effects: Iterable[Effect | Stated]) -> pd.DataFrame:
    """The differences of two printed shares that effects are computed from, each held against its sampling error.

    Both models were evaluated on the same examples, but the papers do not print on which they agree. Two bounds need
    nothing else. Unpaired, as if each had examples of its own: its standard error is too large wherever two models tend
    to fail on the same examples, so a difference beyond it is beyond the true one. And the fewest: all examples on
    which they differ go one way, and a sign test on these needs six of them.

    Returns:
        One row a difference: ``metric``, ``plus``, ``minus`` (table and row), ``examples``, ``difference`` in points,
        ``unpaired`` and ``fewest`` (the two bounds, in points) and ``word``: `BEYOND` the unpaired bound, `WITHIN` the
        other, or `OPEN`.
    """
    rows = {}
    for effect in effects:
        for case in effect.cases if isinstance(effect, Effect) else ():
            if any(len(side) != 1 or side[0].reduction for side in case):
                continue
            cells = [term.cells[0] for (term,) in case]
            for metric in sorted(set(effect.metrics) & set(SHARES)):
                key = metric, *map(" / ".join, cells)
                shares = [printed(*cell, metric) for cell in cells]
                rows[key] = dict(zip(("metric", "plus", "minus"), key, strict=True)) | _bounds(metric, *shares)
    return pd.DataFrame(rows.values())


def _bounds(metric: str, one: float, two: float) -> dict[str, object]:
    task, split = SHARES[metric]
    spec = task_spec(task)
    examples = spec.rows[spec.evaluation_splits[split]]
    variance = sum(share * (100 - share) for share in (one, two)) / examples
    unpaired = quantile(math.inf) * math.sqrt(variance)
    fewest, size = 100 * FEWEST / examples, abs(one - two)
    # The shares are rounded, to a tenth of a point at most.
    word = BEYOND if size > unpaired else WITHIN if size < fewest - 0.1 else OPEN
    return {"examples": examples, "difference": one - two, "unpaired": unpaired, "fewest": fewest, "word": word}


def by_metric(found: pd.DataFrame) -> pd.DataFrame:
    """Count the words of `differences` by metric.

    Returns:
        Indexed by metric, fewest examples first: ``examples``, ``differences``, the median ``size`` in points, the two
        bounds (medians), and how many differences are ``beyond``, ``open`` and ``within``.
    """
    groups = found.assign(size=found["difference"].abs()).groupby("metric")
    summary = groups[["examples", "size", "unpaired", "fewest"]].median()
    counts = groups["word"].value_counts().unstack(fill_value=0).reindex(columns=[BEYOND, OPEN, WITHIN], fill_value=0)
    summary = summary.assign(examples=summary["examples"].astype(int), differences=groups.size())
    return summary.join(counts).sort_values("examples")
