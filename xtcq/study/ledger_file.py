"""Reads and validates the ledger of claims, ``book/claims.yaml``."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import yaml

from xtcq.adaqat import AdaQATSettings
from xtcq.study import published
from xtcq.study.budgets import NAMES as BUDGET_NAMES
from xtcq.study.experiment import WIDTHS, Experiment
from xtcq.study.ledger import DIRECTIONS, REDUCTIONS, TEACHER, Claim, Contrast, Effect, Rows, Selector, Spread
from xtcq.study.recompute import NINE

NONE_YET = "none yet"
_FIELDS = ("id", "claim", "direction", "smallest_effect", "because", "scale", "chapter", "effect", "records")


class ClaimError(ValueError):
    """A ledger that cannot be used; the message names file, claim, field and remedy."""


def ledger_path() -> Path:
    """The ledger beside the folder of published tables.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return published.folder().parent / "claims.yaml"


def load_claims(path: Path | None = None) -> list[Claim]:
    """Read and validate the ledger.

    Args:
        path: another file than `ledger_path`.

    Returns:
        The claims in the file's order.

    Raises:
        ClaimError: the file is missing, is no YAML, or an entry is malformed.
    """
    path = path or ledger_path()
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
    values = _mapping("entry", entry, required=_FIELDS)
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
    kept = {name: values[name] for name in _FIELDS[:7]}
    return Claim(**kept, effect=_effect(values["effect"]), test=_test(values["records"]))


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


def _effect(value: Any) -> Effect:
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
    if not isinstance(text, str):
        raise _Malformed("effect", text, expected)
    try:
        table, separator, row = text.format_map(names).partition(" / ")
    except (KeyError, ValueError, IndexError):
        raise _Malformed("effect", text, expected) from None
    if not separator or table not in (*published.tables(), *published.texts()):
        raise _Malformed("effect", text, f"{expected}; tables are {', '.join(published.tables())}")
    return table, row


def _test(value: Any) -> Contrast | Spread | None:
    if value == NONE_YET:
        return None
    if isinstance(value, dict) and "spread" in value:
        return Spread(_selector("records.spread", _mapping("records", value, required=("spread",))["spread"]))
    fields = _mapping("records", value, required=("where", "plus", "minus"), optional=("tune",))
    sides = {side: _list(f"records.{side}", fields[side]) for side in ("plus", "minus")}
    plus, minus = (
        tuple(term if term == TEACHER else _selector(f"records.{side}", term) for term in terms)
        for side, terms in sides.items()
    )
    tune = tuple(_list("records.tune", fields["tune"], of=str)) if "tune" in fields else ()
    if unknown := set(tune) - set(Experiment.__dataclass_fields__):
        raise _Malformed("records.tune", sorted(unknown), "fields of an Experiment")
    test = Contrast(_selector("records.where", fields["where"]), plus, minus, tune)
    compared = [path.partition(".")[0] for selector in test.selectors for path in selector]
    if not compared or (TEACHER in plus + minus and TEACHER in compared):
        raise _Malformed("records", sides, "a field that is compared; 'teacher' as a term only where all share one")
    return test


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
    if (name == "budget" and value in BUDGET_NAMES) or (name == "widths" and value in WIDTHS):
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
