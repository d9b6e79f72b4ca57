import dataclasses

from xtcq_book import findings

from xtcq.study import load_profile, runs_folder, save_record


def test_teachers_that_were_not_trained_are_named(make_record):
    mini = load_profile("mini")
    grid = [mini.small(task, 3, "1-1-8") for task in ("mrpc", "sst2")]
    # The full-precision teacher, not the small student that a student begins with.
    records = [make_record(80.0, **vars(run)) for run in (*grid, mini.teacher("sst2"))]
    text = findings.missing(grid, records).data
    assert text.startswith("All 2 cells of the grid were run.\n\nLeft out is what is measured against teachers")
    assert text.endswith(f":\n\n- {mini.teacher('mrpc')}")
    state = {"cells": 2, "missing": [mini.teacher("mrpc").digest]}
    assert findings.missing(grid, records).metadata["xtcq"] == state
    assert findings.missing([], []).data == "The grid has no cell."


def test_models_without_weights_are_named(folders, make_record):
    student = load_profile("mini").student("mrpc", precision="1-1-8", stages="one-stage")
    save_record(make_record(80.0, **vars(student)))
    text = findings.without_weights([student, student.teacher]).data
    assert text.endswith(f":\n\n- {student}\n- {student.teacher}")
    for experiment in (student, student.teacher):
        save_record(make_record(80.0, **vars(experiment)))
        path = runs_folder() / experiment.digest / "student.safetensors"
        path.parent.mkdir(parents=True)
        path.touch()
    assert findings.without_weights([student, student.teacher]) is None


def test_cells_that_were_not_run_are_named(make_record):
    records = [make_record(80.0), make_record(70.0, seed=111)]
    grid = [record.experiment for record in records]
    assert findings.missing(grid, records).data == "All 2 cells of the grid were run."
    text = findings.missing(grid, records[:1]).data
    assert text.startswith("1 of 2 cells of the grid were not run:") and "- mrpc 32-32-32 finetune" in text
    assert "seed 111" in text and "seed 42" not in text
    # A long list is opened by whoever wants to read it.
    many = [dataclasses.replace(grid[0], seed=seed) for seed in range(7)]
    assert "<details>" in findings.missing(many, []).data and "<details>" not in findings.missing(many[1:], []).data
