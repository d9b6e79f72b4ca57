import csv
import gzip
import json

import browser_model
import numpy as np
import onnx
import pytest
import torch

from xtcq import QuantConfig, freeze, quantize
from xtcq.study import Experiment, load_student, run

TEACHER = Experiment(task="sst2", epochs=1, learning_rate=1e-3)
STUDENT = Experiment(task="sst2", epochs=1, learning_rate=1e-3, precision="1-1-8", stages="one-stage", teacher=TEACHER)
SENTENCES = ("w1 w2", "w96", " ".join(["w5"] * 40))


@pytest.fixture
def student(tiny_bert):
    return freeze(quantize(tiny_bert(), QuantConfig("1-1-8")).eval())


@pytest.fixture
def tokenizer(word_tokenizer):
    word_tokenizer.model_max_length = 16
    return word_tokenizer


@torch.no_grad()
def logits_of(student, tokenizer):
    inputs = [tokenizer(text, truncation=True, max_length=16, return_tensors="pt") for text in SENTENCES]
    return torch.cat([student(**one).logits for one in inputs])


def test_graph_computes_what_the_student_does(student, tokenizer):
    found = browser_model.run_graph(browser_model.to_graph(student, 16), tokenizer, SENTENCES)
    np.testing.assert_allclose(logits_of(student, tokenizer), found, atol=3e-4)


def test_positions_that_no_text_reaches_stay_behind(student):
    graph = onnx.load_from_string(browser_model.to_graph(student, 16)).graph
    shapes = [list(constant.dims) for constant in graph.initializer]
    assert [16, 32] in shapes and [64, 32] not in shapes


def test_student_in_floating_point_reads_the_weights_of_the_integers(student, tokenizer, tmp_path):
    integers = browser_model.to_graph(student, 16)
    browser_model.in_floating_point(student)
    floats = browser_model.to_graph(student, 16)
    kinds = [{node.op_type for node in onnx.load_from_string(graph).graph.node} for graph in (integers, floats)]
    assert ["QuantizeLinear" in of_graph for of_graph in kinds] == [True, False]
    small = browser_model.without_what_is_in(integers, "integers.onnx", floats)
    assert max(len(constant.raw_data) for constant in onnx.load_from_string(small).graph.initializer) < 1024
    (tmp_path / "integers.onnx").write_bytes(integers)
    (tmp_path / "floats.onnx").write_bytes(small)
    found = browser_model.run_graph(tmp_path / "floats.onnx", tokenizer, SENTENCES)
    np.testing.assert_array_equal(found, browser_model.run_graph(floats, tokenizer, SENTENCES))
    np.testing.assert_allclose(logits_of(student, tokenizer), found, atol=1e-5)


def test_vocabulary_is_in_the_order_of_the_ids(tokenizer, tmp_path):
    written = browser_model.write_vocabulary(tokenizer, tmp_path / "v.gz")
    pieces = gzip.decompress((tmp_path / "v.gz").read_bytes()).decode().split("\n")
    assert written == {"file": "v.gz", "bytes": (tmp_path / "v.gz").stat().st_size}
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "w0"] and pieces[100:] == ["w96", ""]


def test_everything_that_the_page_needs(taught, tmp_path, word_task, monkeypatch):
    monkeypatch.setattr(browser_model, "load_task", lambda name: word_task)
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "of-before.onnx.gz").write_bytes(b"")
    record, teacher = run(STUDENT), run(TEACHER)
    browser_model.write_page_model([record], folder)
    name, floats = (f"sst2-{STUDENT.digest}{kind}.onnx.gz" for kind in ("", "-fp32"))
    assert {path.name for path in folder.iterdir()} == {name, floats, "vocabulary.txt.gz", "models.json", "models.csv"}
    page = json.loads((folder / "models.json").read_text(encoding="utf-8"))
    assert page["labels"] == ["negative", "positive"] and page["max_length"] == 16
    assert page["sentences"] == list(browser_model.SENTENCES)
    model, floating = page["models"]
    assert (model["precision"], model["record"], model["file"]) == ("1-1-8", STUDENT.digest, name)
    assert (floating["precision"], floating["file"], floating["within"]) == ("1-1-32 in fp32", floats, name)
    assert [one["bytes"] for one in page["models"]] == [(folder / one["file"]).stat().st_size for one in page["models"]]
    tokenizer = load_student(STUDENT)[1]
    for one in page["models"]:
        (tmp_path / one["file"]).write_bytes(gzip.decompress((folder / one["file"]).read_bytes()))
        found = browser_model.run_graph(tmp_path / one["file"], tokenizer, page["sentences"])
        np.testing.assert_allclose(one["logits"], found, atol=1e-6)
    with (folder / "models.csv").open(encoding="utf-8", newline="") as file:
        small, same, large = csv.reader(file)
    assert small[:2] == [f"1-1-8 `{STUDENT.digest}`", f"{model['bytes'] / 1e6:.1f} MB"]
    assert same[:2] == [f"1-1-32 in fp32 `{STUDENT.digest}`", f"{floating['bytes'] / 1e3:.0f} kB beside the first"]
    megabytes = teacher.size["parameters"] * 4 / 1e6
    assert large[:2] == [f"32-32-32 `{TEACHER.digest}`", f"{megabytes:.1f} MB, not offered here"]
    for line, of in ((small, record), (same, record), (large, teacher)):
        assert float(line[2]) == pytest.approx(of.best["accuracy"], abs=2.2)  # one of 48 examples, and rounding


def test_same_student_gives_the_same_bytes(taught, tmp_path, word_task, monkeypatch):
    monkeypatch.setattr(browser_model, "load_task", lambda name: word_task)
    for name in ("a", "b"):
        browser_model.write_page_model([run(STUDENT)], tmp_path / name)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert first == second


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "mrpc", "precision": "1-1-8", "stages": "one-stage"}, "mrpc .* expected a quantized student of sst2"),
        ({"task": "sst2"}, "expected a quantized student of sst2"),
        ({"task": "sst2", "precision": "2-2-8", "stages": "one-stage"}, "are not on this machine: set XTCQ_RUNS"),
    ],
)
def test_other_students_are_refused_before_anything_is_deleted(fields, message, make_record, folders):
    if "precision" in fields:
        fields = fields | {"teacher": Experiment(task=fields["task"], epochs=3, learning_rate=1e-4)}
    kept = folders / "kept.onnx.gz"
    kept.write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        browser_model.write_page_model([make_record(**fields)], folders)
    assert kept.exists()
