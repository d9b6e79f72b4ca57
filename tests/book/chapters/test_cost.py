import dataclasses

import pandas as pd
import pytest
from xtcq_book.chapters import cost, errata
from xtcq_book.frame import to_frame
from xtcq_book.svg import GREY

from xtcq.quantization.cost import MIB
from xtcq.study import load_profile
from xtcq.study.records import save_record


@pytest.fixture
def timed(make_record):
    """A function that makes a student of MRPC that took some seconds for its 10 steps."""
    mini = load_profile("mini")

    def build(seconds, device="CPU", side_by_side=1, score=80.0, task="mrpc", **fields):
        student = mini.student(task, **{"stages": "one-stage", "precision": "1-1-8"} | fields)
        record = make_record(score, **vars(student))
        times = {"train_seconds": seconds, "wall_seconds": 2 * seconds}
        return dataclasses.replace(record, device=device, side_by_side=side_by_side, **times)

    return build


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
    table = cost.relative_cost(to_frame(records))
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
    table = cost.relative_cost(to_frame(records))
    # The geometric mean of 10 and 40 is 20.
    assert table["times"].to_list() == [pytest.approx(0.5)] and table["pairs"].to_list() == [1]


def test_layers_precision_and_augmentation_are_compared_too(timed):
    records = [
        timed(10.0),
        timed(6.0, layers=(1, 3, 5)),
        timed(8.0, precision="2-2-8"),
        timed(11.0, augmentation="neighbours"),
    ]
    times = cost.relative_cost(to_frame(records))["times"].droplevel(["device", "side by side"])
    assert times.to_dict() == {
        ("layers", "skip 3", "all"): pytest.approx(0.6),
        ("W-E-A", "2-2-8", "1-1-8"): pytest.approx(0.8),
        ("augmentation", "neighbours", "none"): pytest.approx(1.1),
    }


def test_sums_by_group_of_comparable_times(timed):
    records = [timed(3600.0, side_by_side=2), timed(1800.0), timed(1800.0, task="cola"), timed(3600.0, seed=7)]
    table = cost.totals(to_frame(records))
    assert table.index.to_list() == [("CPU, fp32", 1, "MRPC"), ("CPU, fp32", 1, "CoLA"), ("CPU, fp32", 2, "MRPC")]
    assert table["hours"].to_list() == [1.5, 0.5, 1.0]
    assert table["runs"].to_list() == [2, 1, 1] and table["steps"].to_list() == [20, 10, 10]
    assert table["% of wall time"].to_list() == [50.0] * 3


def test_records_of_another_scale_are_left_out(folders, timed, make_record):
    kept = [timed(1.0, task="sst2"), timed(1.0, task="qnli"), timed(1.0)]
    generated = make_record(1.0, task="demo-pairs", model="minilm-demo")
    for record in (*kept, generated, make_record(1.0, model="bert-base-uncased")):
        save_record(record)
    found = cost.records_of(load_profile("mini"))
    # In the profile's order, and tasks that it does not have last.
    assert [record.experiment.task for record in found] == ["mrpc", "sst2", "qnli"]
    (demo,) = cost.records_of(load_profile("demo"))
    assert demo.experiment.task == "demo-pairs"


def test_how_far_apart_times_are_that_should_be_equal(timed):
    records = [timed(100.0), timed(120.0, seed=7), timed(72.0, lora_rank=1), timed(60.0, lora_rank=1, seed=7)]
    records += [timed(90.0, stages="two-stage"), timed(140.0, stages="two-stage", seed=7)]
    records += [timed(80.0, precision="2-2-8"), timed(1.0, side_by_side=2)]
    frame = to_frame(records)
    assert cost.spread(frame).loc[("CPU, fp32", 1)].to_dict() == pytest.approx(
        {"configurations": 3, "median": 1.2, "largest": 140 / 90}
    )
    assert len(cost.spread(frame)) == 1


def test_an_edition_without_records(folders):
    frame = to_frame(cost.records_of(load_profile("mini")))
    for table in (cost.totals, cost.spread, cost.relative_cost, cost.students):
        assert table(frame).empty
    assert cost.lost_over_minutes(frame).figure is None and cost.score_over_size(frame).figure is None


@pytest.fixture
def frame(timed):
    records = [
        timed(36.0, score=70.0),
        timed(72.0, score=75.0, precision="2-2-8"),
        timed(72.0, score=60.0, side_by_side=2),
        timed(36.0, score=50.0, task="cola", layers=(1, 3, 5)),
        timed(36.0, score=51.0, task="cola", seed=7),
    ]
    return to_frame(records).assign(**{"packed MiB": [4.0, 6.0, 4.0, 3.0, 4.0]})


def _points(axes):
    return [tuple(map(float, point)) for drawn in axes.collections for point in drawn.get_offsets()]


def test_what_is_lost_over_minutes_is_compared_on_one_machine_alone(frame, timed):
    teacher = timed(1.0, score=80.0)
    figure = cost.lost_over_minutes(
        frame.assign(**{"minus teacher": frame["best"] - 80.0}).assign(reference=teacher)
    ).figure
    # The run beside another one is alone in its group.
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["CPU, fp32, 1 side by side"]
    (axes,) = figure.axes
    # 36 seconds are 0.6 minutes.
    assert _points(axes) == [(0.6, 10.0), (1.2, 5.0), (0.6, 30.0), (0.6, 29.0)]
    assert cost.lost_over_minutes(frame).figure is None, "no teacher, nothing lost"


def test_the_line_joins_runs_that_no_smaller_one_beats(frame):
    worse = frame.iloc[[1]].assign(best=40.0, **{"packed MiB": 60.0})
    mrpc = cost.score_over_size(pd.concat([frame, worse], ignore_index=True)).figure.axes[0]
    (line,) = (line for line in mrpc.get_lines() if line.get_color() == GREY)
    assert list(line.get_xdata()) == [4.0, 6.0] and list(line.get_ydata()) == [70.0, 75.0]
    assert mrpc.get_xscale() == "log"


@pytest.fixture(scope="module")
def printed():
    return cost.printed_sizes()


def test_every_printed_size_is_computed_again(printed, bert):
    assert len(printed) == 17 and not printed.index.duplicated().any()
    row = printed.loc[(6, 1, 0)]
    assert (row["tables"], row["printed"], row["printed ratio"]) == ("C.8, C.15", 8.0, 52.3)
    assert row["nominal"] == pytest.approx(bert(6).matrices / 8 / MIB)
    assert row["printed - nominal"] == pytest.approx(8.0 - row["nominal"])
    full = printed.loc[(6, 32, 0)]
    assert full["packed"] == pytest.approx(4 * bert(6).parameters / MIB)
    assert full["packed ratio"] == pytest.approx(bert(12).parameters / bert(6).parameters)


def test_the_rule_behind_a_size_is_found(printed):
    rules = printed["rule"].to_dict()
    assert rules[12, 1, 0] == rules[4, 2, 0] == "matrices at their bits"
    assert rules[12, 2, 0] == "none; the ratio 16.0 fits the computed size: a misprint"
    # 15.948 rounds to 15.9, and 14.525 to 14.5.
    assert rules[6, 2, 0] == "twice the printed 8.0" and rules[5, 2, 1] == "twice the printed 7.3"
    # A LoRA weight takes 2 bytes here, which gives 8.132 MiB, and 4 bytes there, which gives 12.784.
    assert rules[6, 1, 1] == rules[4, 2, 1] == "matrices at their bits"


def test_the_nominal_size_counts_lora_by_the_reading_that_gives_most_printed_numbers(printed, bert):
    """Sizes of LoRA by hand: 13,824 weights a layer at rank 1."""
    readings = cost.lora_readings(printed)
    fitting = readings["all"].str.partition(" of ")[0].astype(int)
    assert readings.columns.to_list() == ["sizes, 1 bit", "ratios, 1 bit", "sizes, 2 bits", "ratios, 2 bits", "all"]
    assert fitting.to_dict() == {"2 bytes": 4, "4 bytes": 3, "2 bytes at 1 bit, 4 bytes at 2 bits": 7}
    assert readings.loc["4 bytes"].to_list() == ["0 of 3", "0 of 2", "1 of 3", "2 of 2", "3 of 10"]
    # What this reading misses is twice a number that was rounded before.
    assert printed.loc[(5, 2, 1), "printed"] == 2 * printed.loc[(5, 1, 1), "printed"]
    assert printed.loc[(6, 2, 1), "printed"] == 2 * printed.loc[(6, 1, 1), "printed"]
    assert printed.loc[(4, 1, 1), "printed ratio"] == 2 * printed.loc[(4, 2, 1), "printed ratio"]
    for layers in (6, 5, 4):
        for bits, width in ((1, 2), (2, 4)):
            size = bert(layers).matrices * bits / 8 + width * 13_824 * layers
            assert printed.loc[(layers, bits, 1), "nominal"] == pytest.approx(size / MIB)


def test_errata_and_page_have_the_same_computed_sizes(printed):
    nominal = {f"{size:.3f}" for size in printed["nominal"]}
    listed = {d.recomputed for d in errata.disagreements().itertuples() if d.rule == "matrices at their bits, MiB"}
    assert len(listed) > 3 and listed <= nominal
    assert {row["printed"] for _, row in printed[printed["rule"] != "matrices at their bits"].iterrows()} == {
        float(d.printed) for d in errata.disagreements().itertuples() if d.rule == "matrices at their bits, MiB"
    }


def test_rules_are_counted(printed):
    rules = cost.rules(printed)
    assert rules["sizes"].to_dict() == {"none": 1, "matrices at their bits": 12, "twice the printed 1-bit size": 4}
    assert rules.loc["none", "farthest"] == pytest.approx(26.8 - 26.07, abs=5e-3)
    # 4 layers at 1 bit take 10.2 MiB where 6.3 are printed.
    assert rules.loc["matrices at their bits", "most"] == pytest.approx(10.2 / 6.3, abs=1e-2)


def test_our_students_stand_with_the_best_of_their_plans_and_rates(make_record):
    mini = load_profile("mini")

    def record(score, experiment, packed):
        found = make_record(score, **vars(experiment))
        return dataclasses.replace(found, size=found.size | {"packed_mib": packed})

    def student(score, packed=4.0, **fields):
        fixed = {"precision": "1-1-8", "stages": "one-stage"}
        return record(score, mini.student("mrpc", **fixed | fields), packed)

    records = [
        record(84.0, mini.teacher("mrpc"), 86.0),
        # The best single run belongs to the worse rate.
        student(70.0, learning_rate=1e-4, seed=1),
        student(76.0, learning_rate=1e-4, seed=2),
        student(90.0, learning_rate=5e-4, seed=1),
        student(50.0, learning_rate=5e-4, seed=2),
        student(71.0, stages="two-stage", learning_rate=1e-4, seed=1),
        student(60.0, packed=3.0, precision="1-1-8", layers=(1, 3, 5)),
        # Trained on labels, but no level to compare with.
        student(77.0, packed=5.0, precision="2-4-4", recipe="adaqat", stages="finetune", teacher=None),
    ]
    assert cost.teachers_of(records) == records[:1]
    table = cost.students(to_frame(records, records[:1]))
    assert table.index.names == ["task", "layers", "W-E-A", "recipe", "LoRA rank", "steps"]
    assert table["packed MiB"].to_list() == [3.0, 4.0, 5.0, 86.0]
    row = table.loc[("MRPC", "all 6", "1-1-8", "xtc", 0, 10)]
    assert (row["best"], row["of"], row["minus teacher"]) == (73.0, 3, -11.0)
    # A task without its teacher's Record has no difference.
    assert cost.students(to_frame(records[1:]))["minus teacher"].isna().all()
    assert cost.students(to_frame([])).empty


def test_embedding_tables_of_the_second_paper():
    tables = cost.embedding_tables()
    assert len(tables) == 9 and tables.index.is_unique
    words, segments, positions = 30_522, 2, 512
    for widths, row in tables.iterrows():
        token, segment, position = map(int, widths.split("-"))
        bits = token * words + segment * segments + position * positions
        assert row["BERT-base"] == pytest.approx(768 * bits / 8e6)
        assert row["MiniLM-L6"] == pytest.approx(384 * bits / 8e6)
        assert row["CR"] == pytest.approx(32 * (words + segments + positions) / bits)
        assert abs(row["printed"] - row["BERT-base"]) < 0.03
