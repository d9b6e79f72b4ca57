"""The papers' arithmetic done again, from their own rows and from the architecture of BERT.

Every printed number that follows from other numbers is a `Check`. It disagrees when printed and recomputed value differ
by more than rounding explains: half a unit of the last printed digit plus what the rounding of the inputs adds (see
`Table.check`). A copy of another number (best-of rows, and runs printed in two tables, which `published.repeats` lists)
must carry the same digits. This file has the rules for XTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import fmean, pstdev

import pandas as pd

from xtcq_book import published
from xtcq_book.arithmetic import Check, repeats, table, xtc_model
from xtcq_book.chapters.errata_adaqat import adaqat_checks
from xtcq_book.paper_scores import NINE

# Best-of rows choose a pair of measures by one of the two.
CHOSEN_BY = {"MNLI-mm Acc": "MNLI-m Acc", "MRPC F1": "MRPC Acc", "QQP F1": "QQP Acc", "STS-B Spea": "STS-B Pear"}
BEST, MEAN, STD, DIFFERENCE = "Best (above)", "Ave. above", "std above", "Difference"


def checks() -> list[Check]:
    """Every printed number that can be recomputed, rule by rule; errors are those of `published.load`."""
    rules = (
        _averages,
        _best_rows,
        partial(repeats, "xtc-c"),
        _chosen,
        _seeds,
        _drops,
        _differences,
        _counts,
        _augmentation,
        _sizes,
        _lora,
        _text,
        adaqat_checks,
    )
    return [check for rule in rules for check in rule()]


def disagreements() -> pd.DataFrame:
    """The checks that fail.

    Returns:
        One line a check: ``table``, ``row``, ``metric``, ``printed``, ``recomputed`` (two decimals more than are
        printed), ``rule``, and the ``cause`` that ``errata.csv`` gives for it (empty where it gives none).
    """
    key = ["table", "row", "metric", "rule"]
    wrong = [check for check in checks() if not check.agrees]
    cells = [(c.table, c.row, c.metric, c.printed, c.digits, c.rule) for c in wrong]
    found = pd.DataFrame(cells, columns=list(published.ERRATA_COLUMNS[:6]))
    return found.merge(published.errata()[[*key, "cause"]], how="left", on=key).fillna({"cause": ""})


def errata_frame(paper: str) -> pd.DataFrame:
    """The disagreements of one paper as a table to read; rows that share table, numbers and cause are one line.

    Returns:
        Columns ``place``, ``rows``, ``metric``, ``printed``, ``recomputed``, ``rule``, ``likely cause``.
    """
    order = [*published.tables(), *published.texts()]
    found = disagreements().sort_values("table", key=lambda names: names.map(order.index), kind="stable")
    of_paper = [name for name in order if published.source(name).paper == paper]
    places = {name: published.source(name).place.partition(",")[0] for name in of_paper}
    places |= {name: "text" for name in published.texts() if name in of_paper}
    found = found.assign(place=found["table"].map(places)).dropna(subset="place")
    alike = ["place", "metric", "printed", "recomputed", "rule", "cause"]
    lines = found.groupby(alike, sort=False)["row"].agg("; ".join).reset_index(name="rows")
    columns = ["place", "rows", *alike[1:]]
    return lines[columns].rename(columns={"cause": "likely cause"})


def _averages() -> Iterator[Check]:
    for name in published.tables():
        t = table(name)
        for row in t.rows:
            if row.endswith((DIFFERENCE, STD)):
                continue
            for metric, parts in (("Avg.", NINE), ("Avg. w/o CoLA", NINE[1:])):
                if t.has(row, metric):
                    cells = ((t, row, part) for part in parts)
                    yield t.check("mean of the row", row, metric, lambda *scores: fmean(scores), *cells)


def _best_rows() -> Iterator[Check]:
    for name in ("xtc-c2", "xtc-c3", "xtc-c4", "xtc-c11", "xtc-c12"):
        t = table(name)
        for row in t.rows:
            group, _, last = row.rpartition(" | ")
            if last != BEST:
                continue
            above = [other for other in t.rows if other.startswith(f"{group} | ") and other != row]
            for metric in (m for m in t.metrics(row) if not m.startswith("Avg.")):
                by = CHOSEN_BY.get(metric, metric)
                best = max(t.value(other, by) for other in above)
                tied = [t.value(other, metric) for other in above if t.value(other, by) == best]
                printed = t.value(row, metric)
                nearest = min(tied, key=lambda value: abs(value - printed))
                yield Check(name, row, metric, t.cells[row, metric], nearest, 0.0, "best of the rows above")


def _chosen() -> Iterator[Check]:
    """The floating-point students of Table C.8 are runs of Table C.5: the best of each depth is expected."""
    t, runs = table("xtc-c8"), table("xtc-c5")
    for digit in (6, 5, 4):
        row = f"XTC-BERT{digit} | 32"
        cells = ((runs, other, "Avg.") for other in runs.rows if other.startswith(f"Skip-BERT{digit} | "))
        yield t.check("best average of Table C.5", row, "Avg.", max, *cells)


def _seeds() -> Iterator[Check]:
    rules = {MEAN: ("mean of the seeds", fmean), STD: ("population std of the seeds", pstdev)}
    for t in (table("xtc-c16"), table("xtc-c17")):
        for row in t.rows:
            group, _, last = row.rpartition(" | ")
            if last in rules:
                rule, statistic = rules[last]
                for m in t.metrics(row):
                    seeds = ((t, f"{group} | {seed}", m) for seed in (42, 111, 222))
                    yield t.check(rule, row, m, lambda *values, statistic=statistic: statistic(values), *seeds)


def _drops() -> Iterator[Check]:
    t = table("xtc-c8")
    for row in (r for r in t.rows if t.has(r, "Acc. drop")):
        reference = f"{row.partition(' | ')[0]} | 32"
        cells = (t, row, "Avg."), (t, reference, "Avg.")
        yield t.check("drop from the 32-bit row", row, "Acc. drop", lambda low, full: low - full, *cells)


def _differences() -> Iterator[Check]:
    t = table("xtc-c15")
    for row in (r for r in t.rows if r.endswith(DIFFERENCE)):
        group = row.removesuffix(DIFFERENCE)
        for m in t.metrics(row):
            cells = (t, f"{group}BERTbase", m), (t, f"{group}Skip-BERT6", m)
            yield t.check("difference of the two rows", row, m, lambda large, small: large - small, *cells)


def _counts() -> Iterator[Check]:
    names = [f"xtc-c{number}" for number in range(2, 18)] + [f"adaqat-t{number}" for number in (3, 4, 5)]
    for t in map(table, names):
        for row in t.rows:
            if not row.endswith((DIFFERENCE, MEAN, STD)):
                for m in t.metrics(row):
                    nearest = t.counted(row, m)
                    if nearest is not None:
                        yield t.check("whole number of right answers", row, m, lambda value=nearest: value)


def _augmentation() -> Iterator[Check]:
    t = table("xtc-c1")
    for task in t.metrics("DA/noDA"):
        cells = (t, "Train (DA)", task), (t, "Train (noDA)", task)
        yield t.check("DA / noDA", "DA/noDA", task, lambda augmented, plain: augmented / plain, *cells)


def printed_configurations() -> Iterator[tuple[str, str, int, int, bool]]:
    """(table, row, layers, bits, with LoRA) of every row that prints a size."""
    for row in table("xtc-c8").rows:
        model, bits = row.split(" | ")
        yield "xtc-c8", row, int(model[-1]), int(bits), False
    for row in table("xtc-c13").rows:
        count, bits, *lora = row.split(" | ")
        yield "xtc-c13", row, {"Five": 5, "Four": 4}[count], int(bits), lora == ["Y"]
    for row in table("xtc-c14").rows:
        start, *end = row.split(" | ")
        yield "xtc-c14", row, int(start[-1]), int((end or [start])[0][0]), row.endswith("LoRa1")
    for row in (r for r in table("xtc-c15").rows if not r.endswith(DIFFERENCE)):
        yield "xtc-c15", row, 6, int(row[0]), " | Y | " in row
    yield "xtc-text", "Caption of Table C.2", 12, 1, False
    yield "xtc-text", "Caption of Table C.3", 12, 2, False
    yield "xtc-text", "Heading of Table C.7", 6, 32, False


def _sizes() -> Iterator[Check]:
    """Sizes as `cost_report` counts them; the rank of LoRA is 1."""
    full = xtc_model(12, 32)["nominal_mib"]
    for name, row, layers, bits, lora in printed_configurations():
        t, size = table(name), xtc_model(layers, bits, int(lora))["nominal_mib"]
        yield t.check("matrices at their bits, MiB", row, "Size MB", lambda size=size: size)
        if t.has(row, "Size ratio"):
            yield t.check("32-bit matrices / size", row, "Size ratio", lambda size=size: full / size)


def _lora() -> Iterator[Check]:
    """Section B.3: LoRA can boost performance when the training time is short, as under Budget-A."""
    for t in (table("xtc-c9"), table("xtc-c10")):
        for row in ("Budget-A | Y (DIM=1)", "Budget-A | Y (DIM=8)"):
            cells = (t, row, "Avg."), (t, "Budget-A | N", "Avg.")
            yield t.check("no lower than without LoRA", row, "Avg.", max, *cells)


def _text() -> Iterator[Check]:
    t, c14, c15 = table("xtc-text"), table("xtc-c14"), table("xtc-c15")
    yield from repeats("xtc-text")
    for model in ("SkipBERT5", "SkipBERT4"):
        before, after = (c14, f"1-bit {model}", "Avg."), (c14, f"1-bit {model} | 1-bit", "Avg.")
        for metric, cell in (("Avg. before", before), ("Avg. after", after)):
            if t.has(f"B.3 | {model}", metric):
                yield t.check("Table C.14", f"B.3 | {model}", metric, lambda value: value, cell)
        cells = after, before
        yield t.check("difference in Table C.14", f"B.3 | {model}", "Avg. gain", lambda new, old: new - old, *cells)
    for row, lora in (("B.4 | without LoRa", "N"), ("B.4 | with LoRa", "Y")):
        for bits in ("1-bit", "2-bit"):
            cells = tuple((c15, f"{bits} | {lora} | {teacher}", "Avg.") for teacher in ("BERTbase", "Skip-BERT6"))
            rule = f"difference in Table C.15, {bits}"
            yield t.check(rule, row, "Avg. gain", lambda large, small: large - small, *cells)
