import dataclasses
import math

import pytest
from xtcq_book import allocators
from xtcq_book.allocators import chapter, choices
from xtcq_book.allocators.space import SearchSpace
from xtcq_book.frame import to_frame

from xtcq.study import load_profile

MINI = load_profile("mini")


@pytest.fixture
def found(monkeypatch):
    """Widths of 2 and 4 bits were found for every teacher, method, budget and seed; each names its method."""

    class Kept(dict):
        def get(self, key):
            teacher, method, budget, seed, steps = key
            query = (8 if method == "hessian" else 3, 4)
            widths = {"bert.pooler.dense": (2, 4), "bert.encoder.layer.0.attention.self.query": query}
            cost = {"steps": steps, "passes": 0 if method == "fracbits" else 16}
            return {"widths": widths | {f"bert.encoder.layer.{seed % 6}.output.dense": (2, int(budget) // 4)}} | (
                cost | {"seconds": 1.5}
            )

    monkeypatch.setattr(choices, "kept", lambda task: Kept())


def students(**options):
    return allocators.students(MINI, tasks=["mrpc"], **options)


@pytest.fixture
def measured(make_record):
    """A Record of an experiment with a score, and the cost that its method would have."""

    def build(experiment, score, gbitops=8):
        record = make_record(score, **vars(experiment))
        report = None
        if experiment.adaqat is not None:
            widths = {"bert.pooler.dense": [2, 4]}
            report = {"widths": widths, "average": 8.0, "steps": 3, "trace": [[1, 0, 0, 3.9]] * 3}
            record.history.insert(0, record.history[0] | {"stage": 0})
        for key, value in {"exploration": report, "bitops": int(gbitops * 1e9)}.items():
            object.__setattr__(record, key, value)
        return record

    return build


def test_everybody_trains_equally_long_and_no_run_is_asked_for_twice(found):
    grid = students(methods=["uniform", "hessian", "fracbits", "adaqat"], seeds=[1, 2])
    assert len({(e.epochs, e.learning_rate, e.stages, e.recipe) for e in grid}) == 1
    assert len(grid) == 2 * (3 * 3 + 3)
    assert {choice.method for choice in grid.values()} == {"uniform", "sensitivity (Hessian)", "FracBits", "AdaQAT"}
    assert len(students(methods=["uniform", "adaqat"], budgets=[8, 8.5, 12], factors=[1])) == 2 + 1


def test_budgets_of_the_paper_are_uniform_pairs():
    grid = students(methods=["uniform"])
    assert [e.precision for e in grid] == ["2-4-4", "3-4-4", "4-4-4"]
    assert [choice.asked for choice in grid.values()] == ["8 bits²", "12 bits²", "16 bits²"]


def test_a_student_trains_with_the_widths_that_were_found(found):
    ((experiment, choice),) = students(methods=["fracbits"], budgets=[12.5]).items()
    assert experiment.allocation["bert.pooler.dense"] == (2, 4) and experiment.precision == "8-4-8"
    assert (choice.method, choice.asked, choice.cost) == ("FracBits", "12.5 bits²", (1000, 0, 1.5))


def test_two_bits_everywhere_are_asked_of_uniform_widths_alone(found):
    grid = students(methods=["uniform", "hessian", "fracbits"], budgets=[4, 8])
    assert [choice.method for choice in grid.values() if choice.asked == "4 bits²"] == ["uniform"]
    assert len(grid) == 4


def test_what_nobody_has_chosen_is_no_student(monkeypatch):
    monkeypatch.setattr(choices, "kept", lambda task: {})
    assert [choice.method for choice in students(methods=["uniform", "random"], budgets=[8]).values()] == ["uniform"]


def test_only_what_is_lacking_is_found(monkeypatch):
    kept = [("fisher", 8.0, 42, 0), ("fracbits", 8.0, 42, 7)]  # the second is of a shorter search
    monkeypatch.setattr(choices, "kept", lambda task: {(MINI.teacher(task).digest, *row): {} for row in kept})
    asked = []
    monkeypatch.setattr(choices, "choose", lambda *arguments: asked.append(arguments))
    allocators.find(MINI, ["mrpc"], ["uniform", "fisher", "random", "fracbits", "adaqat"], [4.0, 8.0], length="short")
    ((student, wanted, share),) = asked
    assert wanted == [("random", 8.0), ("fracbits", 8.0)] and share == MINI.width_share
    assert (student.precision, student.teacher, student.steps) == ("8-4-8", MINI.teacher("mrpc"), 1000)


def test_the_demo_compares_two_methods(found):
    assert [choice.method for choice in allocators.students(load_profile("demo")).values()] == ["uniform", "FracBits"]


def test_an_unknown_method_and_an_impossible_budget():
    with pytest.raises(ValueError, match="method 'genetic' is unknown: use one of 'uniform', 'random'"):
        students(methods=["genetic"])
    for budget in (3.99, math.nan):
        with pytest.raises(ValueError, match="is below 4, what 2 bits everywhere cost"):
            students(budgets=[budget])


def test_the_published_choices_are_kept_to_their_budgets():
    grid = allocators.students(MINI, ["cola"], ["random", "fisher"], [8.0], seeds=[42, 111, 222], length="short")
    assert len(grid) == 2 * 3
    for experiment in grid:
        assert 7.9 < SearchSpace(experiment.matrices).average(experiment.allocation) <= 8


def test_the_table_says_what_choosing_cost(found, measured, make_record):
    grid = students(methods=["uniform", "hessian", "fracbits", "adaqat"], budgets=[8], factors=[1], seeds=[1, 2])
    runs = to_frame([measured(e, 80 + e.seed) for e in grid], [make_record(90.0)])
    table = allocators.table(allocators.to_frame(runs, grid)).reset_index("task", drop=True)
    rows = {name: table.loc[(asked, name)] for asked, name in table.index}
    for row in rows.values():
        assert (row["best"], row["minus teacher"], row["seeds"]) == (81.5, -8.5, 2)
    assert {name: tuple(row[list(chapter.COSTS)]) for name, row in rows.items()} == {
        "uniform": (0, 0, 0),
        "sensitivity (Hessian)": (0, 16, 1.5),
        "FracBits": (1000, 0, 1.5),
        "AdaQAT": (3, 3, 5.0),
    }
    # One matrix at 2-4, one at 3-4, one at 2-2.
    fracbits = rows["FracBits"]
    assert (fracbits["W"], fracbits["A"]) == pytest.approx((7 / 3, 10 / 3))
    assert rows["uniform"]["bits²"] == 8
    assert "0.0" in allocators.show(table, "Ours.", "none").data


def test_a_row_is_measured_against_the_teacher_that_it_had(measured, make_record):
    grid = students(methods=["uniform"], budgets=[8], seeds=[1, 2])
    records = [measured(e, 80) for e in grid]
    told = dict.fromkeys(("best", "last"), {"accuracy": 86.0, "f1": 80.0})
    records[1] = dataclasses.replace(records[1], teacher_scores=told)
    teacher = make_record(90.0, **vars(MINI.teacher("mrpc")))
    table = allocators.table(allocators.to_frame(to_frame(records, [teacher]), grid))
    assert table["minus teacher"].item() == ((80 - 90) + (80 - 86)) / 2


def test_a_row_without_its_teacher_has_a_dash(measured):
    grid = students(methods=["uniform"], budgets=[8])
    table = allocators.table(allocators.to_frame(to_frame([measured(e, 80) for e in grid]), grid))
    assert math.isnan(table["minus teacher"].item()) and "–" in allocators.show(table, "Ours.", "none").data


def test_gains_are_taken_at_equal_bitops_and_at_equal_budgets(found, measured):
    grid = students(methods=["uniform", "fracbits"], budgets=[8, 16]) | students(methods=["adaqat"])
    bitops = {"8 bits²": 0.8, "16 bits²": 1.6}
    records, learned = [], iter([(76.0, 1.2), (77.0, 1.2), (78.0, 2.5)])
    for experiment, choice in grid.items():
        if choice.method == "uniform":
            records.append(measured(experiment, 70.0 if choice.asked == "8 bits²" else 80.0, bitops[choice.asked]))
        elif choice.method == "FracBits":
            records.append(measured(experiment, 71.0, bitops[choice.asked]))
        else:
            # Halfway between the uniform runs, where they would have 75; the third lies beyond them.
            records.append(measured(experiment, *next(learned)))
    gains = allocators.gains(allocators.to_frame(to_frame(records), grid)).loc["MRPC"]
    at = {(name, to): tuple(gains.loc[name, to]) for name in ("AdaQAT", "FracBits") for to in chapter._COMPARED}
    assert at["AdaQAT", "at the BitOPs"] == pytest.approx((1.5, 1.0, 2.0, 2))
    assert at["FracBits", "at the budget"] == pytest.approx((-4.0, -9.0, 1.0, 2))
    assert gains.loc["AdaQAT", ("at the budget", "runs")] == 0


@pytest.mark.parametrize("methods", [["adaqat"], ["uniform"]])
def test_where_nothing_can_be_compared_nothing_is(measured, methods):
    grid = students(methods=methods)
    gains = allocators.gains(allocators.to_frame(to_frame([measured(e, 80) for e in grid]), grid))
    assert (gains.xs("runs", axis=1, level=1) == 0).all(axis=None)
    assert allocators.gains(allocators.to_frame(to_frame([]), grid)).empty


def test_the_figure_has_a_curve_a_method_and_a_panel_a_task(found, measured, make_record):
    grid = allocators.students(MINI, tasks=["mrpc", "rte"], methods=["uniform", "hessian", "adaqat"], budgets=[16, 8])
    students = [measured(e, 80, 1.0 if "16" in c.asked else 0.5) for e, c in grid.items()]
    runs = to_frame(students, [make_record(90.0), make_record(91.0, task="rte")])
    figure = allocators.score_over_bitops(allocators.to_frame(runs, grid)).figure
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["MRPC", "RTE"]
    for axes, level in zip(panels, (90.0, 91.0), strict=True):
        drawn = [line for line in axes.lines if len(line.get_xdata())]
        (teacher,) = (line for line in drawn if line.get_label() == "teacher")
        # Chance lies far below these scores, and would flatten them.
        assert teacher.get_ydata()[0] == level and len(drawn) == 1 + 3
        assert [0.5, 1.0] in [list(line.get_xdata()) for line in drawn]
        named = {text.get_text() for text in axes.texts} - {"■"}
        assert named == {"teacher", "uniform", "sensitivity (Hessian)", "AdaQAT"}
        assert "BitOPs" in axes.get_xlabel() and "accuracy" in axes.get_ylabel()
        assert sum(len(dots.get_offsets()) for dots in axes.collections if len(dots.get_offsets()) > 1) == 7


def test_sizes_stand_beside_the_rows_of_the_paper(measured, make_record):
    size = {"parameters": 10, "nominal_mib": 80.0, "packed_mib": 80.0, "embedding_mb": 1.0}
    tasks = ("mrpc", "squad-articles")
    grid = allocators.students(MINI, tasks, ["uniform", "adaqat"], [8.0], [1.0])
    teachers = [dataclasses.replace(make_record(80.0, **vars(MINI.teacher(name))), size=size) for name in tasks]
    records = [dataclasses.replace(measured(one, 78.0), size=size | {"packed_mib": 8.0}) for one in grid]
    drawn = allocators.score_over_size(allocators.to_frame(to_frame(records, teachers), grid))
    of_task = drawn.data.set_index(["task", "method"])
    for task in ("MRPC", "SQuAD v1.1 validation, by article"):
        for method in ("uniform, here", "AdaQAT, here"):
            assert of_task.loc[(task, method), ["minus teacher", "smaller"]].tolist() == [-2.0, 10.0]
    # Table 4: MRPC 86.50 at 2.24-4-4.18 and 37.04 MB; Table 3: full precision 86.28, 417.6 MB; MRPC of Q-BERT is not
    # printed. Table 2: SQuAD v1.1, F1 88.71 against 88.7.
    mrpc = of_task.loc[("MRPC", "AdaQAT, printed")]
    assert mrpc["minus teacher"] == pytest.approx(0.22) and mrpc["smaller"] == pytest.approx(417.6 / 37.04)
    assert mrpc["bits²"] == pytest.approx(2.24 * 4.18, rel=0.02)
    assert ("MRPC", "Q-BERT, printed") not in of_task.index
    assert of_task.loc[("SQuAD v1.1 validation, by article", "AdaQAT, printed"), "minus teacher"] == pytest.approx(0.01)
    assert len(drawn.figure.axes) == 2
    assert allocators.score_over_size(allocators.to_frame(to_frame(records), grid)).figure is None  # without a teacher
