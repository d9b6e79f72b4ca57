import dataclasses
import json
import re

import numpy as np
import pytest
from xtcq_book import bit_widths
from xtcq_book.columns import MATRICES
from xtcq_book.frame import to_frame

from xtcq.study import load_profile

MINI = load_profile("mini")
QUERY, POOLER = "bert.encoder.layer.0.attention.self.query", "bert.pooler.dense"


@pytest.fixture
def explored(make_record):
    """A Record of a run that learned the widths of two layers."""

    def build(experiment, widths=((2, 4), (4, 3)), **changed):
        found = {
            "granularity": "layer",
            "widths": {QUERY: list(widths[0]), POOLER: list(widths[1])},
            "mean_weights": (widths[0][0] + widths[1][0]) / 2,
            "mean_activations": (widths[0][1] + widths[1][1]) / 2,
            "steps": 3,
            "ended": "budget",
            "eta": 12.0,
            "reach": 1.5,
            "oscillations": {"weights": [1, 0], "activations": [2, 0]},
            "frozen": {"weights": [True, False], "activations": [False, False]},
            # Weights of the first layer from 4 to 2 bits, then activations of the second from 4 to 3.
            "trace": [[0, 0, 0, 2.5], [1, 0, 0, 1.5], [2, 1, 1, 2.6]],
            "groups": [[QUERY], [POOLER]],
            "departures": [],
        }
        bitops = 10 * sum(experiment.matrices.values())
        return dataclasses.replace(make_record(80.0, **vars(experiment)), exploration=found | changed, bitops=bitops)

    return build


def widths(layers):
    found = {
        f"bert.encoder.layer.{i}.{matrix}": (2 + (i + j) % 7, 8 - (i + j) % 7)
        for i in range(layers)
        for j, matrix in enumerate(MATRICES)
    }
    return found | {POOLER: (3, 5)}


def cells(shown):
    """Bits by side, layer and matrix, as the chart has them that a script draws."""
    charts = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', shown.data)]
    values = [row for chart in charts for data in chart["data"] for row in data.get("values", ())]
    return {(row["side"], row["layer"], row["matrix"]): (row["bits"], row["at rest"]) for row in values}


@pytest.mark.parametrize("layers", [1, 3, 12])
def test_every_matrix_has_its_cell(layers, explored):
    rests = {side: [True] * (6 * layers + 1) for side in bit_widths.SIDES}
    record = explored(MINI.learned("mrpc"), widths=[(2, 4)] * 2)
    groups = [[name] for name in widths(layers)]
    record.exploration.update(widths=widths(layers), frozen=rests, groups=groups)
    drawn = bit_widths.bits_by_layer(record, title="a title")
    found = cells(drawn)
    assert len(found) == 2 * (6 * layers + 1) and all(rest for _, rest in found.values())
    for i in range(layers):
        for j, matrix in enumerate(MATRICES.values()):
            sides = [found[side, i + 1, matrix][0] for side in bit_widths.SIDES]
            assert sides == [2 + (i + j) % 7, 8 - (i + j) % 7]
    # Beside the last layer.
    assert [found[side, layers, "pooler"][0] for side in bit_widths.SIDES] == [3, 5]
    least = sum(bits == 2 for bits, _ in found.values())
    assert f"a title: {least} of {12 * layers + 2} widths are 2 bits." in drawn.data


def test_a_width_that_did_not_come_to_rest_is_told_apart(explored):
    found = bit_widths.bits_by_layer(explored(MINI.learned("mrpc")))
    assert {key: rest for key, (_, rest) in cells(found).items()} == {
        ("weights", 1, "query"): True, ("weights", 1, "pooler"): False,
        ("activations", 1, "query"): False, ("activations", 1, "pooler"): False,
    }  # fmt: skip
    assert "3 had not come to rest" in found.data and record_link(found)


def test_equal_widths_at_rest_need_no_map(explored):
    rests = {side: [True, True] for side in bit_widths.SIDES}
    shown = bit_widths.bits_by_layer(explored(MINI.learned("mrpc"), widths=((2, 2), (2, 2)), frozen=rests), "a title")
    assert "a title: 4 of 4 widths are 2 bits." in shown.data and record_link(shown) and not cells(shown)


def record_link(shown):
    return re.search(r'<a href="\.\./records/[0-9a-f]{16}\.json">', shown.data)


def test_a_group_that_moves_moves_all_its_layers(explored):
    other = QUERY.replace(".0.", ".1.")
    record = explored(MINI.learned("mrpc"), groups=[[QUERY, other], [POOLER]])
    record.exploration["widths"][other] = [2, 4]
    moving = {key for key, (_, rest) in cells(bit_widths.bits_by_layer(record)).items() if not rest}
    assert moving == {
        ("activations", 1, "query"),
        ("activations", 2, "query"),
        *((side, 2, "pooler") for side in bit_widths.SIDES),
    }


def test_widths_that_were_chosen_are_at_rest(make_record):
    chosen = MINI.student("mrpc", recipe="adaqat", precision="4-4-4")
    chosen = dataclasses.replace(chosen, allocation={name: (2, 4) for name in chosen.matrices})
    assert all(rest for _, rest in cells(bit_widths.bits_by_layer(make_record(**vars(chosen)))).values())


def test_the_table_says_where_widths_came_to_rest(explored, make_record):
    learned = explored(MINI.learned("mrpc")), explored(MINI.learned("mrpc", order="published"))
    frame = bit_widths.explored(to_frame([*learned, make_record()]), by="exploration")
    row = frame.loc[("MRPC", "paper", 42)]
    assert (row["W"], row["A"], row["bits²"], row["frozen %"], row["oscillations"]) == (3.0, 3.5, 10.0, 25.0, 3)
    assert list(frame.index.get_level_values("exploration")) == ["paper", "published order"]


def test_an_exploration_says_in_what_it_was_unlike_the_papers(explored):
    lacked = explored(MINI.learned("sst2"), departures=["3 widths were not frozen", "rate"])
    found = bit_widths.explored(to_frame([lacked, explored(MINI.learned("rte"))]))["unlike the paper"]
    assert found.tolist() == ["3 widths were not frozen; rate", "nothing"]


def test_means_over_runs_by_layer_and_by_kind_of_matrix(explored):
    other = QUERY.replace(".0.", ".1.")
    learned = [explored(MINI.learned("mrpc")), explored(MINI.learned("rte"), widths=((4, 4), (4, 5)))]
    assert bit_widths.mean_widths(learned) == {QUERY: (3.0, 4.0), POOLER: (4.0, 4.0)}
    learned[0].exploration["widths"][other] = [6, 8]
    means = bit_widths.by_matrix(learned)
    assert means.loc["query"].to_list() == [4.5, 6.0] and means.loc["pooler"].to_list() == [4.0, 4.0]
    assert bit_widths.by_matrix([]).empty and bit_widths.mean_widths([]) == {}


def test_traces_of_a_network_show_widths_integers_and_freezing(explored):
    trace = [[0, 0, 0, 4.0], [0, 1, 0, 4.0], [1, 0, 0, 3.4], [1, 1, 0, 3.9], [2, 1, 0, 3.2]]
    frozen = {"weights": [True], "activations": [False]}
    record = explored(MINI.learned("mrpc"), granularity="network", trace=trace, frozen=frozen)
    (axes,) = bit_widths.width_traces(to_frame([record])).figure.axes
    lines = [(list(line.get_xdata()), list(line.get_ydata()), line.get_marker()) for line in axes.lines]
    assert ([0, 1], [4.0, 3.4], "None") in lines and ([0, 1, 2], [4.0, 3.9, 3.2], "None") in lines
    assert ([0, 1], [4.0, 4.0], "None") in lines  # the integers in use
    marks = [(x[0], y[0]) for x, y, marker in lines if marker == "X"]
    assert marks == [(1, 4.0)]  # frozen at the integer in use, ceil(3.4)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("exploration (optimizer steps)", "width (bits)")


def test_integers_in_use_stay_within_the_panels(explored):
    trace = [[0, 0, 0, 4.0], [0, 1, 0, 4.0], [1, 0, 0, 3.1], [1, 1, 0, 4.1], [2, 0, 0, 3.1], [2, 1, 0, 4.1]]
    tried = [MINI.learned("mrpc", learning_rate=rate) for rate in (1e-4, 2e-4)]
    runs = to_frame([explored(experiment, granularity="network", trace=trace) for experiment in tried])
    for axes in bit_widths.width_traces(runs, by=["learning rate"]).figure.axes:
        assert max(line.get_ydata().max() for line in axes.lines if len(line.get_ydata())) == 5 < axes.get_ylim()[1]


def test_traces_of_layers_are_a_line_each(explored):
    trace = [[step, role, layer, 4 - 0.1 * step] for step in range(3) for role in (0, 1) for layer in range(4)]
    frozen = {"weights": [True, False, True, False], "activations": [False] * 4}
    records = [explored(MINI.learned(task), trace=trace, frozen=frozen) for task in ("mrpc", "rte", "cola")]
    figure = bit_widths.width_traces(to_frame(records)).figure
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["MRPC", "RTE", "CoLA"]
    for axes in figure.axes:
        drawn = [line for line in axes.lines if len(line.get_xdata())]
        plain = [line for line in drawn if line.get_marker() == "None"]
        assert len(plain) == 8 and len(drawn) == 8 + 2
        assert all(np.allclose(line.get_ydata(), [4, 3.9, 3.8]) for line in plain)


def test_mean_traces_follow_the_widths_in_use(explored):
    (axes,) = bit_widths.mean_traces(to_frame([explored(MINI.learned("mrpc"))])).figure.axes
    weights, activations = (line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata()))
    assert weights == [[0, 4], [1, 3.5], [2, 3], [3, 3]]
    assert activations == [[0, 4], [3, 3.5]]


def test_mean_traces_of_groups_count_every_layer(explored):
    record = explored(MINI.learned("mrpc"), granularity="kind", trace=[[0, 0, 0, 2.9], [1, 0, 1, 1.7], [2, 1, 0, 4.0]])
    query = [QUERY, QUERY.replace(".0.", ".1.")]
    record.exploration["widths"][query[1]] = [3, 4]
    record.exploration["groups"] = [query, [POOLER]]
    (axes,) = bit_widths.mean_traces(to_frame([record])).figure.axes
    weights, _ = (line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata()))
    assert weights == [[0, 4], [1, (3 + 3 + 4) / 3], [2, (3 + 3 + 2) / 3], [3, (3 + 3 + 2) / 3]]


@pytest.mark.parametrize("draw", [bit_widths.width_traces, bit_widths.mean_traces])
def test_runs_that_learned_no_widths_have_no_trace(draw, make_record):
    for records in ([], [make_record()]):
        assert draw(to_frame(records)).figure is None
