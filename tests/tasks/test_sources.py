import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from xtcq.tasks import TASKS, load_task, sources, task_spec

REAL_DATA = os.environ.get("XTCQ_DATA")

# XTC, Table C.1: training rows without data augmentation, development rows, batch size.
TABLE_C1 = {
    "cola": (8551, [1043], 16),
    "mnli": (392702, [9815, 9832], 32),
    "mrpc": (3668, [408], 32),
    "qnli": (104743, [5463], 32),
    "qqp": (363846, [40430], 32),
    "rte": (2490, [277], 32),
    "sst2": (67349, [872], 32),
    "stsb": (5749, [1500], 32),
}


def rows(name, count, **changes):
    spec = task_spec(name)
    columns = {column: [f"Sentence {i} of {column}." for i in range(count)] for column in spec.columns}
    labels = [i % spec.num_labels for i in range(count)]
    return pd.DataFrame({**columns, "label": labels, "idx": range(count), **changes})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with RTE, STS-B and MNLI, twelve rows a split, and specs that take twelve for the official count."""
    for name in ("rte", "stsb", "mnli"):
        spec = task_spec(name)
        small = replace(spec, rows={split: 12 for split in spec.rows})
        monkeypatch.setitem(sources._SPECS, name, small)
        (tmp_path / "glue" / name).mkdir(parents=True)
        for split in spec.rows:
            rows(name, 12).to_parquet(tmp_path / "glue" / name / f"{split}.parquet")
    monkeypatch.setenv("XTCQ_DATA", str(tmp_path))
    return tmp_path / "glue"


def replace_file(path, **changes):
    frame = pd.read_parquet(path)
    frame.assign(**changes).to_parquet(path)


def test_a_folder_is_read(folder):
    task = load_task("rte")
    assert list(task.train.columns) == ["sentence1", "sentence2", "label"]
    assert task.train["label"].tolist() == [0, 1] * 6
    assert list(task.evaluation) == ["validation"]
    assert load_task("stsb").train["label"].dtype == "float64"
    assert list(load_task("mnli").evaluation) == ["validation_matched", "validation_mismatched"]


def test_official_counts_are_what_is_compared(tmp_path, monkeypatch):
    (tmp_path / "glue" / "rte").mkdir(parents=True)
    rows("rte", 2_489).to_parquet(tmp_path / "glue" / "rte" / "train.parquet")
    monkeypatch.setenv("XTCQ_DATA", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"rte/train.parquet has 2,489 rows, but the official train split has 2,490; use the"
    ):
        load_task("rte")


def test_a_missing_split_is_named(folder):
    (folder / "mnli" / "validation_mismatched.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"validation_mismatched.parquet is missing: task 'mnli' needs .*add"):
        load_task("mnli")


def test_a_damaged_file_is_named(folder):
    path = folder / "rte" / "validation.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="rte/validation.parquet cannot be read as parquet .*damaged, replace it"):
        load_task("rte")


def test_damaged_pages_are_named(folder):
    path = folder / "rte" / "validation.parquet"
    data = bytearray(path.read_bytes())
    data[4:200] = b"\xff" * 196
    path.write_bytes(data)
    with pytest.raises(ValueError, match="rte/validation.parquet cannot be read as parquet"):
        load_task("rte")


def test_missing_columns_are_named(folder):
    path = folder / "rte" / "train.parquet"
    pd.read_parquet(path).rename(columns={"sentence2": "hypothesis"}).to_parquet(path)
    expected = "train.parquet has no column 'sentence2': it has 'sentence1', 'hypothesis', 'label', 'idx', and 'sent"
    with pytest.raises(ValueError, match=expected):
        load_task("rte")


@pytest.mark.parametrize(
    ("name", "labels", "found"),
    [
        (
            "rte",
            [-1] * 12,
            "row 1 has the label -1 in 'label', expected an integer from 0 to 1.*12.*-1 marks the hidden",
        ),
        ("stsb", [5.5] + [5.0] * 11, "row 1 has the label 5.5 in 'label', expected a number from 0 to 5: correct"),
    ],
)
def test_labels_out_of_range_are_refused(folder, name, labels, found):
    replace_file(folder / name / "validation.parquet", label=labels)
    with pytest.raises(ValueError, match=rf"{name}/validation.parquet: {found}"):
        load_task(name)


def test_rows_without_text_are_refused(folder):
    replace_file(folder / "rte" / "train.parquet", sentence1=["  ", *["a"] * 11])
    with pytest.raises(ValueError, match="rte/train.parquet: row 1 has no text in 'sentence1' .* 1 rows in all"):
        load_task("rte")


def test_a_data_folder_that_does_not_exist_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XTCQ_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"XTCQ_DATA names '.*nowhere', which is not a folder; correct"):
        load_task("rte")


def test_the_hub_serves_a_task_that_the_folder_lacks(folder, monkeypatch):
    asked = []

    def load_dataset(*args, split):
        asked.append((*args, split))
        return SimpleNamespace(to_pandas=lambda: rows("cola", task_spec("cola").rows[split]))

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert len(load_task("cola").train) == 8_551
    assert asked == [("nyu-mll/glue", "cola", "train"), ("nyu-mll/glue", "cola", "validation")]


def test_data_of_the_hub_are_checked_too(monkeypatch):
    monkeypatch.delenv("XTCQ_DATA", raising=False)
    hub = SimpleNamespace(load_dataset=lambda *_, split: SimpleNamespace(to_pandas=lambda: rows("cola", 10)))
    monkeypatch.setitem(sys.modules, "datasets", hub)
    with pytest.raises(ValueError, match=r"nyu-mll/glue \(cola, train\) on the Hugging Face hub has 10 rows"):
        load_task("cola")


def test_without_any_source_the_error_says_how_to_get_the_data(monkeypatch):
    def load_dataset(*_, split):
        raise ConnectionError("the hub is out of reach")

    monkeypatch.delenv("XTCQ_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(FileNotFoundError) as caught:
        load_task("mnli")
    message = str(caught.value)
    assert "no data for task 'mnli'" in message
    assert "the hub is out of reach" in message
    assert "train.parquet, validation_matched.parquet, validation_mismatched.parquet" in message
    assert "$XTCQ_DATA/glue/mnli, where XTCQ_DATA is not set" in message
    assert "demo-pairs" in message


def test_without_the_package_datasets_the_error_says_so(monkeypatch):
    monkeypatch.delenv("XTCQ_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FileNotFoundError, match="needs the package `datasets`; install it, or put train.parquet"):
        load_task("cola")


def test_datasets_is_not_imported_for_local_data(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert len(load_task("rte").train) == 12
    assert len(load_task("demo-pairs").train) == 1_200


@pytest.mark.parametrize("name", TABLE_C1)
def test_sizes_and_lengths_are_those_of_xtc(name):
    spec = task_spec(name)
    train, evaluation, batch_size = TABLE_C1[name]
    assert spec.rows["train"] == train
    assert [spec.rows[split] for split in spec.evaluation_splits] == evaluation
    assert spec.batch_size == batch_size
    assert spec.max_length == (64 if name in ("cola", "sst2") else 128)
    assert not spec.synthetic


def test_primary_metrics_are_the_ones_of_the_average():
    primary = {name: task_spec(name).primary_metric for name in TABLE_C1}
    assert primary.pop("cola") == "matthews"
    assert primary.pop("stsb") == "pearson"
    assert set(primary.values()) == {"accuracy"}
    assert task_spec("mrpc").metrics == task_spec("qqp").metrics == ("accuracy", "f1")


def test_specs_are_hashable_values():
    assert len({task_spec(name) for name in TASKS}) == len(TASKS) == 16


def test_an_unknown_task_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown task 'wnli'.*cola, mnli, .*demo-acceptability"):
        task_spec("wnli")


@pytest.mark.skipif(not REAL_DATA, reason="needs the GLUE data in the folder that XTCQ_DATA names")
@pytest.mark.parametrize(
    ("name", "positives"), [("cola", 721), ("mrpc", 279), ("rte", 131), ("sst2", 444), ("stsb", None)]
)
def test_real_data(name, positives):
    task = load_task(name)
    validation = task.evaluation["validation"]
    assert len(task.train) == task.spec.rows["train"]
    if positives is None:
        assert validation["label"].mean() == pytest.approx(2.364, abs=1e-3)
    else:
        assert validation["label"].sum() == positives
        assert validation["label"].value_counts().max() == task.spec.majority
