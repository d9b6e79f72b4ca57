import dataclasses
import math

import pytest

from xtcq.study import beside, labels, load_profile


@pytest.fixture
def mini():
    return load_profile("mini")


@pytest.fixture
def keys(mini):
    return {
        "W-E-A": labels.precision,
        "budget": mini.budget_name,
        "learning rate": labels.rate,
        "plan": labels.plan,
    }


@pytest.fixture
def teach(mini, make_record):
    """A factory of teachers' Records."""
    return lambda score, task="mrpc": make_record(score, **_fields(mini.teacher(task)))


@pytest.fixture
def learn(mini, make_record):
    """A factory of students' Records."""
    return lambda score, task="mrpc", **fields: make_record(score, **_fields(mini.student(task, **fields)))


def _fields(experiment):
    return {field.name: getattr(experiment, field.name) for field in dataclasses.fields(experiment)}


def test_paper_scores_are_the_printed_ones():
    assert beside.paper_score("xtc-c2", "Budget-C | One-Stage | 2e-5", "cola") == 57.3
    assert beside.paper_score("xtc-c3", "Budget-A | Three-Stage | 5e-4", "stsb") == 84.4
    assert beside.paper_score(*beside.PAPER_TEACHER, "mrpc") == 86.3
    assert math.isnan(beside.paper_score("xtc-c2", "Budget-C | One-Stage | 2e-5", "demo-pairs"))
    assert math.isnan(beside.paper_score("xtc-c2", "Budget-D | One-Stage | 2e-5", "cola"))


def test_students_stand_beside_the_papers_difference(mini, keys, teach, learn):
    cells = [("1-1-8", 1e-4, "B"), ("1-1-8", 1e-4, "short"), ("2-2-8", 3e-4, "A"), ("1-1-4", 1e-4, "A")]
    students = [
        learn(80.0 - i, precision=precision, stages="two-stage", learning_rate=rate, budget=budget)
        for i, (precision, rate, budget) in enumerate(cells)
    ]
    table = beside.table(students, [teach(85.0)], keys, paper=beside.kd_stages_row(mini))
    assert table["minus teacher"].tolist() == [-5.0, -6.0, -7.0, -8.0]
    # MRPC Acc of C.2, Two-Stage at 1e-4: 85.8 in Budget-B and 85.5 in Budget-A, against the teacher's 86.3.
    # The paper has no rate of 3e-4 and no four-bit activations.
    expected = [85.8 - 86.3, 85.5 - 86.3, math.nan, math.nan]
    assert table["paper minus teacher"].tolist() == pytest.approx(expected, nan_ok=True)
    assert table.index.names == ["task", "W-E-A", "budget", "learning rate", "plan"]
    assert table.index[1] == ("MRPC", "1-1-8", "short", 1e-4, "two-stage")


@pytest.mark.parametrize(
    ("precision", "budget", "row"),
    [
        ("1-1-8", "C", ("xtc-c2", "Budget-C | Three-Stage | 2e-5")),
        ("2-2-8", "B", ("xtc-c3", "Budget-B | Three-Stage | 2e-5")),
        ("2-2-8", "short", ("xtc-c3", "Budget-A | Three-Stage | 2e-5")),
        ("32-32-32", "A", None),
    ],
)
def test_the_row_of_the_plans_of_stages(mini, precision, budget, row):
    student = mini.student("rte", precision=precision, stages="three-stage", learning_rate=2e-5, budget=budget)
    assert beside.kd_stages_row(mini)(student) == row


def test_scores_are_averaged_over_seeds(teach, learn):
    one, two = {"precision": "1-1-8", "stages": "one-stage"}, {"precision": "2-2-8", "stages": "one-stage"}
    students = [learn(78.0, seed=1, **one), learn(90.0, **two), learn(80.0, seed=2, **one), learn(85.0, seed=3, **one)]
    students = [
        dataclasses.replace(student, last=dict.fromkeys(student.last, last))
        for student, last in zip(students, (70.0, 88.0, 74.0, 75.0), strict=True)
    ]
    table = beside.table(students, [teach(86.0)], {"bits": labels.bits})
    assert table.index.to_list() == [("MRPC", 1), ("MRPC", 2)]
    one_bit, two_bit = table.loc[("MRPC", 1)], table.loc[("MRPC", 2)]
    # Squared deviations from the mean, 81: 9, 1 and 16.
    assert one_bit["± seeds"] == pytest.approx(math.sqrt((9 + 1 + 16) / 3))
    assert one_bit.drop("± seeds").to_dict() == {"best": 81.0, "seeds": 3, "last": 73.0, "minus teacher": -5.0}
    assert two_bit.drop("± seeds").to_dict() == {"best": 90.0, "seeds": 1, "last": 88.0, "minus teacher": 4.0}
    assert math.isnan(two_bit["± seeds"])


def test_a_table_of_one_seed_says_nothing_of_seeds(teach, learn):
    students = [learn(80.0, precision="1-1-8", stages="one-stage")]
    table = beside.table(students, [teach(85.0)], {"bits": labels.bits})
    assert table.columns.tolist() == ["best", "last", "minus teacher"]


def test_every_task_has_its_own_teacher_and_metric(teach, learn):
    student = learn(80.0, precision="1-1-8", stages="one-stage")
    student = dataclasses.replace(student, best={"accuracy": 80.0, "f1": 88.0}, last={"accuracy": 79.0, "f1": 87.0})
    teacher = dataclasses.replace(teach(85.0), best={"accuracy": 83.0, "f1": 91.0})
    cola = learn(40.0, task="cola", precision="1-1-8", stages="one-stage")
    table = beside.table([cola, student], [teacher, teach(50.0, "cola")], {"bits": labels.bits})
    assert table.index.get_level_values("task").to_list() == ["CoLA", "MRPC"]
    assert table["minus teacher"].to_list() == [-10.0, -3.0]
    assert table["last"].to_list() == [40.0, 79.0]


def test_tasks_that_come_mixed_stand_together(teach, learn):
    students = [
        learn(score, task=task, precision=precision, stages="one-stage")
        for score, task, precision in [(80.0, "mrpc", "2-2-8"), (40.0, "cola", "2-2-8"), (70.0, "mrpc", "1-1-8")]
    ]
    table = beside.table(students, [teach(85.0), teach(50.0, "cola")], {"bits": labels.bits})
    assert table["best"].to_dict() == {("MRPC", 2): 80.0, ("MRPC", 1): 70.0, ("CoLA", 2): 40.0}
    assert table.index.to_list() == [("MRPC", 2), ("MRPC", 1), ("CoLA", 2)]


@pytest.mark.parametrize("field", [{"lora_rank": 8}, {"budget": "A"}, {"stages": "two-stage"}, {"layers": (1, 3, 5)}])
def test_keys_that_do_not_tell_runs_apart_are_refused(teach, learn, field):
    fields = {"precision": "1-1-8", "stages": "one-stage"}
    students = [learn(80.0, **fields), learn(70.0, **fields | {"seed": 7} | field)]
    message = r"the keys \['bits'\] do not tell these runs apart: mrpc 1-1-8 .*; mrpc 1-1-8"
    with pytest.raises(ValueError, match=message):
        beside.table(students, [teach(85.0)], {"bits": labels.bits})


def test_selections_of_layers_beside_the_papers(mini, make_record, teach):
    rows = {"skip": "Skip-6", "top": "Top-6", "bottom": "Bottom-6"}
    students = [make_record(80.0, **_fields(mini.reduced("mrpc", 3, selection))) for selection in rows]

    def row(experiment):
        selection = labels.layers(experiment).split()[0]
        return None if selection == "bottom" else ("xtc-c6", rows[selection])

    table = beside.table(students, [teach(85.0)], {"layers": labels.layers}, paper=row)
    assert table.index.get_level_values("layers").to_list() == ["skip 3", "top 3", "bottom 3"]
    # MRPC Acc of C.6: Skip-6 84.8, Top-6 85.3, the teacher 86.3.
    assert table["paper minus teacher"].to_list() == pytest.approx([-1.5, -1.0, math.nan], nan_ok=True)


def test_small_students_with_their_sizes(mini, make_record, teach):
    sizes = {("1-1-8", 3): (4.0, 5.5), ("2-2-8", 2): (7.0, 8.5)}
    students = []
    for (precision, depth), (nominal, packed) in sizes.items():
        record = make_record(60.0, **_fields(mini.small("rte", depth, precision)))
        size = {"parameters": 10, "nominal_mib": nominal, "packed_mib": packed, "embedding_mb": 1.0}
        students.append(dataclasses.replace(record, size=size))
    table = beside.table(
        students,
        [teach(65.0, "rte")],
        {"layers": labels.layers, "bits": labels.bits},
        paper=lambda e: ("xtc-c8", f"XTC-BERT{2 * len(e.kept)} | {labels.bits(e)}"),
        sizes=True,
    )
    # RTE Acc of C.8: six layers at 1 bit 68.6, four at 2 bits 69.0, the teacher 72.2.
    assert table["paper minus teacher"].to_list() == pytest.approx([68.6 - 72.2, 69.0 - 72.2])
    assert table["nominal MiB"].to_list() == [4.0, 7.0] and table["packed MiB"].to_list() == [5.5, 8.5]


def test_tables_are_rendered_with_one_decimal_and_dashes(make_record):
    table = beside.teachers([make_record(81.26, task="mrpc"), make_record(70.0, task="demo-pairs")])
    html = beside.show(table, caption="scale").to_html()
    assert "81.3" in html and "86.3" in html and "–" in html and "scale" in html


def test_keys_that_never_change_are_said_once(keys, teach, learn):
    students = [learn(80.0, precision="1-1-8", stages="one-stage", learning_rate=rate) for rate in (1e-4, 5e-4)]
    html = beside.show(beside.table(students, [teach(85.0)], keys), caption="Ours.").to_html()
    assert "Ours. Every row: task MRPC, W-E-A 1-1-8, budget short, plan one-stage." in html
    assert "1e-4" in html and html.count("one-stage") == 1
