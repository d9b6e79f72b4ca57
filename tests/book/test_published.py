import shutil

import pandas as pd
import pytest
from xtcq_book import published

CELLS = {
    **{"xtc-c1": 41, "xtc-c2": 504, "xtc-c3": 378, "xtc-c4": 112, "xtc-c5": 224, "xtc-c6": 56, "xtc-c7": 126},
    **{"xtc-c8": 172, "xtc-c9": 126, "xtc-c10": 84, "xtc-c11": 504, "xtc-c12": 336, "xtc-c13": 160, "xtc-c14": 192},
    **{"xtc-c15": 176, "xtc-c16": 299, "xtc-c17": 65},
    **{"adaqat-t1": 14, "adaqat-t2": 33, "adaqat-t3": 50, "adaqat-t4": 49, "adaqat-t5": 114, "adaqat-t6": 33},
}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    folder = tmp_path / "published"
    shutil.copytree(published.FOLDER, folder)
    monkeypatch.setattr(published, "FOLDER", folder)
    return folder


def test_every_table_of_both_papers_is_there():
    assert {name: len(published.load(name)) for name in published.tables()} == CELLS


def test_the_folder_holds_nothing_that_is_not_loaded():
    names = {*published.tables(), *published.texts(), "errata", "code-departures", "repeats"}
    assert {path.stem for path in published.FOLDER.glob("*.csv")} == names


# Read in the papers, not in the files.
@pytest.mark.parametrize(
    ("table", "row", "metric", "printed"),
    [
        ("xtc-c1", "Train (DA)", "QNLI", "4273773"),
        ("xtc-c2", "Budget-A | One-Stage | 2e-5", "MNLI-mm Acc", "83.7"),
        ("xtc-c2", "Budget-C | One-Stage | 2e-5", "Avg.", "83.38"),
        ("xtc-c2", "Budget-C | Three-Stage | Best (above)", "Avg. w/o CoLA", "86.55"),
        ("xtc-c3", "Budget-A | Three-Stage | 5e-4", "RTE Acc", "47.3"),
        ("xtc-c4", "Budget-C | One-Stage | 1e-4", "STS-B Spea", "87.7"),
        ("xtc-c5", "Skip-BERT6 | 1e-4", "MRPC F1", "90.4"),
        ("xtc-c5", "BERT-base | n/a", "CoLA Mcc", "59.7"),
        ("xtc-c6", "Bottom-6", "Avg.", "81.50"),
        ("xtc-c7", "MiniLM6-v2 | Two", "MRPC Acc", "87.3"),
        ("xtc-c8", "XTC-BERT5 | 1", "Size ratio", "58.5"),
        ("xtc-c8", "XTC-BERT4 | 2", "Acc. drop", "-0.90"),
        ("xtc-c9", "Budget-B | Y (DIM=8)", "QQP F1", "88.1"),
        ("xtc-c10", "Budget-A | N", "QQP Acc", "91.3"),
        ("xtc-c11", "Budget-C | Y (DIM=1) | 5e-4", "SST-2 Acc", "92.5"),
        ("xtc-c12", "Budget-B | Y (DIM=8) | 1e-4", "QNLI Acc", "90.1"),
        ("xtc-c13", "Four | 1 | Y", "MNLI-mm Acc", "80.8"),
        ("xtc-c14", "2-bit SkipBERT5 | 1-bit", "Avg.", "80.60"),
        ("xtc-c15", "2-bit | Y | Difference", "MRPC Acc", "+0.0"),
        ("xtc-c16", "TinyBERT6 | Budget-B | One | std above", "MRPC Acc", "0"),
        ("xtc-c17", "SkipBERT6 | Budget-B | Three | 222", "MNLI-mm Acc", "84.27"),
        ("adaqat-t1", "AdaQAT with Distillation | Uniform | 2-4-4", "SQuAD v2.0 EM", "75.0"),
        ("adaqat-t2", "AdaQAT | 2.06-4-3.96", "SQuAD v1.1 F1", "88.71"),
        ("adaqat-t3", "Q-BERT | MP-8-8 | 46.1/48.1", "BitOPs 1e9 (second)", "1.48"),
        ("adaqat-t4", "CoLA", "Bits A", "4.30"),
        ("adaqat-t5", "AdaQAT | 2-4 | 2-2-2", "SST-2 Acc", "90.60"),
        ("adaqat-t6", "Eval step", "RTE", "100"),
    ],
)
def test_cells_are_right_to_the_digit(table, row, metric, printed):
    frame = published.load(table)
    cell = frame[(frame["row"] == row) & (frame["metric"] == metric)]
    assert cell["printed"].tolist() == [printed]
    assert cell["value"].tolist() == [float(printed)]


def test_cells_without_a_value_are_left_out():
    frame = published.load("adaqat-t2")
    metrics = frame.loc[frame["row"] == "AdaQAT | 2.08-4-3.93", "metric"].tolist()
    assert metrics == ["Size MB", "BitOPs 1e9", "SQuAD v2.0 EM", "SQuAD v2.0 F1"]


def test_frames_are_typed_and_in_the_printed_order():
    frame = published.load("xtc-c6")
    assert list(frame.columns) == ["row", "metric", "value", "printed"]
    assert frame["value"].dtype == "float64" and pd.api.types.is_string_dtype(frame["printed"])
    assert list(dict.fromkeys(frame["row"])) == ["BERT-base fp32", "Skip-6", "Top-6", "Bottom-6"]


def test_a_table_knows_its_source():
    assert published.source("xtc-c8").paper == published.XTC
    assert "Table C.8" in published.source("xtc-c8").place
    assert published.source("adaqat-t5").paper == published.ADAQAT
    with pytest.raises(ValueError, match="'xtc-c18'.*expected one of xtc-c1"):
        published.source("xtc-c18")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Skip-7,Avg.", r"xtc-c6\.csv:58: .*3 filled fields"),
        ("Skip-7,Avg.,", r"xtc-c6\.csv:58: .*3 filled fields"),
        ("Skip-7,Avg.,83,2", r"xtc-c6\.csv:58: .*quote one that holds a comma"),
        ("Skip-7, ,83.2", r"xtc-c6\.csv:58: .*3 filled fields"),
        ("Skip-7,Avg.,83.2%", r"xtc-c6\.csv:58: .*'83\.2%'.*digits alone"),
        ("Skip-7,Avg.,nan", r"xtc-c6\.csv:58: .*'nan'.*digits alone"),
        ("Skip-6,Avg.,83.27", r"xtc-c6\.csv:58: .*'Skip-6', 'Avg\.', .*is there twice"),
    ],
)
def test_a_malformed_line_names_file_line_and_remedy(copy, line, message):
    with (copy / "xtc-c6.csv").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ValueError, match=message):
        published.load("xtc-c6")


def test_a_wrong_header_names_the_right_one(copy):
    path = copy / "xtc-c6.csv"
    path.write_text(path.read_text().replace("row,metric,value", "row,value,metric"))
    with pytest.raises(ValueError, match=r"xtc-c6\.csv:1: .*'row,metric,value'"):
        published.load("xtc-c6")


def test_departures_name_repository_commit_file_and_lines():
    frame = published.departures()
    assert frame["repository"].str.fullmatch(r"[\w.-]+/[\w.-]+").all()
    assert frame["commit"].str.fullmatch(r"[0-9a-f]{40}").all()
    assert frame["file"].str.contains(r"\.(?:py|json)$").all()
    assert frame["lines"].str.fullmatch(r"\d+(?:-\d+)?(?:, \d+(?:-\d+)?)*").all()
    assert frame["topic"].is_unique
