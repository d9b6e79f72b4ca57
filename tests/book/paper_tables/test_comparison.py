import math
from dataclasses import replace
from pathlib import Path

import pytest
from xtcq_book import paper_tables, published
from xtcq_book.paper_tables.comparison import comparison, runs, table

from xtcq.study import load_profile, notebook_grid
from xtcq.study.records import save_record

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
PAPER = load_profile("paper")
# What every chapter runs at the papers' scale: all runs of these tables.
CHAPTERS = {
    "kd-stages": ("xtc-c2", "xtc-c3"),
    "layer-reduction": ("xtc-c5", "xtc-c6", "xtc-c7"),
    "small-students": ("xtc-c8",),
    "lora": ("xtc-c9", "xtc-c10", "xtc-c11", "xtc-c12", "xtc-c13"),
    "continue-training": ("xtc-c14",),
    "teacher-size": ("xtc-c15",),
    "seeds": ("xtc-c16", "xtc-c17"),
    "weight-geometry": ("xtc-fig5", "xtc-fig6"),
    "adaqat-kd": ("adaqat-t1",),
    "adaqat-layerwise": ("adaqat-t2", "adaqat-t3", "adaqat-t4"),
    "embeddings": ("adaqat-t5",),
    "augmentation": ("xtc-c4",),
}


def of_tables(*names):
    return {run for name in names for cell in paper_tables.cells(name) for run in cell.experiments}


def test_every_table_with_runs_has_a_chapter():
    shown = {name for names in CHAPTERS.values() for name in names}
    assert {name for name in paper_tables.names() if of_tables(name)} == shown


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_runs_its_tables_at_the_papers_scale(chapter):
    grid = notebook_grid(NOTEBOOKS / f"{chapter}.ipynb", {"profile": "paper"})
    wanted, asked = of_tables(*CHAPTERS[chapter]), set(grid)
    assert len(asked) == len(grid)
    if chapter == "weight-geometry":  # the full-precision runs are what the drawn ones began with
        assert asked <= wanted and wanted - asked <= {run.start or run.teacher for run in asked}
    elif chapter == "augmentation":  # beside the rows of C.2 that have the sentences which these lack
        assert wanted <= asked and asked - wanted <= of_tables("xtc-c2")
        assert len(asked - wanted) == sum(PAPER.student(run.task).augmentation != "none" for run in wanted)
    else:
        assert asked == wanted


@pytest.mark.parametrize("chapter", ["adaqat-uniform", "adaqat-vs-code"])
def test_widths_are_learned_at_the_papers_rate_in_chapters_without_a_table(chapter):
    grid = notebook_grid(NOTEBOOKS / f"{chapter}.ipynb", {"profile": "paper", "tasks": ["rte"]})
    assert {run.learning_rate for run in grid} == {2e-5}


def test_parameters_choose_among_the_runs_of_a_table():
    given = {"profile": "paper", "tasks": ["rte"], "precisions": ["1-1-8"], "budgets": ["A"], "learning_rates": [1e-4]}
    grid = notebook_grid(NOTEBOOKS / "kd-stages.ipynb", given)
    assert {run.stages for run in grid} == {"one-stage", "two-stage", "three-stage"} and len(grid) == 3
    with pytest.raises(
        ValueError, match=r"no run of xtc-c2 has learning_rate among \[0.003\]: there are 2e-05, 0.0001"
    ):
        runs("xtc-c2", learning_rate=[3e-3])


def test_without_records_every_row_is_there_and_ours_is_empty(folders):
    frame, records = table("xtc-c2")
    assert list(frame.index) == list(dict.fromkeys(published.load("xtc-c2")["row"])) and not records
    assert frame.xs("ours", axis=1, level=1).isna().all(axis=None)
    assert frame.loc["Budget-C | One-Stage | 2e-5", ("CoLA Mcc", "paper")] == 57.3
    shown = comparison(PAPER, "adaqat-t3").data
    assert (
        "BinaryBERT" in shown and "DynaBERT that is not public" in shown and "None of these runs has a Record" in shown
    )
    assert comparison(load_profile("mini"), "adaqat-t3") is None


def test_scores_of_records_stand_in_their_cells(folders, make_record):
    rows = {run.learning_rate: run for run in runs("xtc-c2", task=["rte"], stages=["one-stage"], budget=["A"])}
    for rate, score in ((2e-5, 60.0), (1e-4, 62.0)):
        save_record(make_record(score, **vars(rows[rate])))
    ours = table("xtc-c2", ["rte"])[0]["RTE Acc", "ours"]
    assert ours.dropna().to_dict() == {"Budget-A | One-Stage | 2e-5": 60.0, "Budget-A | One-Stage | 1e-4": 62.0}
    # The best of the rates needs all of them.
    save_record(make_record(61.0, **vars(rows[5e-4])))
    assert table("xtc-c2", ["rte"])[0]["RTE Acc", "ours"]["Budget-A | One-Stage | Best (above)"] == 62.0


def test_seeds_have_a_mean_and_a_deviation_and_teachers_a_difference(folders, make_record):
    for run in runs("xtc-c17", task=["rte"], precision=["2-2-8"]):
        save_record(make_record({42: 60.0, 111: 62.0, 222: 67.0}[run.seed], **vars(run)))
    ours = table("xtc-c17", ["rte"])[0]["RTE Acc", "ours"]
    found = {row.rpartition(" | ")[2]: value for row, value in ours.items()}
    # Squared deviations from 63: 9, 1 and 16.
    assert found["Ave. above"] == 63.0 and found["std above"] == pytest.approx(math.sqrt(26 / 3))
    for run in runs("xtc-c15", task=["rte"], precision=["1-1-8"], lora_rank=[0]):
        if run.quantized:
            save_record(make_record(70.0 if run.teacher.kept is None else 68.5, **vars(run)))
    assert table("xtc-c15", ["rte"])[0]["RTE Acc", "ours"]["1-bit | N | Difference"] == 1.5


def test_the_average_is_that_of_all_eight_tasks(folders, make_record):
    found = runs("xtc-c6", stages=["one-stage"])
    row = [run for run in found if run.layers == found[1].layers]
    for run in row[:-1]:
        record = make_record(80.0, **vars(run))
        if run.task == "mnli":  # its numbers are two
            both = {"accuracy": 80.0, "accuracy_mm": 80.0}
            record = replace(record, best=both, last=both, history=[record.history[0] | {"metrics": both}])
        save_record(record)
    assert row[-1].task != "mnli"
    assert table("xtc-c6")[0]["Avg.", "ours"].isna().all()
    save_record(make_record(80.0, **vars(row[-1])))
    assert table("xtc-c6")[0]["Avg.", "ours"].dropna().to_list() == [80.0]
