import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xtcq.tasks.tables import open_table, read_table


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
    for source, name in (
        (frame, "the data frame"),
        (datasets.Dataset.from_pandas(frame), "the data set"),
        (tmp_path / "mine.parquet", "mine.par"),
    ):
        found, origin = read_table(source)
        assert found.equals(frame) and name in origin


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
    with pytest.raises(ValueError, match="line 1 is no text in the encoding 'utf-16'"):
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
