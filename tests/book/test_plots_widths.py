import numpy as np
import pytest
from xtcq_book import plots_widths
from xtcq_book.plots_widths import MATRICES


def widths(layers, pooler=True):
    found = {
        f"bert.encoder.layer.{i}.{matrix}": (2 + (i + j) % 7, 8 - (i + j) % 7)
        for i in range(layers)
        for j, matrix in enumerate(MATRICES)
    }
    return found | ({"bert.pooler.dense": (3, 5)} if pooler else {})


def cells(axes):
    return {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts}


@pytest.mark.parametrize("layers", [1, 3, 12])
def test_every_matrix_has_its_cell(layers):
    figure = plots_widths.bits_by_layer(widths(layers), title="a title")
    weights, activations = (cells(axes) for axes in figure.axes[:2])
    assert len(weights) == len(activations) == 6 * layers + 1
    for i in range(layers):
        for j in range(6):
            assert (weights[i, j], activations[i, j]) == (str(2 + (i + j) % 7), str(8 - (i + j) % 7))
    # beside the last layer, one column apart
    assert (weights[layers - 1, 7], activations[layers - 1, 7]) == ("3", "5")
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == [*MATRICES.values(), "pooler"]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["weights", "activations"]


def test_means_over_runs_are_fractions_and_a_pooler_may_lack():
    figure = plots_widths.bits_by_layer({"encoder.layer.0.output.dense": (2.5, 3)})
    assert cells(figure.axes[0]) == {(0, 5): "2.5"} and cells(figure.axes[1]) == {(0, 5): "3"}


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="'classifier' is no matrix of a BERT encoder"):
        plots_widths.bits_by_layer({**widths(1), "classifier": (2, 2)})
    with pytest.raises(ValueError, match="beyond the scale of 2 to 8 bits"):
        plots_widths.bits_by_layer({"bert.pooler.dense": (1, 4)})


def report(granularity, trace, frozen):
    return {"granularity": granularity, "trace": trace, "frozen": frozen}


def test_traces_of_a_network_show_widths_integers_and_freezing():
    trace = [[0, 0, 0, 4.0], [0, 1, 0, 4.0], [1, 0, 0, 3.4], [1, 1, 0, 3.9], [2, 1, 0, 3.2]]
    found = report("network", trace, {"weights": [True], "activations": [False]})
    figure = plots_widths.width_traces({"MRPC": found})
    axes = figure.axes[0]
    lines = [(list(line.get_xdata()), list(line.get_ydata()), line.get_marker()) for line in axes.lines]
    assert ([0, 1], [4.0, 3.4], "None") in lines
    assert ([0, 1, 2], [4.0, 3.9, 3.2], "None") in lines
    assert ([0, 1], [4.0, 4.0], "None") in lines  # the integers in use
    marks = [(x[0], y[0]) for x, y, marker in lines if marker == "X"]
    assert marks == [(1, 4.0)]  # frozen at the integer in use, ceil(3.4)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("exploration (optimizer steps)", "width (bits)")


def test_traces_of_layers_are_a_line_each():
    trace = [[step, role, layer, 4 - 0.1 * step] for step in range(3) for role in (0, 1) for layer in range(4)]
    frozen = {"weights": [True, False, True, False], "activations": [False] * 4}
    figure = plots_widths.width_traces({name: report("layer", trace, frozen) for name in ("A", "B", "C")})
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == ["A", "B", "C"]
    for axes in shown:
        plain = [line for line in axes.lines if line.get_marker() == "None"]
        assert len(plain) == 8 and len(axes.lines) == 8 + 2
        assert all(np.allclose(line.get_ydata(), [4, 3.9, 3.8]) for line in plain)
