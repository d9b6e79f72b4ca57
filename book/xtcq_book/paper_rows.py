"""Which row of XTC's tables a student stands beside: that of its depth, bits, plan, rank and learning rate.

Where the paper has no such row a student has none (None): the row of a neighbour would be read as its counterpart. A
learning rate has to be equal wherever the paper prints one for the row, in a caption or in another table that repeats
it. The one thing that may differ is the length of training, because no other scale can pay for the paper's: a budget
that is none of the paper's stands beside its shortest, A, and `budget_label` says so in the row's label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xtcq.distillation import SELECTIONS
from xtcq.encoder import encoder_depth
from xtcq.study.budgets import own_name
from xtcq.study.experiment import Experiment
from xtcq.study.profiles import Profile
from xtcq_book import labels
from xtcq_book.labels import as_text

# A published table and the key of a row in it.
Row = tuple[str, str] | None

BUDGETS = ("A", "B", "C")
PLANS = {"one-stage": "One-Stage", "two-stage": "Two-Stage", "three-stage": "Three-Stage"}
# Rates that XTC tunes over: at full depth (C.2, C.3), and for students with low-rank terms (B.3; C.9, C.10).
STAGE_RATES = (2e-5, 1e-4, 5e-4)
LORA_RATES = (5e-5, 1e-4, 5e-4)
# Rates that captions print: C.6 and C.7; C.13 for five and four layers, whose rows C.8 and C.14 repeat; C.16 and C.17.
_REDUCED_RATE, _SMALL_RATE, _SEEDS_RATE = 5e-5, 2e-5, 2e-5
_BERT_BASE = 12
_NUMERALS = {5: "Five", 4: "Four"}


def depth(experiment: Experiment) -> int | None:
    """Layers of the paper's student that keeps the same share of its teacher's encoder.

    Three of MiniLM-L6's six layers stand for six of BERT-base's twelve. For BERT-base it is the depth itself.

    Args:
        experiment: a student or a teacher.

    Returns:
        The number of layers out of BERT-base's twelve; None where the share is no whole number of them.
    """
    kept = encoder_depth(experiment.model) if experiment.kept is None else len(experiment.kept)
    layers, rest = divmod(_BERT_BASE * kept, encoder_depth((experiment.teacher or experiment).model))
    return None if rest else layers


def budget(profile: Profile, experiment: Experiment) -> str:
    """The paper's budget that a student stands beside: its own, or the shortest where it has none of the paper's.

    The paper's quantized students of five and four layers have Budget-C alone (B.3 on Table C.14, which repeats C.13).
    """
    if _skipped(experiment) in _NUMERALS:
        return BUDGETS[-1]
    name = profile.budget_name(experiment)
    return name if name in BUDGETS else BUDGETS[0]


def budget_label(profile: Profile) -> Callable[[Experiment], str]:
    """A label: the budget, and that of the paper's row where it is another length: ``"short (paper: A)"``.

    Three passes are Budget-A of MNLI, and a twentieth of RTE's: there they are ``"3 passes (paper: A)"``.
    """

    def label(experiment: Experiment) -> str:
        ours, theirs = profile.budget_name(experiment), budget(profile, experiment)
        if ours in BUDGETS and ours != own_name(experiment.task, experiment.epochs):
            ours = f"{experiment.epochs:g} passes"
        return ours if ours == theirs else f"{ours} (paper: {theirs})"

    return label


def stages(profile: Profile) -> Callable[[Experiment], Row]:
    """Tables C.2 and C.3: 1 and 2 bits at full depth, by budget, plan and learning rate."""
    return lambda experiment: _full_depth(profile, experiment, as_text(experiment.learning_rate))


def stages_best(profile: Profile, rates: Iterable[float]) -> Callable[[Experiment], Row]:
    """Tables C.2 and C.3: the best of `STAGE_RATES`, for students chosen over the same ``rates``; no row for others."""
    same = set(rates) == set(STAGE_RATES)
    return lambda experiment: _full_depth(profile, experiment, "Best (above)") if same else None


def augmentation(profile: Profile) -> Callable[[Experiment], Row]:
    """Table C.4 for 1-bit students of full depth without added sentences; C.2 for those with them."""
    with_them = stages(profile)

    def row(experiment: Experiment) -> Row:
        found = with_them(experiment)
        if found is None or _bits(experiment) != 1 or experiment.augmentation != "none":
            return found
        return ("xtc-c4", found[1])

    return row


def rates(experiment: Experiment) -> Row:
    """Table C.5: full-precision students with fewer layers, by learning rate; one stage."""
    name = _name(experiment)
    if name is None or experiment.quantized or experiment.stages != "one-stage":
        return None
    return ("xtc-c5", f"{name} | {as_text(experiment.learning_rate)}")


def selections(experiment: Experiment) -> Row:
    """Table C.6: which six of the twelve layers are kept, in one stage at 5e-5."""
    selection = labels.layers(experiment).split()[0]
    if depth(experiment) != 6 or selection not in SELECTIONS or experiment.quantized:
        return None
    if experiment.stages != "one-stage" or experiment.learning_rate != _REDUCED_RATE:
        return None
    return ("xtc-c6", f"{selection.capitalize()}-6")


def plans(experiment: Experiment) -> Row:
    """Table C.7: one, two or three stages for full-precision students of six layers, at 5e-5."""
    name = _name(experiment)
    if name is None or depth(experiment) != 6 or experiment.quantized or experiment.stages not in PLANS:
        return None
    if experiment.learning_rate != _REDUCED_RATE:
        return None
    return ("xtc-c7", f"{name} | {PLANS[experiment.stages].removesuffix('-Stage')}")


def small(experiment: Experiment) -> Row:
    """Table C.8: small students at 1 and 2 bits; C.5 has the full-precision ones by learning rate.

    C.8 names no rate. Its rows of five and four layers are printed again in C.13, whose caption says 2e-5; that of
    the rows of six layers is not known.
    """
    if not experiment.quantized:
        return rates(experiment)
    layers, bits = _skipped(experiment), _bits(experiment)
    if layers not in (6, *_NUMERALS) or not bits or experiment.lora_rank or experiment.stages != "one-stage":
        return None
    if layers in _NUMERALS and experiment.learning_rate != _SMALL_RATE:
        return None
    return ("xtc-c8", f"XTC-BERT{layers} | {bits}")


def lora(profile: Profile) -> Callable[[Experiment], Row]:
    """Tables C.11 and C.12: low-rank terms at six layers, by budget and learning rate; C.13: five and four layers."""

    def row(experiment: Experiment) -> Row:
        layers, bits = _skipped(experiment), _bits(experiment)
        if layers in _NUMERALS and bits and experiment.stages == "one-stage":
            printed = experiment.learning_rate == _SMALL_RATE and experiment.lora_rank in (0, 1)
            return ("xtc-c13", f"{_NUMERALS[layers]} | {bits} | {_yes(experiment)}") if printed else None
        found = _six_layers(profile, experiment, {1: "xtc-c11", 2: "xtc-c12"})
        return found and (found[0], f"{found[1]} | {as_text(experiment.learning_rate)}")

    return row


def lora_best(profile: Profile, rates: Iterable[float]) -> Callable[[Experiment], Row]:
    """Tables C.9 and C.10: the best of `LORA_RATES` at six layers, for students chosen over the same ``rates``."""
    tables = {1: "xtc-c9", 2: "xtc-c10"} if set(rates) == set(LORA_RATES) else {}
    return lambda experiment: _six_layers(profile, experiment, tables)


def continued(experiment: Experiment) -> Row:
    """Table C.14: 1-bit students of five and four layers that go on from a finished one, and those they go on from.

    C.14 names no rate. The finished ones are printed again in C.13, whose caption says 2e-5.
    """
    start = experiment.start
    goes_on = start is not None and start.quantized
    layers, bits = _skipped(experiment), _bits(start if goes_on else experiment)
    if layers not in _NUMERALS or not bits or experiment.stages != "one-stage":
        return None
    if experiment.lora_rank > (1 if goes_on else 0):
        return None
    name = f"{bits}-bit SkipBERT{layers}"
    if not goes_on:
        return ("xtc-c14", name) if experiment.learning_rate == _SMALL_RATE else None
    if _bits(experiment) != 1:
        return None
    return ("xtc-c14", f"{name} | 1-bit{'+LoRa1' if experiment.lora_rank else ''}")


def teacher_size(experiment: Experiment) -> Row:
    """Table C.15: six layers taught by BERT-base or by six layers; no learning rate is named there."""
    layers, bits = _skipped(experiment), _bits(experiment)
    taught_by = {_BERT_BASE: "BERTbase", 6: "Skip-BERT6"}.get(experiment.teacher and depth(experiment.teacher))
    if layers != 6 or not bits or taught_by is None or experiment.lora_rank > 1 or experiment.stages != "one-stage":
        return None
    return ("xtc-c15", f"{bits}-bit | {_yes(experiment)} | {taught_by}")


def teacher_difference(experiment: Experiment) -> Row:
    """Table C.15: the printed difference that the larger teacher makes to such a student."""
    found = teacher_size(experiment)
    return found and (found[0], f"{found[1].rpartition(' | ')[0]} | Difference")


def seeds(experiment: Experiment, what: str = "Ave. above") -> Row:
    """Tables C.16 and C.17: six layers over three seeds, in three stages at 2e-5 and Budget-B.

    Args:
        experiment: a student, whatever its seed.
        what: ``"Ave. above"`` for the mean, ``"std above"`` for the deviation.
    """
    table = {1: "xtc-c16", 2: "xtc-c17"}.get(_bits(experiment))
    if table is None or _skipped(experiment) != 6 or experiment.lora_rank or experiment.stages != "three-stage":
        return None
    return (table, f"SkipBERT6 | Budget-B | Three | {what}") if experiment.learning_rate == _SEEDS_RATE else None


def learned(experiment: Experiment) -> Row:
    """Table 4 of AdaQAT-BERT: widths that were learned, one row a task."""
    return ("adaqat-t4", "MNLI-m/mm" if experiment.task == "mnli" else labels.task(experiment))


def _full_depth(profile: Profile, experiment: Experiment, rate: str) -> Row:
    table = {1: "xtc-c2", 2: "xtc-c3"}.get(_bits(experiment))
    if table is None or depth(experiment) != _BERT_BASE or experiment.lora_rank or experiment.stages not in PLANS:
        return None
    return (table, f"Budget-{budget(profile, experiment)} | {PLANS[experiment.stages]} | {rate}")


def _six_layers(profile: Profile, experiment: Experiment, tables: dict[int, str]) -> Row:
    """Table, budget and rank of a student with or without low-rank terms."""
    table = tables.get(_bits(experiment))
    if table is None or _skipped(experiment) != 6 or experiment.stages != "one-stage":
        return None
    rank = f"Y (DIM={experiment.lora_rank})" if experiment.lora_rank else "N"
    return (table, f"Budget-{budget(profile, experiment)} | {rank}")


def _bits(experiment: Experiment) -> int | None:
    """Bits of a weight in XTC's own scheme; None for another scheme or precision."""
    printed = {"1-1-8": 1, "2-2-8": 2}
    return printed.get(experiment.precision) if experiment.recipe == "xtc" else None


def _skipped(experiment: Experiment) -> int | None:
    """Depth of a student that keeps every so manyeth layer, as all of XTC's own small ones do."""
    return depth(experiment) if labels.layers(experiment).startswith("skip") else None


def _name(experiment: Experiment) -> str | None:
    """Name of a small encoder in Tables C.5 and C.7."""
    if experiment.model == "tinybert-l6":
        return "TinyBERT6" if experiment.kept is None else None
    layers = _skipped(experiment)
    return layers and f"Skip-BERT{layers}"


def _yes(experiment: Experiment) -> str:
    return "Y" if experiment.lora_rank else "N"
