import csv
import gzip
import json

import browser_model
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from xtcq import QuantConfig, quantize
from xtcq.study import Experiment, run

TEACHER = Experiment(task="sst2", epochs=1, learning_rate=1e-3)
STUDENT = Experiment(task="sst2", epochs=1, learning_rate=1e-3, precision="1-1-8", stages="one-stage", teacher=TEACHER)
SENTENCES = ("w1 w2", "w96", " ".join(["w5"] * 40))


@pytest.fixture
def student(tiny_bert):
    return quantize(tiny_bert(), QuantConfig("1-1-8")).eval()


@pytest.fixture
def tokenizer(word_tokenizer):
    word_tokenizer.model_max_length = 16
    return word_tokenizer


def graph_of(path):
    return onnx.load_from_string(gzip.decompress(path.read_bytes()))


def test_file_unpacks_to_the_graph_that_gave_the_logits(student, tokenizer, tmp_path):
    written = browser_model.write_model(student, tokenizer, tmp_path / "m.onnx.gz", SENTENCES)
    assert written["file"] == "m.onnx.gz" and written["bytes"] == (tmp_path / "m.onnx.gz").stat().st_size
    graph = graph_of(tmp_path / "m.onnx.gz").SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for sentence, logits in zip(SENTENCES, written["logits"], strict=True):
        encoding = tokenizer(sentence, truncation=True, max_length=16, return_tensors="np", return_token_type_ids=True)
        assert len(encoding["input_ids"][0]) <= 16
        np.testing.assert_allclose(session.run(["logits"], dict(encoding))[0][0], logits, atol=1e-6)
        with torch.no_grad():
            expected = student(**encoding.convert_to_tensors("pt", prepend_batch_axis=False)).logits[0]
        np.testing.assert_allclose(expected, logits, atol=3e-4)


def test_positions_that_no_text_reaches_stay_behind(student, tokenizer, tmp_path):
    browser_model.write_model(student, tokenizer, tmp_path / "m.onnx.gz", SENTENCES)
    shapes = [list(constant.dims) for constant in graph_of(tmp_path / "m.onnx.gz").graph.initializer]
    assert [16, 32] in shapes and [64, 32] not in shapes


def test_same_student_gives_the_same_bytes(tiny_bert, tokenizer, tmp_path):
    for name in ("a", "b"):
        model = quantize(tiny_bert(), QuantConfig("1-1-8")).eval()
        browser_model.write_model(model, tokenizer, tmp_path / name, SENTENCES)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_vocabulary_is_in_the_order_of_the_ids(tokenizer, tmp_path):
    written = browser_model.write_vocabulary(tokenizer, tmp_path / "v.gz")
    pieces = gzip.decompress((tmp_path / "v.gz").read_bytes()).decode().split("\n")
    assert written == {"file": "v.gz", "bytes": (tmp_path / "v.gz").stat().st_size}
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "w0"] and pieces[100:] == ["w96", ""]


def test_everything_that_the_page_needs(taught, tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "of-before.onnx.gz").write_bytes(b"")
    record, teacher = run(STUDENT), run(TEACHER)
    browser_model.write_page_model([record], folder)
    name = f"sst2-1-1-8-{STUDENT.digest}.onnx.gz"
    assert {path.name for path in folder.iterdir()} == {name, "vocabulary.txt.gz", "models.json", "models.csv"}
    page = json.loads((folder / "models.json").read_text(encoding="utf-8"))
    assert page["labels"] == ["negative", "positive"] and page["max_length"] == 16
    assert page["sentences"] == list(browser_model.SENTENCES)
    (model,) = page["models"]
    assert (model["precision"], model["record"], model["file"]) == ("1-1-8", STUDENT.digest, name)
    assert np.array(model["logits"]).shape == (len(page["sentences"]), 2)
    megabytes = teacher.size["parameters"] * 4 / 1e6
    with (folder / "models.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            [f"1-1-8 `{STUDENT.digest}`", f"{model['bytes'] / 1e6:.1f} MB", f"{record.best['accuracy']:.1f}"],
            [
                f"32-32-32 `{TEACHER.digest}`",
                f"{megabytes:.1f} MB, not offered here",
                f"{teacher.best['accuracy']:.1f}",
            ],
        ]


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
