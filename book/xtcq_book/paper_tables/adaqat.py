"""AdaQAT-BERT's Tables 1 to 6: a row's keys say what its runs are.

Its Figures 1 and 2 print no numbers and need no runs beside those of Tables 2 to 5. All runs have the rate, batches
and lengths of Table 6, and all but those of TernaryBERT the length that is assumed for a search (``"widths"``).
"""

from __future__ import annotations

from collections.abc import Callable

from xtcq_book.paper_tables.rows import PAPER, Row, one

_QUOTED = {
    "Q-BERT": "quoted by AdaQAT-BERT: no public code of Q-BERT was found, and its bits by layer are not printed",
    "AQ-BERT": "quoted by AdaQAT-BERT: no public code of AQ-BERT was found, and its bits by group are not printed",
    "BinaryBERT": "quoted by AdaQAT-BERT: BinaryBERT splits a ternary model of half width, cut from a DynaBERT that is "
    "not public",
}


def uniform(precision: str, stages: str = "one-stage") -> Row:
    """Learned steps at one width for all matrices."""
    return one(
        lambda task: PAPER.student(task, recipe="adaqat", precision=precision, stages=stages), "teacher", "widths"
    )


def learned(stages: str = "one-stage") -> Row:
    """Widths for every matrix; ``finetune`` refines without distillation."""
    return one(lambda task: PAPER.learned(task, stages=stages), "teacher", "widths")


def ternarybert() -> Row:
    """TernaryBERT with the settings of its public scripts (``quant_task_glue.py`` and ``quant_task_squad.py``)."""
    fields = {"recipe": "ternarybert", "precision": "2-2-8", "stages": "one-stage", "epochs": 3, "learning_rate": 2e-5}
    return one(lambda task: PAPER.student(task, augmentation="none", **fields), "teacher", "ternarybert")


def distillation(model: str, kind: str, bits: str) -> Row:
    """Table 1: uniform and learned widths, without and with distillation."""
    stages = "one-stage" if model.endswith("with Distillation") else "finetune"
    return uniform(bits, stages) if kind == "Uniform" else learned(stages)


def methods(model: str, *bits: str) -> Row:
    """Tables 2 and 3: other methods, and in Table 2 learned widths."""
    if model in _QUOTED:
        return Row(reason=_QUOTED[model])
    return {"BERT_BASE": _teacher, "TernaryBERT": ternarybert, "AdaQAT": learned}[model]()


def glue(task: str) -> Row:
    """Table 4: learned widths, a row for every task."""
    return learned()


def embeddings(model: str, linears: str, tables: str) -> Row:
    """Table 5: bits of the token, segment and position tables."""
    return methods(model) if model != "AdaQAT" else uniform(f"{linears} {tables}")


def settings(name: str) -> Row:
    """Table 6, which needs no runs."""
    return Row(how="a setting of the runs of Tables 1 to 5")


def _teacher() -> Row:
    return one(PAPER.teacher, "teacher")


RULES: dict[str, Callable[..., Row]] = {
    "adaqat-t1": lambda model, *keys: _teacher() if model == "FP baseline" else distillation(model, *keys),
    "adaqat-t2": methods,
    "adaqat-t3": methods,
    "adaqat-t4": glue,
    "adaqat-t5": embeddings,
    "adaqat-t6": settings,
}
