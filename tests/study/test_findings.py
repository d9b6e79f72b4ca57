from xtcq.study import findings, load_profile


def test_the_better_plan_and_its_margin_are_computed(make_record):
    mini = load_profile("mini")
    teacher = make_record(84.0, **mini.teacher("mrpc").to_dict())
    scores = {
        ("one-stage", 1e-4): 75.0,
        ("one-stage", 5e-4): 78.0,
        ("two-stage", 1e-4): 77.0,
        ("two-stage", 5e-4): 60.0,
    }
    students = [
        make_record(
            score, task="mrpc", precision="1-1-8", stages=plan, learning_rate=rate, teacher=mini.teacher("mrpc")
        )
        for (plan, rate), score in scores.items()
    ]
    text = findings.kd_stages(students, [teacher]).data
    assert (
        "best student is one-stage at learning rate 0.0005 with 78.0 (accuracy), -6.0 points from its teacher" in text
    )
    assert "one stage is +1.0 points from the better of the others (two-stage)" in text
    # sqrt(0.78 * 0.22 / 408) = 2.05 points
    assert "on its 408 development examples is 2.1 points; always answering the most frequent class gives 68.4." in text
    assert "2 learning rates, 1 seed and 1 budget:" in text


def test_teachers_beside_the_paper(make_record):
    text = findings.teachers([make_record(80.0, task="mrpc")]).data
    assert "**mrpc**: best 80.0, last 80.0 (accuracy), -6.3 points from BERT-base." in text


def test_cells_that_were_not_run_are_named(make_record):
    records = [make_record(80.0), make_record(70.0, seed=111)]
    grid = [record.experiment for record in records]
    assert findings.missing(grid, records).data == "All 2 cells of the grid were run."
    text = findings.missing(grid, records[:1]).data
    assert text.startswith("1 of 2 cells of the grid were not run:") and "- mrpc 32-32-32 finetune" in text
    assert "seed 111" in text and "seed 42" not in text
