import math

import pytest
from xtcq_book.chapters import allocators, plots_allocators
from xtcq_book.chapters.allocators import NAMES

from xtcq.study import load_profile

MINI = load_profile("mini")
POOLER = {"bert.pooler.dense": [2, 4]}


def students(**options):
    return allocators.students(MINI, tasks=["mrpc"], **options)


@pytest.fixture
def measured(make_record):
    """A Record of an experiment with a score, and the cost that its method would have."""

    def build(experiment, score, gbitops=None):
        fields = {f: getattr(experiment, f) for f in experiment.__dataclass_fields__}
        record = make_record(score, **fields)
        name = allocators.method(experiment)
        found = None
        if name != "uniform":
            found = {"widths": POOLER, "mean_weights": 2.0, "mean_activations": 4.0, "average": 8.0, "steps": 0}
            found |= {"seconds": 1.5, "passes": 16}
        if name in ("FracBits", "AdaQAT"):
            found |= {"steps": 3, "trace": [[1, 0, 0, 3.9]] * 3}
            del found["passes"], found["seconds"]
            record.history.insert(0, record.history[0] | {"stage": 0})
        bits = 8 if gbitops is None else gbitops
        for key, value in {"exploration": found, "bitops": int(bits * 1e9)}.items():
            object.__setattr__(record, key, value)
        return record

    return build


def test_everybody_trains_equally_long_and_no_run_is_asked_for_twice():
    grid = students(seeds=[1, 2])
    assert len({(e.epochs, e.learning_rate, e.stages, e.recipe) for e in grid}) == 1
    assert len(grid) == len(set(grid)) == 2 * (5 * 3 + 3)
    assert {allocators.method(e) for e in grid} == set(NAMES.values())
    assert len(students(methods=["uniform", "adaqat"], budgets=[8, 8.5, 12], factors=[1])) == 2 + 1


def test_budgets_of_the_paper_are_uniform_pairs():
    uniform = [e.precision for e in students(methods=["uniform"])]
    assert uniform == ["2-4-4", "3-4-4", "4-4-4"]


def test_two_bits_everywhere_are_asked_of_uniform_widths_alone():
    grid = students(methods=["uniform", "random", "fracbits"], budgets=[4, 8])
    assert [(allocators.method(e), allocators.asked(e)) for e in grid if allocators.asked(e) == "4 bits²"] == [
        ("uniform", "4 bits²")
    ]
    assert len(grid) == 4


def test_the_demo_is_two_runs():
    grid = allocators.students(load_profile("demo"))
    assert [allocators.method(e) for e in grid] == ["uniform", "FracBits"]


def test_the_seed_is_that_of_the_choice_too():
    for name in ("random", "fisher"):
        one, two = (allocators.student(MINI, "rte", name, 8, seed=seed) for seed in (1, 2))
        assert (one.allocation.seed, two.allocation.seed) == (one.seed, two.seed) == (1, 2)


def test_labels_name_method_and_budget():
    assert allocators.asked(allocators.student(MINI, "rte", "uniform", 12)) == "12 bits²"
    assert allocators.asked(allocators.student(MINI, "rte", "hessian", 12.5)) == "12.5 bits²"
    assert allocators.asked(MINI.learned("rte", 2)) == "λ 0.04"
    assert allocators.method(allocators.student(MINI, "rte", "hessian", 12)) == "sensitivity (Hessian)"
    assert allocators.method(MINI.learned("rte")) == "AdaQAT"


@pytest.mark.parametrize("name", ["adaqat", "genetic"])
def test_an_unknown_method(name):
    with pytest.raises(ValueError, match=f"method '{name}' is unknown: use one of 'uniform', 'random'"):
        allocators.student(MINI, "rte", name, 8)


def test_the_table_says_what_choosing_cost(measured, make_record):
    grid = students(methods=["uniform", "fisher", "fracbits", "adaqat"], budgets=[8], factors=[1], seeds=[1, 2])
    records = [measured(e, 80 + e.seed) for e in grid]
    table = allocators.table(records, [make_record(90.0)]).reset_index("task", drop=True)
    rows = {name: table.loc[(asked, name)] for asked, name in table.index}
    for row in rows.values():
        assert (row["score"], row["minus teacher"], row["seeds"], row["bits²"]) == (81.5, -8.5, 2, 8)
        assert (row["W"], row["A"]) == (2, 4)
    costs = {name: (row["explored steps"], row["extra passes"], row["seconds"]) for name, row in rows.items()}
    assert costs == {
        "uniform": (0, 0, 0),
        "sensitivity (Fisher)": (0, 16, 1.5),
        "FracBits": (3, 0, 5.0),
        "AdaQAT": (3, 3, 5.0),
    }
    assert "0.0" in allocators.show(table, "Ours.").to_html()


def test_a_row_without_its_teacher_has_a_dash(measured):
    table = allocators.table([measured(allocators.student(MINI, "mrpc", "uniform", 8), 80)], [])
    assert math.isnan(table["minus teacher"].item()) and "–" in allocators.show(table, "Ours.").to_html()


def test_runs_that_the_labels_do_not_tell_apart_are_refused(measured, make_record):
    one = measured(allocators.student(MINI, "mrpc", "uniform", 8), 80)
    two = measured(allocators.student(MINI, "mrpc", "uniform", 8, learning_rate=1e-3), 81)
    with pytest.raises(ValueError, match="differ in more than their seed"):
        allocators.table([one, two], [make_record(90.0)])


def test_gains_are_taken_at_equal_bitops(measured):
    uniform = students(methods=["uniform"], budgets=[8, 16])
    records = [measured(e, score, g) for e, score, g in zip(uniform, (70.0, 80.0), (0.8, 1.6), strict=True)]
    learned = students(methods=["adaqat"])
    # Halfway between the uniform runs, where they would have 75; a third lies beyond them.
    records += [measured(e, 76.0 + i, g) for i, (e, g) in enumerate(zip(learned, (1.2, 1.2, 2.5), strict=True))]
    text = allocators.beyond_uniform(records).data
    assert "**MRPC, AdaQAT**: +1.5 points from uniform widths of the same BitOPs (mean of 2 runs, +1.0 to +2.0)" in text
    assert "1 run beyond the uniform curve, not compared" in text


def test_without_uniform_runs_nothing_is_compared(measured):
    text = allocators.beyond_uniform([measured(MINI.learned("mrpc"), 80.0)]).data
    assert text == "- **MRPC, AdaQAT**: 1 run beyond the uniform curve, not compared."


def test_the_figure_has_a_curve_a_method_and_a_panel_a_task(measured, make_record):
    grid = allocators.students(MINI, tasks=["mrpc", "rte"], methods=["uniform", "random", "adaqat"], budgets=[16, 8])
    frame = allocators.to_frame([measured(e, 80, 1.0 if "16" in allocators.asked(e) else 0.5) for e in grid])
    figure = plots_allocators.score_over_bitops(frame, [make_record(90.0), make_record(91.0, task="rte")])
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["MRPC", "RTE"]
    for axes, level in zip(panels, (90.0, 91.0), strict=True):
        lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
        assert set(lines) == {"32-bit teacher", "one answer for all", "uniform", "random", "AdaQAT"}
        assert list(lines["uniform"].get_xdata()) == [0.5, 1.0]
        assert math.isclose(lines["32-bit teacher"].get_ydata()[0], level)
        assert "BitOPs" in axes.get_xlabel() and "accuracy" in axes.get_ylabel()
