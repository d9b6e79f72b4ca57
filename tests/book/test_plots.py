import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import get_linear_schedule_with_warmup
from xtcq_book import plots, provenance
from xtcq_book.frame import to_frame

from xtcq import one_stage, three_stage
from xtcq.study import load_profile
from xtcq.training import WARMUP

MINI = load_profile("mini")
# What scores are held against, in the order of a legend.
REFERENCES = ["teacher", "chance"]


@pytest.fixture
def students(make_record):
    """A function that makes runs from scores by rank, bits, learning rate and seed, beside a teacher with 84."""

    def build(scores, task="mrpc", teacher=84.0, **fields):
        records = []
        for (rank, bits, rate, seed), score in scores.items():
            given = {"lora_rank": rank, "precision": f"{bits}-{bits}-8", "learning_rate": rate, "seed": seed}
            experiment = MINI.student(task, **{"stages": "one-stage"} | given | fields)
            records.append(make_record(score, **vars(experiment)))
        full = [make_record(teacher, **vars(MINI.teacher(task)))] if teacher else []
        return to_frame(records, full)

    return build


def both(*frames):
    return pd.concat(frames, ignore_index=True)


def lines(axes):
    """Points of every named or drawn line of a panel that has any, references left out."""
    found = [line for line in axes.get_lines() if line.get_label() not in REFERENCES and len(line.get_xdata())]
    return [list(map(tuple, line.get_xydata())) for line in found if line.get_linestyle() not in (":", "None")]


def legend(figure):
    (found,) = figure.legends
    return found.get_title().get_text(), [text.get_text() for text in found.get_texts()]


def test_one_panel_a_task_and_label_with_its_metric_and_teacher(students):
    runs = both(
        students({(0, 1, 1e-4, 1): 70.0, (0, 2, 1e-4, 1): 75.0, (8, 2, 1e-4, 1): 76.0}),
        students({(0, 2, 1e-4, 1): 33.0}, "cola", teacher=50.0),
    )
    figure = plots.score_over_rates(runs, hue="LoRA rank").figure
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["MRPC, 1-1-8", "MRPC, 2-2-8", "CoLA, 2-2-8"]
    one, two, cola = figure.axes
    assert lines(one) == [[(1e-4, 70.0)]] and lines(two) == [[(1e-4, 75.0)], [(1e-4, 76.0)]]
    assert one.get_ylabel() == "accuracy (%)" and cola.get_ylabel() == "Matthews corr. (x 100)"
    assert {axes.get_xlabel() for axes in figure.axes} == {"peak learning rate"}
    levels = [line.get_ydata()[0] for axes in figure.axes for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert levels == [84.0, 84.0, 50.0]
    # What is compared has the same axes: panels of one task.
    assert one.get_ylim() == two.get_ylim() != cola.get_ylim()
    assert [text.get_text() for text in one.get_xticklabels()] == ["1e-4"]
    # A few lines are named where they end, a number with what it is of, and need no legend.
    named = {"LoRA rank 0", "LoRA rank 8", "■", *REFERENCES}
    assert not figure.legends and {text.get_text() for text in two.texts} == named


def test_what_is_the_same_in_all_panels_is_said_below_them(students):
    drawn = plots.score_over_rates(students({(0, 1, 1e-4, 1): 70.0}), by=("W-E-A", "plan"))
    assert [axes.get_title(loc="left") for axes in drawn.figure.axes] == ["MRPC"]
    assert drawn.note.startswith("Every panel: W-E-A 1-1-8, plan ") and "W-E-A" in drawn.data


def test_what_scores_are_held_against(students):
    runs = both(students({(0, 1, 1e-4, 1): 70.0}), students({(0, 1, 1e-4, 1): 30.0}, "cola", teacher=50.0))
    mrpc, cola = plots.score_over_rates(runs).figure.axes
    chance = {axes: [line.get_ydata()[0] for line in axes.get_lines() if line.get_label() == REFERENCES[-1]]
              for axes in (mrpc, cola)}  # fmt: skip
    # Nothing of CoLA is near its chance, 0: a line there would only flatten the panel.
    assert chance == {mrpc: [pytest.approx(100 * 279 / 408)], cola: []}
    # sqrt(0.84 * 0.16 / 408) is 1.815 points; Matthews correlations have no such formula.
    (band,) = mrpc.patches
    assert band.get_y() == pytest.approx(84 - 1.815, abs=1e-3) and band.get_height() == pytest.approx(3.63, abs=1e-3)
    assert not cola.patches


def test_a_teacher_without_a_record_is_left_out(students):
    (axes,) = plots.score_over_rates(students({(0, 1, 1e-4, 1): 70.0}, teacher=None)).figure.axes
    assert "teacher" not in {line.get_label() for line in axes.get_lines()}


def band(collection):
    """Least and most of a band at each x."""
    points = collection.get_paths()[0].vertices
    return {x: (points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max()) for x in set(points[:, 0])}


def test_seeds_are_a_mean_with_a_band_over_their_range_and_one_seed_has_a_standard_error(students):
    runs = students({(0, 1, 1e-4, 1): 70.0, (0, 1, 1e-4, 2): 74.0, (0, 1, 1e-4, 3): 75.0, (0, 1, 5e-4, 1): 60.0})
    drawn = plots.score_over_rates(runs)
    (axes,) = drawn.figure.axes
    assert lines(axes) == [[(1e-4, 73.0), (5e-4, 60.0)]]
    (shaded,) = axes.collections
    # sqrt(0.6 * 0.4 / 408) is 2.425 points.
    assert band(shaded)[1e-4] == (70.0, 75.0) and band(shaded)[5e-4] == pytest.approx((57.575, 62.425), abs=1e-3)
    assert drawn.data[["best", "low", "high", "seeds"]].iloc[0].to_list() == [73.0, 70.0, 75.0, 3]
    low, high = axes.get_ylim()
    assert low < 57.5 and high > 84 + 1.8


def test_a_plan_of_several_stages_has_them_in_a_strip(students):
    runs = students({(0, 1, 1e-4, 1): 65.0, (0, 1, 1e-4, 2): 67.0}, stages="two-stage")
    points = [(0, 10, 50.0), (0, 20, 60.0), (1, 30, 55.0), (1, 40, 65.0)]
    for row, more in enumerate((0.0, 2.0)):
        history = [
            runs["record"][row].history[0]
            | {"stage": stage, "step": step, "metrics": {"accuracy": score + more, "f1": 1.0}}
            for stage, step, score in points
        ]
        runs.at[row, "record"] = dataclasses.replace(runs["record"][row], history=history)
    (axes,) = plots.score_over_steps(runs).figure.axes
    # Seeds are one line, with a band from the least to the most.
    assert lines(axes) == [[(10, 51.0), (20, 61.0), (30, 56.0), (40, 66.0)]]
    assert band(axes.collections[0])[10] == (50.0, 52.0)
    assert [sorted(band(strip)) for strip in axes.collections[1:]] == [[0, 20], [20, 40]]
    assert [text.get_text() for text in axes.texts][-2:] == ["stage 1", "stage 2"]
    one = students({(0, 1, 1e-4, 1): 65.0})
    assert "stage 1" not in [text.get_text() for text in plots.score_over_steps(one).figure.axes[0].texts]


def test_terms_of_the_loss_are_shares_of_what_they_were_at_first(students):
    runs = students({(0, 1, 1e-4, 1): 65.0})
    entries = [(20, 2.0, 30.0, 0.6), (40, 1.5, 15.0, 0.6), (60, 1.0, 9.0, 0.3)]
    names = ("step", "loss_hidden", "loss_attention", "loss_logits")
    history = [{"stage": 0} | dict(zip(names, entry, strict=True)) for entry in entries]
    runs.at[0, "record"] = dataclasses.replace(runs["record"][0], history=runs["record"][0].history + history)
    drawn = plots.terms_over_steps(runs)
    (axes,) = drawn.figure.axes
    assert lines(axes) == [
        [(20, 100.0), (40, 75.0), (60, 50.0)],
        [(20, 100.0), (40, 50.0), (60, pytest.approx(30.0))],
        [(20, 100.0), (40, 100.0), (60, 50.0)],
    ]
    assert {"hidden", "attention", "logits"} <= {text.get_text() for text in axes.texts}
    assert plots.terms_over_steps(students({(0, 1, 1e-4, 1): 65.0})).figure is None


def test_learning_rates_of_plans_are_those_that_a_trainer_sets():
    drawn = plots.schedules({"one": one_stage(2), "three": three_stage(3)})
    one, three = drawn.figure.axes
    assert [axes.get_title(loc="left") for axes in (one, three)] == ["one", "three"]
    assert one.get_xlim() == three.get_xlim() == (0, 100) and one.get_ylim() == three.get_ylim()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    (factor,) = get_linear_schedule_with_warmup(optimizer, round(WARMUP * 300), 300).lr_lambdas
    for axes, stages in ((one, one_stage(2)), (three, three_stage(3))):
        curves = [np.array(line.get_xydata()) for line in axes.get_lines() if len(line.get_xdata())]
        # Drawn by what is summed, and not in the order of the stages.
        for curve, stage in zip(sorted(curves, key=lambda curve: curve[0, 0]), stages, strict=True):
            steps = np.linspace(*curve[[0, -1], 0], 301)
            expected = [stage.lr_factor * factor(step) for step in range(301)]
            np.testing.assert_allclose(np.interp(steps, *curve.T), expected, atol=1e-9)
    assert list(drawn.data["terms"].unique()) == ["hidden + attention + logits", "hidden + attention", "logits"]
    thirds = drawn.data[drawn.data["plan"] == "three"].groupby("stage")["share"].agg(["min", "max"])
    assert thirds.to_numpy() == pytest.approx(np.array([[0, 100 / 3], [100 / 3, 200 / 3], [200 / 3, 100]]))


def test_compared_runs_are_those_of_the_best_rate_in_the_order_of_the_runs(students):
    scores = {
        (8, 1, 1e-4, 1): 70.0, (8, 1, 1e-4, 2): 74.0, (8, 1, 5e-4, 1): 10.0,
        (0, 1, 5e-4, 1): 66.0, (0, 1, 5e-4, 2): 67.0, (0, 1, 1e-4, 1): 50.0, (0, 2, 1e-4, 1): 77.0,
    }  # fmt: skip
    runs = both(students(scores), students({(1, 2, 1e-4, 1): 33.0}, "cola", teacher=50.0))
    drawn = plots.compare(runs, "LoRA rank", "bits", label="LoRA rank")
    mrpc, cola = drawn.figure.axes
    for axes in (mrpc, cola):
        assert [text.get_text() for text in axes.get_yticklabels()] == ["8", "0", "1"]
    dots = [
        [
            (line.get_xdata()[0], round(line.get_ydata()[0]), line.get_label())
            for line in axes.get_lines()
            if named(line)
        ]
        for axes in (mrpc, cola)
    ]
    assert dots == [[(72.0, 0, "1"), (66.5, 1, "1"), (77.0, 1, "2")], [(33.0, 2, "2")]]
    bars = [list(line.get_xdata()) for line in mrpc.get_lines() if line.get_linewidth() == 2.4]
    assert bars[:2] == [[70.0, 74.0], [66.0, 67.0]]
    # A panel that lacks a dot keeps the colours and markers of the others.
    looks = [
        {(line.get_color(), line.get_marker()) for line in axes.get_lines() if line.get_label() == "2"}
        for axes in (mrpc, cola)
    ]
    assert looks[0] == looks[1]
    title, names = legend(drawn.figure)
    assert title == "bits" and set(names) == {"1", "2", *REFERENCES}
    # Of the best rates alone, and the two teachers.
    assert len(provenance.records_of(drawn.source)) == 6 + 2


def named(line):
    return line.get_marker() != "None" and len(line.get_xdata()) == 1


def test_runs_that_differ_in_what_is_not_named_are_refused(students):
    runs = both(students({(0, 1, 1e-4, 1): 70.0}), students({(0, 1, 1e-4, 1): 71.0}, budget="A"))
    with pytest.raises(ValueError, match="differ in more than seed and learning rate"):
        plots.compare(runs, "LoRA rank", "bits", label="LoRA rank")
    plots.compare(runs, "LoRA rank", ["bits", "epochs"], label="LoRA rank")


def test_a_page_has_two_panels_side_by_side(students):
    runs = both(*(students({(0, 1, 1e-4, 1): 70.0}, task) for task in ("mrpc", "cola", "rte")))
    figure = plots.compare(runs, "learning rate", "bits", label="rate").figure
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 2)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["1e-4"]


@pytest.mark.parametrize(
    "draw", [plots.score_over_steps, plots.score_over_rates, lambda runs: plots.compare(runs, "bits", "plan", "bits")]
)
def test_a_figure_of_nothing_says_so(draw):
    shown = plots.show(draw(to_frame([])), "Scores.").data
    assert shown == "<p>Nothing to draw: none of these runs has a Record.</p>"


@pytest.mark.filterwarnings("error")
def test_a_rate_that_is_best_nowhere_takes_no_colour(students):
    runs = students({(0, 1, 1e-4, 1): 70.0, (0, 1, 5e-4, 1): 75.0, (8, 1, 1e-4, 1): 71.0, (8, 1, 5e-4, 1): 76.0})
    figure = plots.compare(runs, across="LoRA rank", hue="learning rate", label="rank").figure
    assert legend(figure)[1][:1] == ["5e-4"] and "1e-4" not in legend(figure)[1]
