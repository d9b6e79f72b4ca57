"""XTC's training budgets as data, and the one rule that makes them lengths of a run.

A budget is a number of optimizer steps. It is written in passes over the unaugmented training set, so that a student
with and one without added sentences train equally long: an epoch over a set that augmentation made k times as large
counts k passes.
"""

from __future__ import annotations

from xtcq.tasks import task_spec

NAMES = ("A", "B", "C")

# Epochs of budgets A, B and C, over the set that is trained on; only C of MNLI and QQP was found in a text: DeepSpeed's
# tutorial trains both for 18 epochs and quotes XTC's Budget-C rows of Tables C.2 and C.3 for it.
_PLAIN = (3.0, 9.0, 18.0)
_AUGMENTED = {"qnli": (1.0, 3.0, 6.0)} | dict.fromkeys(("cola", "mrpc", "rte", "sst2", "stsb"), (1.0, 3.0, 12.0))

# Sentences of the augmented training sets, Table C.1, row "Train (DA)"; the other tasks are not augmented.
AUGMENTED_ROWS = {"cola": 218_844, "mrpc": 226_123, "qnli": 4_273_773}
AUGMENTED_ROWS |= {"rte": 145_865, "sst2": 1_133_834, "stsb": 327_384}

# What every task is trained for where nothing is augmented: the only budgets that XTC has for such tasks.
PASSES = dict(zip(NAMES, _PLAIN, strict=True))

# Budget C of full-precision students with fewer layers: XTC, B.2, speaks of "18/36-epoch standard" budgets of MNLI and
# QQP, and DeepSpeed's tutorial (docs/_tutorials/model-compression.md L418) has the 36 for layer reduction.
REDUCED_EPOCHS = {"mnli": 36.0, "qqp": 36.0}

# Optimizer steps between two evaluations. XTC's public scripts have one number for all (DeepSpeedExamples,
# compression/bert/bash_script/XTC); those of AdaQAT-BERT are its Table 6.
XTC_EVALUATION = 1000
EVALUATION = dict.fromkeys(("mnli", "qqp", "qnli"), 1000) | dict.fromkeys(("squad1", "squad2", "sst2", "mrpc"), 200)
EVALUATION |= {"rte": 100, "cola": 50, "stsb": 50}


def paper_passes(task: str, budget: str, reduced: bool = False) -> float:
    """Length of one of XTC's budgets, in passes over the unaugmented training set.

    An epoch over augmented sentences counts as many passes as they made the set larger (Table C.1). XTC trains no
    questions; they get the budgets of its tasks without augmentation. A full-precision student with fewer layers, one
    that is ``reduced``, has ``REDUCED_EPOCHS``.
    """
    if reduced and budget == NAMES[-1] and task in REDUCED_EPOCHS:
        return REDUCED_EPOCHS[task]
    rows = task_spec(task).rows["train"]
    return _AUGMENTED.get(task, _PLAIN)[NAMES.index(budget)] * (AUGMENTED_ROWS.get(task, rows) / rows)


def own_name(task: str, passes: float) -> str | None:
    """The budget of XTC that a length is for a task, None for any other length: only this is the paper's scale."""
    lengths = {name: (paper_passes(task, name), paper_passes(task, name, reduced=True)) for name in NAMES}
    return next((name for name in NAMES if passes in lengths[name]), None)


def name_of(task: str, passes: float) -> str | None:
    """The budget that a length is called after: that of `own_name`, else of the tasks that XTC does not augment."""
    return own_name(task, passes) or next((name for name in NAMES if passes == PASSES[name]), None)
