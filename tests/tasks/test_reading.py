import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xtcq.tasks.reading import check_texts, open_table, read_labels, read_table


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
    (tmp_path / "bad.parquet").write_bytes(b"a,b\n1,2,3,4\n")
    with pytest.raises(ValueError, match=r"bad.parquet cannot be read as parquet \(.*damaged, replace it"):
        read_table(tmp_path / "bad.parquet", ["a"])
    with pytest.raises(ValueError, match="cannot be read from a dict: give .* one split of a data set"):
        read_table({"train": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: expected a header and rows"),
        (b"\n\n", "is empty: expected a header and rows"),
        (
            b"id,text,label\n1,a,0\n7,good, film,1\n",
            r"row 2 after the header \(line 3\) has 4 fields, .* 3 names: .*','",
        ),
        (b"id;text;label\n7;good; film;1\n", r"row 1 .*\(line 2\) has 4 fields, .* 3 names: .*';' in quotes"),
        (
            b'text,label\n"a\nb",0\n\nc,1,\n',
            r"row 2 .*\(line 5\) has 3 fields, .* remove the delimiter at the row's end",
        ),
        (b"label,text\n1,x\n0\n", r"row 2 .* has 1 fields, .* 2 names"),
        (b'text,label\ngood,1\n"slow,1\ngood,1\n', r"row 2 .*\(line 3\) has a quote that does not end"),
        (b'text,label\n"slow,1\n"good film",0\n', r"row 1 .*\(line 2\) has a quote that does not end"),
        (b'text,"label\ngood,1\n', r"the header \(line 1\) has a quote that does not end"),
        (b"text,label,text\na,1,b\n", "has two columns of the name 'text': rename or remove"),
        ("text,label\nok,0\ncaf\u00e9,1\n".encode("cp1252"), "line 3 is no text in the encoding 'utf-8' .*'cp1252'"),
        ("text,label\nok,0\n".encode("utf-16"), "line 1 is no text in the encoding 'utf-8' .* such as 'utf-16', whose"),
    ],
)
def test_text_files_that_are_refused_by_row(content, message, tmp_path):
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"bad.csv.*{message}"):
        read_table(tmp_path / "bad.csv", ["text", "label"])


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_file_in_another_encoding(encoding, tmp_path):
    (tmp_path / "mine.csv").write_bytes("text,label\ncaf\u00e9,1\n".encode(encoding))
    assert read_table(tmp_path / "mine.csv", ["text"], encoding)[0].to_numpy().tolist() == [["caf\u00e9", "1"]]
    for wrong, message in (
        ("latin-17", "the encoding 'latin-17' is not known"),
        ("ascii", "is no text in the encoding"),
    ):
        with pytest.raises(ValueError, match=message):
            read_table(tmp_path / "mine.csv", ["text"], wrong)
    (tmp_path / "utf8.csv").write_text("text,label\nx,1\n")
    with pytest.raises(ValueError, match="in the encoding 'utf-16'"):
        read_table(tmp_path / "utf8.csv", ["text"], "utf-16")


def test_blank_lines_are_cells_only_where_there_is_one_column(tmp_path):
    (tmp_path / "mine.csv").write_text("text,label\n\na,1\n\n")
    assert len(read_table(tmp_path / "mine.csv", ["text"])[0]) == 1
    (tmp_path / "mine.csv").write_text("text\na\n\nb\n\n")
    assert read_table(tmp_path / "mine.csv", ["text"])[0]["text"].tolist() == ["a", "", "b"]


def test_a_long_text_is_no_open_quote(tmp_path):
    (tmp_path / "mine.csv").write_text("text,label\n" + "a" * 200_000 + ",1\n")
    assert read_table(tmp_path / "mine.csv", ["text"])[0]["text"].str.len().tolist() == [200_000]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_parquet_of_every_text_type(kind, tmp_path):
    pq.write_table(pa.table({"text": pa.array(["a", "b"], pa.string()).cast(kind)}), tmp_path / "mine.parquet")
    assert read_table(tmp_path / "mine.parquet")[0]["text"].tolist() == ["a", "b"]


def test_two_columns_of_one_name_are_refused_wherever_they_are(tmp_path):
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "mine.parquet")
    for source in (tmp_path / "mine.parquet", pd.DataFrame([["a", "b"]], columns=["text", "text"])):
        with pytest.raises(ValueError, match="has two columns of the name 'text'"):
            read_table(source)


def test_blocks_are_the_whole_table(tmp_path):
    frame = pd.DataFrame({"text": [f"w{i}" for i in range(2100)]})
    frame.to_csv(tmp_path / "mine.csv", index=False)
    frame.to_parquet(tmp_path / "mine.parquet")
    for source in (frame, tmp_path / "mine.csv", tmp_path / "mine.parquet"):
        with open_table(source) as (schema, batches, _):
            blocks = list(batches)
        assert [len(block) for block in blocks] == [1024, 1024, 52]
        assert pa.Table.from_batches(blocks, schema)["text"].to_pylist() == frame["text"].tolist()


def test_rows_without_text_are_refused_left_out_or_kept():
    frame = pd.DataFrame({"text": ["a", None, " ", "b"], "kind": [0, 1, 1, 0]})
    with pytest.raises(
        ValueError, match="it: row 2 has no text .* 2 rows in all: leave them out, or choose by on_empty"
    ):
        check_texts(frame, ["text"], ["kind"], "it")
    with pytest.warns(UserWarning, match="it: 2 of 4 rows have no text and were left out"):
        assert check_texts(frame, ["text"], ["kind"], "it", "skip")["text"].tolist() == ["a", "b"]
    with pytest.warns(UserWarning, match="2 of 4 rows have no text and were kept"):
        assert check_texts(frame, ["text"], ["kind"], "it", "empty")["text"].tolist() == ["a", "", " ", "b"]
    with pytest.raises(ValueError, match="on_empty is 'drop', expected one of 'error', 'skip', 'empty'"):
        check_texts(frame, ["text"], ["kind"], "it", "drop")


@pytest.mark.parametrize(
    ("value", "message"), [(7, "row 2 has 7 in 'text', expected a text"), ("caf\udce9", "a text that is no Unicode")]
)
def test_what_is_no_text_is_refused_whatever_happens_to_empty_rows(value, message):
    with pytest.raises(ValueError, match=message):
        check_texts(pd.DataFrame({"text": ["a", value]}, dtype=object), ["text"], [], "it", "skip")


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


@pytest.mark.parametrize("dtype", [object, "category", "str"])
def test_classes_by_the_names_of_the_classifier(dtype):
    values = pd.Series(["no", "yes", "no"], dtype=dtype)
    assert read_labels(values, 2, "it", names={0: "yes", 1: "no"}).tolist() == [1, 0, 1]
    assert read_labels(pd.Series([1, 0]), 2, "it", names={0: "yes", 1: "no"}).tolist() == [1, 0]
    with pytest.raises(ValueError, match="row 1 has the label 'no' .* given by labels=model.config.id2label"):
        read_labels(values, 2, "it")


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (["no", "maybe"], {0: "yes", 1: "no"}, "row 1 has the label 'no' .* or all of 'yes', 'no'"),
        ([0, 1], {0: 1, 1: 0}, "holds numbers, and .* names classes by numbers"),
        ([0, 1], {0: "a", 1: "a"}, "expected 2 different names by their classes 0 to 1"),
        ([0, 1], {0: "a"}, "expected 2 different names"),
    ],
)
def test_names_that_do_not_say_which_class_it_is(values, names, message):
    with pytest.raises(ValueError, match=message):
        read_labels(pd.Series(values, name="kind"), 2, "it", names=names)


def test_names_that_are_integers():
    assert read_labels(pd.Series(["10", "20"]), 2, "it", names={0: 20, 1: 10}).tolist() == [1, 0]
