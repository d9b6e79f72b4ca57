"""Bit-widths in the notation of the papers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

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

    @property
    def segment(self) -> int:
        """Bits of the segment (token-type) embedding."""
        return self.embeddings[1]

    @property
    def position(self) -> int:
        """Bits of the position embedding."""
        return self.embeddings[2]

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
        shown = text if embeddings is None else f"{text} {embeddings}"
        match = re.fullmatch(r"\s*(\d+(?:-\d+){1,2})(?:\s+(\d+-\d+-\d+))?\s*", shown, flags=re.ASCII)
        if match is None:
            raise ValueError(
                f"precision {shown!r} is not understood: write W-E-A such as '2-4-4' (weights, token embedding, "
                "activations), or W-A with T-K-P such as '2-4 4-32-4' (token, segment, position embedding)"
            )
        first = [int(bits) for bits in match[1].split("-")]
        tables: tuple[int, int, int] | None = None
        if match[2]:
            token, segment, position = map(int, match[2].split("-"))
            tables = token, segment, position
        if len(first) == 3:
            weights, token, activations = first
            if tables is not None and tables[0] != token:
                raise ValueError(
                    f"precision {shown!r} gives the token embedding {token} bits and {tables[0]} bits: "
                    f"write W-A with T-K-P, '{weights}-{activations} {match[2]}'"
                )
            return cls(weights, tables or (token, FLOAT_BITS, FLOAT_BITS), activations)
        if tables is None:
            raise ValueError(
                f"precision {shown!r} does not say how embeddings are stored: write W-E-A such as "
                f"'{first[0]}-{first[0]}-{first[1]}', or add T-K-P such as '{match[1]} 4-32-4'"
            )
        return cls(first[0], tables, first[1])

    def __str__(self) -> str:
        """Return the shortest notation that ``parse`` reads back."""
        if self.embeddings[1:] == (FLOAT_BITS, FLOAT_BITS):
            return f"{self.weights}-{self.token}-{self.activations}"
        return f"{self.weights}-{self.activations} {'-'.join(map(str, self.embeddings))}"


def _check(name: str, bits: int, least: int) -> None:
    if type(bits) is not int or bits != FLOAT_BITS:
        check_integer(f"{name} precision", bits, least, 8, remedy=f", or {FLOAT_BITS} to leave it in floating point")
