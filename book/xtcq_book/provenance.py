"""Where the numbers under a table or a figure come from: one line that a reader unfolds.

It names the Records, each with a link to its file, how to train one again, the machine and the hours. What was trained
here stands beside what was published, and is marked.
"""

from __future__ import annotations

import html
import os
import subprocess
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pandas as pd
from IPython.display import HTML
from pandas.io.formats.style import Styler

from xtcq.files import find_checkout
from xtcq.study.records import Record
from xtcq_book.columns import machine

# Runs, their Records, or a sentence where the numbers come from no run of this study.
Source = pd.DataFrame | Iterable[Record] | str
# The class of the line: a gate asks every table and figure of a page for it.
CLASS = "provenance"
# Rows of more runs than this do not list them.
_FEW = 3


def records_of(source: Source) -> list[Record]:
    """The Records behind something, once each: students, then the teachers that they are measured against."""
    if isinstance(source, str):
        return []
    if isinstance(source, pd.DataFrame):
        teachers = source["reference"].dropna() if "reference" in source else ()
        source = [*source["record"].dropna(), *teachers]
    # A teacher whose weights were trained again is told with other scores: it is still one Record.
    return list({record.experiment: record for record in source}.values())


def link(record: Record, text: str = "") -> str:
    """A link to the file of a stored Record, which is at the same place beside a page and beside its notebook."""
    return f'<a href="../records/{record.digest}.json">{html.escape(text) or record.digest}</a>'


def stated(source: Source | None, what: str) -> Source:
    """The source; a ValueError where there is none, for whatever a page shows says where its numbers come from."""
    if source is None:
        raise ValueError(
            f"the {what} does not say where its numbers come from: give source=, the runs behind it or a sentence"
        )
    return source


def links(records: Iterable[Record]) -> str:
    """Links for a row of a table: its seeds, or how many runs they are where those are more than a few."""
    found = list(records)
    few = len(found) <= _FEW
    return " ".join(link(record, str(record.experiment.seed)) for record in found) if few else f"{len(found)} runs"


def line(source: Source) -> str:
    """The folded line, of runs of ``xtcq_book.frame.to_frame``, of Records, or with a sentence."""
    records = records_of(source)
    if not records:
        return _folded("Source", html.escape(source if isinstance(source, str) else "None of these runs has a Record."))
    hours = sum(record.train_seconds for record in records) / 3600
    machines = Counter(map(machine, records))
    commits = Counter((record.commit or "unknown")[:8] for record in records)
    parts = {
        "Machine": "; ".join(f"{html.escape(name)}: {number}" for name, number in machines.most_common()),
        "Commit": "; ".join(f"{name}: {number}" for name, number in commits.most_common()),
        "Train one again": f"<code>XTCQ_RECORDS=again python -m xtcq run book/records/{records[0].digest}.json</code>",
        "Records": " ".join(map(link, records)),
    }
    took = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    return _folded(
        f"Source: {len(records)} Record{'s' * (len(records) > 1)}, {took} of training",
        "<br>".join(f"<strong>{name}:</strong> {said}" for name, said in parts.items()),
    )


def under(shown: Styler | pd.DataFrame, source: Source) -> HTML:
    """A table with that line below it."""
    return HTML((shown.to_html() if isinstance(shown, Styler) else shown.to_html(border=0)) + line(source))


def _folded(summary: str, text: str) -> str:
    return f'<details class="{CLASS}"><summary>{summary}</summary><p>{text}</p></details>'


def is_yours(record: Record) -> bool:
    """Whether a Record was made by whoever runs the page, and not by the edition: version control does not know it.

    False where that cannot be told: outside a clone, and where ``XTCQ_RECORDS`` names the folder, as it does while an
    edition is made.
    """
    root = None if os.environ.get("XTCQ_RECORDS") else find_checkout()
    known = _published(root) if root else frozenset()
    return bool(known) and record.digest not in known


@cache
def _published(root: Path) -> frozenset[str]:
    command = ["git", "ls-files", "-z", "book/records"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout
    return frozenset(Path(name).stem for name in listed.split("\0") if name)
