"""What recomputing a printed number needs: printed cells, the rounding they carry, and the sizes of BERT-base."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from xtcq.quantization import cost_report
from xtcq_book import published

# These two tables drop trailing zeros ("91" stands for 91.00), so a column's precision is that of its longest cell.
_ZEROS_DROPPED = ("xtc-c16", "xtc-c17")
# Accuracies over few examples: XTC prints the number of examples (Table C.1), so the right answers can be counted.
# AdaQAT-BERT does not name the measure of MRPC; its Table 4 says "Accuracy" of the whole row.
_COUNTED = {"MRPC Acc": "MRPC", "MRPC": "MRPC", "RTE Acc": "RTE", "SST-2 Acc": "SST-2", "QNLI Acc": "QNLI"}


@dataclass(frozen=True)
class Check:
    """One printed number beside its recomputed value; ``tolerance`` is what rounding explains.

    ``recomputed`` is NaN where the printed number cannot be right and the right one is not known.
    """

    table: str
    row: str
    metric: str
    printed: str
    recomputed: float
    tolerance: float
    rule: str

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference."""
        return abs(float(self.printed) - self.recomputed) <= self.tolerance + 1e-9

    @property
    def digits(self) -> str:
        """The recomputed value with two decimals more than are printed; "another" if it is only known to differ."""
        if math.isnan(self.recomputed):
            return "another"
        return f"{self.recomputed:.{2 - _exponent(self.printed)}f}"


class Table:
    """The printed cells of one table, by row and metric."""

    def __init__(self, name: str) -> None:
        frame = published.load(name)
        self.name = name
        self.rows: list[str] = list(dict.fromkeys(frame["row"]))
        self.cells = dict(zip(zip(frame["row"], frame["metric"]), frame["printed"], strict=True))

    def has(self, row: str, metric: str) -> bool:
        """Whether the table prints this cell."""
        return (row, metric) in self.cells

    def metrics(self, row: str) -> list[str]:
        """The metrics of one row, in the printed order."""
        return [metric for name, metric in self.cells if name == row]

    def value(self, row: str, metric: str) -> float:
        """The printed number."""
        return float(self.cells[row, metric])

    def half_unit(self, row: str, metric: str) -> float:
        """Half a unit of the last printed digit."""
        texts = [self.cells[row, metric]]
        if self.name in _ZEROS_DROPPED:
            texts = [text for (_, column), text in self.cells.items() if column == metric]
        return 0.5 * 10.0 ** min(_exponent(text) for text in texts)

    def counted(self, row: str, metric: str) -> float | None:
        """The accuracy of the nearest whole number of right answers, in per cent.

        None for other measures, and where an answer changes less than the last printed digit, so that every printed
        number is possible.
        """
        if metric not in _COUNTED:
            return None
        examples = table("xtc-c1").value("Dev data", _COUNTED[metric])
        if 100 / examples <= 2 * self.half_unit(row, metric):
            return None
        return 100 * round(self.value(row, metric) * examples / 100) / examples

    def check(
        self, rule: str, row: str, metric: str, compute: Callable[..., float], *inputs: tuple[Table, str, str]
    ) -> Check:
        """Compute a cell from other cells.

        Args:
            rule: what is computed, in words.
            row: row of the printed cell.
            metric: metric of the printed cell.
            compute: from the values of ``inputs`` to the cell's value.
            inputs: cells as (table, row, metric).

        Returns:
            The check. Its tolerance is half a unit of the last printed digit plus what half a unit of each input
            changes: the sum of these effects for up to three inputs, the root of the sum of squares for more, whose
            roundings cannot be expected to act in one direction.
        """
        values = [other.value(*cell) for other, *cell in inputs]
        halves = [other.half_unit(*cell) for other, *cell in inputs]
        recomputed = compute(*values)
        effects = []
        for i, half in enumerate(halves):
            moved = [compute(*values[:i], values[i] + step, *values[i + 1 :]) for step in (-half, half)]
            effects.append(max(abs(value - recomputed) for value in moved))
        spread = sum(effects) if len(effects) <= 3 else math.hypot(*effects)
        tolerance = self.half_unit(row, metric) + spread
        return Check(self.name, row, metric, self.cells[row, metric], recomputed, tolerance, rule)


def repeats(names: str) -> Iterator[Check]:
    """Hold rows against the same runs in other tables: equal digits, or equal after rounding to fewer.

    Args:
        names: what the names of the tables start with.
    """
    for again in published.repeats().itertuples():
        here, there = table(again.table), table(again.other_table)
        chosen, _, but = again.metrics.partition(" but ")
        compared = here.metrics(again.row) if chosen == "all" else chosen.split("; ")
        for metric in compared if again.table.startswith(names) else ():
            if there.has(again.other_row, metric) and metric != but:
                halves = here.half_unit(again.row, metric), there.half_unit(again.other_row, metric)
                tolerance = 0.0 if halves[0] == halves[1] else sum(halves)
                printed, other = here.cells[again.row, metric], there.value(again.other_row, metric)
                rule = f"same run as {there.name}: {again.other_row}"
                yield Check(here.name, again.row, metric, printed, other, tolerance, rule)


@cache
def table(name: str) -> Table:
    """The printed cells of a table; see `published.load` for the errors."""
    return Table(name)


def _exponent(text: str) -> int:
    return int(Decimal(text).as_tuple().exponent)


def xtc_model(layers: int, bits: int, lora_rank: int = 0) -> dict[str, float | int]:
    """What ``cost_report`` finds for BERT-base at XTC's precisions: ``bits`` for weights and tokens, activations at 8.

    Every page and check takes XTC's sizes from here, so that what a LoRA weight counts is written once, in
    ``xtcq.quantization.cost``.
    """
    return cost_report("bert-base", f"{bits}-{bits}-{32 if bits == 32 else 8}", layers=layers, lora_rank=lora_rank)


def adaqat_model(precision: str, embeddings: str | None = None) -> dict[str, float | int]:
    """What ``cost_report`` finds for BERT-base as AdaQAT-BERT counts: linear maps, pooler included, and tables."""
    return cost_report("bert-base", precision, "adaqat", embeddings=embeddings)
