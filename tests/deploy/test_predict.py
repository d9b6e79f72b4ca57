import json
import re
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

from xtcq import save_packed
from xtcq.__main__ import app
from xtcq.deploy import predict
from xtcq.deploy.predict import open_table, predict_file
from xtcq.deploy.runtime import Predictions, Runtime, TruncationWarning


@pytest.fixture
def folder(frozen_bert, word_tokenizer, tmp_path):
    model = frozen_bert(num_labels=2)
    model.config.id2label = {0: "no", 1: "yes"}
    return save_packed(model, tmp_path / "model", tokenizer=word_tokenizer)


@pytest.fixture
def runtime(folder):
    return Runtime(folder, threads=1)


def table(rows):
    rng = np.random.default_rng(0)
    words = [" ".join(f"w{w}" for w in rng.integers(0, 97, rng.integers(1, 9))) for _ in range(rows)]
    return pd.DataFrame({"id": range(rows), "sentence": words, "other, one": words[::-1]})


def call(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("target", ["out.csv", "out.PARQUET"])
def test_a_file_of_two_thousand_rows(source, target, folder, runtime, tmp_path):
    frame = table(2100)
    frame.loc[7, "sentence"] = 'w1, w2\n"w3"'
    (frame.to_csv if source == "in.csv" else frame.to_parquet)(tmp_path / source, index=False)
    options = ("--column", "sentence", "--pair-column", "other, one", "--batch-size", 256)
    result = call(folder, "--input", tmp_path / source, "--output", tmp_path / target, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith("2100 rows")
    found = (pd.read_csv if target == "out.csv" else pd.read_parquet)(tmp_path / target)
    assert list(found) == ["id", "sentence", "other, one", "prediction", "probability"]
    assert found["id"].astype(int).tolist() == frame["id"].tolist()
    assert found["sentence"].tolist() == frame["sentence"].tolist()
    expected = runtime.predict(frame["sentence"].tolist(), frame["other, one"].tolist(), 256).to_frame()
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=3e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["model", source, target])


def test_values_of_a_csv_stay_as_they_are_written(runtime, tmp_path):
    """Types guessed from a file's beginning would break at what comes later, or rewrite it."""
    (tmp_path / "in.csv").write_text("code,sentence\n007,w1\n1e3,w2\n,12\n")
    assert predict_file(runtime, tmp_path / "in.csv", tmp_path / "out.csv", "sentence") == 3
    found = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert found["code"].tolist() == ["007", "1e3", ""] and found["sentence"].tolist() == ["w1", "w2", "12"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(suffix, runtime, tmp_path, monkeypatch):
    """Files are read in batches that are gone when the next one comes."""
    monkeypatch.setattr(predict, "_CSV_BLOCK", 2**14)
    sizes, peaks = [], []
    monkeypatch.setattr(
        runtime, "predict", lambda texts, pairs, batch_size: sizes.append(len(texts)) or fake(runtime, texts)
    )
    for rows in (4000, 40000):
        frame = pd.DataFrame({"sentence": [f"w1 w2 w{i}" for i in range(rows)]})
        path = tmp_path / f"{rows}.{suffix}"
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, row_group_size=2000)
        del frame
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        pool = []
        with open_table(path, ["sentence"]) as (_, _, batches):
            seen = 0
            for batch in batches:
                seen += len(batch)
                pool.append(pa.total_allocated_bytes() - before)
        assert seen == rows
        assert predict_file(runtime, path, tmp_path / f"out.{suffix}", "sentence") == rows
        peaks.append((max(pool), tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    assert max(sizes) <= 1024 and sum(sizes) == 44000
    (small_pool, small), (large_pool, large) = peaks
    assert large < 2 * small and large_pool < 2 * small_pool + 2**20


def fake(runtime, texts):
    return Predictions(np.zeros((len(texts), 2), np.float32), runtime.names, ())


def test_rows_that_are_cut_are_counted_over_the_file(runtime, tmp_path):
    texts = ["w1", " ".join(["w2"] * 80)] * 600
    pd.DataFrame({"sentence": texts}).to_csv(tmp_path / "in.csv", index=False)
    with pytest.warns(TruncationWarning, match="^600 of 1200 rows are longer than the model's 64 word pieces"):
        predict_file(runtime, tmp_path / "in.csv", tmp_path / "out.csv", "sentence", batch_size=300)


def test_one_text(folder, runtime):
    (label,), (probabilities,) = runtime.predict(["w3 w4"]).values, runtime.predict(["w3 w4"]).probabilities
    result = call(folder, "--text", "w3 w4")
    assert result.exit_code == 0 and result.stdout.strip() == f"{label}  {probabilities.max():.4f}"
    found = json.loads(call(folder, "--text", "w3 w4", "--json").stdout)
    assert found["prediction"] == label and found["probability"] == pytest.approx(probabilities.max())
    assert found["probabilities"] == pytest.approx(dict(zip(["no", "yes"], probabilities.tolist(), strict=True)))
    pair = json.loads(call(folder, "--text", "w3 w4", "--pair", "w9", "--json").stdout)
    assert pair["probability"] == pytest.approx(runtime.predict(["w3 w4"], ["w9"]).probabilities.max())
    assert pair["probability"] != pytest.approx(found["probability"], abs=1e-6)


def test_a_value_of_a_regression(frozen_bert, word_tokenizer, tmp_path):
    folder = save_packed(frozen_bert(num_labels=1), tmp_path / "model", tokenizer=word_tokenizer)
    (value,) = Runtime(folder, threads=1).predict(["w3"]).values
    assert call(folder, "--text", "w3").stdout.strip() == f"{value:.4f}"
    assert json.loads(call(folder, "--text", "w3", "--json").stdout) == {"prediction": pytest.approx(value)}
    pd.DataFrame({"t": ["w3", "w4"]}).to_csv(tmp_path / "in.csv", index=False)
    predict_file(Runtime(folder), tmp_path / "in.csv", tmp_path / "out.parquet", "t")
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert list(found) == ["t", "prediction"] and found["prediction"][0] == pytest.approx(value, abs=3e-4)


def test_every_label_where_several_may_hold(frozen_bert, word_tokenizer, tmp_path):
    model = frozen_bert(num_labels=3, problem_type="multi_label_classification")
    model.config.id2label = {0: "rude", 1: "spam", 2: "threat"}
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([30.0, 30.0, -30.0]))
    folder = save_packed(model, tmp_path / "model", tokenizer=word_tokenizer)
    assert call(folder, "--text", "w3").stdout.strip() == "rude 1.0000  spam 1.0000  threat 0.0000"
    found = json.loads(call(folder, "--text", "w3", "--json").stdout)
    assert found["prediction"] == ["rude", "spam"]
    assert found["probabilities"] == pytest.approx({"rude": 1, "spam": 1, "threat": 0}, abs=1e-6)
    pd.DataFrame({"t": ["w3", "w4"]}).to_csv(tmp_path / "in.csv", index=False)
    for target, read in (("out.parquet", pd.read_parquet), ("out.csv", pd.read_csv)):
        predict_file(Runtime(folder), tmp_path / "in.csv", tmp_path / target, "t")
        table = read(tmp_path / target)
        assert list(table) == ["t", "prediction", "probability_rude", "probability_spam", "probability_threat"]
        assert table["prediction"].tolist() == ["rude, spam"] * 2
        np.testing.assert_allclose(table.iloc[:, 2:], [[1, 1, 0]] * 2, atol=1e-6)


GOOD = b"sentence,n\nw1,1\nw2,2\n"


@pytest.mark.parametrize(
    ("name", "content", "target", "column", "message"),
    [
        ("in.csv", GOOD, "out.csv", "text", r"in.csv has no column 'text': it has 'sentence', 'n'"),
        ("in.tsv", GOOD, "out.csv", "sentence", r"in.tsv ends in '.tsv', expected one of '.csv', '.parquet'"),
        ("in.csv", GOOD, "out.json", "sentence", r"out.json ends in '.json', expected one of"),
        ("in.csv", b"", "out.csv", "sentence", "in.csv is empty: expected a header and rows"),
        ("in.csv", b"sentence,n\n", "out.csv", "sentence", "in.csv has no rows: nothing to predict"),
        (
            "in.csv",
            b"sentence,n\nw1,1\n ,2\n",
            "out.csv",
            "sentence",
            "row 2 after the header has no text in 'sentence'",
        ),
        (
            "in.csv",
            b"sentence,n\nw1,1\nw2\n",
            "out.csv",
            "sentence",
            "in.csv cannot be read as csv: .*Expected 2 columns",
        ),
        ("in.csv", b"sentence\n\xff\xfe\n", "out.csv", "sentence", "in.csv cannot be read as csv: .*UTF8"),
        ("in.parquet", GOOD, "out.csv", "sentence", "in.parquet cannot be read as parquet"),
        ("in.csv", GOOD, "in.csv", "sentence", "in.csv would be replaced while it is read: give another output"),
        ("in.csv", b"sentence,prediction\nw1,1\n", "out.csv", "sentence", "has a column 'prediction' already"),
        ("in.csv", None, "out.csv", "sentence", "in.csv is not there: give a file ending in .csv or .parquet"),
    ],
)
def test_bad_files_change_nothing(name, content, target, column, message, folder, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    result = call(folder, "--input", tmp_path / name, "--output", tmp_path / target, "--column", column)
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert re.search(message, result.stderr), result.stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_columns_that_are_not_text(runtime, tmp_path):
    pd.DataFrame({"n": [1, 2]}).to_parquet(tmp_path / "in.parquet")
    with pytest.raises(ValueError, match="column 'n' holds int64, expected text"):
        predict_file(runtime, tmp_path / "in.parquet", tmp_path / "out.csv", "n")
    pd.DataFrame({"t": ["w1", None]}).to_parquet(tmp_path / "in.parquet")
    with pytest.raises(ValueError, match="row 2 after the header has no text in 't'"):
        predict_file(runtime, tmp_path / "in.parquet", tmp_path / "out.csv", "t")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --text"),
        (("--text", "w1", "--input", "in.csv"), "give --text"),
        (("--input", "in.csv"), "--input also needs --output"),
        (("--pair", "w1", "--input", "in.csv"), "give --text"),
        (("--text", ""), "is '', expected a text that is not empty"),
        (("--text", "w1", "--weights", "int3"), "weights is 'int3'"),
    ],
)
def test_options_that_do_not_go_together(options, message, folder):
    result = call(folder, *options)
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output
