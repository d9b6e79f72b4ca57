"""Which row of XTC's tables a student stands beside: that of its depth, bits, plan, rank and learning rate.

What a printed row is a run of is known to `xtcq_book.paper_tables`; here a student of any scale is held against those
runs, in what tells the rows of a table apart. Where none agrees a student has no row (None): that of a neighbour would
be read as its counterpart. A learning rate has to be equal wherever the paper prints one for the row, in a caption or
in another table that repeats it. The one thing that may differ is the length of training, because no other scale can
pay for the paper's: a budget that is none of the paper's stands beside its shortest, A, and `budget_label` says so in
the row's label.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import cache

from xtcq.pretrained import PUBLISHED
from xtcq.study import Profile
from xtcq.study.budgets import NAMES as BUDGETS
from xtcq.study.budgets import own_name
from xtcq.study.experiment import Experiment
from xtcq_book import columns
from xtcq_book.paper_tables import cells
from xtcq_book.paper_tables.rows import PAPER
from xtcq_book.paper_tables.xtc import ENCODERS, LORA_RATES, STAGE_RATES

# A published table and the key of a row in it.
Row = tuple[str, str] | None
RowOf = Callable[[Experiment], Row]

_BERT_BASE = 12
# Tables with a row for every budget, and those whose rows are the best of several rates.
_BUDGETED = ("xtc-c2", "xtc-c3", "xtc-c4", "xtc-c9", "xtc-c10", "xtc-c11", "xtc-c12")
_TUNED = ("xtc-c9", "xtc-c10")


def depth(experiment: Experiment) -> int | None:
    """Layers of the paper's student that keeps the same share of its teacher's encoder; None for no whole number.

    Three of MiniLM-L6's six layers stand for six of BERT-base's twelve. For BERT-base it is the depth itself.
    """
    teacher = experiment.teacher or experiment
    layers, rest = divmod(_BERT_BASE * experiment.depth, PUBLISHED[teacher.model].layers)
    return None if rest else layers


def _chosen(experiment: Experiment) -> str:
    """How its layers were chosen: ``"all"``, ``"skip"``, ``"top"``, ``"bottom"`` or ``"layers"``."""
    return columns.layers(experiment).split()[0]


def budget(profile: Profile, experiment: Experiment) -> str:
    """The paper's budget that a student stands beside: its own, or the shortest where it has none of the paper's.

    The paper's quantized students of five and four layers have Budget-C alone (B.3 on Table C.14, which repeats C.13).
    """
    alone = _chosen(experiment) == "skip" and depth(experiment) in (5, 4)
    name = BUDGETS[-1] if alone else profile.budget_name(experiment)
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


def _told_apart(table: str, experiment: Experiment, profile: Profile, tuned: bool) -> tuple[Hashable, ...]:
    """What a student has in common with the run of its row.

    No rate is named for the six layers of C.8, for those that go on in C.14, and in C.15.
    """
    layers, started = depth(experiment), experiment.start is not None and experiment.start.quantized
    unrated = {"xtc-c8": layers == 6, "xtc-c14": started, "xtc-c15": True}.get(table, tuned)
    return (
        experiment.model if experiment.model in ENCODERS.values() else "",
        *(_chosen(experiment), layers, experiment.recipe, experiment.precision, experiment.lora_rank),
        experiment.stages,
        None if unrated else experiment.learning_rate,
        budget(profile, experiment) if table in _BUDGETED else None,
        experiment.start.precision if table == "xtc-c14" and started else None,
        depth(experiment.teacher) if table == "xtc-c15" else None,
    )


@cache
def _rows(table: str, ending: str) -> dict[tuple[Hashable, ...], str]:
    """The printed rows with an ending by what tells them apart; a computed row comes after the runs that it is of."""
    found: dict[tuple[Hashable, ...], str] = {}
    for cell in cells(table, tasks=["rte"]):
        if cell.row.endswith(ending) and cell.experiments and cell.experiments[0].teacher:
            key = _told_apart(table, cell.experiments[0], PAPER, bool(ending) or table in _TUNED)
            found.setdefault(key, cell.row)
    return found


def _row_in(*tables: str, profile: Profile = PAPER, tuned: bool = False) -> RowOf:
    """Finds the row of a student in the first table that has one."""

    def row(experiment: Experiment) -> Row:
        for table in tables if experiment.teacher else ():
            best = tuned and table not in _TUNED
            key = _told_apart(table, experiment, profile, tuned)
            if found := _rows(table, "Best (above)" if best else "").get(key):
                return table, found
        return None

    return row


def _best_of(rates: Iterable[float], papers: tuple[float, ...], row: RowOf) -> RowOf:
    return row if set(rates) == set(papers) else lambda experiment: None


def stages(profile: Profile, best_of: Iterable[float] | None = None) -> RowOf:
    """Tables C.2 and C.3: 1 and 2 bits at full depth, by budget, plan and learning rate; ``profile`` names our budgets.

    Of students that were chosen over the rates ``best_of``, it is the best of `STAGE_RATES`; none if those are others.
    """
    row = _row_in("xtc-c2", "xtc-c3", profile=profile, tuned=best_of is not None)
    return row if best_of is None else _best_of(best_of, STAGE_RATES, row)


def augmentation(profile: Profile) -> RowOf:
    """Table C.4 for 1-bit students of full depth without added sentences; C.2 for those with them."""
    plain, added = _row_in("xtc-c4", "xtc-c3", profile=profile), stages(profile)
    return lambda experiment: (plain if experiment.augmentation == "none" else added)(experiment)


def small(experiment: Experiment) -> Row:
    """Table C.8: small students at 1 and 2 bits; C.5 has the full-precision ones by learning rate.

    C.8 names no rate. Its rows of five and four layers are printed again in C.13, whose caption says 2e-5; that of
    the rows of six layers is not known.
    """
    return (_row_in("xtc-c8") if experiment.quantized else rates)(experiment)


def lora(profile: Profile, best_of: Iterable[float] | None = None) -> RowOf:
    """Tables C.11 and C.12: low-rank terms at six layers, by budget and learning rate; C.13: five and four layers.

    With ``best_of``, as in `stages`, the row is that of Tables C.9 and C.10: the best of `LORA_RATES` at six layers.
    """
    if best_of is None:
        return _row_in("xtc-c13", "xtc-c11", "xtc-c12", profile=profile)
    return _best_of(best_of, LORA_RATES, _row_in(*_TUNED, profile=profile, tuned=True))


# Full-precision students with fewer layers by rate; which layers are kept; plans; students that go on; two teachers.
rates, selections, plans = _row_in("xtc-c5"), _row_in("xtc-c6"), _row_in("xtc-c7")
continued, teacher_size = _row_in("xtc-c14"), _row_in("xtc-c15")


def teacher_difference(experiment: Experiment) -> Row:
    """Table C.15: the printed difference that the larger teacher makes to such a student."""
    found = teacher_size(experiment)
    return found and (found[0], f"{found[1].rpartition(' | ')[0]} | Difference")


def seeds(experiment: Experiment, what: str = "Ave. above") -> Row:
    """Tables C.16 and C.17: six layers over three seeds, by encoder and plan, at 2e-5 and Budget-B.

    ``what`` is the mean (``"Ave. above"``) or the deviation (``"std above"``); in full precision there is one run.
    """
    found = _row_in("xtc-c16", "xtc-c17")(experiment) if experiment.quantized else None
    return found and (found[0], f"{found[1].rpartition(' | ')[0]} | {what}")


def learned(experiment: Experiment) -> Row:
    """Table 4 of AdaQAT-BERT: widths that were learned, one row a task."""
    return ("adaqat-t4", "MNLI-m/mm" if experiment.task == "mnli" else columns.task(experiment))
