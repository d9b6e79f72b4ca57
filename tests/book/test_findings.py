import dataclasses
import math

import pytest
from xtcq_book import findings, labels, plots

from xtcq.study import Experiment, load_profile, runs_folder, save_record


@pytest.fixture
def ranks(make_record):
    """A function that makes students from their scores by rank, precision, learning rate and seed."""
    mini = load_profile("mini")

    def build(scores, task="mrpc", **fields):
        students = []
        for (rank, precision, rate, seed), score in scores.items():
            student = mini.student(
                task,
                **{"stages": "one-stage", "lora_rank": rank, "precision": precision}
                | {"learning_rate": rate, "seed": seed}
                | fields,
            )
            values = {field.name: getattr(student, field.name) for field in dataclasses.fields(student)}
            students.append(make_record(score, **values))
        return students

    return build


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


def test_an_effect_is_the_mean_difference_over_pairs(ranks):
    scores = {
        (0, "1-1-8", 1e-4, 1): 70.0,
        (8, "1-1-8", 1e-4, 1): 71.0,
        (0, "1-1-8", 5e-4, 1): 60.0,
        (8, "1-1-8", 5e-4, 1): 64.5,
        (0, "1-1-8", 1e-4, 2): 72.0,
        (8, "1-1-8", 1e-4, 2): 71.5,
        # No partner of the same seed and rate.
        (8, "1-1-8", 5e-4, 2): 99.0,
        (1, "1-1-8", 5e-4, 1): 57.9,
        # Another precision has its own sentence.
        (8, "2-2-8", 1e-4, 1): 80.0,
        (0, "2-2-8", 1e-4, 1): 82.0,
    }
    students = ranks(scores) + ranks({(0, "1-1-8", 1e-4, 1): 40.0, (8, "1-1-8", 1e-4, 1): 43.0}, "cola")
    text = findings.effects(students, of=labels.rank, base=0, by=labels.bits).data
    error = 100 * math.sqrt(0.7 * 0.3 / 408)
    assert text.splitlines() == [
        # Differences of 1, 4.5 and -0.5.
        "- **MRPC, 1**: 8 is +1.7 points from 0 (mean of 3 pairs, -0.5 to +4.5).",
        "- **MRPC, 1**: 1 is -2.1 points from 0.",
        "- **MRPC, 2**: 8 is -2.0 points from 0.",
        "- **CoLA, 1**: 8 is +3.0 points from 0.",
        f"- MRPC: One standard error of an accuracy on its 408 development examples is {error:.1f} points; always "
        "answering the most frequent class gives 68.4.",
    ]


def test_an_effect_that_is_not_split(ranks):
    students = ranks({(8, "1-1-8", 1e-4, 1): 41.0, (0, "1-1-8", 1e-4, 1): 40.0}, "cola")
    assert findings.effects(students, of=labels.rank, base=8).data == "- **CoLA**: 0 is -1.0 points from 8."
    nothing = findings.effects(students[:1], of=labels.rank, base=0).data
    assert nothing == "No two of these runs differ in this alone."


def test_runs_of_different_length_are_no_pair(ranks):
    students = ranks({(0, "1-1-8", 1e-4, 1): 70.0}) + ranks({(8, "1-1-8", 1e-4, 1): 80.0}, budget="A")
    assert "points from" not in findings.effects(students, of=labels.rank, base=0).data


@pytest.mark.parametrize("other", [{"stages": "two-stage"}, {"layers": (1, 3, 5)}])
def test_an_effect_over_runs_that_differ_otherwise_is_refused(ranks, other):
    scores = {(0, "1-1-8", 1e-4, 1): 70.0, (8, "1-1-8", 1e-4, 1): 71.0}
    students = ranks(scores) + ranks({(8, "1-1-8", 1e-4, 1): 60.0}, **other)
    with pytest.raises(ValueError, match="runs of MRPC 1 differ in more than the label"):
        findings.effects(students, of=labels.rank, base=0, by=labels.bits)


def test_the_spread_over_seeds(ranks):
    scores = {(0, "1-1-8", 1e-4, seed): score for seed, score in ((1, 78.0), (2, 80.0), (3, 85.0))}
    scores |= {(0, "2-2-8", 1e-4, 1): 88.0, (0, "2-2-8", 1e-4, 2): 89.0, (8, "2-2-8", 1e-4, 1): 50.0}
    by = labels.joined(labels.precision, labels.rank)
    lines = findings.spreads(ranks(scores) + ranks({(0, "1-1-8", 1e-4, 1): 40.0}, "cola"), by).data.splitlines()
    # Population deviations: the square roots of 26 / 3 and of 0.25.
    assert lines[:2] == [
        "- **MRPC, 1-1-8, 0**: 81.0 ± 2.9 over 3 seeds, from 78.0 to 85.0.",
        "- **MRPC, 2-2-8, 0**: 88.5 ± 0.5 over 2 seeds, from 88.0 to 89.0.",
    ]
    # sqrt(0.78 * 0.22 / 408) = 2.05 points
    assert lines[2].startswith("- MRPC moves most with 1-1-8, 0. One standard error of an accuracy on its 408 ")
    assert "is 2.1 points;" in lines[2] and len(lines) == 3


def test_teachers_that_were_not_trained_are_named(make_record):
    mini = load_profile("mini")
    grid = [mini.small(task, 3, "1-1-8") for task in ("mrpc", "sst2")]
    # The full-precision teacher, not the small student that a student begins with.
    records = [make_record(80.0, **vars(run)) for run in (*grid, mini.teacher("sst2"))]
    text = findings.missing(grid, records).data
    assert text.startswith("All 2 cells of the grid were run.\n\nLeft out is what is measured against teachers")
    assert text.endswith(f":\n\n- {mini.teacher('mrpc')}")
    assert findings.missing([], []).data == "The grid has no cell."


def test_results_of_the_earlier_edition_are_marked(make_record):
    student = {"teacher": load_profile("mini").teacher("mrpc"), "stages": "one-stage"}
    records = [make_record(80.0, seed=seed, **student) for seed in (1, 2, 3)]
    assert findings.earlier(records).data == ""
    records[:2] = [dataclasses.replace(record, schema=1) for record in records[:2]]
    records[0].history.append(records[0].history[0] | {"step": 192})
    teacher = dataclasses.replace(make_record(84.0), schema=1)
    teacher.history.append(teacher.history[0] | {"step": 1000})
    text = findings.missing([], [*records, teacher]).data
    assert text.endswith(
        "> **Earlier edition:** 3 of 4 Records behind this page come from the earlier edition: students of 10 to 192 "
        "optimizer steps under an earlier rule of scoring; no verdict is computed from them."
    )


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
    assert findings.without_weights([student, student.teacher]).data == ""


def test_a_student_without_its_teacher_stands_alone(make_record):
    teacher = load_profile("mini").teacher("mrpc")
    student = make_record(78.0, precision="1-1-8", stages="one-stage", teacher=teacher)
    text = findings.kd_stages([student], []).data
    assert "with 78.0 (accuracy)." in text and "from its teacher" not in text
    for empty in (findings.kd_stages([], []), findings.teachers([])):
        assert empty.data == "None of these runs has a Record."
    assert findings.spreads([student], labels.plan).data == "No configuration was run with more than one seed."


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


def test_a_teacher_at_chance_makes_its_task_unusable(make_record):
    text = findings.teachers([make_record(52.0, task="rte"), make_record(80.0, task="mrpc")]).data
    bad, good = text.splitlines()
    assert "unusable at this scale" in bad and "unusable" not in good


def test_the_rate_of_a_plan_is_chosen_where_all_its_rates_were_run(make_record):
    """A rate with three seeds is not held against the lucky one of another: the sweep is compared at its own seed."""

    def student(score, **fields):
        return make_record(
            score, teacher=Experiment(task="mrpc", epochs=5, learning_rate=1e-4), precision="2-2-8", **fields
        )

    one = {"stages": "one-stage"}
    students = [
        student(score, seed=seed, learning_rate=1e-4, **one) for score, seed in ((80, 42), (76, 111), (75, 222))
    ]
    students += [student(79.0, learning_rate=2e-4, **one), student(76.0, stages="two-stage", learning_rate=1e-4)]
    text = findings.kd_stages(students, []).data
    assert "one-stage at learning rate 0.0001 with 77.0 (accuracy, mean of 3 seeds)" in text
    assert "one stage is +1.0 points from the better of the others (two-stage)" in text
    drawn = plots.tuned(students, labels.plan, labels.precision)
    assert drawn.loc[drawn["across"] == drawn["across"].iloc[0], "learning_rate"].tolist() == [1e-4] * 3
