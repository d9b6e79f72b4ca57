"""The arithmetic of AdaQAT-BERT done again: BitOPs, sizes, compression rates and the numbers of its running text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial

from xtcq.quantization import architecture
from xtcq.quantization.cost import MB, MIB
from xtcq_book.arithmetic import Check, adaqat_model, repeats, table

_BASE = "BERT_BASE | FP32"
_LINEARS = 73
_UNIFORM = "AdaQAT | 2-4 | 4-32-32"
_PAIRS = (
    ("MNLI-m Acc", "MNLI-mm Acc"),
    ("SQuAD v1.1 EM", "SQuAD v1.1 F1"),
    ("SQuAD v2.0 EM", "SQuAD v2.0 F1"),
)


def adaqat_checks() -> Iterator[Check]:
    """Every printed number of AdaQAT-BERT that can be recomputed.

    The BitOPs and sizes of learned configurations cannot: they depend on the bits of each layer, which are not printed.
    """
    for rule in (partial(repeats, "adaqat"), _twins, _against_uniform, _mean_bits, _bitops, _embeddings, _sizes, _text):
        yield from rule()


def _over(numerator: float, denominator: float) -> float:
    return numerator / denominator


def _twins() -> Iterator[Check]:
    """Two models cannot be expected to agree in both measures of a task to the last digit."""
    t = table("adaqat-t5")
    for first, second in _PAIRS:
        seen: set[tuple[str, str]] = set()
        for row in (r for r in t.rows if t.has(r, first) and t.has(r, second)):
            pair = t.cells[row, first], t.cells[row, second]
            for metric in (first, second):
                again = math.nan if pair in seen else t.value(row, metric)
                yield Check(t.name, row, metric, t.cells[row, metric], again, 0.0, "both measures of another row")
            seen.add(pair)


def _against_uniform() -> Iterator[Check]:
    """Learned widths at the BitOPs of uniform 2-4-4, or above: expected to be no worse."""
    t1, t2, t5 = (table(f"adaqat-t{number}") for number in (1, 2, 5))
    for how in ("with", "without"):
        group = f"AdaQAT {how} Distillation"
        for metric in _PAIRS[2]:
            learned, uniform = f"{group} | Mixed-precision | 2.08-4-3.93", f"{group} | Uniform | 2-4-4"
            yield t1.check("no lower than uniform", learned, metric, max, (t1, learned, metric), (t1, uniform, metric))
    for metric in _PAIRS[1]:
        cells = (t2, "AdaQAT | 2.06-4-3.96", metric), (t5, _UNIFORM, metric)
        yield t2.check(f"no lower than {t5.name}: {_UNIFORM}", "AdaQAT | 2.06-4-3.96", metric, max, *cells)


def _mean_bits() -> Iterator[Check]:
    """A mean of whole bits over the 73 linear maps that the paper's BitOPs count, pooler included."""
    t2, t4 = table("adaqat-t2"), table("adaqat-t4")
    cells = [(t4, row, metric, t4.cells[row, metric]) for row in t4.rows for metric in ("Bits W", "Bits A")]
    for row in (r for r in t2.rows if r.startswith("AdaQAT")):
        weights, _, activations = row.rpartition(" | ")[2].split("-")
        cells += [(t2, row, "Bits W", weights), (t2, row, "Bits A", activations)]
    for t, row, metric, printed in cells:
        nearest = round(float(printed) * _LINEARS) / _LINEARS
        yield Check(t.name, row, metric, printed, nearest, 0.005, f"whole bits over {_LINEARS} linear maps")


def _bitops() -> Iterator[Check]:
    """Equation 2 for uniform models; for Q-BERT and AQ-BERT the formula of section 4 from the printed size."""
    embedding = (table("adaqat-t5"), "AdaQAT | 8-8 | 8-32-32", "Embedding size MB")
    for t in (table(f"adaqat-t{number}") for number in (1, 2, 3)):
        for row in t.rows:
            uniform = re.search(r"\| (\d-\d-\d)$", row)
            if uniform:
                bitops = adaqat_model(uniform[1])["bitops"] / 1e9
                rule = "weight bits x activation bits x weights"
                yield t.check(rule, row, "BitOPs 1e9", lambda bitops=bitops: bitops)
            for metric in (m for m in t.metrics(row) if "MP-8-8" in row and m.startswith("BitOPs 1e9")):
                cells = (t, row, metric.replace("BitOPs 1e9", "Size MB")), embedding
                rule = "activation bits x (size - embedding 8-32-32)"
                yield t.check(rule, row, metric, lambda size, words: 8 * (size - words) * 8e6 / 1e9, *cells)


def _embeddings() -> Iterator[Check]:
    t = table("adaqat-t5")
    for row in t.rows:
        widths = row.rpartition(" | ")[2].replace("FP32", "32-32-32")
        size = adaqat_model("32-32", widths)["embedding_mb"]
        yield t.check("embedding weights at their bits, MB", row, "Embedding size MB", lambda size=size: size)
        cells = (t, f"{_BASE} | FP32", "Embedding size MB"), (t, row, "Embedding size MB")
        yield t.check("fp32 size / size", row, "CR", _over, *cells)


def _megabytes(precision: str) -> float:
    """Size in units of 10^6 bytes: the unit of the BitOPs formula of section 4 and of Table 5."""
    return adaqat_model(precision)["nominal_mib"] * MIB / MB


def _sizes() -> Iterator[Check]:
    for t in (table("adaqat-t2"), table("adaqat-t3")):
        for row in (_BASE, "TernaryBERT | 2-2-8", "BinaryBERT | 1-1-4"):
            size = _megabytes("32-32-32" if row == _BASE else row.rpartition(" | ")[2])
            yield t.check("model at its bits, MB", row, "Size MB", lambda size=size: size)
    # A learned width ends at 2 bits or more (cgernigon/AdaQAT, transformer/modeling_quant.py L820-823).
    least = _megabytes("2-4-4")
    t2, t4 = table("adaqat-t2"), table("adaqat-t4")
    for t, row in [(t2, r) for r in t2.rows if r.startswith("AdaQAT")] + [(t4, r) for r in t4.rows]:
        size = max(least, t.value(row, "Size MB"))
        yield t.check("at least 2-4 bits, MB", row, "Size MB", lambda size=size: size)


def _text() -> Iterator[Check]:
    t, t2, t3, t4, t5 = (table(f"adaqat-{name}") for name in ("text", "t2", "t3", "t4", "t5"))
    model, ours, full = architecture("bert-base"), (t4, "MNLI-m/mm", "Size MB"), _megabytes("32-32-32")
    parameters, words = model.num_parameters(), model.embeddings.word_embeddings.weight.numel()
    embedding = adaqat_model("32-32-32")["embedding_mb"] * MB / 4
    yield t.check("parameters of BERT", "1 | BERT_BASE", "Parameters 1e6", lambda: parameters / 1e6)
    yield t.check("4 bytes a parameter, MB", "1 | BERT_BASE", "Size MB", lambda: full)
    yield t.check("both sizes in MB", "4.3 | FP32 baseline to AdaQAT", "Size ratio", lambda size: full / size, ours)
    qbert = (t2, "Q-BERT | MP-8-8", "Size MB")
    yield t.check("ratio of the sizes", "4.3 | Q-BERT to AdaQAT", "Size ratio", _over, qbert, ours)
    for row, cell in (
        ("4.3 | AdaQAT 2.41-4-4.30", (t4, "CoLA", "CoLA Mcc")),
        ("4.3 | TernaryBERT 2-2-8", (t3, "TernaryBERT | 2-2-8", "CoLA Mcc")),
    ):
        cells = (t3, _BASE, "CoLA Mcc"), cell
        yield t.check("difference in Tables 3 and 4", row, "CoLA drop", lambda base, low: base - low, *cells)
    least = min(t2.value(f"{name} | MP-8-8", "BitOPs 1e9") for name in ("Q-BERT", "AQ-BERT"))
    ratio = least / t2.value("AdaQAT | 2.06-4-3.96", "BitOPs 1e9")
    row = "5 | weight-only to AdaQAT"
    yield t.check("at most the ratio in Table 2", row, "BitOPs ratio", lambda: min(2, ratio))
    row, metric = "4.4 | embedding layer", "Share of parameters %"
    yield t.check("embedding weights / parameters", row, metric, lambda: 100 * embedding / parameters)
    row, metric = "4.4 | token embedding", "Share of the embedding layer %"
    yield t.check("token weights / embedding weights", row, metric, lambda: 100 * words / embedding)
    for row, start in (("4.4 | FP32 to 2-2-2", t5.rows[0]), ("4.4 | 8-32-32 to 2-2-2", "AdaQAT | 8-8 | 8-32-32")):
        cells = tuple((t5, r, "Embedding size MB") for r in (start, "AdaQAT | 8-8 | 2-2-2"))
        yield t.check("ratio of the sizes in Table 5", row, "Embedding size ratio", _over, *cells)
