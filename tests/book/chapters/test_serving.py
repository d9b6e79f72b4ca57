import logging

import numpy as np
import pandas as pd
import pytest
import torch
from xtcq_book.chapters import serving

from xtcq import QuantConfig, freeze, quantize, reduce_layers, save_packed
from xtcq.deploy.export import build_graph, export_onnx
from xtcq.tasks import encode


@pytest.fixture
def served(tmp_path, tiny_bert, word_task, word_tokenizer):
    """A teacher, its frozen 1-bit student, both on disk, and encoded examples."""
    teacher = tiny_bert(layers=2).eval()
    student = quantize(reduce_layers(teacher, (0, 1)), QuantConfig("1-1-8")).eval()
    freeze(student)
    packed = save_packed(student, tmp_path / "packed", tokenizer=word_tokenizer)
    full = serving.save_full(teacher, word_tokenizer, tmp_path / "full")
    examples = encode(word_task.evaluation["validation"], word_task.spec, word_tokenizer)
    return teacher, student, packed, full, examples


def test_backends_answer_the_same_question(served, tmp_path, word_tokenizer):
    """Every backend is measured on what it is named after, and rows come back in the order of the data."""
    teacher, student, packed, _, examples = served
    backends = serving.make_backends(teacher, packed, tmp_path, threads=1)
    answers = {name: serving.answer(backend, examples, word_tokenizer, rows=7) for name, backend in backends.items()}
    row = {name: torch.tensor([examples[5][name]]) for name in serving.INPUTS}
    with torch.no_grad():
        np.testing.assert_allclose(answers[serving.BASELINE][5], teacher(**row).logits[0], atol=1e-5)
        np.testing.assert_allclose(answers[serving.OURS][5], student(**row).logits[0], atol=3e-4)
    np.testing.assert_allclose(answers["onnxruntime fp32"], answers[serving.BASELINE], atol=1e-5)
    for name in ("PyTorch dynamic int8", serving.PEER):
        distance = np.abs(answers[name] - answers[serving.BASELINE]).max()
        assert 1e-6 < distance < 0.05, f"{name} is quantized, and still the teacher"
    seconds = serving.in_turns(backends, serving.make_batches(examples, word_tokenizer, 32), rounds=2)
    assert seconds["rows"].tolist() == [32, 16] * 2 and (seconds[list(backends)] > 0).all(axis=None)


def test_speeds_are_medians_over_turns():
    times = {serving.BASELINE: [4.0, 8.0, 8.0], serving.PEER: [2.0, 2.0, 2.0], serving.OURS: [1.0, 1.0, 8.0]}
    table = serving.speeds(pd.DataFrame(times | {"rows": [10, 10, 10]}))
    ours = table.loc[serving.OURS]
    assert (ours["ms"], ours["texts/s"]) == (1000.0, 10.0)
    assert (ours[f"× {serving.BASELINE}"], ours[f"× {serving.PEER}"]) == (4.0, 2.0)
    faster = serving.ratios(pd.DataFrame(times | {"rows": [10, 10, 10]}), serving.BASELINE)
    assert faster[serving.OURS].to_list() == [4.0, 8.0, 1.0] and (faster[serving.BASELINE] == 1).all()


def test_sizes_are_those_of_the_files(served):
    teacher, student, packed, full, _ = served
    table = serving.sizes(teacher, student, packed, full, "fp32")
    file = (packed / "packed.safetensors").stat().st_size
    assert table.loc["student, packed", "file"] == file / 2**20
    assert table.loc["teacher, fp32", "times smaller"] == 1.0
    assert table.loc["student, packed", "times smaller"] == (full / "model.safetensors").stat().st_size / file
    seconds = serving.first_predictions(full, packed, "w3 w5", None, repeats=1)
    assert list(seconds.index) == [serving.BASELINE, serving.OURS] and (seconds > 0).all()


def test_agreement():
    expected = np.array([[1.0, 0.0], [0.0, 0.01], [0.0, 2.0], [3.0, 0.0]])
    found = expected + np.array([[0.0, 0.0], [0.02, 0.0], [0.0, 0.0], [0.0, 0.0]])
    result = serving.agreement(found, expected)
    assert (result["rows"], result["other label"], result["median"]) == (4, 1, 0.0)
    assert (result["widest margin"], result["maximum"]) == pytest.approx((0.01, 0.02))
    assert serving.agreement(expected, expected)["widest margin"] == 0.0
    regression = serving.agreement(found[:, :1], expected[:, :1])
    assert (regression["other label"], regression["widest margin"]) == (0, 0.0)
    assert regression["maximum"] == pytest.approx(0.02)


def test_double_precision_is_the_same_model(served, word_tokenizer):
    _, student, packed, _, examples = served
    double = serving.load_float64(packed)
    assert {value.dtype for value in double.state_dict().values() if value.is_floating_point()} == {torch.float64}
    exact = serving.answer(serving.pytorch(double), examples, word_tokenizer)
    assert exact.dtype == np.float64
    near = serving.agreement(serving.answer(serving.pytorch(student), examples, word_tokenizer), exact)
    assert near["median"] < 1e-4 and near["maximum"] > 0


def test_tools_are_quiet_and_the_log_comes_back(served, tmp_path, caplog, capsys):
    teacher, _, packed, _, _ = served
    serving.make_backends(teacher, packed, tmp_path, threads=1)
    assert not caplog.records and capsys.readouterr().err == ""
    logging.getLogger("xtcq").warning("heard")
    assert [record.message for record in caplog.records] == ["heard"]


@pytest.fixture
def rows():
    """Two batches of random word pieces, of 40 and of 9 of them, with padding."""
    torch.manual_seed(2)
    batches = []
    for count, width in ((96, 40), (32, 9)):
        lengths = torch.randint(2, width + 1, (count, 1))
        mask = (torch.arange(width) < lengths).long()
        ids = torch.randint(1, 101, (count, width)) * mask
        batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        batches.append({name: values.numpy() for name, values in batch.items()})
    return batches


@pytest.mark.parametrize("kind", [(), ("2-4-4", "adaqat"), ("2-4-8", "adaqat")])
def test_integers_leave_the_trained_model_at_boundaries_alone(frozen_bert, rows, kind):
    """Where no code differs, logits do not; where one does, its sum could be rounded to either side."""
    found = serving.code_differences(frozen_bert(*kind), rows)
    assert len(found) == 128
    same = found["codes"] == 0
    assert same.sum() >= 64 and found["logits"][same].max() <= 1e-5
    assert (found["levels"][~same] == 1).all() and found["from boundary"].max() <= 1e-3


@pytest.mark.parametrize("kind", [(), ("2-4-4", "adaqat")])
def test_another_computation_leaves_it_elsewhere(frozen_bert, rows, monkeypatch, kind):
    model, other = frozen_bert(*kind), frozen_bert(*kind)
    with torch.no_grad():
        other.bert.encoder.layer[0].output.dense.bias[3] += 1
    monkeypatch.setattr(serving, "build_graph", lambda _: build_graph(other))
    found = serving.code_differences(model, rows)
    assert (found["codes"] > 0).all() and found["from boundary"].max() > 1e-2


def test_parts_of_the_time(served, tmp_path, word_tokenizer):
    teacher, student, _, _, examples = served
    graphs = {"fp32": tmp_path / "fp32.onnx", "ours": tmp_path / "xtcq.onnx"}
    export_onnx(teacher, graphs["fp32"]), export_onnx(student, graphs["ours"])
    table = serving.parts(graphs, serving.make_batches(examples, word_tokenizer, 48), threads=1)
    assert list(table.columns) == [*serving.PARTS, serving.OTHER] and (table.sum(axis=1) > 0).all()
    assert table.loc["fp32", "products of integers"] == 0 < table.loc["fp32", "products of floats"]
    for part in ("products of integers", "quantizing activations", "attention", "LayerNorm", "GELU"):
        assert table.loc["ours", part] > 0, part
