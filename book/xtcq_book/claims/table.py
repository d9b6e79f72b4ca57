"""The judged ledger to read: as data, as a table of text, and as the table of its page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

import nbformat
import pandas as pd
from IPython.display import HTML

from xtcq.tasks import task_spec
from xtcq_book import columns
from xtcq_book.claims.interval import Estimate
from xtcq_book.claims.judge import (
    CONTRADICTED,
    DECIDED,
    DEPENDS,
    SCORES,
    UNDECIDED,
    UNDECIDED_HERE,
    Judgement,
    Scored,
    counts,
    judge_all,
)
from xtcq_book.claims.ledger import Computed, Found
from xtcq_book.provenance import under

_NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
_WIDTHS = ("13em", "9em", "9em", "13em")
_OPEN = (UNDECIDED, UNDECIDED_HERE, DEPENDS)
_NO_LABELS = "the labels are not at hand"


def as_data(judgement: Judgement) -> dict[str, Any]:
    """A judgement as JSON-able fields."""
    claim, evidence = judgement.claim, judgement.evidence
    trained = judgement.paper_effect is not None and not _computed(judgement)
    scores = {score: getattr(judgement, score) for score in SCORES}
    return {
        "id": claim.id,
        "claim": claim.claim,
        "source": claim.source,
        "direction": claim.direction,
        "smallest_effect": claim.smallest_effect,
        "verdict": judgement.verdict,
        "because": judgement.because,
        "verdict_best": judgement.best and judgement.best.verdict,
        "verdict_last": judgement.last and judgement.last.verdict,
        "also_beyond_these_examples": judgement.beyond,
        "unit": _unit(judgement),
        "points": {score: _estimate(scored and scored.points) for score, scored in scores.items()},
        "lift": {score: _estimate(scored and scored.lift) for score, scored in scores.items()},
        "control": judgement.control,
        "paper_effect": judgement.paper_effect,
        "paper_interval": judgement.paper_interval,
        "paper_holds": claim.holds_at(judgement.paper_effect) if trained else None,
        "paper_verdict": judgement.paper_verdict,
        "paper_scale": claim.scale,
        "model": judgement.model,
        "tasks": {task: sorted(seeds) for task, seeds in evidence.seeds.items()} if evidence else {},
        "steps": judgement.steps,
        "compute": sorted({record.compute for record in evidence.records}) if evidence else [],
        "mixed_compute": evidence.mixed if evidence else [],
        "best_at_shared_steps": evidence.shortened if evidence else [],
        "gated": evidence.gated if evidence else [],
        "chapter": claim.chapter,
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    return estimate and {
        "effect": estimate.effect,
        "interval": estimate.seeds,
        "interval_with_examples": estimate.both,
        "same_sign": [estimate.agree, estimate.tasks],
    }


def to_frame(judgements: Iterable[Judgement]) -> pd.DataFrame:
    """The ledger as a table of text, one row a claim.

    Returns:
        Columns ``id``, ``claim``, ``says``, ``source``, ``paper``, ``best`` and ``last`` (effects in points, each with
        its interval; of what is computed the values, of a search the bits, which have no last), ``scale``,
        ``verdict``, ``because`` and ``chapter``.
    """
    return pd.DataFrame(
        {
            "id": j.claim.id,
            "claim": j.claim.claim,
            "says": f"{j.claim.direction} {j.claim.smallest_effect:g}",
            "source": j.claim.source,
            "paper": _paper(j),
            "best": f"{j.paper_effect + j.best.points.effect:.2f}"
            if _computed(j)
            else _effect(j.best) + " bits" * _found(j),
            "last": _effect(None if _found(j) else j.last),
            "scale": scale(j) or "–",
            "verdict": j.verdict + " (also beyond these examples)" * j.beyond,
            "because": j.because,
            "chapter": j.claim.chapter,
        }
        for j in judgements
    )


def scale(*judgements: Judgement) -> str:
    """Encoder, tasks, optimizer steps and seeds of what was compared; empty for nothing."""
    compared = [j for j in judgements if j.evidence and j.evidence.settings]
    if not compared:
        return ""
    return columns.scale(
        [j.model for j in compared],
        [task_spec(task).title for task in sorted({task for j in compared for task in j.evidence.seeds})],
        [steps for j in compared for steps in j.steps],
        [len(seeds) for j in compared for seeds in j.evidence.seeds.values()],
    )


def headline(judgements: Sequence[Judgement], executed: str = "executed") -> str:
    """What was decided, in a few lines of HTML for a landing page; ``executed`` is its way to the executed chapters.

    It has the number of claims by verdict with their scale, those decided and those whose interval leaves them open,
    each with its own, and those that a computation contradicts.
    """
    trained = [j for j in judgements if not _computed(j)]
    computed = [j for j in judgements if _computed(j)]
    at = scale(*trained)
    parts = [
        f"<p>Of the {len(trained)} claims of the papers that need training{f', with {at}' * bool(at)}: "
        f"{_tally(trained)}.</p>"
    ]
    for verdict in (*DECIDED, *_OPEN):
        entries = "".join(
            f"<li>{_link(j, executed)} {verdict.capitalize()}, {scale(j)}: {_effect(j.best, 1)} {_unit(j)}; "
            f"paper {_paper(j, 1)}{f' ({escape(j.because)})' * (verdict in _OPEN)}.</li>"
            for j in trained
            if j.verdict == verdict and (verdict in DECIDED or _has_interval(j))
        )
        title = verdict.capitalize() + ", with enough seeds for an interval" * (verdict in _OPEN)
        parts += [f"<p><strong>{title}</strong>:</p><ul>{entries}</ul>"] * bool(entries)
    wrong = "".join(
        f"<li>{_link(j, executed)} Computed: {j.paper_effect + j.best.points.effect:.1f}.</li>"
        for j in computed
        if j.verdict == CONTRADICTED
    )
    parts.append(
        f"<p>Of the {len(computed)} claims about sizes and bit operations, which can be computed without any training: "
        f"{_tally(computed)}.</p>"
        + f"<details><summary>What does not hold</summary><ul>{wrong}</ul></details>"
        * bool(wrong)
    )
    return "\n".join(parts)


def _has_interval(judgement: Judgement) -> bool:
    """Whether runs of as many tasks as the claim asks for have a best score with an interval, whatever it decides."""
    tasks = len(judgement.evidence.seeds) if judgement.evidence else 0
    points = judgement.best and judgement.best.points
    return bool(points and points.seeds and tasks >= judgement.claim.least_tasks)


def _link(judgement: Judgement, executed: str) -> str:
    return f'<a href="{executed}/{judgement.claim.chapter}.html">{escape(judgement.claim.claim)}</a>'


@cache
def link_to(name: str) -> str:
    """A chapter's title, as a link from the page of another one."""
    first = nbformat.read(_NOTEBOOKS / f"{name}.ipynb", as_version=4).cells[0].source.splitlines()[0]
    return f'<a href="{name}.html">{escape(first.removeprefix("# "))}</a>'


def _tally(judgements: Iterable[Judgement]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in counts(judgements).items() if number) or "none"


def chapter(name: str) -> HTML:
    """What the papers claim about a chapter's subject, judged by all Records that bear on it."""
    return show(judge_all(name), name)


def show(judgements: Sequence[Judgement], name: str) -> HTML:
    """The ledger for a page: four columns whose text wraps, and each row leads to its chapter."""
    frame = pd.DataFrame(
        {
            "claim": _lines(f'<strong id="{r.id}">{r.id}</strong>', escape(r.claim), small=r.says),
            "verdict": _lines(f"<strong>{r.verdict}</strong>", escape(r.because), small=link_to(r.chapter)),
            "paper": _lines(r.paper, j.paper_verdict, small=f"{r.source}<br>{escape(j.claim.scale)}"),
            "ours": _lines(*_ours(j, r), small="" if r.scale == "–" else r.scale) + _left_out(j),
        }
        for j, r in zip(judgements, to_frame(judgements).itertuples(), strict=True)
    )
    cells = [("white-space", "normal"), ("text-align", "left"), ("vertical-align", "top"), ("padding", "0.4em 0.6em")]
    widths = [{"selector": f"td.col{i}", "props": [("min-width", width)]} for i, width in enumerate(_WIDTHS)]
    style = frame.style.hide(axis="index").set_uuid(name)
    records = [record for j in judgements if j.evidence for record in j.evidence.records]
    return under(style.set_table_styles([{"selector": "th, td", "props": cells}, *widths]), records)


def _ours(j: Judgement, row: Any) -> list[str]:
    if j.last is None or _found(j):
        return [row.best]
    lines = [f"best {row.best}", f"last {row.last}"]
    points, lift = j.best.points, j.best.lift
    if points.both:
        lines.append("best, for other examples too [{:+.2f}, {:+.2f}]".format(*points.both))
    elif lift and points.seeds:
        early = ", ".join(j.evidence.shortened)
        lines.append(
            f"for other examples: {f'no predictions at the best shared step ({early})' if early else _NO_LABELS}"
        )
    if lift:
        share = _points(lift.effect, lift.seeds, 1)
        lines.append(f"{share} % of the lift")
        of_tasks = {task: fmean(values) for task, values in j.evidence.effects(SCORES[0]).items()}
        lines.append(", ".join(f"{task_spec(task).title} {effect:+.2f}" for task, effect in of_tasks.items()))
    if j.control is not None:
        lines.append(f"control {j.control:+.2f}")
    if j.evidence.mixed:
        lines.append(f"number formats mixed: {', '.join(j.evidence.mixed)}")
    return lines


def _left_out(j: Judgement) -> str:
    if not (j.evidence and j.evidence.gated):
        return ""
    items = "".join(f"<li>{escape(reason)}</li>" for reason in j.evidence.gated)
    return f"<details><summary>left out: {len(j.evidence.gated)}</summary><ul>{items}</ul></details>"


def _lines(*lines: str, small: str) -> str:
    return "<br>".join([line for line in lines if line] + [f"<small>{small}</small>"])


def _computed(judgement: Judgement) -> bool:
    return isinstance(judgement.claim.test, Computed)


def _found(judgement: Judgement) -> bool:
    return isinstance(judgement.claim.test, Found) and judgement.best is not None


def _unit(judgement: Judgement) -> str:
    return "bits" if isinstance(judgement.claim.test, Found) else "points"


def _paper(j: Judgement, decimals: int = 2) -> str:
    if j.paper_effect is None:
        return "in words"
    return f"{j.paper_effect:g}" if _computed(j) else _points(j.paper_effect, j.paper_interval, decimals)


def _effect(scored: Scored | None, decimals: int = 2) -> str:
    return "–" if scored is None else _points(scored.points.effect, scored.points.seeds, decimals)


def _points(effect: float, bounds: tuple[float, float] | None, decimals: int = 2) -> str:
    spread = "" if bounds is None else " [{:+.{d}f}, {:+.{d}f}]".format(*bounds, d=decimals)
    return f"{effect:+.{decimals}f}{spread}"
