import dataclasses
import re

import matplotlib.pyplot as plt
import pytest
from xtcq_book import labels, plots

from xtcq.study import load_profile

# What scores are held against, in the order of a legend.
REFERENCES = ["32-bit teacher", "its standard error", "one answer for all"]


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
    figure = plots.learning_rate_sensitivity(*records)
    axes = figure.axes
    assert [a.get_title() for a in axes] == ["MRPC, 1-1-8", "MRPC, 2-2-8"]
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    assert list(lines["one-stage"].get_xdata()) == [1e-4, 5e-4]
    assert list(lines["one-stage"].get_ydata()) == [70.0, 60.0]
    assert list(lines["32-bit teacher"].get_ydata()) == [84.0, 84.0]
    assert axes[0].get_ylabel() == "accuracy (%)" and axes[0].get_xlabel() == "peak learning rate"


def test_cost_panels_draw_each_plan_over_steps(records):
    students, teachers = records
    figure = plots.score_over_cost([r for r in students if r.experiment.learning_rate == 1e-4], teachers)
    assert {a.get_xlabel() for a in figure.axes} == {"training cost (optimizer steps)"}
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines["two-stage"].get_xdata()) == [10] and list(lines["two-stage"].get_ydata()) == [65.0]


def _point(stage, step, score):
    metrics = {"accuracy": score, "f1": 1.0}
    return {
        "stage": stage, "stage_name": "s", "step": step, "epoch": step / 10, "train_seconds": 1.0, "metrics": metrics
    }  # fmt: skip


def test_cost_panels_mark_where_a_stage_ends(records):
    students, teachers = records
    history = [_point(0, 10, 50.0), _point(0, 20, 60.0), _point(1, 30, 55.0), _point(1, 40, 65.0)]
    student = dataclasses.replace(students[2], history=history)
    (axes,) = plots.score_over_cost([student], teachers).axes
    line, end = (line for line in axes.get_lines() if line.get_label() not in REFERENCES)
    assert line.get_label() == "two-stage"
    assert list(line.get_xdata()) == [10, 20, 30, 40] and list(line.get_ydata()) == [50.0, 60.0, 55.0, 65.0]
    # Of two stages the first ends where another begins, over the whole height.
    assert list(end.get_xdata()) == [20, 20] and list(end.get_ydata()) == [0, 1]
    assert end.get_color() == line.get_color() and end.get_linestyle() == ":"


def test_a_teacher_has_a_band_and_chance_a_line(make_record):
    students = [make_record(70.0, task=task, stages="one-stage", teacher=_teacher(task)) for task in ("mrpc", "cola")]
    teachers = [make_record(84.0, **vars(student.experiment.teacher)) for student in students]
    mrpc, cola = plots.learning_rate_sensitivity(students, teachers).axes
    chance = {axes: line.get_ydata()[0] for axes in (mrpc, cola) for line in axes.get_lines() if _chance(line)}
    assert chance == {mrpc: pytest.approx(100 * 279 / 408), cola: 0.0}
    # sqrt(0.84 * 0.16 / 408) is 1.815 points; Matthews correlations have no such formula.
    (band,) = mrpc.patches
    assert band.get_y() == pytest.approx(84 - 1.815, abs=1e-3) and band.get_height() == pytest.approx(3.63, abs=1e-3)
    assert not cola.patches


def test_a_teacher_without_a_record_is_left_out(records):
    students, _ = records
    for draw in (plots.score_over_cost, plots.learning_rate_sensitivity):
        (axes, *_) = draw(students[:1], []).axes
        assert "32-bit teacher" not in {line.get_label() for line in axes.get_lines()}


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.score_over_cost([], []),
        lambda: plots.learning_rate_sensitivity([], []),
        lambda: plots.compare([], [], labels.rank, labels.bits, xlabel="rank", legend="bits"),
        lambda: plots.score_over_epochs([]),
    ],
)
def test_a_figure_of_nothing_says_so(draw):
    figure = draw()
    assert not figure.axes and [text.get_text() for text in figure.texts] == [
        "Nothing to draw: none of these runs has a Record."
    ]


def _teacher(task):
    return load_profile("mini").teacher(task)


def _chance(line):
    return line.get_label() == "one answer for all"


@pytest.mark.parametrize("draw", [plots.score_over_cost, plots.learning_rate_sensitivity])
def test_panels_and_lines_are_what_is_asked_for(draw, make_record):
    """Runs that are alike in precision and plan, which panels and lines are by default."""
    mini = load_profile("mini")
    fields = {"precision": "1-1-8", "stages": "one-stage", "learning_rate": 1e-4}
    students, teachers, scores = [], [], iter(range(40, 48))
    for task in ("mrpc", "cola"):
        teacher = mini.teacher(task)
        teachers.append(make_record(84.0 if task == "mrpc" else 50.0, **_fields(teacher)))
        for budget in ("A", "C"):
            for rank in (0, 8):
                student = mini.student(task, budget=budget, lora_rank=rank, **fields)
                students.append(make_record(float(next(scores)), **_fields(student)))
    figure = draw(students, teachers, columns=mini.budget_name, lines=labels.rank)
    assert [a.get_title() for a in figure.axes] == ["MRPC, A", "MRPC, C", "CoLA, A", "CoLA, C"]
    drawn = [{line.get_label(): list(line.get_ydata()) for line in axes.get_lines()} for axes in figure.axes]
    assert [(lines["0"], lines["8"]) for lines in drawn] == [([s], [s + 1]) for s in (40.0, 42.0, 44.0, 46.0)]
    assert [lines["32-bit teacher"][0] for lines in drawn] == [84.0, 84.0, 50.0, 50.0]
    assert figure.axes[0].get_ylabel() == "accuracy (%)"
    assert figure.axes[2].get_ylabel() == "Matthews correlation (x 100)"
    assert _legend(figure) == [*REFERENCES, "0", "8"]


@pytest.fixture
def over_seeds(make_record):
    """Students over ranks, bits, learning rates and seeds; a function that makes them from their scores."""
    mini = load_profile("mini")

    def build(scores, task="mrpc"):
        students = []
        for (rank, bits, rate, seed), score in scores.items():
            fields = {"lora_rank": rank, "precision": f"{bits}-{bits}-8", "learning_rate": rate, "seed": seed}
            students.append(make_record(score, **_fields(mini.student(task, stages="one-stage", **fields))))
        return students

    return build


def test_tuned_takes_the_rate_whose_mean_over_seeds_is_highest(over_seeds):
    scores = {
        # The best single run has the worse rate.
        (0, 1, 1e-4, 1): 70.0, (0, 1, 1e-4, 2): 74.0, (0, 1, 5e-4, 1): 80.0, (0, 1, 5e-4, 2): 60.0,
        # Another cell is tuned by itself.
        (8, 1, 1e-4, 1): 60.0, (8, 1, 1e-4, 2): 61.0, (8, 1, 5e-4, 1): 62.0, (8, 1, 5e-4, 2): 63.0,
    }  # fmt: skip
    frame = plots.tuned(over_seeds(scores) + over_seeds({(0, 1, 5e-4, 1): 9.0}, "cola"), labels.rank, labels.bits)
    assert frame.columns.to_list() == ["task", "across", "apart", "learning_rate", "seed", "score"]
    assert list(frame.itertuples(index=False, name=None)) == [
        ("MRPC", 0, 1, 1e-4, 1, 70.0),
        ("MRPC", 0, 1, 1e-4, 2, 74.0),
        ("MRPC", 8, 1, 5e-4, 1, 62.0),
        ("MRPC", 8, 1, 5e-4, 2, 63.0),
        ("CoLA", 0, 1, 5e-4, 1, 9.0),
    ]


def test_runs_and_their_means_at_the_tuned_rate(over_seeds, make_record):
    mini = load_profile("mini")
    students = over_seeds(
        {
            (8, 1, 1e-4, 1): 70.0, (8, 1, 1e-4, 2): 74.0, (8, 1, 5e-4, 1): 10.0,
            (0, 1, 5e-4, 1): 66.0, (0, 1, 5e-4, 2): 67.0, (0, 1, 1e-4, 1): 50.0,
            (0, 2, 1e-4, 1): 77.0,
        }
    ) + over_seeds({(1, 2, 1e-4, 1): 33.0}, "cola")  # fmt: skip
    teachers = [make_record(84.0, **_fields(mini.teacher("mrpc"))), make_record(50.0, **_fields(mini.teacher("cola")))]
    figure = plots.compare(students, teachers, labels.rank, labels.bits, xlabel="LoRA rank", legend="bits")
    mrpc, cola = figure.axes
    assert (mrpc.get_title(), cola.get_title()) == ("MRPC", "CoLA")
    assert (mrpc.get_ylabel(), cola.get_ylabel()) == ("accuracy (%)", "Matthews correlation (x 100)")
    # The order of the Records, in every panel, whatever a panel shows of it.
    assert [t.get_text() for t in mrpc.get_xticklabels()] == [t.get_text() for t in cola.get_xticklabels()]
    assert [t.get_text() for t in mrpc.get_xticklabels()] == ["8", "0", "1"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"LoRA rank"}
    # A dot a run ...
    assert _dots(mrpc) == [(0, 70.0), (0, 74.0), (1, 66.0), (1, 67.0), (1, 77.0)]
    assert _dots(cola) == [(2, 33.0)]
    # ... and a line through their means.
    lines = {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in mrpc.get_lines()}
    assert lines["bits 1"] == [(0, 72.0), (1, 66.5)] and lines["bits 2"] == [(1, 77.0)]
    assert [y for _, y in lines["32-bit teacher"]] == [84.0, 84.0]
    (level,) = (line for line in cola.get_lines() if line.get_label() == "32-bit teacher")
    assert list(level.get_ydata()) == [50.0, 50.0]
    assert _legend(figure) == [*REFERENCES, "bits 1", "bits 2"]


def test_two_runs_are_never_drawn_as_one_line(over_seeds, make_record):
    students = over_seeds({(0, 1, 1e-4, 1): 70.0, (0, 1, 5e-4, 1): 71.0})
    teachers = [make_record(84.0, **_fields(load_profile("mini").teacher("mrpc")))]
    with pytest.raises(ValueError, match=" and .* would be one line: give columns or lines"):
        plots.score_over_cost(students, teachers, columns=labels.rank, lines=labels.bits)


def test_panels_fill_rows_that_fit_a_page(over_seeds, make_record):
    mini, tasks = load_profile("mini"), ["mrpc", "cola", "rte", "sst2", "qnli"]
    students = [record for task in tasks for record in over_seeds({(0, 1, 1e-4, 1): 70.0}, task)]
    teachers = [make_record(84.0, **_fields(mini.teacher(task))) for task in tasks]

    def drawn(count):
        shown = [record for record in students if record.experiment.task in tasks[:count]]
        return plots.compare(shown, teachers, labels.rank, labels.bits, xlabel="LoRA rank", legend="bits")

    for count, shape in {3: (1, 3), 4: (2, 2), 5: (2, 3)}.items():
        figure = drawn(count)
        assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == shape
        assert figure.get_figwidth() <= plots.PAGE
        shown = [axes for axes in figure.axes if axes.get_visible()]
        assert len(shown) == count
        assert sum(axes.get_xlabel() == "LoRA rank" for axes in shown) == shape[1]  # under every column


def test_rates_are_written_as_printed(over_seeds, make_record):
    students = over_seeds({(0, 1, 2e-5, 1): 70.0, (0, 2, 5e-4, 1): 71.0})
    teachers = [make_record(84.0, **_fields(load_profile("mini").teacher("mrpc")))]
    (axes,) = plots.compare(students, teachers, labels.rate, labels.rate, xlabel="rate", legend="rate").axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["2e-5", "5e-4"]
    figure = plots.score_over_cost(students, teachers, columns=labels.rate, lines=labels.rate)
    assert [a.get_title() for a in figure.axes] == ["MRPC, 2e-5", "MRPC, 5e-4"]
    assert _legend(figure) == [*REFERENCES, "2e-5", "5e-4"]


def test_a_panel_without_a_line_keeps_the_colours(over_seeds, make_record):
    mini = load_profile("mini")
    students = over_seeds({(0, 1, 1e-4, 1): 70.0, (0, 2, 1e-4, 1): 71.0}) + over_seeds({(0, 2, 1e-4, 1): 33.0}, "cola")
    teachers = [make_record(84.0, **_fields(mini.teacher(task))) for task in ("mrpc", "cola")]
    figure = plots.compare(students, teachers, labels.rank, labels.bits, xlabel="LoRA rank", legend="bits")
    looks = [
        {line.get_label(): (line.get_color(), line.get_marker()) for line in axes.get_lines()} for axes in figure.axes
    ]
    assert looks[0]["bits 2"] == looks[1]["bits 2"] != looks[0]["bits 1"] and "bits 1" not in looks[1]


def _fields(experiment):
    return {field.name: getattr(experiment, field.name) for field in dataclasses.fields(experiment)}


def _dots(axes):
    """Points of the lines without a name, in the order of the panel."""
    unnamed = [line for line in axes.get_lines() if re.match("_child", line.get_label())]
    assert {line.get_linestyle() for line in unnamed} == {"None"}
    return [point for line in unnamed for point in sorted(zip(*line.get_data(), strict=True))]


def _legend(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_one_panel_a_teacher(make_record):
    figure = plots.score_over_epochs([make_record(80.0, task=task) for task in ("mrpc", "cola", "rte", "stsb")])
    visible = [a for a in figure.axes if a.get_visible()]
    assert [a.get_title() for a in visible] == ["MRPC", "CoLA", "RTE", "STS-B"]
    assert visible[1].get_ylabel() == "Matthews correlation (x 100)"
