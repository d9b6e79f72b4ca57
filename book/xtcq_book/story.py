"""What a chapter says in a few sentences, and what every chapter has: its numbers are those of its executed page.

A template is read in Jupyter and in Colab, which know no glue, so a number stands in its prose, between two comments
that nobody sees: ``<!--gain:+.1f-->+0.6<!--/-->`` is the value that the page glues as ``gain``, in that format.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

# A row of ``xtcq_book.scores`` that is a mean over tasks.
MEAN = re.compile(r"mean of |GLUE average")
# These list what others measured: they have no row to run again.
LISTS = ("benchmarks", "claims", "errata", "synthesis")
HEADINGS = ("What was found", "What could not be tested", "Rerun one row", "Exercises")
_GLUED = re.compile(r"<!--(?P<key>[\w-]+):(?P<format>[^-:>]*?)-->(?P<number>[^<]*)<!--/-->")
# Not 1-bit, SST-2, 2-2-8 or Table C.5: those are names.
_TYPED = re.compile(r"(?<![\w.-])(?<!Table )(?<!Figure )(?<!equation )(?<!rank )[+-]?\d[\d.,]*(?![\w-])")
_CODE = re.compile(r"^```.*?^```|(?<!\})`[^`\n]*`", re.MULTILINE | re.DOTALL)
_ELSEWHERE = {
    re.compile(r"\[\]\("): "a link without a text",
    re.compile(r"\{[a-z:-]+\}`"): "a role of MyST",
    re.compile(r"^(:{3,}|`{3,}\{)", re.MULTILINE): "a directive of MyST",
    re.compile(r"^\([\w-]+\)=$", re.MULTILINE): "a target of MyST",
    re.compile(r"\]\((?!https?://|#)"): "a link that leads nowhere in Colab",
}


def value(frame: pd.DataFrame, column: str, **labels: object) -> float:
    """One number of a table.

    Args:
        frame: of ``xtcq_book.scores``.
        column: of the frame.
        labels: values of levels of the index, with ``_`` for a blank; a pattern is searched for, as `MEAN`.

    Returns:
        The number, or NaN where the table has no such row: a notebook may have been run for other tasks.

    Raises:
        ValueError: if several rows have these labels.
    """
    rows = frame
    for label, wanted in labels.items():
        level = rows.index.get_level_values(label.replace("_", " "))
        found = level.astype(str).str.contains(wanted) if isinstance(wanted, re.Pattern) else level == wanted
        rows = rows[found]
    if len(rows) > 1:
        raise ValueError(f"{len(rows)} rows have {labels}: name a level of {frame.index.names} that tells them apart")
    return float(rows[column].iloc[0]) if len(rows) else math.nan


def over_tasks(frame: pd.DataFrame, column: str, **labels: object) -> float:
    """`value` of the mean over tasks, or of the first metric of the only task; NaN where several rows have the labels.

    A chapter that a reader runs with parameters of their own may have several, and no sentence that tells one of them.
    """
    if len(frame.index.unique("task")) == 1:
        frame = frame[~frame.index.droplevel("metric").duplicated()]
    else:
        labels["task"] = MEAN
    with suppress(ValueError):
        return value(frame, column, **labels)
    return math.nan


def keep(**values: float) -> None:
    """Glue numbers to the executed page, where the prose takes them from; a key has ``_`` here and ``-`` there."""
    from myst_nb import glue

    for key, number in values.items():
        glue(key.replace("_", "-"), number if isinstance(number, int) else float(number), display=False)


def keep_scale(runs: pd.DataFrame) -> None:
    """Glue what every chapter says of its students: ``students``, ``tasks``, ``steps`` (the most) and ``seeds``."""
    steps = int(runs["steps"].max()) if len(runs) else 0
    keep(students=len(runs), tasks=runs["task"].nunique(), steps=steps, seeds=runs["seed"].nunique())


def numbers_of(page: Path) -> dict[str, float]:
    """The numbers that an executed page glues, by key; none of a page that is not there."""
    found = {}
    for cell in _cells(page) if page.exists() else ():
        for output in cell.get("outputs", ()):
            if book := output.get("metadata", {}).get("scrapbook"):
                text = "".join(output.get("data", {}).get(f"{book['mime_prefix']}text/plain", ""))
                with suppress(ValueError):
                    found[book["name"].removeprefix(book["mime_prefix"])] = float(text)
    return found


def problems(template: Path, page: Path) -> Iterator[str]:
    """What a reader of a chapter would miss, and what of its prose does not hold: a sentence each, with the remedy.

    The ``template`` is the clean notebook, and ``page`` the executed one, if there is one.
    """
    prose = [cell for cell in _cells(template) if cell["cell_type"] == "markdown"]
    for cell in prose:
        text = _CODE.sub("", _source(cell))
        for pattern, what in _ELSEWHERE.items():
            if found := pattern.search(text):
                yield f"{cell['id']} has {what}, {found[0]!r}: write a text and an address that work outside the book"
    if template.stem not in LISTS:
        yield from _lacking(prose, page)
    numbers = numbers_of(page)
    for cell in prose:
        for found in _GLUED.finditer(_source(cell)):
            if found["key"] not in numbers:
                yield f"{page.name} glues no {found['key']!r}: correct the key in {cell['id']}, or execute the page"
            elif (right := format_number(numbers[found["key"]], found["format"])) != found["number"]:
                yield (
                    f"{cell['id']} says {found['number']} for {found['key']!r}, the page {right}: "
                    "python -m xtcq_book renew writes it anew; then read the sentence again"
                )


def _lacking(prose: list[dict[str, Any]], page: Path) -> Iterator[str]:
    """What every chapter has: a short answer without typed numbers, its parts, and exercises with solutions."""
    short = [cell for cell in prose if "in-short" in cell["metadata"].get("tags", ())]
    if len(short) != 1 or short[0] not in prose[1:2]:
        yield "its second cell of prose is to be the one tagged in-short"
    for cell in short:
        plain = _GLUED.sub("", _source(cell))
        if typed := _TYPED.findall(plain):
            yield f"In short has typed numbers, {', '.join(typed)}: glue them (see xtcq_book.story)"
        if any(line.lstrip("> ").startswith("<!--") for line in _source(cell).splitlines()):
            yield "a line of In short begins with a glued number, which would begin a block: put a word before it"
        profile = _profile(page)
        if profile and f"`{profile}`" not in _source(cell):
            yield f"In short does not name the scale of the page, `{profile}`: read it again"
    text = "\n\n".join(map(_source, prose))
    for heading in HEADINGS:
        if not re.search(rf"^## {heading}", text, re.MULTILINE):
            yield f"it has no heading «{heading}»"
    if (count := text.count("<summary>Solution</summary>")) < 2:
        yield f"it has {count} exercises with a hidden solution, expected two"


def _profile(page: Path) -> str:
    """The scale of a page that was executed on a grid of runs, else nothing."""
    if not page.exists():
        return ""
    notebook = json.loads(page.read_text(encoding="utf-8"))
    grid = any("grid" in cell["metadata"].get("tags", ()) for cell in notebook["cells"])
    return notebook["metadata"].get("papermill", {}).get("parameters", {}).get("profile", "") if grid else ""


def format_number(number: float, how: str) -> str:
    """A number as prose prints it, with a real minus sign, and none before what is rounded to zero."""
    if math.isnan(number):
        return "nan"
    if how.endswith("d"):
        return format(int(number), how).replace("-", "−")
    sign = how[: how[:1] in ("+", "-", " ")]
    return format(number, f"{sign}z{how.removeprefix(sign)}").replace("-", "−")


def renew(template: Path, page: Path) -> int:
    """Write the numbers of an executed page into the prose of its template, in place, and return how many changed.

    What stands there for a key that is not among them stays.
    """
    notebook, numbers, changed = json.loads(template.read_text(encoding="utf-8")), numbers_of(page), 0

    def write(found: re.Match[str]) -> str:
        nonlocal changed
        if found["key"] not in numbers:
            return found[0]
        right = format_number(numbers[found["key"]], found["format"])
        changed += right != found["number"]
        return f"<!--{found['key']}:{found['format']}-->{right}<!--/-->"

    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _GLUED.sub(write, _source(cell)).splitlines(keepends=True)
    if changed:
        template.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return changed


def _cells(notebook: Path) -> list[dict[str, Any]]:
    return list(json.loads(notebook.read_text(encoding="utf-8"))["cells"])


def _source(cell: Mapping[str, Any]) -> str:
    return "".join(cell["source"])
