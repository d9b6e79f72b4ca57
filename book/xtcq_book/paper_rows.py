"""Which row of XTC's tables a student stands beside: that of its depth, bits, plan, rank and learning rate.

Where the paper has no such row a student has none (None): the row of a neighbour would be read as its counterpart. A
learning rate has to be equal wherever the paper prints one for the row, in a caption or in another table that repeats
it. The one thing that may differ is the length of training, because no other scale can pay for the paper's: a budget
that is none of the paper's stands beside its shortest, A, and `budget_label` says so in the row's label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from xtcq.distillation import SELECTIONS
from xtcq.pretrained import encoder_depth
from xtcq.study import Profile
from xtcq.study.budgets import own_name
from xtcq.study.experiment import Experiment
from xtcq_book import labels
from xtcq_book.labels import as_text

# A published table and the key of a row in it.
Row = tuple[str, str] | None

BUDGETS = ("A", "B", "C")
PLANS = {"one-stage": "One-Stage", "two-stage": "Two-Stage", "three-stage": "Three-Stage"}
# Rates that XTC tunes over: at full depth (C.2, C.3), and for students with low-rank terms (B.3; C.9, C.10). Those that
# captions print stand in the patterns below: 5e-5 in C.6 and C.7, 2e-5 in C.13 (five and four layers, whose rows C.8
# and C.14 repeat) and in C.16 and C.17.
STAGE_RATES = (2e-5, 1e-4, 5e-4)
LORA_RATES = (5e-5, 1e-4, 5e-4)
_BERT_BASE = 12
_NUMERALS = {5: "Five", 4: "Four"}
_ENCODERS = {"tinybert-l6": "TinyBERT6", "minilm-l6-768": "MiniLM6"}


class _Facts(NamedTuple):
    """What decides the row of a student: the patterns of the functions below are of these."""

    layers: int | None  # of BERT-base's twelve: all of them, or every so manyeth; None for another choice
    bits: int | None  # of a weight in XTC's own scheme; None for another scheme or precision
    rank: int
    plan: str
    rate: float


def _facts(experiment: Experiment) -> _Facts:
    layers = depth(experiment)
    chosen = labels.layers(experiment).startswith("skip") or layers == _BERT_BASE
    bits = {"1-1-8": 1, "2-2-8": 2}.get(experiment.precision) if experiment.recipe == "xtc" else None
    rest = experiment.lora_rank, experiment.stages, experiment.learning_rate
    return _Facts(layers if chosen else None, bits, *rest)


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
    name = BUDGETS[-1] if _facts(experiment).layers in _NUMERALS else profile.budget_name(experiment)
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


def stages(profile: Profile, best_of: Iterable[float] | None = None) -> Callable[[Experiment], Row]:
    """Tables C.2 and C.3: 1 and 2 bits at full depth, by budget, plan and learning rate.

    Args:
        profile: names our budgets.
        best_of: the rates that students were chosen over. The row is then the best of `STAGE_RATES`, and there is none
            if those are others.
    """

    def row(experiment: Experiment) -> Row:
        match _facts(experiment):
            case (12, 1 | 2 as bits, 0, plan, rate) if plan in PLANS and _same(best_of, STAGE_RATES):
                place = f"Budget-{budget(profile, experiment)} | {PLANS[plan]}"
                return (f"xtc-c{1 + bits}", f"{place} | {'Best (above)' if best_of else as_text(rate)}")
        return None

    return row


def _same(rates: Iterable[float] | None, papers: tuple[float, ...]) -> bool:
    return rates is None or set(rates) == set(papers)


def augmentation(profile: Profile) -> Callable[[Experiment], Row]:
    """Table C.4 for 1-bit students of full depth without added sentences; C.2 for those with them."""
    with_them = stages(profile)

    def row(experiment: Experiment) -> Row:
        found = with_them(experiment)
        plain = found and found[0] == "xtc-c2" and experiment.augmentation == "none"
        return ("xtc-c4", found[1]) if plain else found

    return row


def rates(experiment: Experiment) -> Row:
    """Table C.5: full-precision students with fewer layers, by learning rate; one stage."""
    name = _full_precision(experiment)
    if name is None or experiment.stages != "one-stage":
        return None
    return ("xtc-c5", f"{name} | {as_text(experiment.learning_rate)}")


def selections(experiment: Experiment) -> Row:
    """Table C.6: which six of the twelve layers are kept, in one stage at 5e-5."""
    selection = labels.layers(experiment).split()[0]
    if experiment.quantized or depth(experiment) != 6 or selection not in SELECTIONS:
        return None
    match _facts(experiment):
        case (_, _, _, "one-stage", 5e-5):
            return ("xtc-c6", f"{selection.capitalize()}-6")
    return None


def plans(experiment: Experiment) -> Row:
    """Table C.7: one, two or three stages for full-precision students of six layers, at 5e-5."""
    name = _full_precision(experiment)
    match _facts(experiment):
        case (_, _, _, plan, 5e-5) if plan in PLANS and name in (*_ENCODERS.values(), "Skip-BERT6"):
            printed = f"{name}-v2" if name == "MiniLM6" else name
            return ("xtc-c7", f"{printed} | {PLANS[plan].removesuffix('-Stage')}")
    return None


def _full_precision(experiment: Experiment) -> str | None:
    """Name of a small encoder in Tables C.5 and C.7."""
    if experiment.quantized:
        return None
    if experiment.model in _ENCODERS:
        return _ENCODERS[experiment.model] if experiment.kept is None else None
    layers = _facts(experiment).layers
    return f"Skip-BERT{layers}" if layers and layers != _BERT_BASE else None


def small(experiment: Experiment) -> Row:
    """Table C.8: small students at 1 and 2 bits; C.5 has the full-precision ones by learning rate.

    C.8 names no rate. Its rows of five and four layers are printed again in C.13, whose caption says 2e-5; that of
    the rows of six layers is not known.
    """
    if not experiment.quantized:
        return rates(experiment)
    match _facts(experiment):
        case (6 as layers, 1 | 2 as bits, 0, "one-stage", _) | (5 | 4 as layers, 1 | 2 as bits, 0, "one-stage", 2e-5):
            return ("xtc-c8", f"XTC-BERT{layers} | {bits}")
    return None


def lora(profile: Profile, best_of: Iterable[float] | None = None) -> Callable[[Experiment], Row]:
    """Tables C.11 and C.12: low-rank terms at six layers, by budget and learning rate; C.13: five and four layers.

    Args:
        profile: names our budgets.
        best_of: the rates that students were chosen over. The row is then that of Tables C.9 and C.10, the best of
            `LORA_RATES` at six layers, and there is none if those are others.
    """

    def row(experiment: Experiment) -> Row:
        match _facts(experiment):
            case (5 | 4 as layers, 1 | 2 as bits, 0 | 1 as rank, "one-stage", 2e-5) if best_of is None:
                return ("xtc-c13", f"{_NUMERALS[layers]} | {bits} | {'NY'[rank]}")
            case (6, 1 | 2 as bits, rank, "one-stage", rate) if _same(best_of, LORA_RATES):
                place = f"Budget-{budget(profile, experiment)} | {f'Y (DIM={rank})' if rank else 'N'}"
                return (f"xtc-c{8 + bits}", place) if best_of else (f"xtc-c{10 + bits}", f"{place} | {as_text(rate)}")
        return None

    return row


def continued(experiment: Experiment) -> Row:
    """Table C.14: 1-bit students of five and four layers that go on from a finished one, and those they go on from.

    C.14 names no rate. The finished ones are printed again in C.13, whose caption says 2e-5.
    """
    start = experiment.start
    if start is None or not start.quantized:
        match _facts(experiment):
            case (5 | 4 as layers, 1 | 2 as bits, 0, "one-stage", 2e-5):
                return ("xtc-c14", f"{bits}-bit SkipBERT{layers}")
        return None
    match (_facts(start).bits, *_facts(experiment)):
        case (1 | 2 as bits, 5 | 4 as layers, 1, 0 | 1 as rank, "one-stage", _):
            return ("xtc-c14", f"{bits}-bit SkipBERT{layers} | 1-bit{'+LoRa1' * rank}")
    return None


def teacher_size(experiment: Experiment) -> Row:
    """Table C.15: six layers taught by BERT-base or by six layers; no learning rate is named there."""
    taught_by = {_BERT_BASE: "BERTbase", 6: "Skip-BERT6"}.get(experiment.teacher and depth(experiment.teacher))
    match _facts(experiment):
        case (6, 1 | 2 as bits, 0 | 1 as rank, "one-stage", _) if taught_by:
            return ("xtc-c15", f"{bits}-bit | {'NY'[rank]} | {taught_by}")
    return None


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
    match _facts(experiment):
        case (6, 1 | 2 as bits, 0, "three-stage", 2e-5):
            return (f"xtc-c{15 + bits}", f"SkipBERT6 | Budget-B | Three | {what}")
    return None


def learned(experiment: Experiment) -> Row:
    """Table 4 of AdaQAT-BERT: widths that were learned, one row a task."""
    return ("adaqat-t4", "MNLI-m/mm" if experiment.task == "mnli" else labels.task(experiment))
