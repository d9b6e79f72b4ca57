import dataclasses
import math

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from xtcq_book.chapters import cost, plots_cost

from xtcq.study import load_profile
from xtcq.study.records import save_record


@pytest.fixture
def timed(make_record):
    """A function that makes a student of MRPC that took some seconds for its 10 steps."""
    mini = load_profile("mini")

    def build(seconds, device="CPU", side_by_side=1, score=80.0, task="mrpc", **fields):
        student = mini.student(task, **{"stages": "one-stage", "precision": "1-1-8"} | fields)
        values = {field.name: getattr(student, field.name) for field in dataclasses.fields(student)}
        record = make_record(score, **values)
        times = {"train_seconds": seconds, "wall_seconds": 2 * seconds}
        return dataclasses.replace(record, device=device, side_by_side=side_by_side, **times)

    return build


def test_a_run_as_a_row(timed):
    record = timed(36.0, layers=(1, 3, 5), lora_rank=8)
    (row,) = cost.to_frame([record]).to_dict("records")
    assert (row["task"], row["layers"], row["depth"], row["LoRA rank"]) == ("MRPC", "skip 3", "skip 3", 8)
    assert (row["steps"], row["hours"], row["wall hours"], row["ms per step"]) == (10, 0.01, 0.02, 3600.0)
    (deep,) = cost.to_frame([timed(1.0)]).to_dict("records")
    assert (deep["layers"], deep["depth"], deep["teacher"]) == ("all", "all 6", "all 6")


def test_a_choice_is_compared_with_everything_else_equal(timed):
    records = [
        timed(10.0),
        timed(11.0, learning_rate=5e-4),
        timed(40.0, task="cola"),
        timed(10.0, stages="three-stage"),
        timed(22.0, stages="three-stage", learning_rate=5e-4),
        timed(160.0, stages="three-stage", task="cola"),
        # Another device, company, number format, length, rate or seed, other layers: no partner.
        timed(99.0, stages="two-stage", side_by_side=2),
        timed(99.0, stages="two-stage", device="GPU"),
        dataclasses.replace(timed(99.0, stages="two-stage"), compute="bf16"),
        timed(99.0, stages="two-stage", budget="A"),
        timed(99.0, stages="two-stage", learning_rate=2e-5),
        timed(99.0, stages="two-stage", seed=7),
        timed(99.0, stages="two-stage", layers=(1, 3, 5)),
        timed(5.5, lora_rank=8, learning_rate=5e-4),
    ]
    table = cost.relative_cost(cost.to_frame(records))
    plan = table.loc[("CPU, fp32", 1, "plan", "three-stage", "one-stage")]
    # Ratios of 1, 2 and 4: their logarithms deviate by log 2, and t of two degrees of freedom is 4.30265.
    reach = 2 ** (4.30265 / 3**0.5)
    assert plan[["times", "low", "high"]].to_list() == pytest.approx([2.0, 2 / reach, 2 * reach], rel=1e-5)
    assert plan[["pairs", "below 1"]].to_list() == [3, 0]
    rank = table.loc[("CPU, fp32", 1, "LoRA rank", "8", "0")]
    assert rank["times"] == pytest.approx(0.5) and rank[["low", "high"]].isna().all()
    assert rank[["pairs", "below 1"]].to_list() == [1, 1]
    assert len(table) == 2


def test_runs_that_are_equal_in_everything_count_as_one_pair(timed):
    start = load_profile("mini").student("mrpc", stages="one-stage")
    records = [timed(10.0), timed(40.0, start=start), timed(10.0, stages="two-stage")]
    table = cost.relative_cost(cost.to_frame(records))
    # The geometric mean of 10 and 40 is 20.
    assert table["times"].to_list() == [pytest.approx(0.5)] and table["pairs"].to_list() == [1]


def test_layers_precision_and_augmentation_are_compared_too(timed):
    records = [
        timed(10.0),
        timed(6.0, layers=(1, 3, 5)),
        timed(8.0, precision="2-2-8"),
        timed(11.0, augmentation="neighbours"),
    ]
    times = cost.relative_cost(cost.to_frame(records))["times"].droplevel(["device", "side_by_side"])
    assert times.to_dict() == {
        ("layers", "skip 3", "all"): pytest.approx(0.6),
        ("W-E-A", "2-2-8", "1-1-8"): pytest.approx(0.8),
        ("augmentation", "neighbours", "none"): pytest.approx(1.1),
    }


def test_sums_by_group_of_comparable_times(timed):
    records = [timed(3600.0, side_by_side=2), timed(1800.0), timed(1800.0, task="cola"), timed(3600.0, seed=7)]
    table = cost.totals(cost.to_frame(records))
    assert table.index.to_list() == [("CPU, fp32", 1, "MRPC"), ("CPU, fp32", 1, "CoLA"), ("CPU, fp32", 2, "MRPC")]
    assert table["hours"].to_list() == [1.5, 0.5, 1.0]
    assert table["runs"].to_list() == [2, 1, 1] and table["steps"].to_list() == [20, 10, 10]


def test_findings_say_how_sure_a_ratio_is(timed):
    records = [timed(100.0), timed(120.0, seed=7), timed(72.0, lora_rank=1), timed(60.0, lora_rank=1, seed=7)]
    records += [timed(90.0, stages="two-stage"), timed(140.0, stages="two-stage", seed=7)]
    records += [timed(80.0, precision="2-2-8")]
    lines = cost.findings(cost.to_frame(records)).data.splitlines()
    assert lines[0].startswith("- **CPU, fp32, 1 side by side**: 7 runs took 0.2 device hours of training steps, 50 %")
    assert "are a factor of 1.20 apart (median of configurations: 3), and 1.56 at most" in lines[1]
    # Ratios of 0.9 and 1.1667: their mean is 1.0247, and two pairs that disagree tell nothing.
    assert lines[2].startswith(
        "- A step with plan two-stage costs 1.02 times one with one-stage (0.20 to 5.33 over 2 pairs"
    )
    assert lines[2].endswith(", 1 of 2 above 1; not told apart from 1).")
    assert lines[3] == "- A step with W-E-A 2-2-8 costs 0.80 times one with 1-1-8 (one pair)."
    assert lines[4].endswith(", 2 of 2 below 1; not told apart from 1).")
    assert len(lines) == 5


def test_many_small_gains_are_no_noise(timed):
    """Half the layers cost 0.67 in 8 of 8 pairs, while runs that should be equal were up to 2.4 apart."""
    records = []
    for seed, (whole, ratio) in enumerate(zip((100, 240, 110, 90, 130, 120, 100, 95), (0.6, 0.71) * 4, strict=True)):
        records += [timed(float(whole), seed=seed), timed(whole * ratio, seed=seed, layers=(1, 3, 5))]
    line = cost.findings(cost.to_frame(records)).data.splitlines()[-1]
    # Logarithms of 0.6 and 0.71, four each: t of seven degrees of freedom is 2.36462.
    mean, deviation = 0.426**0.5, math.log(0.71 / 0.6) / 2 * math.sqrt(8 / 7)
    low, high = (mean * math.exp(sign * 2.36462 * deviation / math.sqrt(8)) for sign in (-1, 1))
    expected = f"{mean:.2f} times one with all ({low:.2f} to {high:.2f} over 8 pairs, 8 of 8 below 1)."
    assert line == f"- A step with layers skip 3 costs {expected}"


def test_a_run_that_was_cut_off_and_lost_count_of_its_time(timed):
    cut = dataclasses.replace(timed(3600.0, seed=7), wall_seconds=100.0)
    frame = cost.to_frame([timed(3600.0), cut])
    assert frame["wall hours"].isna().to_list() == [False, True]
    line = cost.findings(frame).data.splitlines()[0]
    assert "2 runs took 2.0 device hours of training steps, 50 %" in line
    assert "(without 1 that lost count of that time when cut off)" in line


def test_old_records_are_read_where_there_is_no_new_one(folders, monkeypatch, timed):
    old = dataclasses.replace(timed(1.0), schema=1)
    monkeypatch.setattr(cost, "old_records", lambda: {old.experiment: old})
    assert cost.records_of(load_profile("mini")) == [old]
    new = timed(2.0)
    save_record(new)
    assert cost.records_of(load_profile("mini")) == [new]


def test_an_edition_without_records(folders):
    frame = cost.to_frame(cost.records_of(load_profile("mini")))
    assert frame.empty and cost.totals(frame).empty and cost.relative_cost(frame).empty
    assert cost.findings(frame).data == "None of these runs has a Record."
    for draw in (plots_cost.score_over_hours, plots_cost.score_over_steps, plots_cost.score_over_size):
        assert not any(axes.get_visible() for axes in draw(frame).axes)
    plt.close("all")


def test_records_of_another_scale_are_left_out(folders, timed, make_record):
    kept = [timed(1.0, task="sst2"), timed(1.0, task="qnli"), timed(1.0)]
    for record in (*kept, make_record(1.0, task="demo-pairs"), make_record(1.0, model="bert-base-uncased")):
        save_record(record)
    found = cost.records_of(load_profile("mini"))
    # In the profile's order, and tasks that it does not have last.
    assert [record.experiment.task for record in found] == ["mrpc", "sst2", "qnli"]
    (demo,) = cost.records_of(load_profile("demo"))
    assert demo.experiment.task == "demo-pairs"


@pytest.fixture
def frame(timed):
    records = [
        timed(36.0, score=70.0),
        timed(72.0, score=75.0, precision="2-2-8"),
        timed(72.0, score=60.0, side_by_side=2),
        timed(36.0, score=50.0, task="cola", layers=(1, 3, 5)),
        timed(36.0, score=51.0, task="cola", seed=7),
    ]
    return cost.to_frame(records).assign(**{"packed MiB": [4.0, 6.0, 4.0, 3.0, 4.0]})


def test_panels_hold_what_can_be_compared(frame):
    figure = plots_cost.score_over_hours(frame)
    visible = [axes for axes in figure.axes if axes.get_visible()]
    # The run beside another one is alone in its group.
    assert [a.get_title().splitlines()[0] for a in visible] == ["MRPC", "CoLA"]
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in visible[0].get_lines()]
    assert points == [(0.01, 70.0), (0.02, 75.0)]
    hollow, filled = visible[1].get_lines()
    assert hollow.get_markerfacecolor() == "white" != filled.get_markerfacecolor()
    marks = [line.get_marker() for line in visible[0].get_lines()]
    assert marks[0] != marks[1] and visible[0].get_xlabel() == "device hours of training steps"
    plt.close("all")


def test_steps_share_a_panel(frame):
    mrpc = plots_cost.score_over_steps(frame).axes[0]
    assert len(mrpc.get_lines()) == 3 and mrpc.get_xlabel() == "optimizer steps"
    plt.close("all")


def test_the_line_joins_runs_that_no_smaller_one_beats(frame):
    worse = frame.iloc[[1]].assign(score=40.0, **{"packed MiB": 60.0})
    mrpc = plots_cost.score_over_size(pd.concat([frame, worse])).axes[0]
    line = mrpc.get_lines()[-1]
    assert list(line.get_xdata()) == [4.0, 6.0] and list(line.get_ydata()) == [70.0, 75.0]
    assert mrpc.get_xscale() == "log"
    plt.close("all")
