"""XTC's training budgets as data, and the one rule that makes them lengths of a run.

A budget is a number of optimizer steps. It is written in passes over the unaugmented training set, so that a student
with and one without added sentences train equally long: an epoch over a set that augmentation made k times as large
counts k passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from xtcq.tasks import task_spec

NAMES = ("A", "B", "C")


@dataclass(frozen=True)
class Budget:
    """Epochs that XTC trains a task for; of which tasks they were found in a text, ``ASSUMPTIONS`` says.

    Attributes:
        epochs: for budgets A, B and C, over the set that is trained on.
        augmented: whether that set holds augmented sentences (XTC, Table C.1).
    """

    epochs: tuple[float, float, float]
    augmented: bool


# C: DeepSpeed's tutorial trains MNLI and QQP for 18 epochs and quotes XTC's Budget-C rows of Tables C.2 and C.3 for it.
_PLAIN = Budget((3.0, 9.0, 18.0), augmented=False)
_QNLI = Budget((1.0, 3.0, 6.0), augmented=True)
_SMALL = Budget((1.0, 3.0, 12.0), augmented=True)

BUDGETS = MappingProxyType(
    {"mnli": _PLAIN, "qqp": _PLAIN, "qnli": _QNLI} | dict.fromkeys(("cola", "mrpc", "rte", "sst2", "stsb"), _SMALL)
)

# Sentences of the augmented training sets, Table C.1, row "Train (DA)"; the other tasks are not augmented.
AUGMENTED_ROWS = MappingProxyType(
    {"cola": 218_844, "mrpc": 226_123, "qnli": 4_273_773, "rte": 145_865, "sst2": 1_133_834, "stsb": 327_384}
)

# What every task is trained for where nothing is augmented: the only budgets that XTC has for such tasks.
PASSES = MappingProxyType(dict(zip(NAMES, _PLAIN.epochs, strict=True)))

# Budget C of full-precision students with fewer layers: XTC, B.2, speaks of "18/36-epoch standard" budgets of MNLI and
# QQP, and DeepSpeed's tutorial (docs/_tutorials/model-compression.md L418) has the 36 for layer reduction.
REDUCED_EPOCHS = MappingProxyType({"mnli": 36.0, "qqp": 36.0})

# Optimizer steps between two evaluations. XTC's public scripts have one number for all (DeepSpeedExamples,
# compression/bert/bash_script/XTC); those of AdaQAT-BERT are its Table 6.
XTC_EVALUATION = 1000
EVALUATION = MappingProxyType(
    {"squad1": 200, "squad2": 200, "mnli": 1000, "qqp": 1000, "qnli": 1000, "sst2": 200, "cola": 50, "stsb": 50}
    | {"mrpc": 200, "rte": 100}
)

# What the papers leave open, or say in a text that was not available, and what stands in its place here. The tables of
# the book name these beside each of their rows.
ASSUMPTIONS = MappingProxyType(
    {
        "budgets": "XTC's budgets A and B, and C of all tasks but MNLI and QQP, are recalled, not verified",
        "teacher": "fine-tuned for 3 epochs, as TernaryBERT's authors advise, at 2e-5; neither paper says how",
        "vectors": "added sentences take GloVe's 42B vectors; TinyBERT's script names no file, and XTC none of its own",
        "plain": "without added sentences a student trains for as many steps as with them",
        "reduced": "full-precision students with fewer layers have Budget C, with 36 epochs of MNLI and QQP",
        "start": "a quantized student of fewer layers begins with the full-precision one of Table C.5 at 1e-4",
        "rate": "the rate is 2e-5, which Table C.13 prints for its neighbours and no row of Table C.11 contradicts",
        "quoted": "TernaryBERT's recipe and 3 epochs on the TinyBERT6 of Table C.5 at 1e-4; XTC quotes this row",
        "widths": "160,000 steps: 120,000 to explore, which 146 widths need at the published rate of 0.1, and 40,000 "
        "to refine; uniform widths have as many in all. AdaQAT-BERT names no length",
        "encoders": "TinyBERT6 and MiniLM6 are huawei-noah/TinyBERT_General_6L_768D and "
        "nreimers/MiniLMv2-L6-H768-distilled-from-BERT-Base of the hub; XTC names no files, and these were not tried",
        "ternarybert": "the settings of TernaryBERT's public script, without added sentences; AdaQAT-BERT names none",
    }
)


def paper_passes(task: str, budget: str, reduced: bool = False) -> float:
    """Length of one of XTC's budgets.

    Args:
        task: name of a task. XTC trains no questions; they get the budgets of its tasks without augmentation.
        budget: ``"A"``, ``"B"`` or ``"C"``.
        reduced: for a full-precision student with fewer layers, see ``REDUCED_EPOCHS``.

    Returns:
        Passes over the unaugmented training set: epochs times the growth by augmentation that Table C.1 prints.

    Example:
        >>> from xtcq.study.budgets import paper_passes
        >>> paper_passes("mnli", "C"), paper_passes("mnli", "C", reduced=True), round(paper_passes("rte", "A"), 2)
        (18.0, 36.0, 58.58)
    """
    if reduced and budget == NAMES[-1] and task in REDUCED_EPOCHS:
        return REDUCED_EPOCHS[task]
    own = BUDGETS.get(task, _PLAIN)
    return own.epochs[NAMES.index(budget)] * (_growth(task) if own.augmented else 1.0)


def own_name(task: str, passes: float) -> str | None:
    """The budget of XTC that a length is for a task: only this is the paper's scale.

    Args:
        task: name of any task.
        passes: over the unaugmented training set.

    Returns:
        ``"A"``, ``"B"`` or ``"C"``; None for any other length.
    """
    lengths = {name: (paper_passes(task, name), paper_passes(task, name, reduced=True)) for name in NAMES}
    return next((name for name in NAMES if passes in lengths[name]), None)


def name_of(task: str, passes: float) -> str | None:
    """The budget that a length is called after.

    Args:
        task: name of any task.
        passes: over the unaugmented training set.

    Returns:
        That of `own_name`, else that of the tasks which XTC does not augment; None for another length.
    """
    return own_name(task, passes) or next((name for name in NAMES if passes == PASSES[name]), None)


def _growth(task: str) -> float:
    """Sentences with augmentation over sentences without, from Table C.1."""
    return AUGMENTED_ROWS.get(task, task_spec(task).rows["train"]) / task_spec(task).rows["train"]
