"""What a claim of the papers is: an entry of ``book/claims.yaml``, with the fields that stand here.

A claim says how the paper's effect follows from the published tables (`Effect`), what would show the same here
(`Contrast` or `Spread` of Records, what a search `Found`, or `Computed`), and on which side of which threshold the
effect lies. `xtcq_book.claims.judge` judges it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from xtcq.adaqat import AdaQATSettings
from xtcq.study.budgets import NAMES as BUDGET_NAMES
from xtcq.study.experiment import WIDTH_SOURCES, Experiment
from xtcq_book import published
from xtcq_book.claims.computed import VALUES
from xtcq_book.claims.paper import Effect, Stated

# What a claim says of its effect. "Not less" means at least minus the smallest effect of interest; "equal" is said of
# what is computed alone: within that on either side.
Direction = Literal["greater", "not less", "not greater", "less", "equal"]
TEACHER = "teacher"
# Fewest seeds of a task that decide anything.
LEAST_SEEDS = 3
# Properties of an Experiment that a selector may name, and the fields that each is a reading of.
READINGS = {"kept": ("layers",), "budget": ("epochs",), "width_source": ("adaqat", "allocation")}

# A field that the file has and these have not is a slip.
_CONFIG = ConfigDict(extra="forbid")
_Name = Annotated[str, Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$")]
_Sentence = Annotated[str, Field(pattern=r"\S")]


def _selector(value: Any) -> dict[str, tuple[Any, ...]]:
    if not isinstance(value, Mapping):
        raise ValueError("write a mapping from fields of an Experiment to values, or 'teacher' as a term")
    several = {name: values if isinstance(values, list | tuple) else [values] for name, values in value.items()}
    return {name: tuple(_as_stored(str(name), one) for one in values) for name, values in several.items()}


def _as_stored(path: str, value: Any) -> Any:
    """The value as an Experiment stores it; building one is what validates it."""
    name = path.removeprefix("teacher.").removeprefix("start.")
    # A student of half the paper's layers has other indices than the paper's: depth is not checked here.
    if name == "kept" and (value is None or isinstance(value, list | tuple)):
        return value and tuple(value)
    if (name == "budget" and value in BUDGET_NAMES) or (name == "width_source" and value in WIDTH_SOURCES):
        return value
    try:
        if name.startswith("adaqat."):
            setting = name.removeprefix("adaqat.")
            return getattr(AdaQATSettings(**{setting: value}), setting)
        probe = {"task": "mrpc", "epochs": 1, "learning_rate": 1e-4, "precision": "2-2-8", name: value}
        shared = {field: probe[field] for field in ("task", "model") if field in probe}
        teacher = Experiment(**shared, epochs=1, learning_rate=1)
        return getattr(Experiment(**{"teacher": teacher} | probe), name)
    except (TypeError, ValueError) as error:
        hint = " (to YAML, 1e-4 is text: write 1.0e-4)" if isinstance(value, str) and re.match(r"\d+e", value) else ""
        expected = "a field and value of an Experiment, or of its search as 'adaqat.name'"
        raise ValueError(f"{path!r} is {value!r}; write {expected}: {error}{hint}") from None


def _length(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict) and set(value) == {"any"} and isinstance(value["any"], str):
        return ()
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or names == [] or not set(map(str, names)) <= set(BUDGET_NAMES):
        expected = f"one or a list of {', '.join(BUDGET_NAMES)}, or 'any: why the claim may be judged at every length'"
        raise ValueError(f"write {expected}")
    return tuple(names)


Selector = Annotated[Mapping[str, tuple[Any, ...]], PlainValidator(_selector)]
"""Fields of an Experiment, or one of `READINGS`, each with the values that are accepted.

``teacher.x`` and ``start.x`` are fields of its teacher and of the run that it starts from, ``adaqat.x`` of its search.
"""
Term = Annotated[Selector | Literal["teacher"], PlainValidator(lambda v: v if v == TEACHER else _selector(v))]
Length = Annotated[tuple[str, ...], PlainValidator(_length)]
"""Budgets that all Records must have; none where any length will do, for the reason that the file gives."""


@dataclass(frozen=True, config=_CONFIG)
class Contrast:
    """Records that stand against each other: equal in every field of the Experiment but those named here.

    Attributes:
        where: what all of them have.
        plus: selectors whose scores are added; the string ``"teacher"`` is the Record of the students' teacher.
        minus: selectors whose scores are subtracted, one for each of ``plus``, with which it is to be compared first.
        length: of all of them.
        tune: field over whose values each side takes its best; None for none.
        bitops: most by which the bit operations of the two sides may differ, as a share; None for a claim that does not
            compare at equal ones.
        control: of a claim about the distance to the teacher, the students without what is claimed: only where they
            keep the bound can it be seen whether the others do.
    """

    where: Selector
    plus: Annotated[tuple[Term, ...], Field(min_length=1)]
    minus: Annotated[tuple[Term, ...], Field(min_length=1)]
    length: Length
    tune: Literal["learning_rate"] | None = None
    bitops: Annotated[float, Field(gt=0, lt=1)] | None = None
    control: Selector | None = None

    @property
    def selectors(self) -> list[Selector]:
        """The terms that choose students, of both sides."""
        return [term for term in (*self.plus, *self.minus) if term != TEACHER]

    @model_validator(mode="after")
    def _pairs(self) -> Contrast:
        if len(self.plus) != len(self.minus):
            raise ValueError("write as many terms in 'minus' as in 'plus', pair by pair")
        compared = [path.partition(".")[0] for term in self.selectors for path in term]
        if not compared or (TEACHER in self.plus + self.minus and TEACHER in compared):
            raise ValueError("write a field that is compared; 'teacher' as a term only where all share one")
        return self


@dataclass(frozen=True, config=_CONFIG)
class Spread:
    """Records that differ in their seed: the deviation over seeds of the average over tasks.

    Attributes:
        where: what all of them have.
        length: of all of them.
        spread: over what.
    """

    where: Selector
    length: Length
    spread: Literal["seeds"] = "seeds"


@dataclass(frozen=True, config=_CONFIG)
class Found:
    """What a search for widths ends with.

    Attributes:
        where: what all of its Records have.
        found: name of the number in ``Record.exploration``; it stands in place of a score.
        length: of all of them.
    """

    where: Selector
    found: str
    length: Length


@dataclass(frozen=True, config=_CONFIG)
class Computed:
    """A value that needs no training, beside the number that the paper prints.

    Attributes:
        computed: name of one of `claims.computed.VALUES`.
    """

    computed: Literal[*VALUES]


@dataclass(frozen=True, config=_CONFIG)
class Untestable:
    """A claim that cannot be tested here.

    Attributes:
        untestable: why.
    """

    untestable: _Sentence


def _kind(value: Any) -> str:
    """Which kind of effect or test an entry is: the field says it that no other kind has."""
    names = value if isinstance(value, dict) else getattr(value, "__dataclass_fields__", ())
    return next((kind for kind in ("stated", "computed", "untestable", "spread", "found") if kind in names), "")


Test = Annotated[
    Annotated[Contrast, Tag("")]
    | Annotated[Spread, Tag("spread")]
    | Annotated[Found, Tag("found")]
    | Annotated[Computed, Tag("computed")]
    | Annotated[Untestable, Tag("untestable")],
    Discriminator(_kind),
]


@dataclass(frozen=True, config=_CONFIG)
class Claim:
    """One entry of the ledger.

    Attributes:
        id: short name.
        claim: what the paper says, in our words.
        direction: on which side of the threshold the effect lies.
        smallest_effect: in points; with the direction it gives the threshold.
        because: why this is the smallest effect of interest.
        scale: at which scale the paper says it.
        chapter: the notebook that shows it.
        effect: how the paper's effect is computed.
        test: what tests it, or why nothing can.
        least_tasks: fewest tasks that decide it.
    """

    id: _Name
    claim: _Sentence
    direction: Direction
    smallest_effect: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
    because: _Sentence
    scale: _Sentence
    chapter: _Name
    effect: Annotated[Annotated[Effect, Tag("")] | Annotated[Stated, Tag("stated")], Discriminator(_kind)]
    test: Test
    least_tasks: Annotated[int, Field(ge=1, strict=True)] = 3

    def holds_at(self, effect: float) -> bool:
        """Whether an effect, in points, lies on the claimed side of the threshold."""
        if self.direction == "equal":
            return abs(effect) <= self.smallest_effect
        threshold = self.smallest_effect if self.direction in ("greater", "not greater") else -self.smallest_effect
        return effect >= threshold if self.direction in ("greater", "not less") else effect <= threshold

    @property
    def source(self) -> str:
        """Paper and tables, as a reader would cite them."""
        return self.effect.source

    @property
    def paper(self) -> str:
        """The paper that makes the claim: `published.XTC` or `published.ADAQAT`."""
        return self.effect.paper

    def paper_effect(self) -> float | None:
        """The paper's effect, mean over its metrics, in points; None for a claim without numbers.

        Raises:
            ValueError: a row or a metric does not exist, or a malformed table (names the claim).
        """
        try:
            return fmean(self.effect.values().values()) if isinstance(self.effect, Effect) else None
        except ValueError as error:
            raise ValueError(f"claim {self.id!r}: {error}") from None

    @model_validator(mode="after")
    def _can_be_judged(self) -> Claim:
        if self.direction == "equal" and not isinstance(self.test, Computed):
            raise ValueError("write another direction: only what is computed is 'equal' to a printed number")
        if not isinstance(self.test, Contrast) or len(self.test.plus) > 1:
            return self
        if TEACHER in self.test.plus:
            raise ValueError("the teacher belongs into 'minus', since a control arm takes the place of 'plus'")
        if TEACHER in self.test.minus and self.test.control is None:
            raise ValueError(
                "write as 'control' the students without what is claimed, which have to keep the bound as well, since "
                "the teacher is a term; where there is no such arm, write the reason as 'test: {untestable: ...}'"
            )
        return self


_CLAIM = TypeAdapter(Claim)


def load_claims(path: Path | None = None) -> list[Claim]:
    """Read and validate the ledger.

    Returns:
        The claims in the file's order.

    Raises:
        ValueError: an entry is malformed (names file, claim, field and what was expected).
    """
    path = path or published.FOLDER.parent / "claims.yaml"
    claims = []
    # In C where it is there, and ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for entry in yaml.load(path.read_text(encoding="utf-8"), loader)["claims"]:
        try:
            claims.append(_CLAIM.validate_python(entry))
        except ValidationError as error:
            raise ValueError(f"{path}: claim {entry.get('id')!r}: {error}") from None
    return claims
