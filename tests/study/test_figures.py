import matplotlib.pyplot as plt
import pytest

from xtcq.study import figures, load_profile


@pytest.fixture(autouse=True)
def close_figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.fixture
def records(make_record):
    mini = load_profile("mini")
    teacher = make_record(84.0, **mini.teacher("mrpc").to_dict())
    students = [
        make_record(score, task="mrpc", precision=p, stages=plan, learning_rate=rate, teacher=mini.teacher("mrpc"))
        for p in ("1-1-8", "2-2-8")
        for plan, rate, score in (("one-stage", 1e-4, 70.0), ("one-stage", 5e-4, 60.0), ("two-stage", 1e-4, 65.0))
    ]
    return students, [teacher]


def test_learning_rate_panels_show_each_plan_and_the_teacher(records):
    figure = figures.learning_rate_sensitivity(*records)
    axes = figure.axes
    assert [a.get_title() for a in axes] == ["MRPC, 1-1-8", "MRPC, 2-2-8"]
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    assert list(lines["one-stage"].get_xdata()) == [1e-4, 5e-4]
    assert list(lines["one-stage"].get_ydata()) == [70.0, 60.0]
    assert list(lines["32-bit teacher"].get_ydata()) == [84.0, 84.0]
    assert axes[0].get_ylabel() == "accuracy (%)" and axes[0].get_xlabel() == "peak learning rate"


def test_cost_panels_draw_each_plan_over_steps(records):
    figure = figures.score_over_cost(*records)
    assert {a.get_xlabel() for a in figure.axes} == {"training cost (optimizer steps)"}
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines["two-stage"].get_xdata()) == [10] and list(lines["two-stage"].get_ydata()) == [65.0]


def test_one_panel_a_teacher(make_record):
    figure = figures.score_over_epochs([make_record(80.0, task=task) for task in ("mrpc", "cola", "rte", "stsb")])
    visible = [a for a in figure.axes if a.get_visible()]
    assert [a.get_title() for a in visible] == ["MRPC", "CoLA", "RTE", "STS-B"]
    assert visible[1].get_ylabel() == "Matthews correlation (x 100)"
