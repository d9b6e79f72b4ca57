import math

import pytest

from xtcq.study import beside, load_profile


@pytest.fixture
def mini():
    return load_profile("mini")


def test_paper_scores_are_the_printed_ones():
    assert beside.paper_score("xtc-c2", "Budget-C | One-Stage | 2e-5", "cola") == 57.3
    assert beside.paper_score("xtc-c3", "Budget-A | Three-Stage | 5e-4", "stsb") == 84.4
    assert beside.paper_score(*beside.PAPER_TEACHER, "mrpc") == 86.3
    assert math.isnan(beside.paper_score("xtc-c2", "Budget-C | One-Stage | 2e-5", "demo-pairs"))
    assert math.isnan(beside.paper_score("xtc-c2", "Budget-D | One-Stage | 2e-5", "cola"))


def test_students_stand_beside_the_papers_difference(mini, make_record):
    teacher = make_record(85.0, **mini.teacher("mrpc").to_dict())
    cells = [("1-1-8", 1e-4, "B"), ("1-1-8", 1e-4, "short"), ("2-2-8", 3e-4, "A")]
    students = []
    for precision, rate, budget in cells:
        student = mini.student("mrpc", precision=precision, stages="two-stage", learning_rate=rate, budget=budget)
        students.append(make_record(80.0, **student.to_dict() | {"teacher": mini.teacher("mrpc")}))
    table = beside.kd_stages(mini, students, [teacher])
    assert table["minus teacher"].tolist() == [-5.0] * 3
    # MRPC Acc of C.2, Two-Stage at 1e-4: 85.8 in Budget-B and 85.5 in Budget-A, against the teacher's 86.3.
    # The paper has no rate of 3e-4.
    assert table["paper minus teacher"].tolist() == pytest.approx([85.8 - 86.3, 85.5 - 86.3, math.nan], nan_ok=True)
    assert table.index.names == ["task", "W-E-A", "budget", "learning rate", "seed", "plan"]


def test_tables_are_rendered_with_one_decimal_and_dashes(mini, make_record):
    table = beside.teachers([make_record(81.26, task="mrpc"), make_record(70.0, task="demo-pairs")])
    html = beside.show(table, caption="scale").to_html()
    assert "81.3" in html and "86.3" in html and "–" in html and "scale" in html


def test_keys_that_never_change_are_said_once(mini, make_record):
    teacher = make_record(85.0, **mini.teacher("mrpc").to_dict())
    students = []
    for rate in (1e-4, 5e-4):
        student = mini.student("mrpc", precision="1-1-8", stages="one-stage", learning_rate=rate)
        students.append(make_record(80.0, **student.to_dict() | {"teacher": mini.teacher("mrpc")}))
    html = beside.show(beside.kd_stages(mini, students, [teacher]), caption="Ours.").to_html()
    assert "Ours. Every row: task mrpc, W-E-A 1-1-8, budget short, seed 42, plan one-stage." in html
    assert "1e-4" in html and html.count("one-stage") == 1
