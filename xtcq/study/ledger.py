"""What a claim of the papers is: an entry of ``book/claims.yaml``, which `xtcq.study.ledger_file` reads.

A claim says how the paper's effect follows from the published tables (`Effect`), which Records would show the same
(`Contrast` or `Spread`), and on which side of which threshold the effect lies. `xtcq.study.claims` judges it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xtcq.study import published

# What a claim says of its effect, and the sign of the threshold: "not less" means at least minus the smallest effect.
DIRECTIONS = {"greater": +1, "not less": -1, "not greater": +1, "less": -1}
REDUCTIONS = ("best", "std")
TEACHER = "teacher"
# Properties of an Experiment that a selector may name, and the fields that each is a reading of.
READINGS = {"kept": ("layers",), "budget": ("epochs",), "widths": ("adaqat", "allocation")}


@dataclass(frozen=True)
class Rows:
    """Printed rows that give one value a metric.

    Attributes:
        cells: (table, row) pairs; a row may hold ``*``, and is then the one matching row that prints the metric.
        reduction: ``None`` for a single row, ``"best"`` for the maximum, ``"std"`` for the population deviation.
    """

    cells: tuple[tuple[str, str], ...]
    reduction: str | None = None


@dataclass(frozen=True)
class Effect:
    """The paper's effect: mean over cases and metrics of the sum of ``plus`` less the sum of ``minus``.

    Attributes:
        metrics: columns of the tables.
        cases: (plus, minus) of each case that ``over`` spells out.
    """

    metrics: tuple[str, ...]
    cases: tuple[tuple[tuple[Rows, ...], tuple[Rows, ...]], ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that the effect is computed from, in order."""
        rows = itertools.chain.from_iterable(plus + minus for plus, minus in self.cases)
        return tuple(dict.fromkeys(table for term in rows for table, _ in term.cells))


Selector = Mapping[str, tuple[Any, ...]]
"""Fields of an Experiment, or one of `READINGS`, each with the values that are accepted.

``teacher.x`` and ``start.x`` are fields of its teacher and of the run that it starts from.
"""


@dataclass(frozen=True)
class Contrast:
    """Records that stand against each other: equal in every field of the Experiment but those named here.

    Attributes:
        where: what all of them have.
        plus: selectors whose scores are added; the string ``"teacher"`` is the Record of the students' teacher.
        minus: selectors whose scores are subtracted.
        tune: fields over whose values the best is taken; only values that every selector has count, at least two.
    """

    where: Selector
    plus: tuple[Selector | str, ...]
    minus: tuple[Selector | str, ...]
    tune: tuple[str, ...]

    @property
    def selectors(self) -> list[Selector]:
        """The terms that choose students, of both sides."""
        return [term for term in (*self.plus, *self.minus) if term != TEACHER]


@dataclass(frozen=True)
class Spread:
    """Records that differ in their seed: the deviation over seeds of the average over tasks.

    Attributes:
        where: what all of them have.
    """

    where: Selector


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger.

    Attributes:
        id: short name.
        claim: what the paper says, in our words.
        direction: a key of `DIRECTIONS`.
        smallest_effect: in points; with the direction it gives the threshold.
        because: why this is the smallest effect of interest.
        scale: at which scale the paper says it.
        chapter: the notebook that shows it, written or planned.
        effect: how the paper's effect is computed.
        test: the Records that test it; None where no Record can yet.
    """

    id: str
    claim: str
    direction: str
    smallest_effect: float
    because: str
    scale: str
    chapter: str
    effect: Effect
    test: Contrast | Spread | None

    @property
    def threshold(self) -> float:
        """The effect at which the claim begins to hold, in points."""
        return DIRECTIONS[self.direction] * self.smallest_effect

    def holds_at(self, effect: float) -> bool:
        """Whether an effect lies on the claimed side of the threshold."""
        upwards = self.direction in ("greater", "not less")
        return effect >= self.threshold if upwards else effect <= self.threshold

    @property
    def source(self) -> str:
        """Paper and tables, as a reader would cite them."""
        sources = [published.source(table) for table in self.effect.tables]
        places = dict.fromkeys(source.place.partition(",")[0] for source in sources)
        return f"{sources[0].paper}, {', '.join(places)}"

    @property
    def paper(self) -> str:
        """The paper that makes the claim: `published.XTC` or `published.ADAQAT`."""
        return published.source(self.effect.tables[0]).paper
