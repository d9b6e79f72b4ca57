import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from xtcq.tasks.reading import check_texts, read_labels, read_table


@pytest.fixture
def frame():
    return pd.DataFrame({"text": ["a, b; c", "NA", 'say "x"\ty'], "kind": [0, 1, 1]})


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".csv", ";"), (".tsv", "\t"), (".TXT", "|")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_text_file_of_any_delimiter(frame, tmp_path, suffix, delimiter, encoding):
    path = tmp_path / f"mine{suffix}"
    frame.to_csv(path, index=False, sep=delimiter, encoding=encoding)
    found, origin = read_table(path, ["text", "kind"])
    assert found.to_dict("list") == {"text": frame["text"].tolist(), "kind": ["0", "1", "1"]} and origin == str(path)


def test_a_delimiter_is_the_one_that_gives_the_columns(tmp_path):
    """A comma inside a column's name separates nothing."""
    path = tmp_path / "mine.csv"
    path.write_text("text, as found;kind\nx, y;1\n")
    assert read_table(path, ["text, as found", "kind"])[0].to_numpy().tolist() == [["x, y", "1"]]
    assert list(read_table(path, ["other"])[0].columns) == ["text", " as found;kind"]


def test_frames_data_sets_and_parquet_keep_their_types(frame, tmp_path):
    frame.to_parquet(tmp_path / "mine.parquet")
    data_set = SimpleNamespace(to_pandas=lambda: frame)
    for source, name in (
        (frame, "the data frame"),
        (data_set, "the data set"),
        (tmp_path / "mine.parquet", "mine.par"),
    ):
        found, origin = read_table(source)
        assert found.equals(frame) and name in origin


def test_a_data_set_of_the_package_datasets(frame):
    datasets = pytest.importorskip("datasets")
    assert read_table(datasets.Dataset.from_pandas(frame))[0].equals(frame)


def test_a_file_needs_no_package_datasets(frame, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    frame.to_parquet(tmp_path / "mine.parquet")
    assert len(read_table(tmp_path / "mine.parquet")[0]) == 3


def test_files_that_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="lost.csv is not there: give a CSV file with a header, or a Parquet"):
        read_table(tmp_path / "lost.csv")
    with pytest.raises(ValueError, match="mine.xls ends in '.xls', expected one of '.csv', '.tsv', '.txt', '.parquet'"):
        read_table(tmp_path / "mine.xls")
    for suffix in ("csv", "parquet"):
        for content in (b'a,b\n1,2,3,4\n"', b"", b"\xff\xfe\n1"):
            (tmp_path / f"bad.{suffix}").write_bytes(content)
            with pytest.raises(ValueError, match=rf"bad.{suffix} cannot be read as {suffix} \(.*damaged, replace it"):
                read_table(tmp_path / f"bad.{suffix}", ["a"])


def test_a_row_that_ends_early_has_no_text(tmp_path):
    (tmp_path / "short.csv").write_text("kind,text\n1,x\n0\n")
    found, origin = read_table(tmp_path / "short.csv", ["text", "kind"])
    with pytest.raises(ValueError, match=r"short.csv: row 2 has no text in 'text' \(''\), 1 rows in all"):
        check_texts(found, ["text"], ["kind"], origin)


def test_the_wanted_columns_are_kept(frame):
    found = check_texts(frame.assign(more=1).iloc[::-1], ["text"], ["kind"], "it")
    assert list(found.columns) == ["text", "kind"] and list(found.index) == [0, 1, 2]
    assert found["text"].tolist() == frame["text"].tolist()[::-1]


def test_a_table_without_rows_is_refused(frame):
    with pytest.raises(ValueError, match="it has no rows: give at least one example of each class"):
        check_texts(frame.head(0), ["text"], ["kind"], "it")


def test_labels_of_a_text_file_are_numbers_again():
    classes = read_labels(pd.Series(["2", "0", "1.0"]), 3, "it")
    assert classes.tolist() == [2, 0, 1] and classes.dtype == np.int64
    numbers = read_labels(pd.Series(["-0.5", "1e3"]), 1, "it")
    assert numbers.tolist() == [-0.5, 1000.0] and numbers.dtype == np.float64


@pytest.mark.parametrize("value", [-0.1, 5.1, np.inf, None, "x"])
def test_numbers_out_of_their_range_are_refused(value):
    with pytest.raises(ValueError, match="it: row 2 has the label .* in 'score', expected a number from 0 to 5: corr"):
        read_labels(pd.Series([1.0, value], name="score"), 1, "it", 0, 5)
