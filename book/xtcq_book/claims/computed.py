"""Claims of the papers that need no training: sizes and bit operations, computed by the code of this package.

Each value is a ratio between two models. *Nominal* counts what the paper counts. *Packed* counts the bytes that
``xtcq.packing.save_packed`` writes for either model, which is what a reader can put on a disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from xtcq.quantization import cost_report
from xtcq_book.arithmetic import MB, MIB, Bert, table, xtc_model

# The tasks of Table 4 for which Q-BERT's 53.2 MB has a score in Table 3.
_SHARED_TASKS = ("MNLI-m/mm", "SST-2")
_QBERT = ("adaqat-t3", "Q-BERT | MP-8-8 | 53.2/53.2", "Size MB")
_SQUAD = "AdaQAT | 2.06-4-3.96"


@dataclass(frozen=True)
class Computed:
    """A value that a claim speaks of; call it to compute it.

    Attributes:
        compute: the computation.
        cell: table, row and metric of the number that the paper prints.
        source: where the paper makes the claim, and what is compared with what.
        unit: of the value and of the printed number.
    """

    compute: Callable[[], float]
    cell: tuple[str, str, str]
    source: str
    unit: str = "times"

    def __call__(self) -> float:
        """The computed value."""
        return self.compute()

    @property
    def printed(self) -> float:
        """The number that the paper prints.

        Raises:
            ValueError: a malformed CSV file.
            FileNotFoundError: the CSV file is missing.
        """
        name, row, metric = self.cell
        return table(name).value(row, metric)


def _xtc() -> dict[str, Computed]:
    values = {}
    for layers in (12, 6, 5, 4):
        for bits in (1, 2):
            if layers == 12:
                place, name = f"Caption of Table C.{bits + 1}", f"size-ratio-{bits}bit"
                cell = ("xtc-text", place, "Size ratio")
            else:
                row = f"XTC-BERT{layers} | {bits}"
                place, name = f"Table C.8, row {row}", f"size-ratio-{layers}-layers-{bits}bit"
                cell = ("xtc-c8", row, "Size ratio")
            for kind, counted in (
                ("nominal", "every matrix at its bits"),
                ("packed", "as files"),
            ):
                source = f"XTC, {place}: BERT-base in 32 bits to {layers} layers at {bits}-{bits}-8, {counted}."
                values[f"{name}-{kind}"] = Computed(
                    lambda size=f"{kind}_mib", layers=layers, bits=bits: (
                        xtc_model(12, 32)[size] / xtc_model(layers, bits)[size]
                    ),
                    cell,
                    source,
                )
    return values


@cache
def _adaqat(precision: str, embeddings: str | None = None) -> dict[str, float | int]:
    return cost_report("bert-base", precision, "adaqat", embeddings=embeddings)


def _table_bytes(widths: str) -> float:
    """Bytes of the three embedding tables in a file: what the file grows by over one without them."""
    whole = _adaqat("32-32", "32-32-32")["packed_mib"] * MIB - 4 * sum(Bert().embeddings)
    return _adaqat("32-32", widths)["packed_mib"] * MIB - whole


def _embedding_ratio(start: str, kind: str) -> float:
    if kind == "packed":
        return _table_bytes(start) / _table_bytes("2-2-2")
    return _adaqat("32-32", start)["embedding_mb"] / _adaqat("32-32", "2-2-2")["embedding_mb"]


def _learned_mb(weights: float, kind: str) -> float:
    """Size in MB at a mean width of the weights and a 4-bit word embedding; linear between the two whole widths.

    The mean counts every weight alike. The widths of the single matrices, which the paper does not print, decide.
    """
    low = int(weights)
    sizes = [_adaqat(f"{bits}-4-4")[f"{kind}_mib"] for bits in (low, low + 1)]
    return (sizes[0] + (weights - low) * (sizes[1] - sizes[0])) * MIB / MB


def _memory_ratio(kind: str) -> float:
    full = _adaqat("32-32-32")[f"{kind}_mib"] * MIB / MB
    t4 = table("adaqat-t4")
    return fmean(full / _learned_mb(t4.value(task, "Bits W"), kind) for task in t4.rows)


def _qbert_size_ratio() -> float:
    qbert, t4 = table(_QBERT[0]).value(*_QBERT[1:]), table("adaqat-t4")
    return fmean(qbert / _learned_mb(t4.value(task, "Bits W"), "nominal") for task in _SHARED_TASKS)


def _bitops_ratio() -> float:
    words = _adaqat("32-32", "8-32-32")["embedding_mb"]
    qbert = 8 * (table(_QBERT[0]).value(*_QBERT[1:]) - words) * 8 * MB
    t4 = table("adaqat-t4")
    widths = [(t4.value(task, "Bits W"), t4.value(task, "Bits A")) for task in _SHARED_TASKS]
    squad, _, activations = _SQUAD.rpartition(" | ")[2].split("-")
    widths.append((float(squad), float(activations)))
    return min(qbert / (weights * inputs * Bert().linears) for weights, inputs in widths)


def _second_paper() -> dict[str, Computed]:
    values = {}
    for name, start, row in (
        ("embedding-ratio-fp32", "32-32-32", "4.4 | FP32 to 2-2-2"),
        ("embedding-ratio-8-32-32", "8-32-32", "4.4 | 8-32-32 to 2-2-2"),
    ):
        for kind in ("nominal", "packed"):
            values[f"{name}-{kind}"] = Computed(
                lambda start=start, kind=kind: _embedding_ratio(start, kind),
                ("adaqat-text", row, "Embedding size ratio"),
                f"AdaQAT-BERT, section 4.4: the three embedding tables at {start} to 2-2-2.",
            )
    for kind in ("nominal", "packed"):
        values[f"memory-ratio-fp32-{kind}"] = Computed(
            lambda kind=kind: _memory_ratio(kind),
            ("adaqat-text", "4.3 | FP32 baseline to AdaQAT", "Size ratio"),
            "AdaQAT-BERT, section 4.3: BERT-base in 32 bits to the learned widths of Table 4, mean of the eight tasks.",
        )
    values["memory-ratio-qbert-nominal"] = Computed(
        _qbert_size_ratio,
        ("adaqat-text", "4.3 | Q-BERT to AdaQAT", "Size ratio"),
        "AdaQAT-BERT, section 4.3: Q-BERT's printed 53.2 MB to the learned widths of Table 4, mean of MNLI and SST-2.",
    )
    values["bitops-ratio-weight-only"] = Computed(
        _bitops_ratio,
        ("adaqat-text", "5 | weight-only to AdaQAT", "BitOPs ratio"),
        "AdaQAT-BERT, section 5, 'more than 2': Q-BERT's 53.2 MB by the formula of section 4 to mean weight width x "
        "mean activation width x weights, the least over SQuAD v1.1, MNLI and SST-2.",
    )
    return values


VALUES: dict[str, Computed] = _xtc() | _second_paper()
