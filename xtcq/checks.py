"""Values that a caller gives: refused before work is spent, with the value, what was expected and the remedy."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar
from unicodedata import category

_Value = TypeVar("_Value")
# Of a text, see ``text_faults``.
EMPTY = "is empty"
# Categories of Unicode: separators, control characters, those of no width, and those of private use.
_UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf", "Co")


def check_integer(name: str, value: object, least: int, most: int | None = None, remedy: str = "") -> int:
    """Return an integer within bounds; a truth value is none, though Python counts it as one.

    Args:
        name: of the value, for the message.
        value: what was given.
        least: smallest value.
        most: greatest value; any above ``least`` if left out.
        remedy: what else to do, the end of the message.

    Raises:
        ValueError: naming the value and what was expected.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        expected = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value!r}, expected an integer {expected}{remedy}")
    return value


def check_positive(name: str, value: object, remedy: str = "") -> float:
    """Return a finite number above 0 as a float; arguments and errors are those of ``check_integer``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} is {value!r}, expected a positive number{remedy}")
    return float(value)


def check_choice(name: str, value: _Value, choices: Collection[_Value]) -> _Value:
    """Return a value that is one of the choices; a ValueError names the value and the choices."""
    if value not in tuple(choices):  # a list or a dictionary is none of a set or of keys
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")
    return value


def text_faults(values: Iterable[object]) -> Iterator[tuple[int, str]]:
    """Find what a tokenizer cannot read, or would read nothing in: the index of each such value, and what it is not."""
    for index, value in enumerate(values):
        if not isinstance(value, str):
            yield index, "is no text"
            continue
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair: what Python makes of bytes in another encoding
            yield index, "is no Unicode: give it in UTF-8"
            continue
        if all(category(letter) in _UNSEEN for letter in value):
            yield index, EMPTY
