import dataclasses
import math

import pandas as pd
import pytest
from xtcq_book import paper_rows, scores
from xtcq_book.frame import to_frame

from xtcq.study import load_profile
from xtcq.tasks import task_spec

MINI = load_profile("mini")


@pytest.fixture
def mini():
    return MINI


KEYS = ["W-E-A", "budget", "learning rate", "plan"]


@pytest.fixture
def teach(mini, make_record):
    """A factory of teachers' Records."""
    return lambda score, task="mrpc": _both_splits(make_record(score, **vars(mini.teacher(task))))


@pytest.fixture
def learn(mini, make_record):
    """A factory of students' Records."""
    return lambda score, task="mrpc", **fields: _both_splits(make_record(score, **vars(mini.student(task, **fields))))


def _both_splits(record):
    """MNLI is evaluated on two splits, and its Records have both accuracies."""
    if record.experiment.task != "mnli":
        return record
    return dataclasses.replace(
        record,
        **{which: getattr(record, which) | {"accuracy_mm": record.best["accuracy"]} for which in ("best", "last")},
    )


def test_students_stand_beside_the_papers_difference(mini, teach, learn):
    cells = [("1-1-8", 1e-4, "B"), ("1-1-8", 1e-4, "short"), ("2-2-8", 3e-4, "A"), ("1-1-4", 1e-4, "A")]
    students = [
        learn(80.0 - i, precision=precision, stages="two-stage", learning_rate=rate, budget=budget)
        for i, (precision, rate, budget) in enumerate(cells)
    ]
    table = scores.table(to_frame(students, [teach(85.0)], MINI), KEYS, paper=paper_rows.stages(mini))
    assert table["minus teacher"].tolist() == [-5.0, -6.0, -7.0, -8.0]
    # MRPC Acc of C.2, Two-Stage at 1e-4: 85.8 in Budget-B and 85.5 in Budget-A, against the teacher's 86.3.
    # The paper has no rate of 3e-4 and no four-bit activations.
    expected = [85.8 - 86.3, 85.5 - 86.3, math.nan, math.nan]
    assert table["paper minus teacher"].tolist() == pytest.approx(expected, nan_ok=True)
    assert table.index.names == ["task", "W-E-A", "budget", "learning rate", "plan"]
    assert table.index[1] == ("MRPC", "1-1-8", "short (paper: A)", 1e-4, "two-stage")


def test_scores_are_averaged_over_seeds(teach, learn):
    one, two = {"precision": "1-1-8", "stages": "one-stage"}, {"precision": "2-2-8", "stages": "one-stage"}
    students = [learn(78.0, seed=1, **one), learn(90.0, **two), learn(80.0, seed=2, **one), learn(85.0, seed=3, **one)]
    students = [
        dataclasses.replace(student, last=dict.fromkeys(student.last, last))
        for student, last in zip(students, (70.0, 88.0, 74.0, 75.0), strict=True)
    ]
    table = scores.table(to_frame(students, [teach(86.0)], MINI), ["bits"])
    assert table.index.to_list() == [("MRPC", 1), ("MRPC", 2)]
    one_bit, two_bit = table.loc[("MRPC", 1)], table.loc[("MRPC", 2)]
    # Squared deviations from the mean, 81: 9, 1 and 16.
    assert one_bit["± seeds"] == pytest.approx(math.sqrt((9 + 1 + 16) / 3))
    rest = ["best", "seeds", "last", "minus teacher"]
    assert one_bit[rest].to_list() == [81.0, 3, 73.0, -5.0] and two_bit[rest].to_list() == [90.0, 1, 88.0, 4.0]
    assert [len(records) for records in (one_bit["Records"], two_bit["Records"])] == [3, 1]
    assert math.isnan(two_bit["± seeds"])


def test_deviations_beside_the_printed_ones(mini, teach, make_record):
    students = [
        make_record(60.0 + seed % 10, **vars(mini.small("rte", 3, "1-1-8", stages=plan, learning_rate=2e-5, seed=seed)))
        for plan in ("three-stage", "one-stage")
        for seed in ((42, 111) if plan == "three-stage" else (42,))
    ]
    table = scores.table(
        to_frame(students, [teach(75.0, "rte")], MINI),
        ["plan"],
        paper=paper_rows.seeds,
        deviations=lambda e: paper_rows.seeds(e, "std above"),
    )
    # RTE of C.16: 67.5 and 0.3; the teacher of C.5 has 72.2.
    assert table["paper minus teacher"].to_list() == pytest.approx([67.5 - 72.2, math.nan], nan_ok=True)
    assert table["paper ± seeds"].to_list() == pytest.approx([0.3, math.nan], nan_ok=True)


def test_a_table_of_one_seed_says_nothing_of_seeds(teach, learn):
    students = [learn(80.0, precision="1-1-8", stages="one-stage")]
    table = scores.table(to_frame(students, [teach(85.0)], MINI), ["bits"])
    assert table.columns.tolist() == ["best", "last", "minus teacher", "Records"]


def test_every_task_has_its_own_teacher_and_metric(teach, learn):
    student = learn(80.0, precision="1-1-8", stages="one-stage")
    student = dataclasses.replace(student, best={"accuracy": 80.0, "f1": 88.0}, last={"accuracy": 79.0, "f1": 87.0})
    teacher = dataclasses.replace(teach(85.0), best={"accuracy": 83.0, "f1": 91.0})
    cola = learn(40.0, task="cola", precision="1-1-8", stages="one-stage")
    table = scores.table(to_frame([cola, student], [teacher, teach(50.0, "cola")], MINI), ["bits"])
    assert table.index.get_level_values("task").to_list() == ["CoLA", "MRPC"]
    assert table["minus teacher"].to_list() == [-10.0, -3.0]
    assert table["last"].to_list() == [40.0, 79.0]


def test_tasks_that_come_mixed_stand_together(teach, learn):
    students = [
        learn(score, task=task, precision=precision, stages="one-stage")
        for score, task, precision in [(80.0, "mrpc", "2-2-8"), (40.0, "cola", "2-2-8"), (70.0, "mrpc", "1-1-8")]
    ]
    table = scores.table(to_frame(students, [teach(85.0), teach(50.0, "cola")], MINI), ["bits"])
    assert table["best"].to_dict() == {("MRPC", 2): 80.0, ("MRPC", 1): 70.0, ("CoLA", 2): 40.0}
    assert table.index.to_list() == [("MRPC", 2), ("MRPC", 1), ("CoLA", 2)]


@pytest.mark.parametrize("field", [{"lora_rank": 8}, {"budget": "A"}, {"stages": "two-stage"}, {"layers": (1, 3, 5)}])
def test_keys_that_do_not_tell_runs_apart_are_refused(teach, learn, field):
    fields = {"precision": "1-1-8", "stages": "one-stage"}
    students = [learn(80.0, **fields), learn(70.0, **fields | {"seed": 7} | field)]
    message = r"the keys \['bits'\] do not tell these runs apart: mrpc 1-1-8 .*; mrpc 1-1-8"
    with pytest.raises(ValueError, match=message):
        scores.table(to_frame(students, [teach(85.0)], MINI), ["bits"])


def test_small_students_with_their_sizes(mini, make_record, teach):
    sizes = {("1-1-8", 3): (4.0, 5.5), ("2-2-8", 2): (7.0, 8.5)}
    students = []
    for (precision, depth), (nominal, packed) in sizes.items():
        record = make_record(60.0, **vars(mini.small("rte", depth, precision)))
        size = {"parameters": 10, "nominal_mib": nominal, "packed_mib": packed, "embedding_mb": 1.0}
        students.append(dataclasses.replace(record, size=size))
    table = scores.table(
        to_frame(students, [teach(65.0, "rte")], MINI),
        ["layers", "bits"],
        paper=lambda e: ("xtc-c8", f"XTC-BERT{2 * len(e.kept)} | {e.precision[0]}"),
        sizes=True,
    )
    # RTE Acc of C.8: six layers at 1 bit 68.6, four at 2 bits 69.0, the teacher 72.2.
    assert table["paper minus teacher"].to_list() == pytest.approx([68.6 - 72.2, 69.0 - 72.2])
    assert table["nominal MiB"].to_list() == [4.0, 7.0] and table["packed MiB"].to_list() == [5.5, 8.5]


def test_tables_are_rendered_with_one_decimal_and_dashes(make_record):
    table = scores.teachers(to_frame([make_record(81.26, task="mrpc"), make_record(70.0, task="demo-pairs")]))
    assert table["paper"].iloc[:2].to_dict() == {("MRPC", "accuracy"): 86.3, ("MRPC", "f1"): 90.6}
    assert table.iloc[2:].index.get_level_values("task").unique().to_list() == [task_spec("demo-pairs").title]
    assert table["paper"].iloc[2:].isna().all()
    html = scores.show(table, caption="scale").data
    assert "81.3" in html and "86.3" in html and "–" in html and "scale" in html


def test_keys_that_never_change_are_said_once(teach, learn):
    students = [learn(80.0, precision="1-1-8", stages="one-stage", learning_rate=rate) for rate in (1e-4, 5e-4)]
    html = scores.show(scores.table(to_frame(students, [teach(85.0)], MINI), KEYS), caption="Ours.").data
    assert "Ours. Every row: task MRPC, W-E-A 1-1-8, budget short (paper: A), plan one-stage." in html
    assert "1e-4" in html and html.count("one-stage") == 1


def test_rows_with_a_label_in_common_stand_together(teach, learn):
    rates = (5e-4, 1e-4)
    students = [learn(80.0, precision=bits, learning_rate=rate) for rate in rates for bits in ("2-2-8", "1-1-8")]
    table = scores.table(to_frame(students, [teach(85.0)], MINI), ["W-E-A", "learning rate"])
    wanted = [("2-2-8", 1e-4), ("2-2-8", 5e-4), ("1-1-8", 1e-4), ("1-1-8", 5e-4)]
    assert table.index.to_list() == [("MRPC", *row) for row in wanted]


def test_a_mean_names_its_tasks_once_and_shows_nothing_that_it_has_not(teach, learn):
    places = [(task, rank) for task in ("mrpc", "rte") for rank in (0, 1, 8)]
    students = [
        learn(80.0 + rank * (task == "rte"), task=task, precision="1-1-8", lora_rank=rank) for task, rank in places
    ]
    runs = to_frame(students, [teach(85.0, "mrpc"), teach(85.0, "rte")], MINI)
    table = scores.differences(runs, of="LoRA rank", base=0)
    html = scores.show(table, caption="Added.").data
    assert "Mean of 2 tasks: MRPC, RTE." in html and html.count(">mean of 2 tasks<") == 1 and "chance" in html
    alone = scores.show(table.loc[["mean of 2 tasks: MRPC, RTE"]].assign(difference=-0.04), caption="Added.").data
    assert "Added. Every row: mean of 2 tasks: MRPC, RTE." in alone
    assert "chance" not in alone and ">0.0<" in alone and "-0.0" not in alone


def test_second_metrics_stand_beside_the_papers(mini, teach, learn):
    place = {"stages": "one-stage", "learning_rate": 2e-5, "budget": "A", "precision": "1-1-8"}
    tasks = ("mrpc", "sst2", "mnli")
    students, full = [learn(80.0, task=task, **place) for task in tasks], [teach(85.0, task) for task in tasks]
    students[0] = dataclasses.replace(
        students[0], best={"accuracy": 80.0, "f1": 88.0}, last={"accuracy": 79.0, "f1": 87.0}
    )
    full[0] = dataclasses.replace(full[0], best={"accuracy": 83.0, "f1": 91.0})
    paper = paper_rows.stages(mini)
    table = scores.table(to_frame(students, full, MINI), ["bits"], paper=paper, further=True)
    # SST-2 has one metric alone.
    assert table.index.to_list() == [("MRPC", "f1", 1), ("MNLI", "accuracy_mm", 1)]
    assert table.loc[("MRPC", "f1", 1)].drop(["paper minus teacher", "Records"]).to_dict() == {
        "best": 88.0,
        "last": 87.0,
        "minus teacher": -3.0,
    }
    # C.2 less C.5: MRPC F1 and MNLI-mm of Budget-A, one stage at 2e-5.
    assert table["paper minus teacher"].to_list() == pytest.approx([88.8 - 90.6, 83.7 - 85.6])


def test_exact_match_stands_beside_f1(mini, teach, learn):
    student = learn(70.0, task="squad1", precision="2-2-8", stages="one-stage")
    student = dataclasses.replace(student, best={"f1": 88.0, "exact_match": 80.0})
    row = ("adaqat-t2", "BERT_BASE | FP32")
    runs = to_frame([student], [teach(90.0, "squad1")])
    table = scores.table(runs, ["bits"], lambda experiment: row, paper_teacher=row, further=True)
    assert table.index.to_list() == [("SQuAD v1.1", "exact_match", 2)]
    assert table["minus teacher"].to_list() == [-10.0] and table["paper minus teacher"].to_list() == [0.0]


@pytest.fixture
def glue(teach, learn):
    """A function that makes students and teachers of some tasks, with scores that differ from task to task."""

    def build(tasks, **fields):
        fixed = {"precision": "1-1-8", "stages": "one-stage", "learning_rate": 2e-5, "budget": "A"}
        students = [learn(60.0 + i, task=task, **fixed | fields) for i, task in enumerate(tasks)]
        return students, [teach(80.0, task) for task in tasks]

    return build


def test_the_average_of_all_tasks_stands_beside_the_printed_one(mini, glue):
    eight = ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb")
    students, teachers = glue(eight)
    table = scores.averages(to_frame(students, teachers, MINI), ["bits"], paper=paper_rows.stages(mini))
    assert table.index.to_list() == [(1, "GLUE average")]
    row = table.iloc[0]
    # Nine numbers: MNLI's 61 counts twice.
    assert row["best"] == pytest.approx((sum(range(60, 68)) + 61) / 9)
    assert row["minus teacher"] == pytest.approx(row["best"] - 80.0)
    assert row["paper"] == 80.33
    assert row["paper minus teacher"] == pytest.approx(row["paper"] - 83.95)


def test_a_mean_over_the_tasks_that_both_have(mini, glue):
    students, teachers = glue(("mrpc", "cola", "sst2", "demo-pairs"))
    table = scores.averages(
        to_frame(students, teachers[:2] + teachers[3:], MINI), ["bits"], paper=paper_rows.stages(mini)
    )
    # SST-2 has no teacher here, and demo-pairs is no task of GLUE.
    assert table.index.to_list() == [(1, "mean of 2 tasks: MRPC, CoLA")]
    row = table.iloc[0]
    mrpc = scores.paper_score("xtc-c2", "Budget-A | One-Stage | 2e-5", "mrpc")
    assert row["best"] == 60.5 and row["minus teacher"] == -19.5
    assert row["paper"] == pytest.approx((mrpc + 44.6) / 2)
    assert row["paper minus teacher"] == pytest.approx((mrpc + 44.6) / 2 - (86.3 + 59.7) / 2)


def test_an_average_where_the_paper_has_no_row(mini, glue):
    students, teachers = glue(("mrpc", "cola"), learning_rate=3e-4)
    table = scores.averages(to_frame(students, teachers, MINI), ["bits"], paper=paper_rows.stages(mini))
    assert (
        table["best"].to_list() == [60.5] and table["paper"].isna().all() and table["paper minus teacher"].isna().all()
    )
    alone = scores.averages(to_frame(students[:1], teachers, MINI), ["bits"])
    assert alone.index.to_list() == [(1, "MRPC alone")] and alone["best"].to_list() == [60.0]


def test_the_average_of_teachers(glue):
    _, teachers = glue(("mrpc", "cola"))
    table = scores.averages(to_frame(teachers), ["encoder"], lambda e: scores.PAPER_TEACHER, minus_teacher=False)
    assert table.columns.to_list() == ["best", "last", "paper", "Records"]
    assert table.iloc[0].drop("Records").to_dict() == {
        "best": 80.0,
        "last": 80.0,
        "paper": pytest.approx((86.3 + 59.7) / 2),
    }


def _teachers_compared(students, keys, full):
    """What the full teacher adds to one as small as the student."""
    runs = to_frame(students)
    who = runs["experiment"].map(lambda e: full if e.teacher.kept is None else "small")
    rows = {"paper": paper_rows.teacher_size, "printed": paper_rows.teacher_difference}
    return scores.differences(runs.assign(teacher=who), of="teacher", base="small", keys=keys, **rows)


def test_differences_beside_the_printed_ones(mini, make_record):
    full = "full teacher"
    students = []
    for task, gain in (("cola", 4.0), ("mrpc", 2.0)):
        for seed in (1, 2, 3):
            fields = {"precision": "2-2-8", "lora_rank": 1, "seed": seed}
            by_large = mini.small(task, 3, **fields)
            by_small = mini.student(task, teacher=mini.reduced(task, 3), stages="one-stage", **fields)
            students.append(make_record(70.0 + seed, **vars(by_small)))
            if seed < 3:
                students.append(make_record(70.0 + gain + 2 * seed, **vars(by_large)))
    found = _teachers_compared(students, ["bits", "LoRA rank"], full)
    # Seeds 1 and 2 have both: gains of 1 and 2 points above the task's.
    cola, accuracy, f1, mean = (found.iloc[i] for i in range(4))
    assert found.index[0] == ("CoLA", "matthews", 2, 1, full) and cola[["difference", "pairs"]].to_list() == [5.5, 2]
    # C.15 prints -0.9 with the sign wrong: its rows are 55.2 and 54.3.
    assert cola["printed"] == -0.9 and cola["paper"] == pytest.approx(0.9)
    assert accuracy["difference"] == 3.5 and accuracy["paper"] == pytest.approx(86.0 - 86.0)
    assert f1.name[1] == "f1" and f1["paper"] == pytest.approx(90.3 - 90.4) and f1["printed"] == -0.1
    assert mean.name == ("mean of 2 tasks: CoLA, MRPC", "", 2, 1, full)
    assert (
        mean["difference"] == 4.5 and mean["paper"] == pytest.approx(0.45) and mean["printed"] == pytest.approx(-0.45)
    )


def test_the_printed_difference_of_averages(mini, make_record):
    students = []
    for task in ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb"):
        by_small = mini.student(task, teacher=mini.reduced(task, 3), stages="one-stage", precision="1-1-8")
        pair = make_record(70.0, **vars(by_small)), make_record(71.0, **vars(mini.small(task, 3, "1-1-8")))
        students += map(_both_splits, pair)
    found = _teachers_compared(students, [], "full")
    mean = found.loc[("GLUE average", "", "full")]
    assert mean[["difference", "pairs", "printed"]].to_list() == [1.0, 1, 0.31]
    assert mean["paper"] == pytest.approx(81.71 - 81.40)


def test_the_best_of_rates(learn):
    rates = (5e-5, 1e-4)
    runs = {(5e-5, 1): 70.0, (5e-5, 2): 78.0, (1e-4, 1): 72.0, (1e-4, 2): 74.0, (1e-4, 3): 90.0, (5e-4, 1): 99.0}
    fields = {"precision": "1-1-8", "stages": "one-stage"}
    students = [learn(score, learning_rate=rate, seed=seed, **fields) for (rate, seed), score in runs.items()]
    # A configuration that lacks a rate.
    students.append(learn(95.0, learning_rate=1e-4, lora_rank=8, **fields))
    chosen = scores.tuned(to_frame(students), rates)
    # Over the seeds that both rates have: means of 74 and 73.
    assert list(zip(chosen["learning rate"], chosen["seed"], strict=True)) == [(5e-5, 1), (5e-5, 2)]
    assert scores.tuned(to_frame([]), rates).empty


def test_a_configuration_that_names_no_rates_is_tuned_over_its_own(learn):
    """A rate with three seeds is not held against the lucky one of another: the sweep is compared at its own seed."""
    one, two = ({"precision": "2-2-8", "stages": f"{plan}-stage"} for plan in ("one", "two"))
    students = [learn(score, seed=seed, learning_rate=1e-4, **one) for score, seed in ((80, 42), (76, 111), (75, 222))]
    students += [learn(79.0, learning_rate=2e-4, **one), learn(76.0, learning_rate=1e-4, **two)]
    table = scores.table(scores.tuned(to_frame(students)), ["plan", "learning rate"], noise=True)
    assert table["best"].to_dict() == {("MRPC", "one-stage", 1e-4): 77.0, ("MRPC", "two-stage", 1e-4): 76.0}
    assert table["chance"].iloc[0] == pytest.approx(100 * 279 / 408)
    assert table["standard error"].iloc[1] == pytest.approx(100 * math.sqrt(0.76 * 0.24 / 408))


@pytest.fixture
def ranks(learn):
    """A function that makes students from their scores by rank, precision, learning rate and seed."""

    def build(scores, task="mrpc", **fields):
        names = ("lora_rank", "precision", "learning_rate", "seed")
        fields = {"stages": "one-stage"} | fields
        return [learn(score, task, **dict(zip(names, run, strict=True)), **fields) for run, score in scores.items()]

    return build


def test_a_difference_is_a_mean_over_pairs_that_are_otherwise_alike(ranks):
    found = {
        (0, "1-1-8", 1e-4, 1): 70.0,
        (8, "1-1-8", 1e-4, 1): 71.0,
        (0, "1-1-8", 5e-4, 1): 60.0,
        (8, "1-1-8", 5e-4, 1): 64.5,
        (0, "1-1-8", 1e-4, 2): 72.0,
        (8, "1-1-8", 1e-4, 2): 71.5,
        # No partner of the same seed and rate.
        (8, "1-1-8", 5e-4, 2): 99.0,
        (1, "1-1-8", 5e-4, 1): 57.9,
        # Another precision has its own row.
        (8, "2-2-8", 1e-4, 1): 80.0,
        (0, "2-2-8", 1e-4, 1): 82.0,
    }
    students = ranks(found) + ranks({(0, "1-1-8", 1e-4, 1): 40.0, (8, "1-1-8", 1e-4, 1): 43.0}, "cola")
    table = scores.differences(to_frame(students), of="LoRA rank", base=0, keys=["bits"])
    accuracy = table.loc[("MRPC", "accuracy")]
    # Differences of 1, 4.5 and -0.5.
    assert accuracy.loc[1, 8][["difference", "least", "most", "pairs"]].to_list() == pytest.approx(
        [5 / 3, -0.5, 4.5, 3]
    )
    assert accuracy["difference"].drop((1, 8)).to_dict() == {(1, 1): pytest.approx(-2.1), (2, 8): -2.0}
    assert table.loc[("CoLA", "matthews", 1, 8), "difference"] == 3.0
    errors = [100 * math.sqrt(p * (1 - p) / 408) for p in (0.71, 0.645, 0.715)]
    assert accuracy.loc[1, 8]["standard error"] == pytest.approx(sum(errors) / 3)
    assert math.isnan(table.loc[("CoLA", "matthews", 1, 8), "standard error"])
    # Three pairs of MRPC, and one of CoLA.
    assert table.loc[("mean of 2 tasks: MRPC, CoLA", "", 1, 8), ["difference", "pairs"]].to_list() == [
        (5 / 3 + 3) / 2,
        1,
    ]


def test_runs_of_different_length_are_no_pair(ranks):
    students = ranks({(0, "1-1-8", 1e-4, 1): 70.0}) + ranks({(8, "1-1-8", 1e-4, 1): 80.0}, budget="A")
    assert scores.differences(to_frame(students), of="LoRA rank", base=0).empty


@pytest.mark.parametrize("other", [{"stages": "two-stage"}, {"layers": (1, 3, 5)}])
def test_a_difference_of_runs_that_differ_otherwise_is_refused(ranks, other):
    students = ranks({(0, "1-1-8", 1e-4, 1): 70.0, (8, "1-1-8", 1e-4, 1): 71.0})
    students += ranks({(8, "1-1-8", 1e-4, 1): 60.0}, **other)
    with pytest.raises(ValueError, match="do not tell these runs apart"):
        scores.differences(to_frame(students), of="LoRA rank", base=0, keys=["bits"])


def test_the_row_of_the_paper_is_that_of_all_pairs_or_none(ranks):
    rates = {1e-4: 70.0, 5e-4: 60.0}
    students = ranks({(rank, "1-1-8", rate, 1): score + rank for rate, score in rates.items() for rank in (0, 8)})
    for paper, known in ((lambda e: ("xtc-c9", f"Budget-A | {'Y (DIM=8)' if e.lora_rank else 'N'}"), True),
                         (lambda e: scores.PAPER_TEACHER if e.learning_rate == 1e-4 else None, False)):  # fmt: skip
        table = scores.differences(to_frame(students), of="LoRA rank", base=0, paper=paper)
        assert table.loc[("MRPC", "accuracy", 8), "difference"] == 8.0
        assert math.isnan(table.loc[("MRPC", "accuracy", 8), "paper"]) != known


def test_a_teacher_at_chance_makes_its_task_unusable(make_run):
    runs = to_frame([make_run(52.0, task="rte"), make_run(80.0, last=75.0, task="mrpc")])
    table = scores.teachers(runs)
    assert table["usable"].to_dict() == {("RTE", "accuracy"): "no", ("MRPC", "accuracy"): "yes", ("MRPC", "f1"): ""}
    rising = make_run(80.0, task="mrpc")
    rising.history.insert(0, rising.history[0] | {"step": 5, "metrics": {"accuracy": 70.0, "f1": 70.0}})
    assert scores.teachers(to_frame([rising]))["rising"].iloc[0] == "yes" and table["rising"].iloc[1] == "no"


def test_without_records_there_are_columns(mini, learn):
    none, paper = to_frame([], [], mini), paper_rows.stages(mini)
    empty = [
        scores.teachers(none),
        scores.table(none, KEYS, paper=paper, sizes=True, noise=True),
        scores.table(none, KEYS, further=True),
        scores.averages(none, KEYS, paper=paper),
        scores.differences(none, "plan", "one-stage", KEYS, paper=paper),
    ]
    for table in empty:
        assert table.empty and len(table.columns) and table.index.names[-1] is not None
        assert "It is empty" in scores.show(table, "Scale.").data
    student = learn(80.0, precision="1-1-8", stages="one-stage")
    assert math.isnan(scores.table(to_frame([student], [], mini), KEYS)["minus teacher"].iloc[0])


def test_columns_may_have_decimals_of_their_own():
    frame = pd.DataFrame({"a": [1.234], "b": [0.001234], "c": [math.nan]}, index=pd.Index(["x"], name="row"))
    html = scores.show(frame, "Scale.", precision=2, digits={"b": "{:.1e}", "c": 0, "not there": 1}, source="none").data
    assert ">1.23<" in html and ">1.2e-03<" in html and ">–<" in html
