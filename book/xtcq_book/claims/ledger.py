"""What a claim of the papers is: an entry of ``book/claims.yaml``, which `xtcq_book.claims.ledger_file` reads.

A claim says how the paper's effect follows from the published tables (`Effect`), what would show the same here
(`Contrast` or `Spread` of Records, or `Computed`), and on which side of which threshold the effect lies.
`xtcq_book.claims.judging` judges it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xtcq_book import published

# What a claim says of its effect, and the sign of the threshold: "not less" means at least minus the smallest effect.
# "equal" is said of what is computed: within the smallest effect on either side.
DIRECTIONS = {"greater": +1, "not less": -1, "not greater": +1, "less": -1, "equal": +1}
REDUCTIONS = ("best", "std")
TEACHER = "teacher"
# Fewest seeds of a task that decide anything.
LEAST_SEEDS = 3
# Properties of an Experiment that a selector may name, and the fields that each is a reading of.
READINGS = {"kept": ("layers",), "budget": ("epochs",), "width_source": ("adaqat", "allocation")}


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


@dataclass(frozen=True)
class Stated:
    """A claim that the paper makes in words or in a figure, without numbers.

    Attributes:
        paper: `published.XTC` or `published.ADAQAT`.
        place: where.
    """

    paper: str
    place: str


Selector = Mapping[str, tuple[Any, ...]]
"""Fields of an Experiment, or one of `READINGS`, each with the values that are accepted.

``teacher.x`` and ``start.x`` are fields of its teacher and of the run that it starts from.
"""


@dataclass(frozen=True)
class Contrast:
    """Records that stand against each other: equal in every field of the Experiment but those named here.

    Attributes:
        where: what all of them have; the budget, if the claim speaks of one.
        plus: selectors whose scores are added; the string ``"teacher"`` is the Record of the students' teacher.
        minus: selectors whose scores are subtracted, one for each of ``plus``, with which it is to be compared first.
        tune: field over whose values each side takes its best, ``"learning_rate"``; None for none.
        bitops: most by which the bit operations of the two sides may differ, as a share; None for a claim that does not
            compare at equal ones.
        control: of a claim about the distance to the teacher, the students without what is claimed: only where they
            keep the bound can it be seen whether the others do.
    """

    where: Selector
    plus: tuple[Selector | str, ...]
    minus: tuple[Selector | str, ...]
    tune: str | None = None
    bitops: float | None = None
    control: Selector | None = None

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
class Found:
    """What a search for widths ends with.

    Attributes:
        where: what all of its Records have.
        name: of the number in ``Record.exploration``; it stands in place of a score.
    """

    where: Selector
    name: str


@dataclass(frozen=True)
class Computed:
    """A value that needs no training: one of `claims.computed.VALUES`, beside the number that the paper prints."""

    name: str


@dataclass(frozen=True)
class Untestable:
    """Why a claim cannot be tested here."""

    because: str


Test = Contrast | Spread | Found | Computed | Untestable


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
        chapter: the notebook that shows it.
        effect: how the paper's effect is computed.
        test: what tests it, or why nothing can.
        least_tasks: fewest tasks that decide it.
    """

    id: str
    claim: str
    direction: str
    smallest_effect: float
    because: str
    scale: str
    chapter: str
    effect: Effect | Stated
    test: Test
    least_tasks: int = 3

    @property
    def threshold(self) -> float:
        """The effect at which the claim begins to hold, in points."""
        return DIRECTIONS[self.direction] * self.smallest_effect

    def holds_at(self, effect: float) -> bool:
        """Whether an effect lies on the claimed side of the threshold."""
        if self.direction == "equal":
            return abs(effect) <= self.smallest_effect
        upwards = self.direction in ("greater", "not less")
        return effect >= self.threshold if upwards else effect <= self.threshold

    @property
    def source(self) -> str:
        """Paper and tables, as a reader would cite them."""
        if isinstance(self.effect, Stated):
            return f"{self.effect.paper}, {self.effect.place}"
        texts = published.texts()
        places = [
            place if table in texts else place.partition(",")[0]
            for table, place in ((table, published.source(table).place) for table in self.effect.tables)
        ]
        return f"{self.paper}, {', '.join(dict.fromkeys(places))}"

    @property
    def paper(self) -> str:
        """The paper that makes the claim: `published.XTC` or `published.ADAQAT`."""
        if isinstance(self.effect, Stated):
            return self.effect.paper
        return published.source(self.effect.tables[0]).paper
