"""Claims of the papers that need no training: sizes and bit operations, computed by the code of this package.

Each value is a ratio between two models. *Nominal* counts what the paper counts. *Packed* counts the bytes that
``xtcq.save_packed`` writes for either model, which is what a reader can put on a disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import fmean

from xtcq.quantization.cost import MB, MIB
from xtcq_book.arithmetic import adaqat_model, table, xtc_model

# The tasks of Table 4 for which Q-BERT's 53.2 MB has a score in Table 3.
_SHARED_TASKS = ("MNLI-m/mm", "SST-2")
_QBERT = ("adaqat-t3", "Q-BERT | MP-8-8 | 53.2/53.2", "Size MB")
# Q-BERT's other configuration is another one on SST-2, with the second number of its cells.
_SMALLER = ("adaqat-t3", "Q-BERT | MP-8-8 | 46.1/48.1")
_OF_TASK = {"MNLI-m/mm": "", "SST-2": " (second)"}
_SQUAD = "AdaQAT | 2.06-4-3.96"


def _xtc_ratio(layers: int, bits: int, kind: str) -> float:
    """BERT-base in 32 bits to fewer layers and bits (XTC, Table C.8 and the captions of C.2 and C.3)."""
    return xtc_model(12, 32)[f"{kind}_mib"] / xtc_model(layers, bits)[f"{kind}_mib"]


def _embedding_ratio(start: str, kind: str) -> float:
    """The three embedding tables at some widths to the same at 2-2-2 (AdaQAT-BERT, section 4.4)."""
    sizes = [adaqat_model("32-32", widths) for widths in (start, "2-2-2", "32-32-32")]
    if kind == "nominal":
        return sizes[0]["embedding_mb"] / sizes[1]["embedding_mb"]
    # Of a file: what it grows by over one without tables.
    without = sizes[2]["packed_mib"] * MIB - sizes[2]["embedding_mb"] * MB
    return (sizes[0]["packed_mib"] * MIB - without) / (sizes[1]["packed_mib"] * MIB - without)


def _learned_mb(weights: float, kind: str) -> float:
    """Size in MB at a mean width of the weights and a 4-bit word embedding; linear between the two whole widths.

    The mean counts every weight alike. The widths of the single matrices, which the paper does not print, decide.
    """
    low = int(weights)
    sizes = [adaqat_model(f"{bits}-4-4")[f"{kind}_mib"] for bits in (low, low + 1)]
    return (sizes[0] + (weights - low) * (sizes[1] - sizes[0])) * MIB / MB


def _memory_ratio(kind: str) -> float:
    """BERT-base in 32 bits to the learned widths of Table 4, mean of the eight tasks (AdaQAT-BERT, section 4.3)."""
    full = adaqat_model("32-32-32")[f"{kind}_mib"] * MIB / MB
    t4 = table("adaqat-t4")
    return fmean(full / _learned_mb(t4.value(task, "Bits W"), kind) for task in t4.rows)


def _qbert_size_ratio() -> float:
    """Q-BERT's printed size to the learned widths of Table 4, mean of two tasks (AdaQAT-BERT, section 4.3)."""
    qbert, t4 = table(_QBERT[0]).value(*_QBERT[1:]), table("adaqat-t4")
    return fmean(qbert / _learned_mb(t4.value(task, "Bits W"), "nominal") for task in _SHARED_TASKS)


def _smaller_qbert_size_ratio() -> float:
    """The same for the smaller of Q-BERT's two configurations."""
    qbert, t4 = table(_SMALLER[0]), table("adaqat-t4")
    return fmean(
        qbert.value(_SMALLER[1], f"Size MB{which}") / _learned_mb(t4.value(task, "Bits W"), "nominal")
        for task, which in _OF_TASK.items()
    )


def _smaller_qbert_bitops_ratio() -> float:
    """Printed bit operations of the smaller of Q-BERT's configurations to those of Table 4, the least of two tasks."""
    qbert, t4 = table(_SMALLER[0]), table("adaqat-t4")
    return min(
        qbert.value(_SMALLER[1], f"BitOPs 1e9{which}") / t4.value(task, "BitOPs 1e9")
        for task, which in _OF_TASK.items()
    )


def _bitops_ratio() -> float:
    """Q-BERT's size by the formula of section 4 to mean widths of weights and activations times the weights.

    The least over SQuAD v1.1, MNLI and SST-2: AdaQAT-BERT says "more than 2" (section 5).
    """
    words, linears = adaqat_model("32-32", "8-32-32")["embedding_mb"], adaqat_model("32-32-32")["bitops"] / 32**2
    qbert = 8 * (table(_QBERT[0]).value(*_QBERT[1:]) - words) * 8 * MB
    t4 = table("adaqat-t4")
    widths = [(t4.value(task, "Bits W"), t4.value(task, "Bits A")) for task in _SHARED_TASKS]
    squad, _, activations = _SQUAD.rpartition(" | ")[2].split("-")
    widths.append((float(squad), float(activations)))
    return min(qbert / (weights * inputs * linears) for weights, inputs in widths)


VALUES: dict[str, Callable[[], float]] = {
    **{
        f"size-ratio-{f'{layers}-layers-' * (layers < 12)}{bits}bit-{kind}": partial(_xtc_ratio, layers, bits, kind)
        for layers in (12, 6, 5, 4)
        for bits in (1, 2)
        for kind in ("nominal", "packed")
    },
    **{
        f"embedding-ratio-{name}-{kind}": partial(_embedding_ratio, start, kind)
        for name, start in (("fp32", "32-32-32"), ("8-32-32", "8-32-32"))
        for kind in ("nominal", "packed")
    },
    **{f"memory-ratio-fp32-{kind}": partial(_memory_ratio, kind) for kind in ("nominal", "packed")},
    "memory-ratio-qbert-nominal": _qbert_size_ratio,
    "memory-ratio-smaller-qbert-nominal": _smaller_qbert_size_ratio,
    "bitops-ratio-weight-only": _bitops_ratio,
    "bitops-ratio-smaller-qbert": _smaller_qbert_bitops_ratio,
}
