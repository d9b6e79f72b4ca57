import math

import numpy as np
import pandas as pd
import pytest
import torch
from xtcq_book.chapters import geometry

from xtcq.quantization import QuantConfig, quantize
from xtcq.study import load_profile, runs_folder, save_record


@pytest.fixture
def pair(tiny_bert):
    """A full-precision model and a 1-bit student that began with its weights and was not trained."""
    origin = tiny_bert(layers=2)
    student = tiny_bert(layers=2)
    student.load_state_dict(origin.state_dict())
    return origin, quantize(student, QuantConfig("1-1-8"))


def _query(model):
    return model.bert.encoder.layer[0].attention.self.query


def test_without_training_only_rounding_is_left(pair):
    frame = geometry.distances(*pair)
    assert len(frame) == 2 * 6 + 1
    assert (frame[frame["layer"] == 0]["matrix"] == geometry.WORDS).all()
    assert list(frame["matrix"][:6]) == ["query", "key", "value", "attention output", "intermediate", "output"]
    assert (frame["latent"] == 0).all() and (frame["flipped"] == 0).all()
    assert frame["binary"].to_list() == frame["untrained"].to_list()
    weight = _query(pair[0]).weight.detach().double()
    # |W - a sign W|^2 = |W|^2 - n a^2 with a the mean magnitude.
    expected = math.sqrt(weight.square().sum() - weight.numel() * weight.abs().mean() ** 2)
    assert frame["binary"][0] == pytest.approx(expected, rel=1e-5)
    assert frame["norm"][0] == pytest.approx(weight.square().sum().sqrt().item(), rel=1e-5)
    assert frame["relative untrained"][0] == pytest.approx(expected / weight.norm().item(), rel=1e-5)


def test_what_training_moved_is_measured_where_it_moved(pair):
    origin, student = pair
    before = geometry.distances(origin, student)
    with torch.no_grad():
        # Three of the signs turn, and nothing else changes.
        _query(student).weight[0, :3] *= -1
    frame = geometry.distances(origin, student)
    moved = _query(origin).weight.detach()[0, :3]
    assert frame["latent"][0] == pytest.approx(2 * moved.norm().item(), rel=1e-5)
    assert frame["flipped"][0] == pytest.approx(100 * 3 / _query(origin).weight.numel(), rel=1e-5)
    assert frame["untrained"].to_list() == before["untrained"].to_list()
    # The scale is the same, so each turned weight is now |w| + a from its origin instead of ||w| - a|.
    scale = _query(origin).weight.detach().abs().mean()
    grown = ((moved.abs() + scale) ** 2 - (moved.abs() - scale) ** 2).sum().item()
    assert frame["binary"][0] ** 2 - before["binary"][0] ** 2 == pytest.approx(grown, rel=1e-3)
    assert (frame["latent"][1:] == 0).all()


def test_histograms_count_every_weight_of_a_part(pair):
    _, student = pair
    with torch.no_grad():
        # Two scales, 0.25 and 0.75, in the matrices; the table's rows all have 0.5.
        for block in student.bert.encoder.layer:
            for module in (m for m in block.modules() if isinstance(m, torch.nn.Linear)):
                module.weight.fill_(0.25)
        _query(student).weight.fill_(-0.75)
        student.bert.embeddings.word_embeddings.weight.fill_(0.5)
    shapes = geometry.histograms(student, np.array([-1.0, -0.6, 0.0, 0.4, 1.0]))
    shares = shapes.pivot(index="left", columns=["part", "weights"], values="share")
    total = sum(m.weight.numel() for b in student.bert.encoder.layer for m in b.modules() if hasattr(m, "lora_u"))
    query = 100 * _query(student).weight.numel() / total
    assert shares["matrices", "binary"].to_list() == pytest.approx([query, 0, 100 - query, 0])
    assert shares["word embedding", "latent"].to_list() == [0, 0, 0, 100]


def test_the_counterpart_is_where_the_weights_come_from():
    mini = load_profile("mini")
    small = mini.small("mrpc", 3, "1-1-8")
    assert geometry.counterpart(small) == mini.reduced("mrpc", 3)
    deep = mini.student("mrpc", precision="1-1-8", stages="one-stage")
    assert geometry.counterpart(deep) == mini.teacher("mrpc")


def test_weights_are_there_only_with_those_of_the_counterpart(folders, make_record):
    student = load_profile("mini").student("mrpc", precision="1-1-8", stages="one-stage")
    for experiment, there in ((student, False), (student.teacher, True)):
        save_record(make_record(80.0, **vars(experiment)))
        path = runs_folder() / experiment.digest / "student.safetensors"
        path.parent.mkdir(parents=True)
        path.touch()
        assert geometry.has_weights(student) is there


@pytest.fixture
def measured(pair, monkeypatch, make_record):
    """Distances and histograms of two runs on one task: the second turned 3 signs and moved nothing else."""
    origin, still = pair
    with torch.no_grad():
        # A breath, other in each matrix: ranks need values that differ.
        for i, (_, _, module) in enumerate(geometry._matrices(still), start=1):
            module.weight *= 1 + i * 1e-6
    moved = quantize(type(origin)(origin.config), QuantConfig("1-1-8"))
    moved.load_state_dict(still.state_dict())
    with torch.no_grad():
        _query(moved).weight[0, :3] *= -1
    fields = {"precision": "1-1-8", "teacher": load_profile("mini").teacher("mrpc")}
    first = make_record(80.0, task="mrpc", stages="one-stage", **fields)
    second = make_record(81.0, task="mrpc", stages="three-stage", **fields)
    # The weights are those of the best evaluation of the whole plan, whatever its stage.
    for step, stage, score in ((20, 0, 60.0), (30, 0, 90.0), (40, 1, 65.0)):
        metrics = {"accuracy": score, "f1": 1.0}
        first.history.append({**first.history[0], "step": step, "stage": stage, "metrics": metrics})
    models = {first.experiment: still, second.experiment: moved}
    records = {record.experiment: record for record in (first, second)}
    monkeypatch.setattr(geometry, "trained_student", lambda e: (models.get(e, origin), None))
    monkeypatch.setattr(geometry, "run", lambda e: records[e])
    return geometry.measure(models, label=lambda experiment: experiment.stages)


def test_runs_are_measured_with_the_step_of_their_best_evaluation(measured):
    frame, shapes = measured
    assert frame.groupby("run")["step"].first().to_dict() == {"one-stage": 30, "three-stage": 10}
    assert set(frame["task"]) == set(shapes["task"]) == {"MRPC"}
    table = geometry.summary(frame)
    assert list(table.index) == [
        ("MRPC", part, run) for part in ("matrices", geometry.WORDS) for run in ("one-stage", "three-stage")
    ]
    assert table.loc[("MRPC", "matrices", "one-stage"), "latent"] == pytest.approx(0, abs=1e-4)
    inner = frame[(frame["run"] == "three-stage") & (frame["layer"] > 0)]
    assert table.loc[("MRPC", "matrices", "three-stage"), "latent"] == pytest.approx(inner["latent"].sum() / 12)
    row = table.loc[("MRPC", "matrices", "three-stage")]
    assert row["binary %"] == pytest.approx(100 * inner["relative binary"].mean())
    assert row["flipped %"] == pytest.approx(inner["flipped"].mean()) and row["step"] == 10


def test_nothing_to_measure_is_said(measured):
    apart, shapes = geometry.measure([], label=lambda experiment: experiment.stages)
    for empty, full in zip((apart, shapes), measured, strict=True):
        assert empty.empty and set(empty) == set(full)
    assert list(geometry.summary(apart)) == list(geometry.summary(measured[0]))
    assert geometry.comparison(apart, shapes).empty
    assert geometry.distance_panels(apart).figure is None and geometry.histogram_panels(shapes).figure is None


def test_runs_are_compared_matrix_by_matrix(measured, pair):
    frame, shapes = measured
    first, second = (row for _, row in geometry.comparison(frame, shapes).iterrows())
    assert (second["farther"], second["matrices"]) == (1, 12) and math.isnan(first["farther"])
    latent = frame[(frame["run"] == "three-stage") & (frame["layer"] == 1)]["relative latent"]
    assert second["first layer %"] == pytest.approx(100 * latent.mean())
    # Three weights of the query turned: everything else lies under both histograms.
    total = sum(module.weight.numel() for layer, _, module in geometry._matrices(pair[1]) if layer)
    assert second["overlap %"] == pytest.approx(100 * (1 - 3 / total), abs=0.01)


def test_the_rank_of_distance_and_depth():
    rows = [
        {"task": "T", "run": run, "layer": layer, "matrix": "query", "relative latent": distance}
        for run, distances in (("a", (0.1, 0.2, 0.3)), ("b", (0.3, 0.2, 0.1)))
        for layer, distance in enumerate(distances, start=1)
    ]
    shapes = pd.DataFrame({"task": "T", "part": "matrices", "weights": "latent", "left": 0.0, "share": [100.0, 100.0]})
    table = geometry.comparison(pd.DataFrame(rows), shapes.assign(run=["a", "b"])).droplevel("task")
    assert table["ρ depth"].to_list() == pytest.approx([1, -1]) and table.loc["b", "ρ runs"] == pytest.approx(-1)
    assert table.loc["b", ["farther", "overlap %", "last layer %"]].to_list() == [1, 100, 10]


def test_figures_show_every_point(measured):
    frame, shapes = measured
    left, right = geometry.distance_panels(frame).figure.axes
    drawn = [[points.get_offsets()[:, 1] for points in axes.collections] for axes in (left, right)]
    # Twelve matrices a run, and for binary weights what rounding alone does.
    assert [sum(map(len, points)) for points in drawn] == [24, 36]
    assert max(drawn[0][0]) == pytest.approx(100 * frame["relative latent"].max())
    assert left.get_ylabel() == "distance (% of the norm)" and left.get_xlabel() == "layer"
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["MRPC, latent weights", "MRPC, binary weights"]
    (legend,) = left.figure.legends
    assert {"one-stage", "three-stage", "without training"} == {text.get_text() for text in legend.get_texts()}
    panels = geometry.histogram_panels(shapes).figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == [
        "matrices, latent weights", "matrices, binary weights",
        "word embedding, latent weights", "word embedding, binary weights",
    ]  # fmt: skip
