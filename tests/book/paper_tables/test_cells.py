import csv
from collections import Counter, defaultdict
from functools import cache

import pytest
from xtcq_book import paper_tables, published
from xtcq_book.paper_tables import experiments, names
from xtcq_book.paper_tables.rows import ASSUMPTIONS
from xtcq_book.paper_tables.xtc import FIGURES

from xtcq.study import load_profile
from xtcq.tasks import task_spec

cells = cache(paper_tables.cells)
TABLES = [name for name in names() if name not in FIGURES]
# Scores, counted by hand: rows that are not "Best", "Ave.", "std" or "Difference", times columns of scores.
SCORES = {
    "xtc-c2": 27 * 12,
    "xtc-c3": 21 * 12,
    "xtc-c4": 6 * 12,
    "xtc-c5": 16 * 12,
    "xtc-c6": 4 * 12,
    "xtc-c7": 9 * 12,
    "xtc-c8": 10 * 12,
    "xtc-c9": 0,
    "xtc-c10": 0,
    "xtc-c11": 27 * 12,
    "xtc-c12": 18 * 12,
    "xtc-c13": 10 * 12,
    "xtc-c14": 12 * 12,
    "xtc-c15": 8 * 12,
    "xtc-c16": 15 * 12,
    "xtc-c17": 3 * 12,
    "adaqat-t1": 5 * 2,
    "adaqat-t2": 2 * 4 + 2 * 2,
    "adaqat-t3": 2 * 9,
    "adaqat-t4": 9,
    "adaqat-t5": 10 * 7,
    "adaqat-t6": 0,
}
# Cells of methods that cannot be run, bits and sizes of embedding tables left out.
REASONS = {"xtc-c8": 3 + 12 + 1, "adaqat-t2": 6 + 4 + 4, "adaqat-t3": 5 + 6 + 7 + 11, "adaqat-t5": 4 * 4}


def printed(table):
    with (published.FOLDER / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return {(line["row"], line["metric"]): line["value"] for line in csv.DictReader(file)}


@pytest.mark.parametrize("table", TABLES)
def test_every_printed_cell_has_an_experiment_a_rule_or_a_reason(table):
    found = cells(table)
    assert [(cell.row, cell.metric) for cell in found] == list(printed(table))
    kinds = Counter(cell.kind for cell in found)
    assert (kinds["experiment"], kinds["reason"]) == (SCORES[table], REASONS.get(table, 0))
    for cell in found:
        assert len(cell.experiments) == 1 or cell.kind != "experiment"
        assert bool(cell.reason) + bool(cell.how) <= 1 and not (cell.reason and cell.experiments)
        assert set(cell.assumes) <= set(ASSUMPTIONS)
        assert cell.task is None or {run.task for run in cell.experiments} <= {cell.task}


def test_all_tables_are_there_with_all_that_they_print():
    xtc = sum(len(cells(name)) for name in TABLES if name.startswith("xtc"))
    assert xtc == 3514 and sum(len(cells(name)) for name in TABLES) - xtc == 14 + 33 + 50 + 49 + 114 + 33
    assert set(TABLES) == set(published.tables()) - {"xtc-c1"}


# Rows that are one run here and print two numbers. The papers fine-tuned BERT-base each for themselves; the others are
# among the errata.
_BASE = {("adaqat-t3", "BERT_BASE | FP32"), ("adaqat-t5", "BERT_BASE | FP32 | FP32")}
_PRINTED_TWICE = [
    *({("xtc-c5", "BERT-base | n/a"), row} for row in _BASE),
    *({("xtc-c6", "BERT-base fp32"), row} for row in _BASE),
    *({("adaqat-t5", "BERT_BASE | FP32 | FP32"), row} for row in (
        ("adaqat-t1", "FP baseline | BERT_BASE | FP32"), ("adaqat-t2", "BERT_BASE | FP32"),
    )),
    {("adaqat-t1", "AdaQAT with Distillation | Uniform | 2-4-4"), ("adaqat-t5", "AdaQAT | 2-4 | 4-32-32")},
]  # fmt: skip


def test_rows_share_a_run_only_where_the_papers_print_one_number():
    shared = defaultdict(dict)
    for table in TABLES:
        values = printed(table)
        for cell in cells(table):
            if cell.kind == "experiment":
                places = shared[cell.experiments[0], cell.metric]
                assert all(other != table for other, _ in places), (table, cell.row)
                places[table, cell.row] = values[cell.row, cell.metric]
    # BERT-base; C.4 in C.2; C.5 in C.6, C.7; C.7 in C.16; C.5 in C.8; C.8 in C.13, C.14; C.8 in C.15; AdaQAT-BERT.
    repeated = 12 + 24 + 3 * 12 + 2 * 12 + 2 * 12 + 4 * 12 + 2 * 12 + 8
    assert sum(len(places) > 1 for places in shared.values()) == repeated
    for (_, metric), places in shared.items():
        for first, value in places.items():
            for second, other in places.items():
                assert agree(value, other) or {first, second} in _PRINTED_TWICE, (metric, first, value, second, other)


def agree(first, second):
    """Whether one number can be the other one with more digits."""
    decimals = min(len(text.partition(".")[2]) for text in (first, second))
    return abs(float(first) - float(second)) <= 0.5 * 10**-decimals + 1e-9


SKIP6, SKIP5, SKIP4 = (1, 3, 5, 7, 9, 11), (2, 4, 6, 8, 10), (2, 5, 8, 11)
ADDED = {"augmentation": "tinybert"}


@pytest.mark.parametrize(
    ("table", "row", "task", "fields"),
    [
        ("xtc-c2", "Budget-B | Two-Stage | 5e-4", "mnli", {
            "precision": "1-1-8", "epochs": 9, "stages": "two-stage", "learning_rate": 5e-4, "augmentation": "none",
            "seed": 42, "kept": None, "evaluations": 110,
        }),
        ("xtc-c3", "Budget-C | Three-Stage | 2e-5", "qnli", {
            "precision": "2-2-8", "steps": 6 * 4_273_773 / 32, "stages": "three-stage", "learning_rate": 2e-5, **ADDED,
        }),
        ("xtc-c4", "Budget-C | One-Stage | 1e-4", "rte", {"augmentation": "none", "steps": 12 * 145_865 / 32}),
        ("xtc-c5", "TinyBERT6 | 5e-4", "sst2", {"model": "tinybert-l6", "quantized": False, "learning_rate": 5e-4}),
        ("xtc-c5", "Skip-BERT4 | 1e-4", "mnli", {"kept": SKIP4, "epochs": 36, "learning_rate": 1e-4}),
        ("xtc-c6", "Top-6", "qqp", {"kept": (6, 7, 8, 9, 10, 11), "epochs": 36, "learning_rate": 5e-5}),
        ("xtc-c6", "Bottom-6", "rte", {"kept": (0, 1, 2, 3, 4, 5), "learning_rate": 5e-5, **ADDED}),
        ("xtc-c7", "MiniLM6-v2 | Three", "cola", {"model": "minilm-l6-768", "stages": "three-stage"}),
        ("xtc-c8", "XTC-BERT5 | 1", "mnli", {
            "kept": SKIP5, "precision": "1-1-8", "epochs": 18, "learning_rate": 2e-5, "start.learning_rate": 1e-4,
            "start.epochs": 36, "start.precision": "32-32-32",
        }),
        ("xtc-c8", "TinyBERT6 | 2", "rte", {"recipe": "ternarybert", "teacher.model": "tinybert-l6", "epochs": 3}),
        ("xtc-c11", "Budget-A | Y (DIM=8) | 5e-5", "stsb", {
            "lora_rank": 8, "kept": SKIP6, "steps": 327_384 / 32, "start.steps": 12 * 327_384 / 32,
        }),
        ("xtc-c12", "Budget-B | N | 1e-4", "mrpc", {"lora_rank": 0, "precision": "2-2-8", "steps": 3 * 226_123 / 32}),
        ("xtc-c13", "Four | 2 | Y", "rte", {"kept": SKIP4, "lora_rank": 1, "learning_rate": 2e-5}),
        ("xtc-c14", "2-bit SkipBERT5 | 1-bit+LoRa1", "qqp", {
            "kept": SKIP5, "precision": "1-1-8", "lora_rank": 1, "epochs": 18, "start.precision": "2-2-8",
            "start.lora_rank": 0, "start.start.precision": "32-32-32", "teacher.kept": None,
        }),
        ("xtc-c15", "2-bit | Y | Skip-BERT6", "rte", {
            "kept": SKIP6, "teacher.kept": SKIP6, "teacher.precision": "32-32-32", "lora_rank": 1, "start": None,
        }),
        ("xtc-c15", "1-bit | N | BERTbase", "rte", {"kept": SKIP6, "teacher.kept": None, "start.kept": SKIP6}),
        ("xtc-c16", "TinyBERT6 | Budget-B | Two | 111", "mnli", {
            "model": "tinybert-l6", "seed": 111, "stages": "two-stage", "learning_rate": 2e-5, "epochs": 9,
            "start.stages": "three-stage", "start.learning_rate": 5e-5, "start.seed": 42,
        }),
        ("xtc-c17", "SkipBERT6 | Budget-B | Three | 222", "rte", {"precision": "2-2-8", "seed": 222, "kept": SKIP6}),
        ("xtc-fig5", "Budget-C", "rte", {"kept": SKIP6, "learning_rate": 2e-5, "stages": "one-stage"}),
        ("xtc-fig6", "Three-Stage", "rte", {"kept": None, "learning_rate": 5e-4, "steps": 3 * 145_865 / 32}),
        ("adaqat-t1", "AdaQAT without Distillation | Mixed-precision | 2.08-4-3.93", "squad2", {
            "stages": "finetune", "adaqat.granularity": "layer", "adaqat.oscillations": 10, "precision": "4-4-4",
        }),
        ("adaqat-t2", "TernaryBERT | 2-2-8", "squad1", {"recipe": "ternarybert", "epochs": 3, "augmentation": "none"}),
        ("adaqat-t5", "AdaQAT | 2-4 | 4-32-4", "squad1", {"precision": "2-4 4-32-4", "width_source": "uniform"}),
        ("adaqat-t5", "AdaQAT | 8-8 | 8-32-32", "sst2", {"precision": "8-8-8", "stages": "one-stage"}),
    ],
)  # fmt: skip
def test_the_run_of_a_row(table, row, task, fields):
    run = next(cell for cell in cells(table) if (cell.row, cell.task) == (row, task)).experiments[0]
    for path, expected in fields.items():
        value = run
        for name in path.split("."):
            value = getattr(value, name)
        # Epochs of added sentences make up steps of a number of passes that is rounded to whole batches.
        assert value == (pytest.approx(expected, rel=0.004) if path.endswith("steps") else expected), path


def test_teachers_are_plain_and_whole():
    taught = {run.teacher for name in names() for run in experiments(cells(name)) if run.teacher}
    whole = {run for run in taught if run.stages == "finetune"}
    assert {run.task for run in whole} == {*load_profile("paper").tasks, "squad1", "squad2"} and len(whole) == 10
    assert {run.augmentation for run in whole} == {"none"} and all(run.kept is None for run in whole)


def test_the_runs_have_the_settings_of_table_6():
    values = printed("adaqat-t6")
    found = [*cells("adaqat-t4"), *cells("adaqat-t2", rows="adaqat")]
    runs = {cell.task: cell.experiments[0] for cell in found if cell.task}
    assert len(runs) == 10
    for task, run in runs.items():
        title = "MNLI-m/mm" if task == "mnli" else task_spec(task).title
        facts = {"Batch size": run.settings["batch_size"], "Max. seq. length": run.settings["max_length"]}
        assert {name: float(values[name, title]) for name in facts} == facts
        assert run.steps / run.evaluations == pytest.approx(float(values["Eval step", title]), rel=0.02)
        assert run.learning_rate == float(values["Learning rate", "all tasks"])
        lambdas = run.adaqat.lambda_weights, run.adaqat.lambda_activations
        assert lambdas == tuple(float(values[name, "all tasks"]) for name in ("λ_w", "λ_a"))
    assert {run.stages for run in runs.values()} == {"one-stage"}


def test_what_a_number_is_computed_from():
    row = {cell.metric: cell for cell in cells("xtc-c9", rows="budget-b | y (dim=1)")}
    assert {run.learning_rate for run in row["RTE Acc"].experiments} == {5e-5, 1e-4, 5e-4}
    assert {run.task for run in row["RTE Acc"].experiments} == {"rte"} and len(row["Avg."].experiments) == 24
    (difference,) = cells("xtc-c15", rows="1-bit | y | difference", tasks=("qnli",))
    assert [run.teacher.kept for run in difference.experiments] == [None, SKIP6]
    assert "difference" in difference.how
    deviation = next(cell for cell in cells("xtc-c16", rows="skip*std") if cell.metric == "CoLA Mcc")
    assert [run.seed for run in deviation.experiments] == [42, 111, 222]
    drop = next(cell for cell in cells("xtc-c8", rows="bert4 | 1") if cell.metric == "Acc. drop")
    assert {run.precision for run in drop.experiments} == {"1-1-8", "32-32-32"} and len(drop.experiments) == 16
    sizes = {cell.metric: cell for cell in cells("adaqat-t4", rows="rte")}
    assert sizes["BitOPs 1e9"].experiments == sizes["RTE Acc"].experiments and not sizes["Bits E"].experiments
    size = next(cell for cell in cells("xtc-c13", rows="five | 1 | y") if cell.metric == "Size MB")
    assert not size.experiments and size.how.endswith("1-1-8 by xtc with 5 layers and LoRA of rank 1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("xtc-c1",), "table 'xtc-c1' has no runs that are known: use one of xtc-c2, xtc-c3"),
        (("xtc-c6", "left-6"), r"no row of xtc-c6 matches 'left-6': its rows are BERT-base fp32; Skip-6; Top-6"),
        (("adaqat-t1", "*", ("rte",)), "these rows of adaqat-t1 have no task rte: use one of squad2"),
    ],
)
def test_what_is_not_in_a_table(arguments, message):
    with pytest.raises(ValueError, match=message):
        cells(*arguments)


def test_a_part_of_a_table():
    assert {cell.row for cell in cells("xtc-c6", rows="SKIP")} == {"Skip-6"}
    part = cells("xtc-c2", rows="budget-?*one-stage | 2e-5", tasks=("mnli", "rte"))
    assert len(part) == 9 and len(paper_tables.experiments(part)) == 6
