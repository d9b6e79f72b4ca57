import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import pipeline

from xtcq import PackedModelError, load_packed, save_packed
from xtcq.deploy import runtime as runtime_module
from xtcq.deploy.predict import predict_file
from xtcq.deploy.runtime import Predictions, Runtime, TruncationWarning, predict_text
from xtcq.packing import packed as packed_module

TEXTS = ["w3 w9 w1", "w5", "w8 w2 w2 w7 w1 w30", "w4 w40", "w90 w1"]
PAIRS = ["w1", "w2 w3 w4 w5", "w6", "w7 w7", "w8"]


@pytest.fixture
def packed(frozen_bert, word_tokenizer, tmp_path):
    """A factory of packed folders with a tokenizer."""

    def build(precision="1-1-8", recipe="xtc", num_labels=3, kind="BertForSequenceClassification", problem_type=None):
        model = frozen_bert(precision, recipe, num_labels=num_labels, kind=kind, problem_type=problem_type)
        model.config.id2label = {i: f"label {i}" for i in range(num_labels)}
        return save_packed(model, tmp_path / "m", tokenizer=word_tokenizer)

    return build


@torch.no_grad()
def expect(folder, tokenizer, texts, pairs=None):
    """Logits of the fake-quantized model, one row at a time."""
    model = load_packed(folder)
    rows = zip(texts, pairs or [None] * len(texts), strict=True)
    return np.concatenate(
        [model(**tokenizer(*row, return_tensors="pt", return_token_type_ids=True)).logits.numpy() for row in rows]
    )


@pytest.mark.parametrize("weights", ["int8", "matmulnbits"])
@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["single", "pairs"])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_predictions_are_those_of_the_packed_model(weights, pairs, batch_size, packed, word_tokenizer):
    """In the order of the rows, whatever the batches."""
    folder = packed()
    found = Runtime(folder, weights, threads=1).predict(TEXTS, pairs, batch_size)
    expected = expect(folder, word_tokenizer, TEXTS, pairs)
    np.testing.assert_allclose(found.logits, expected, atol=3e-4)
    assert found.values == [f"label {i}" for i in expected.argmax(1)]
    np.testing.assert_allclose(found.probabilities, torch.tensor(expected).softmax(1), atol=3e-4)
    frame = found.to_frame()
    assert list(frame) == ["prediction", "probability"] and frame["prediction"].tolist() == found.values
    np.testing.assert_allclose(frame["probability"], found.probabilities.max(1))


def test_a_pipeline_of_transformers_takes_a_packed_model(packed, word_tokenizer):
    folder = packed()
    classify = pipeline("text-classification", model=load_packed(folder), tokenizer=word_tokenizer)
    found, ours = classify(TEXTS), Runtime(folder, threads=1).predict(TEXTS)
    assert [one["label"] for one in found] == ours.values
    np.testing.assert_allclose([one["score"] for one in found], ours.probabilities.max(1), atol=3e-4)


@pytest.mark.parametrize(("precision", "recipe"), [("2-2-8", "ternarybert"), ("2-4-4", "adaqat")])
def test_other_recipes_at_equal_batches(precision, recipe, packed, word_tokenizer):
    folder = packed(precision, recipe)
    batch = word_tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=True)
    with torch.no_grad():
        expected = load_packed(folder)(**batch).logits
    found = Runtime(folder, threads=1).logits({name: values.numpy() for name, values in batch.items()})
    np.testing.assert_allclose(found, expected, atol=3e-4)


@pytest.mark.parametrize(("recipe", "parts"), [("xtc", [2, 2, 1]), ("ternarybert", [5])])
def test_a_large_batch_runs_in_parts(recipe, parts, packed, word_tokenizer, monkeypatch):
    """To the same bits; where rows share a scale, it stays whole, and answers as the fake-quantized model does."""
    folder = packed("2-2-8", recipe)
    batch = word_tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=True)
    runtime, inputs = Runtime(folder, threads=1), {name: values.numpy() for name, values in batch.items()}
    whole, ran = runtime.logits(inputs), []

    class Counted:
        def run(self, names, part, session=runtime.session):
            ran.append(len(part["input_ids"]))
            return session.run(names, part)

    runtime.session = Counted()
    monkeypatch.setattr(runtime_module, "AT_ONCE", 3 * inputs["input_ids"].shape[1] - 1)
    found = runtime.logits(inputs)
    assert ran == parts
    np.testing.assert_array_equal(found, whole)
    with torch.no_grad():
        np.testing.assert_allclose(found, load_packed(folder)(**batch).logits, atol=3e-4)


def test_a_row_of_padding_alone(packed):
    folder = packed()
    ids = torch.randint(4, 90, (2, 6))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    batch["attention_mask"][1] = 0
    with torch.no_grad():
        expected = load_packed(folder)(**batch).logits.numpy()
    found = Runtime(folder, threads=1).logits({name: values.numpy() for name, values in batch.items()})
    np.testing.assert_allclose(found, expected, atol=3e-4)


@pytest.mark.parametrize("wrong", [np.full((1, 3), -1), np.full((1, 3), 0.5), np.empty((0, 3)), np.array([["w1"] * 3])])
def test_inputs_that_are_no_numbers_of_tokens(wrong, packed):
    ones = np.ones((1, 3), np.int64)
    with pytest.raises(ValueError, match="input_ids holds .* expected integers from 0"):
        Runtime(packed(), threads=1).logits({"input_ids": wrong, "attention_mask": ones, "token_type_ids": 0 * ones})


def test_regression_gives_values(packed, word_tokenizer):
    folder = packed(num_labels=1)
    found = Runtime(folder, threads=1).predict(TEXTS)
    np.testing.assert_allclose(found.values, expect(folder, word_tokenizer, TEXTS)[:, 0], atol=3e-4)
    assert list(found.to_frame()) == ["prediction"]
    with pytest.raises(ValueError, match="a regression model gives values, no probabilities"):
        found.probabilities  # noqa: B018


@pytest.mark.parametrize("num_labels", [1, 3])
def test_labels_that_do_not_exclude_each_other(num_labels, packed, word_tokenizer):
    folder = packed(num_labels=num_labels, problem_type="multi_label_classification")
    assert load_packed(folder).config.problem_type == "multi_label_classification"
    found = Runtime(folder, threads=1).predict(TEXTS)
    expected = torch.tensor(expect(folder, word_tokenizer, TEXTS)).sigmoid()
    np.testing.assert_allclose(found.probabilities, expected, atol=3e-4)
    names = [f"label {i}" for i in range(num_labels)]
    held = [tuple(name for name, p in zip(names, row, strict=True) if p >= 0.5) for row in expected.tolist()]
    assert found.values == held
    frame = found.to_frame()
    assert list(frame) == ["prediction", *(f"probability_{name}" for name in names)]
    assert frame["prediction"].tolist() == [", ".join(row) for row in held]
    np.testing.assert_allclose(frame.iloc[:, 1:], expected, atol=3e-4)


def test_several_labels_may_hold_or_none():
    """By hand: the sigmoid of log 3 is 3/4, of 0 it is 1/2."""
    third = float(np.log(3))
    logits = np.array([[third, 0.0], [-third, -third]], np.float32)
    found = Predictions(logits, ("rude", "spam"), (), multi_label=True)
    np.testing.assert_allclose(found.probabilities, [[0.75, 0.5], [0.25, 0.25]], rtol=1e-6)
    assert found.values == [("rude", "spam"), ()]
    assert found.to_frame()["prediction"].tolist() == ["rude, spam", ""]


def test_labels_may_be_numbers(frozen_bert, word_tokenizer, tmp_path):
    model = frozen_bert(num_labels=2)
    model.config.id2label = {0: 10, 1: 20}
    runtime = Runtime(save_packed(model, tmp_path / "m", tokenizer=word_tokenizer), threads=1)
    assert runtime.names == ("10", "20") and set(runtime.predict(TEXTS).values) <= {"10", "20"}


def test_long_texts_are_cut_with_a_warning(packed, word_tokenizer):
    folder = packed()
    runtime = Runtime(folder, threads=1)
    assert runtime.max_length == 64
    long = " ".join(["w5"] * 63)  # with [CLS] and [SEP] one too many
    with pytest.warns(TruncationWarning, match="1 of 2 rows are longer than the model's 64 word pieces .* row 1"):
        found = runtime.predict(["w1", long])
    assert found.cut == (1,)
    np.testing.assert_allclose(found.logits[1:], expect(folder, word_tokenizer, [" ".join(["w5"] * 62)]), atol=3e-4)
    with pytest.warns(TruncationWarning):
        assert runtime.predict(["w1", "w1"], [long, "w2"]).cut == (0,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runtime.predict([" ".join(["w5"] * 62)]).cut == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": ["w1", " \n"]}, r"texts\[1\] is ' \\n', expected a text that is not empty"),
        ({"texts": ["w1", None]}, r"texts\[1\] is None, expected a text"),
        ({"texts": pd.Series(["w1", "w2", None])[[1, 2]]}, r"texts\[1\] is nan, expected a text"),
        ({"texts": ["w1 \udce9"]}, r"texts\[0\] is 'w1 \\udce9', expected .* it is no Unicode: give it in UTF-8"),
        ({"texts": ["w1"], "pairs": [""]}, r"pairs\[0\] is '', expected a text"),
        ({"texts": ["w1", "w2"], "pairs": ["w1"]}, "there are 2 texts and 1 pairs: give one pair to every text"),
        ({"texts": []}, "there are no texts"),
        ({"texts": pd.DataFrame({"text": ["w1"]})}, "expected a sequence of texts, found a DataFrame: give a list"),
        ({"texts": {"w1": 0}}, "expected a sequence of texts, found a dict"),
        ({"texts": {"w1", "w2"}}, "expected a sequence of texts, found a set"),
        ({"texts": ["w1"], "pairs": pd.DataFrame({"w2": [1]})}, "expected a sequence of texts, found a DataFrame"),
        ({"texts": "w1"}, r"expected a sequence of texts, found one: write \[text\]"),
        ({"texts": ["w1"], "batch_size": 0}, "batch_size is 0, expected at least 1"),
    ],
)
def test_bad_input(arguments, message, packed):
    with pytest.raises(ValueError, match=message):
        Runtime(packed(), threads=1).predict(**arguments)


@pytest.mark.parametrize(
    ("facts", "given", "message"),
    [
        ({"num_texts": 1}, 2, "the model reads single texts, and pairs were given: leave out the second texts"),
        ({"type_vocab_size": 1}, 2, "the model reads single texts"),
        ({"num_texts": 2}, 1, "reads pairs of texts, and one text was given: give the second by pairs, --pair or --p"),
    ],
)
def test_texts_of_another_number_than_a_model_was_trained_on(
    facts, given, message, frozen_bert, word_tokenizer, tmp_path
):
    runtime = Runtime(save_packed(frozen_bert(**facts), tmp_path / "m", tokenizer=word_tokenizer), threads=1)
    table = pd.DataFrame({"a": ["w1"], "b": ["w2"]})
    columns = {1: ("a",), 2: ("a", "b")}
    for verb in (
        lambda number: runtime.predict(*(["w1"], ["w2"])[:number]),
        lambda number: predict_text(runtime, "w1", (None, "w2")[number - 1], True),
        lambda number: predict_file(runtime, table, tmp_path / "out.csv", *columns[number]),
    ):
        verb(3 - given)
        with pytest.raises(ValueError, match=message):
            verb(given)


def test_many_threads_share_a_runtime(packed):
    runtime = Runtime(packed(), threads=1)
    texts = ["w5 " * length for length in (1, 5, 9)]
    alone = [runtime.predict([text]).logits for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda call: runtime.predict([texts[call % 3]]).logits, range(300)))
    for call, logits in enumerate(together):
        np.testing.assert_array_equal(logits, alone[call % 3])


def test_padding_is_no_text_whatever_its_number_is(packed, word_tokenizer):
    """The padding token of multilingual models is not the first of the vocabulary."""
    word_tokenizer.pad_token = "w7"
    found = Runtime(packed(), threads=1).predict(["w3", "w4 w5 w6 w8"]).logits
    np.testing.assert_allclose(found, expect(packed(), word_tokenizer, ["w3", "w4 w5 w6 w8"]), atol=3e-4)


def test_a_part_of_a_series_is_taken_by_position(packed):
    runtime = Runtime(packed(), threads=1)
    found = runtime.predict(pd.Series(["w1", "w2", "w3"])[[2, 0]])
    np.testing.assert_array_equal(found.logits, runtime.predict(["w3", "w1"]).logits)


def test_a_folder_of_earlier_with_labels_of_one_name_is_refused(frozen_bert, word_tokenizer, tmp_path, monkeypatch):
    model = frozen_bert(num_labels=2)
    model.config.id2label = {0: "a", 1: "a"}
    monkeypatch.setattr(packed_module, "check_labels", lambda model: None)  # as it was packed before that was asked
    folder = save_packed(model, tmp_path / "m", tokenizer=word_tokenizer)
    with pytest.raises(ValueError, match=f"for each of 0 to 1: rename them by .* rename-labels {folder}"):
        Runtime(folder, threads=1)


def test_folders_that_are_refused(packed, frozen_bert, tmp_path):
    folder = packed(kind="BertForQuestionAnswering", num_labels=2)
    with pytest.raises(ValueError, match="holds a BertForQuestionAnswering, and texts are classified by a BertForSeq"):
        Runtime(folder)
    with pytest.raises(FileNotFoundError, match="has no tokenizer.json: pack the model again with save_packed"):
        Runtime(save_packed(frozen_bert(), tmp_path / "bare"))
    folder = packed()
    weights = folder / "packed.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(PackedModelError, match="SHA-256"):
        Runtime(folder)
