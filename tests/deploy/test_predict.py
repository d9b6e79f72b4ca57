import json
import re
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from xtcq import save_packed
from xtcq.__main__ import app
from xtcq.deploy.predict import predict_file
from xtcq.deploy.runtime import Predictions, Runtime, TruncationWarning
from xtcq.tasks.tables import open_table


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


@pytest.mark.parametrize(("source", "target"), [("in.csv", "out.PARQUET"), ("in.parquet", "out.csv")])
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
    sizes, peaks = [], []
    monkeypatch.setattr(
        runtime, "predict", lambda texts, pairs=None, batch_size=32: sizes.append(len(texts)) or fake(runtime, texts)
    )
    for rows in (4000, 20000):
        frame = pd.DataFrame({"sentence": [f"w1 w2 w{i}" for i in range(rows)]})
        path = tmp_path / f"{rows}.{suffix}"
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, row_group_size=2000)
        del frame
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        pool = []
        with open_table(path, ["sentence"]) as (_, batches, _):
            seen = 0
            for batch in batches:
                seen += len(batch)
                pool.append(pa.total_allocated_bytes() - before)
        assert seen == rows
        assert predict_file(runtime, path, tmp_path / f"out.{suffix}", "sentence") == rows
        peaks.append((max(pool), tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    assert max(sizes) <= 1024 and sum(sizes) == 24000
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
    result = call(folder, "--text", "w3 w4", "--output", "out.csv")
    assert result.exit_code == 1 and "give --text (and --pair), or --input" in result.stderr


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
        ("in.csv", GOOD, "out.json", "sentence", r"out.json ends in '.json', expected one of"),
        ("in.csv", b"sentence,n\n", "out.csv", "sentence", "in.csv has no rows: nothing to predict"),
        (
            "in.csv",
            b"sentence,n\nw1,1\n ,2\n",
            "out.csv",
            "sentence",
            "row 2 has no text in 'sentence' .*--on-empty",
        ),
        (
            "in.csv",
            b"sentence\n\xff\xfe\n",
            "out.csv",
            "sentence",
            "in.csv: line 2 is no text in the encoding 'utf-8'.*--encoding",
        ),
        ("in.csv", GOOD, "in.csv", "sentence", "in.csv would be replaced while it is read: give another output"),
        ("in.csv", b"sentence,prediction\nw1,1\n", "out.csv", "sentence", "has a column 'prediction' already"),
        ("in.csv", None, "out.csv", "sentence", "in.csv is not there: give a CSV file with a header, or a Parquet"),
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
    with pytest.raises(ValueError, match="row 2 has no text in 't'"):
        predict_file(runtime, tmp_path / "in.parquet", tmp_path / "out.csv", "t")


@pytest.mark.parametrize("source", ["data frame", "data set", "in.tsv"])
def test_whatever_holds_the_texts(source, runtime, tmp_path):
    frame = table(5)
    if source == "in.tsv":
        frame.to_csv(tmp_path / source, index=False, sep="\t", encoding="utf-16")
    given = {"data frame": frame, "data set": SimpleNamespace(to_pandas=lambda: frame), "in.tsv": tmp_path / "in.tsv"}
    encoding = "utf-16" if source == "in.tsv" else None
    assert predict_file(runtime, given[source], tmp_path / "out.csv", "sentence", encoding=encoding) == 5
    found = pd.read_csv(tmp_path / "out.csv")
    assert found["prediction"].tolist() == runtime.predict(frame["sentence"].tolist()).values
    assert found["other, one"].tolist() == frame["other, one"].tolist()


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_every_kind_of_text(kind, target, runtime, tmp_path):
    words = pa.array(["w1", "w2", "w1"]).cast(kind)
    pq.write_table(pa.table({"sentence": words, "id": words}), tmp_path / "in.parquet")
    assert predict_file(runtime, tmp_path / "in.parquet", tmp_path / target, "sentence") == 3
    found = (pd.read_csv if target == "out.csv" else pd.read_parquet)(tmp_path / target)
    assert found["id"].tolist() == ["w1", "w2", "w1"] and found["prediction"].notna().all()


@pytest.mark.parametrize("values", [[["w1"], ["w2"]], [{"a": 1}, {"a": 2}], [b"\xff", b"a"]])
def test_a_column_that_a_csv_cannot_hold_is_refused_before_work(values, runtime, tmp_path, monkeypatch):
    pq.write_table(pa.table({"sentence": ["w1", "w2"], "tokens": values}), tmp_path / "in.parquet")
    assert predict_file(runtime, tmp_path / "in.parquet", tmp_path / "out.parquet", "sentence") == 2
    monkeypatch.setattr(runtime, "predict", None)
    with pytest.raises(ValueError, match=r"out.csv cannot hold the column 'tokens', .*: write .parquet, or remove"):
        predict_file(runtime, tmp_path / "in.parquet", tmp_path / "out.csv", "sentence")
    assert not list(tmp_path.glob("*.csv")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_rows_without_text_by_choice(target, folder, runtime, tmp_path):
    frame = pd.DataFrame({"sentence": ["w1", None, "w2", " "] * 600 + [None] * 1200, "n": range(3600)})
    frame.to_csv(tmp_path / "in.csv", index=False)
    options = ("--input", tmp_path / "in.csv", "--output", tmp_path / target, "--column", "sentence", "--on-empty")
    read = pd.read_csv if target == "out.csv" else pd.read_parquet
    made = runtime.predict(["w1", "w2"] * 600)

    with pytest.warns(UserWarning, match="2,400 of 3,600 rows have no text and were left out"):
        result = call(folder, *options, "skip")
    assert result.exit_code == 0 and "1200 rows" in result.stdout
    found = read(tmp_path / target)
    assert found["n"].astype(int).tolist() == list(range(0, 2400, 2)) and found["prediction"].tolist() == made.values

    with pytest.warns(UserWarning, match="2,400 of 3,600 rows have no text and were kept"):
        assert call(folder, *options, "empty").exit_code == 0
    found = read(tmp_path / target)
    assert found["n"].astype(int).tolist() == list(range(3600))
    assert found.loc[found["prediction"].notna(), "prediction"].tolist() == made.values
    assert np.flatnonzero(found["probability"].notna()).tolist() == list(range(0, 2400, 2))

    assert "on_empty is 'drop', expected one of" in call(folder, *options, "drop").stderr


def test_a_prediction_that_was_stopped_goes_on(runtime, tmp_path, monkeypatch):
    """With the same rows from where it was; with others from the first that differs."""
    frame, whole, partial = table(5000), tmp_path / "whole.csv", tmp_path / ".out.csv.partial"
    asked = []

    def predict(texts, pairs=None, batch_size=32):
        """Answers that differ from row to row, at once."""
        logits = np.array([[len(text), int(text[1])] for text in texts], np.float32)
        return Predictions(logits, runtime.names, ())

    monkeypatch.setattr(runtime, "predict", predict)
    predict_file(runtime, frame, whole, "sentence")

    def stop_after(calls):
        def counted(texts, *args, **options):
            if len(asked) == calls:
                raise KeyboardInterrupt
            asked.append(texts[0])
            return predict(texts, *args, **options)

        asked.clear()
        monkeypatch.setattr(runtime, "predict", counted)

    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        predict_file(runtime, frame, tmp_path / "out.csv", "sentence")
    assert partial.exists() and not (tmp_path / "out.csv").exists()
    partial.write_bytes(partial.read_bytes()[:-1])  # the last block was cut off by the stop
    stop_after(9)
    predict_file(runtime, frame, tmp_path / "out.csv", "sentence")
    assert asked == frame["sentence"][2048::1024].tolist()
    assert (tmp_path / "out.csv").read_bytes() == whole.read_bytes() and not partial.exists()

    for change, first in (("text", 1024), ("batch size", 0), ("model", 0)):
        stop_after(3)
        with pytest.raises(KeyboardInterrupt):
            predict_file(runtime, frame, tmp_path / "out.csv", "sentence")
        other = frame.assign(sentence=frame["sentence"].where(frame.index != 2000, "w5"))
        if change == "model":
            monkeypatch.setattr(runtime, "digest", "another")
        stop_after(9)
        size = 16 if change == "batch size" else 32
        predict_file(runtime, other if change == "text" else frame, tmp_path / "out.csv", "sentence", batch_size=size)
        assert len(asked) == 5 - first // 1024 and not partial.exists()


def test_an_output_that_is_a_folder_is_refused_before_work(runtime, tmp_path):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(ValueError, match="out.csv is a folder: give the name of a file"):
        predict_file(runtime, table(2), tmp_path / "out.csv", "sentence")
    assert [path.name for path in tmp_path.iterdir() if path.name != "model"] == ["out.csv"]


def test_the_input_by_another_name_is_not_replaced(runtime, tmp_path):
    (tmp_path / "in.csv").write_text("sentence\nw1\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "in.csv")
    for name in ("link.csv", "x/../in.csv"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="would be replaced while it is read"):
            predict_file(runtime, tmp_path / "in.csv", tmp_path / name, "sentence")


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
