"""The judged ledger to read: as data, as a table of text, and as the table of its page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from xtcq.study import published
from xtcq.study.claims import CONTRADICTED, REPRODUCED, Judgement, counts, judge_all

_WIDTHS = ("13em", "8em", "11em", "11em")


def as_data(judgement: Judgement) -> dict[str, Any]:
    """A judgement as JSON-able fields; ``chapter`` is None until that notebook is written."""
    claim = judgement.claim
    return {
        "id": claim.id,
        "claim": claim.claim,
        "source": claim.source,
        "direction": claim.direction,
        "smallest_effect": claim.smallest_effect,
        "paper_effect": judgement.paper_effect,
        "paper_interval": judgement.paper_interval,
        "paper_holds": claim.holds_at(judgement.paper_effect),
        "our_effect": judgement.our_effect,
        "interval": judgement.interval,
        "pairs": judgement.pairs,
        "scale": judgement.scale,
        "scale_of_the_paper": claim.scale,
        "verdict": judgement.verdict,
        "chapter": claim.chapter if _written(claim.chapter) else None,
    }


def to_frame(judgements: Iterable[Judgement]) -> pd.DataFrame:
    """The ledger as a table of text, one row a claim, in points with two decimals.

    Args:
        judgements: of one paper or of both.

    Returns:
        Columns ``id``, ``claim``, ``says``, ``source``, ``paper``, ``ours``, ``pairs``, ``scale``, ``verdict`` and
        ``chapter``; an effect is followed by its interval.
    """
    return pd.DataFrame(
        {
            "id": j.claim.id,
            "claim": j.claim.claim,
            "says": f"{j.claim.direction} {j.claim.smallest_effect:g}",
            "source": j.claim.source,
            "paper": _points(j.paper_effect, j.paper_interval),
            "ours": _points(j.our_effect, j.interval),
            "pairs": j.pairs,
            "scale": j.scale or "–",
            "verdict": j.verdict,
            "chapter": j.claim.chapter,
        }
        for j in judgements
    )


def headline(judgements: Sequence[Judgement], executed: str = "executed") -> str:
    """What was decided, in a few lines for a landing page.

    Args:
        judgements: of both papers.
        executed: the way from that page to the executed chapters.

    Returns:
        HTML: the number of claims by verdict, and those reproduced or contradicted, each with both effects.
    """
    tally = ", ".join(f"{number} {verdict}" for verdict, number in counts(judgements).items())
    parts = [f"<p>Of the {len(judgements)} claims in the papers' tables: {tally}.</p>"]
    for verdict in (REPRODUCED, CONTRADICTED):
        decided = [j for j in judgements if j.verdict == verdict]
        entries = "".join(
            f'<li><a href="{executed}/{j.claim.chapter}.html">{escape(j.claim.claim)}</a> '
            f"Paper {j.paper_effect:+.1f} points, here {_points(j.our_effect, j.interval, 1)}.</li>"
            for j in decided
        )
        listed = f"</p><ul>{entries}</ul>" if decided else " none.</p>"
        parts.append(f"<p><strong>{verdict.capitalize()}</strong>:{listed}")
    return "\n".join(parts)


def chapter(name: str) -> Styler:
    """What the papers claim about a chapter's subject, judged by all Records that bear on it.

    Args:
        name: of the notebook.

    Returns:
        An object that a notebook renders.
    """
    return show([judgement for judgement in judge_all() if judgement.claim.chapter == name], name)


def show(judgements: Iterable[Judgement], name: str) -> Styler:
    """The ledger for a page: four columns whose text wraps, and each row leads to its chapter.

    Args:
        judgements: of one paper.
        name: tells the tables of a page apart.

    Returns:
        An object that a notebook renders.
    """
    frame = pd.DataFrame(
        {
            "claim": _lines(f'<strong id="{r.id}">{r.id}</strong>', escape(r.claim), small=r.says),
            "verdict": _lines(f"<strong>{r.verdict}</strong>", small=_link(r.chapter)),
            "paper": _lines(r.paper, small=f"{r.source}<br>{escape(j.claim.scale)}"),
            "ours": _lines(r.ours, small=f"{r.scale}<br>pairs: {r.pairs}" if r.pairs else ""),
        }
        for j, r in ((j, next(to_frame([j]).itertuples())) for j in judgements)
    )
    cells = [("white-space", "normal"), ("text-align", "left"), ("vertical-align", "top"), ("padding", "0.4em 0.6em")]
    widths = [{"selector": f"td.col{i}", "props": [("min-width", width)]} for i, width in enumerate(_WIDTHS)]
    style = frame.style.hide(axis="index").set_uuid(name)
    return style.set_table_styles([{"selector": "th, td", "props": cells}, *widths])


def _lines(*lines: str, small: str) -> str:
    return "<br>".join((*lines, f"<small>{small}</small>"))


def _link(chapter: str) -> str:
    return f'<a href="{chapter}.html">{chapter}</a>' if _written(chapter) else f"chapter {chapter}: not written yet"


def _points(effect: float | None, bounds: tuple[float, float] | None, decimals: int = 2) -> str:
    if effect is None:
        return "–"
    spread = "" if bounds is None else " [{:+.{d}f}, {:+.{d}f}]".format(*bounds, d=decimals)
    return f"{effect:+.{decimals}f}{spread}"


def _written(chapter: str) -> bool:
    return (published.folder().parents[1] / "notebooks" / f"{chapter}.ipynb").is_file()
