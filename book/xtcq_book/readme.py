"""The README's three lines of result, written from today's Records."""

from __future__ import annotations

import re

from xtcq_book import lead
from xtcq_book.arithmetic import xtc_model
from xtcq_book.chapters import synthesis
from xtcq_book.claims.judge import DECIDED, judge_all
from xtcq_book.claims.ledger import Computed
from xtcq_book.claims.table import scale, to_frame

_PLACE = re.compile(r"(<!-- results: [^>]* -->\n).*?(<!-- end -->)", re.DOTALL)


def lines() -> list[str]:
    """What a file takes, what the smallest and the best recommended student lose, and how many claims are decided."""
    full, one = xtc_model(12, 32), xtc_model(12, 1)
    nominal, packed = (full[size] / one[size] for size in ("nominal_mib", "packed_mib"))
    size = (
        f"**Bytes.** BERT-base at 1 bit is a file of {one['packed_mib']:.1f} MiB, {packed:.1f} times smaller than in "
        f"32 bits. Counted as XTC counts, it is {nominal:.0f} times."
    )
    runs = lead.students()
    steps = synthesis.staircase(synthesis.by_task(runs))
    tasks = ", ".join(synthesis.tasks_of(steps))
    found = []
    for place in dict.fromkeys((0, len(steps) - 1)) if len(steps) else ():
        labels, row = dict(zip(steps.index.names, steps.index[place], strict=True)), steps.iloc[place]
        elsewhere = f" (on {row['elsewhere']})" if row["elsewhere"] else ""
        found.append(
            f"{row['mean']:+.1f}{elsewhere} at {labels['W-E-A']} with {labels['layers']} layers, {row['MiB']:.1f} MiB, "
            f"{row['seeds']} seeds a task"
        )
    points = (
        f"**Points** against the teacher, means over {tasks}: {'; '.join(found)}. All students: {lead.scale_of(runs)}."
    )
    trained = [j for j in judge_all() if not isinstance(j.claim.test, Computed)]
    decided = [j for j in trained if j.verdict in DECIDED]
    named = [
        f"\n  - {j.claim.claim} *{j.verdict.capitalize()}*: {best} points ({scale(j)})."
        for j, best in zip(decided, to_frame(decided).get("best", ()), strict=True)
    ]
    claims = (
        f"**Claims.** Of the papers' {len(trained)} that need training, {len(decided) or 'none'} "
        f"{'are' if len(decided) > 1 else 'is'} decided at this scale ({scale(*trained)}). The others are undecided "
        f"here, depend on the score, cannot be tested here, or were not run.{''.join(named)}"
    )
    return [size, points, claims]


def renewed(text: str) -> str:
    """The README with today's lines.

    Raises:
        ValueError: it has no place for them.
    """
    if not _PLACE.search(text):
        raise ValueError("README.md has no <!-- results: --> and <!-- end -->: put them around its lines of result")
    bullets = "\n".join(f"- {line}" for line in lines())
    return _PLACE.sub(lambda found: f"{found[1]}\n{bullets}\n\n{found[2]}", text)
