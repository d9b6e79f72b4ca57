"""XTC's Tables C.2 to C.17, and its Figures 5 and 6: a row's keys say what its runs are.

What a caption prints for a whole table is written here beside it. Rows that a table repeats from another, as their
digits show, are the same runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from xtcq.study import Experiment
from xtcq_book.paper_tables.rows import PAPER, Row, best, combined, one

PLANS = {"One": "one-stage", "Two": "two-stage", "Three": "three-stage"}
# Rates that XTC tunes over: at full depth (C.2 to C.4), and for students of fewer layers (C.5, B.3 and C.11, C.12).
STAGE_RATES = (2e-5, 1e-4, 5e-4)
LORA_RATES = (5e-5, 1e-4, 5e-4)
SEEDS = ("42", "111", "222")
ENCODERS = {"TinyBERT6": "tinybert-l6", "MiniLM6": "minilm-l6-768"}
_LAYERS = {"Five": 5, "Four": 4}
_BEST = "Best (above)"
_LONG = ("budgets", "teacher", "vectors")


def _bits(bits: str) -> str:
    return f"{bits}-{bits}-8"


def _budget(key: str) -> str:
    return key.removeprefix("Budget-")


def _swept(row: Callable[[float], Row], rate: str, rates: tuple[float, ...]) -> Row:
    """The row of a rate, or the best of all rates."""
    return row(float(rate)) if rate != _BEST else best(list(map(row, rates)), "the learning rates above")


def full_depth(bits: str, budget: str, stages: str, rate: str, **fields: Any) -> Row:
    """Tables C.2 and C.3: BERT-base by budget, plan and rate; C.4: without added sentences."""

    def row(rate: float) -> Row:
        run = {"budget": _budget(budget), "stages": stages.lower(), "learning_rate": rate} | fields
        made = one(lambda task: PAPER.student(task, precision=_bits(bits), **run), *_LONG)
        return made.assuming("plain") if fields else made

    return _swept(row, rate, STAGE_RATES)


def teacher() -> Row:
    """BERT-base itself, in full precision."""
    return one(PAPER.teacher, "teacher")


def reduced(name: str, rate: float, plan: str = "One", selection: str = "skip") -> Row:
    """A full-precision student of fewer layers: one that was pre-trained as such, or cut from the teacher."""
    fields: dict[str, Any] = {"stages": PLANS[plan], "learning_rate": rate}
    if name in ENCODERS:
        return one(lambda task: PAPER.student(task, model=ENCODERS[name], **fields), *_LONG, "reduced", "encoders")
    return one(lambda task: PAPER.reduced(task, int(name[-1]), selection, **fields), *_LONG, "reduced")


def rates(name: str, rate: str) -> Row:
    """Table C.5: full-precision students by rate."""
    return teacher() if name == "BERT-base" else reduced(name, float(rate))


def selections(name: str) -> Row:
    """Table C.6: which layers are kept, at 5e-5."""
    return teacher() if name == "BERT-base fp32" else reduced("6", 5e-5, selection=name.split("-")[0].lower())


def plans(name: str, plan: str) -> Row:
    """Table C.7: stages of distillation, at 5e-5."""
    return reduced(name.removesuffix("-v2"), 5e-5, plan)


def _beginning(depth: int) -> Row:
    """The full-precision student that Tables C.8 and C.13 to C.15 begin with: for five and four layers that of C.5."""
    return reduced("6", 2e-5).assuming("rate") if depth == 6 else reduced(str(depth), 1e-4)


def quantized(start: Row, depth: int, bits: str, rank: int = 0, **fields: Any) -> Row:
    """Students that go on from those of another row, in one stage; for Budget C and at 2e-5 unless said otherwise."""
    fixed: dict[str, Any] = {"precision": _bits(bits), "budget": "C", "learning_rate": 2e-5, "lora_rank": rank}
    return one(lambda task: PAPER.small(task, depth, start=start.run(task), **fixed | fields), *start.assumes)


def small(name: str, bits: str) -> Row:
    """Table C.8: students of six, five and four layers."""
    if name == "TinyBERT6":
        whole = Row(
            reason="quoted from TernaryBERT's paper: TinyBERT's own two stages, of unequal lengths and over two batch "
            "sizes (B.2), are no plan of one length"
        )
        few = one(_ternary_tinybert, "teacher", "reduced", "quoted")
    else:
        whole = _beginning(int(name[-1]))
        few = quantized(whole, int(name[-1]), bits)
    return whole if bits == "32" else replace(few, reference=whole)


def _ternary_tinybert(task: str) -> Experiment:
    tinybert = reduced("TinyBERT6", 1e-4).run(task)
    fields = {"precision": "2-2-8", "recipe": "ternarybert", "stages": "one-stage", "learning_rate": 2e-5, "epochs": 3}
    return PAPER.student(task, model=tinybert.model, teacher=tinybert, augmentation="none", **fields)


def lora(bits: str, budget: str, terms: str, rate: str = _BEST) -> Row:
    """Tables C.9 to C.12: six layers with and without low-rank terms; the first two hold the best of the others."""

    def row(rate: float) -> Row:
        start = reduced("6", 1e-4).assuming("start")
        return quantized(start, 6, bits, _rank(terms), budget=_budget(budget), learning_rate=rate)

    return _swept(row, rate, LORA_RATES)


def _rank(key: str) -> int:
    """Rank of the keys ``N``, ``Y`` and ``Y (DIM=8)``."""
    return int(key.removeprefix("Y (DIM=").removesuffix(")") or 1) if "DIM" in key else int(key == "Y")


def lora_small(layers: str, bits: str, rank: str = "N") -> Row:
    """Table C.13: five and four layers, at 2e-5."""
    start = _beginning(_LAYERS[layers])
    return start if bits == "32" else quantized(start, _LAYERS[layers], bits, _rank(rank))


def continued(first: str, second: str = "") -> Row:
    """Table C.14: students that go on for another Budget C from finished ones, which C.13 has too."""
    bits, _, name = first.partition("-bit Skip")
    depth = int(name[-1])
    begun = quantized(_beginning(depth), depth, bits)
    return quantized(begun, depth, "1", int(second.endswith("LoRa1"))) if second else begun


def teacher_size(bits: str, rank: str, taught_by: str) -> Row:
    """Table C.15: six layers that BERT-base teaches, or the full-precision student that they begin with."""
    bits, start = bits.removesuffix("-bit"), _beginning(6)
    fields = {"precision": _bits(bits), "stages": "one-stage", "budget": "C", "learning_rate": 2e-5}
    fields["lora_rank"] = _rank(rank)
    by_large = quantized(start, 6, bits, _rank(rank))
    by_small = one(lambda task: PAPER.student(task, teacher=start.run(task), **fields), *start.assumes)
    difference = combined([by_large, by_small], "the difference of the two rows above")
    return {"BERTbase": by_large, "Skip-BERT6": by_small, "Difference": difference}[taught_by]


def seeds(bits: str, name: str, budget: str, plan: str = "", seed: str = "") -> Row:
    """Tables C.16 and C.17: three seeds at 2e-5, from one full-precision student for each encoder.

    Its digits are those of three stages in C.7 for the pre-trained encoders; SkipBERT6's stand in no other table.
    """
    cut = name not in ENCODERS
    start = reduced(name, 2e-5, "Three").assuming("rate") if cut else reduced(name, 5e-5, "Three")
    if budget == "fp32":
        return start

    def row(seed: str) -> Row:
        fields: dict[str, Any] = {"stages": PLANS[plan], "budget": _budget(budget), "seed": int(seed)}
        if cut:
            return quantized(start, 6, bits, **fields)
        fields |= {"model": ENCODERS[name], "precision": _bits(bits), "learning_rate": 2e-5}
        return one(lambda task: PAPER.student(task, start=start.run(task), **fields), *start.assumes)

    computed = {"Ave. above": "the mean over the three seeds", "std above": "the deviation over the three seeds"}
    return combined([row(one_seed) for one_seed in SEEDS], computed[seed]) if seed in computed else row(seed)


def geometry_budgets(what: str) -> Row:
    """Figure 5: six layers at 1 bit in one stage at 2e-5, after Budgets A and C."""
    start = _beginning(6)
    return start if what == "fp32" else quantized(start, 6, "1", budget=_budget(what))


def geometry_plans(what: str) -> Row:
    """Figure 6: BERT-base at 1 bit after one and three stages, at 5e-4 and Budget B."""
    return teacher() if what == "fp32" else full_depth("1", "Budget-B", what, "5e-4")


RULES: dict[str, Callable[..., Row]] = {
    "xtc-c2": partial(full_depth, "1"),
    "xtc-c3": partial(full_depth, "2"),
    "xtc-c4": partial(full_depth, "1", augmentation="none"),
    "xtc-c5": rates,
    "xtc-c6": selections,
    "xtc-c7": plans,
    "xtc-c8": small,
    "xtc-c9": partial(lora, "1"),
    "xtc-c10": partial(lora, "2"),
    "xtc-c11": partial(lora, "1"),
    "xtc-c12": partial(lora, "2"),
    "xtc-c13": lora_small,
    "xtc-c14": continued,
    "xtc-c15": teacher_size,
    "xtc-c16": partial(seeds, "1"),
    "xtc-c17": partial(seeds, "2"),
    "xtc-fig5": geometry_budgets,
    "xtc-fig6": geometry_plans,
}
# Rows of the figures, which print no numbers: the weights of these runs are drawn.
FIGURES = {"xtc-fig5": ("fp32", "Budget-A", "Budget-C"), "xtc-fig6": ("fp32", "One-Stage", "Three-Stage")}
