"""Reads and validates the ledger of claims, ``book/claims.yaml``."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import yaml

from xtcq.adaqat import AdaQATSettings
from xtcq.study.budgets import NAMES as BUDGET_NAMES
from xtcq.study.experiment import WIDTH_SOURCES, Experiment
from xtcq_book import published
from xtcq_book.chapters.errata import NINE
from xtcq_book.claims import computed
from xtcq_book.claims.ledger import (
    DIRECTIONS,
    REDUCTIONS,
    TEACHER,
    Claim,
    Computed,
    Contrast,
    Effect,
    Found,
    Rows,
    Selector,
    Spread,
    Stated,
    Test,
    Untestable,
)

TUNED = "learning_rate"
_FIELDS = ("id", "claim", "direction", "smallest_effect", "because", "scale", "chapter", "effect", "records")


class ClaimError(ValueError):
    """A ledger that cannot be used; the message names file, claim, field and remedy."""


def load_claims(path: Path | None = None) -> list[Claim]:
    """Read and validate the ledger.

    Args:
        path: another file than that beside the folder of published tables.

    Returns:
        The claims in the file's order.

    Raises:
        ClaimError: the file is missing, is no YAML, or an entry is malformed.
    """
    path = path or published.folder().parent / "claims.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClaimError(f"{path} cannot be read ({error.strerror}); restore it from version control") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise ClaimError(f"{path} is no YAML: {' '.join(str(error).split())}; correct the place it names") from None
    entries = data.get("claims") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ClaimError(f"{path} holds no list under the key 'claims'; write '- id: ...' entries below it")
    claims: list[Claim] = []
    for number, entry in enumerate(entries, 1):
        name = entry.get("id", f"number {number}") if isinstance(entry, dict) else f"number {number}"
        try:
            claim = _claim(entry)
            if claim.id in {other.id for other in claims}:
                raise _Malformed("id", entry["id"], "another one: it is there twice")
        except _Malformed as error:
            raise ClaimError(f"{path}: claim {name!r}, {error}") from None
        claims.append(claim)
    return claims


class _Malformed(Exception):
    def __init__(self, field: str, value: Any, expected: str) -> None:
        super().__init__(f"field {field!r} is {value!r}; write {expected}")


def _claim(entry: Any) -> Claim:
    values = _mapping("entry", entry, required=_FIELDS, optional=("least_tasks",))
    for name in ("id", "chapter"):
        if not isinstance(values[name], str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", values[name]):
            raise _Malformed(name, values[name], "small letters, digits and hyphens")
    for name in ("claim", "because", "scale"):
        if not isinstance(values[name], str) or not values[name].strip():
            raise _Malformed(name, values[name], "a sentence, in quotes if it holds a colon")
    if values["direction"] not in DIRECTIONS:
        raise _Malformed("direction", values["direction"], f"one of {', '.join(DIRECTIONS)}")
    least = values["smallest_effect"]
    if isinstance(least, bool) or not isinstance(least, int | float) or not 0 < least < math.inf:
        raise _Malformed("smallest_effect", least, "a positive number of points")
    if type(tasks := values.setdefault("least_tasks", 3)) is not int or tasks < 1:
        raise _Malformed("least_tasks", tasks, "a whole number of at least 1")
    kept = {name: values[name] for name in (*_FIELDS[:7], "least_tasks")}
    test = _test(values["records"])
    if values["direction"] == "equal" and not isinstance(test, Computed):
        raise _Malformed("direction", "equal", "another one: only what is computed is equal to a printed number")
    return Claim(**kept, effect=_effect(values["effect"]), test=test)


def _mapping(field: str, value: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    known = required + optional
    if not isinstance(value, dict) or set(value) - set(known) or set(required) - set(value):
        shown = sorted(map(str, value)) if isinstance(value, dict) else value
        raise _Malformed(field, shown, f"a mapping with {', '.join(required)}" + "".join(f" [{n}]" for n in optional))
    return value


def _list(field: str, value: Any, of: type = object) -> list[Any]:
    if not isinstance(value, list) or not value or not all(isinstance(one, of) for one in value):
        raise _Malformed(field, value, "a list that is not empty" + (" of strings" if of is str else ""))
    return value


def _effect(value: Any) -> Effect | Stated:
    if isinstance(value, dict) and set(value) == {"stated"}:
        paper, separator, place = str(value["stated"]).partition(", ")
        if paper not in (published.XTC, published.ADAQAT) or not separator:
            raise _Malformed(
                "effect.stated", value["stated"], f"{published.XTC} or {published.ADAQAT}, a comma, a place"
            )
        return Stated(paper, place)
    fields = _mapping("effect", value, required=("metrics", "plus"), optional=("minus", "over"))
    metrics = NINE if fields["metrics"] == "nine" else tuple(_list("effect.metrics", fields["metrics"], of=str))
    over = fields.get("over", {})
    if not isinstance(over, dict):
        raise _Malformed("effect.over", over, "a mapping from a name to a list of strings")
    for name, values in over.items():
        _list(f"effect.over.{name}", values, of=str)
    cases = []
    for values in itertools.product(*over.values()):
        names = dict(zip(over, values, strict=True))
        sides = (_list(f"effect.{side}", fields[side]) if side in fields else [] for side in ("plus", "minus"))
        plus, minus = (tuple(_rows(term, names) for term in side) for side in sides)
        cases.append((plus, minus))
    effect = Effect(metrics, tuple(cases))
    if len({published.source(table).paper for table in effect.tables}) != 1:
        raise _Malformed("effect", effect.tables, "tables of one paper")
    return effect


def _rows(term: Any, names: dict[str, str]) -> Rows:
    reduction, texts = None, [term]
    if isinstance(term, dict) and len(term) == 1 and set(term) <= set(REDUCTIONS):
        [(reduction, texts)] = term.items()
        _list(f"effect, {reduction}", texts)
    return Rows(tuple(_cell(text, names) for text in texts), reduction)


def _cell(text: Any, names: dict[str, str]) -> tuple[str, str]:
    expected = (
        f"'table / row' with names of 'over' in braces, or a mapping from one of {', '.join(REDUCTIONS)} to a list"
    )
    try:
        table, separator, row = text.format_map(names).partition(" / ")
    except (AttributeError, KeyError, ValueError, IndexError):
        raise _Malformed("effect", text, expected) from None
    if not separator or table not in (*published.tables(), *published.texts()):
        raise _Malformed("effect", text, f"{expected}; tables are {', '.join(published.tables())}")
    return table, row


def _test(value: Any) -> Test:
    kind = next((kind for kind in ("computed", "untestable", "spread", "found") if kind in value), "") if value else ""
    if kind in ("computed", "untestable"):
        said = _mapping("records", value, required=(kind,))[kind]
        if not isinstance(said, str) or (kind == "computed" and said not in computed.VALUES):
            raise _Malformed(f"records.{kind}", said, f"a reason, or one of {', '.join(computed.VALUES)}")
        return Computed(said) if kind == "computed" else Untestable(said)
    required = {"spread": ("spread", "length"), "found": ("where", "length", "found")}
    contrast = ("where", "length", "plus", "minus")
    optional = ("tune", "bitops", "control") if not kind else ()
    fields = _mapping("records", value, required=required.get(kind, contrast), optional=optional)
    where = _selector("records.where", fields["spread" if kind == "spread" else "where"]) | _length(fields["length"])
    if kind == "spread":
        return Spread(where)
    return Found(where, str(fields["found"])) if kind == "found" else _contrast(where, fields)


def _contrast(where: Selector, fields: dict[str, Any]) -> Contrast:
    plus, minus = (
        tuple(
            term if term == TEACHER else _selector(f"records.{side}", term)
            for term in _list(f"records.{side}", fields[side])
        )
        for side in ("plus", "minus")
    )
    if len(plus) != len(minus):
        raise _Malformed("records", [len(plus), len(minus)], "as many terms in 'minus' as in 'plus', pair by pair")
    if (tune := fields.get("tune")) not in (None, TUNED):
        raise _Malformed("records.tune", tune, f"{TUNED}, or leave it out")
    if (bitops := fields.get("bitops")) is not None and not (type(bitops) is float and 0 < bitops < 1):
        raise _Malformed("records.bitops", bitops, "a share between 0 and 1")
    compared = [path.partition(".")[0] for term in plus + minus if term != TEACHER for path in term]
    if not compared or (TEACHER in plus + minus and TEACHER in compared):
        shown = {side: fields[side] for side in ("plus", "minus")}
        raise _Malformed("records", shown, "a field that is compared; 'teacher' as a term only where all share one")
    control, absolute = fields.get("control"), TEACHER in plus + minus and len(plus) == 1
    if absolute and plus[0] == TEACHER:
        expected = "the students; the teacher belongs into 'minus', since a control arm takes the place of 'plus'"
        raise _Malformed("records.plus", fields["plus"], expected)
    if absolute and control is None:
        expected = (
            "the students without what is claimed, which have to keep the bound as well, since the teacher is a term; "
            "where there is no such arm, the reason as 'records: {untestable: ...}'"
        )
        raise _Malformed("records.control", control, expected)
    return Contrast(where, plus, minus, tune, bitops, control and _selector("records.control", control))


def _length(value: Any) -> Selector:
    """The budgets that all Records must have; none if there is a reason why any will do."""
    if isinstance(value, dict) and set(value) == {"any"} and isinstance(value["any"], str):
        return {}
    names = value if isinstance(value, list) else [value]
    if not names or not set(map(str, names)) <= set(BUDGET_NAMES):
        expected = f"one or a list of {', '.join(BUDGET_NAMES)}, or 'any: why the claim may be judged at every length'"
        raise _Malformed("records.length", value, expected)
    return {"budget": tuple(names)}


def _selector(field: str, value: Any) -> Selector:
    if not isinstance(value, dict):
        raise _Malformed(field, value, "a mapping from fields of an Experiment to values, or 'teacher' as a term")
    chosen = {}
    for name, values in value.items():
        values = values if isinstance(values, list) else [values]
        chosen[name] = tuple(_canonical(f"{field}.{name}", str(name), one) for one in values)
    return chosen


def _canonical(field: str, name: str, value: Any) -> Any:
    """The value as an Experiment stores it; building one is what validates it."""
    name = name.removeprefix("teacher.").removeprefix("start.")
    # A student of half the paper's layers has other indices than the paper's: depth is not checked here.
    if name == "kept" and (value is None or isinstance(value, list)):
        return value and tuple(value)
    if (name == "budget" and value in BUDGET_NAMES) or (name == "width_source" and value in WIDTH_SOURCES):
        return value
    if name.startswith("adaqat."):
        setting = name.removeprefix("adaqat.")
        try:
            return getattr(AdaQATSettings(**{setting: value}), setting)
        except (TypeError, ValueError) as error:
            raise _Malformed(field, value, f"a setting of AdaQAT: {error}") from None
    probe = {"task": "mrpc", "epochs": 1, "learning_rate": 1e-4, "precision": "2-2-8", name: value}
    try:
        shared = {field: probe[field] for field in ("task", "model") if field in probe}
        teacher = Experiment(**shared, epochs=1, learning_rate=1)
        return getattr(Experiment(**{"teacher": teacher} | probe), name)
    except (TypeError, ValueError) as error:
        hint = " (to YAML, 1e-4 is text: write 1.0e-4)" if isinstance(value, str) and re.match(r"\d+e", value) else ""
        raise _Malformed(field, value, f"a field and value of an Experiment: {error}{hint}") from None
