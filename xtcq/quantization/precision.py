"""Bit-widths in the notation of the papers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from xtcq.checks import check_integer

FLOAT_BITS = 32


@dataclass(frozen=True)
class Precision:
    """Bit-widths of weights, embedding tables and activations; 32 means left in floating point.

    Attributes:
        weights: of the linear layers, 1 to 8 or 32.
        embeddings: of the token, segment and position tables (T-K-P of AdaQAT-BERT Table 5, where K is the segment
            or token-type table), each 1 to 8 or 32.
        activations: of the linear layers' inputs, 2 to 8 or 32.

    Raises:
        ValueError: a bit-width out of range, or embeddings that are not three.

    >>> from xtcq import Precision
    >>> Precision(weights=2, embeddings=(4, 32, 4), activations=8).token
    4
    """

    weights: int
    embeddings: tuple[int, int, int]
    activations: int

    def __post_init__(self) -> None:
        """Check every bit-width."""
        if not isinstance(self.embeddings, tuple) or len(self.embeddings) != 3:
            raise ValueError(
                f"embeddings is {self.embeddings!r}, expected three bit-widths (token, segment, position), "
                "such as (4, 32, 32)"
            )
        _check("weights", self.weights, least=1)
        for name, bits in zip(("token", "segment", "position"), self.embeddings, strict=True):
            _check(f"{name} embedding", bits, least=1)
        _check("activations", self.activations, least=2)

    @property
    def token(self) -> int:
        """Bits of the token embedding."""
        return self.embeddings[0]

    @classmethod
    def parse(cls, text: str, embeddings: str | None = None) -> Self:
        """Read a notation.

        Args:
            text: "W-E-A" (weights, token embedding, activations; segment and position stay at 32), "W-A" together
                with ``embeddings``, or "W-A T-K-P" in one string.
            embeddings: "T-K-P" (token, segment, position).

        Raises:
            ValueError: the text is none of these, a bit-width is out of range, or E and T disagree.

        >>> from xtcq import Precision
        >>> Precision.parse("2-4-4")
        Precision(weights=2, embeddings=(4, 32, 32), activations=4)
        >>> str(Precision.parse("2-4", embeddings="4-32-4"))
        '2-4 4-32-4'
        """
        shown = str(text) if embeddings is None else f"{text} {embeddings}"
        match = re.fullmatch(r"\s*(\d+)-(\d+)(?:-(\d+))?(?:\s+(\d+)-(\d+)-(\d+))?\s*", shown, flags=re.ASCII)
        if match is None:
            raise ValueError(
                f"precision {shown!r} is not understood: write W-E-A such as '2-4-4' (weights, token embedding, "
                "activations), or W-A with T-K-P such as '2-4 4-32-4' (token, segment, position embedding)"
            )
        numbers: list[Any] = [group and int(group) for group in match.groups()]
        weights, second, third, *given = numbers
        if third is None and given[0] is None:
            raise ValueError(
                f"precision {shown!r} does not say how embeddings are stored: write W-E-A such as '1-1-8', or W-A with "
                "T-K-P such as '2-4 4-32-4' (--embeddings 4-32-4 on the command line)"
            )
        tables: Any = (second, FLOAT_BITS, FLOAT_BITS) if given[0] is None else tuple(given)
        if third is not None and tables[0] != second:
            raise ValueError(
                f"precision {shown!r} gives the token embedding {second} bits and {tables[0]} bits: "
                f"write W-A with T-K-P, '{weights}-{third} {'-'.join(map(str, tables))}'"
            )
        return cls(weights, tables, second if third is None else third)

    def __str__(self) -> str:
        """Return the shortest notation that ``parse`` reads back."""
        if self.embeddings[1:] == (FLOAT_BITS, FLOAT_BITS):
            return f"{self.weights}-{self.token}-{self.activations}"
        return f"{self.weights}-{self.activations} {'-'.join(map(str, self.embeddings))}"


def _check(name: str, bits: int, least: int) -> None:
    if type(bits) is not int or bits != FLOAT_BITS:
        check_integer(f"{name} precision", bits, least, 8, remedy=f", or {FLOAT_BITS} to leave it in floating point")
