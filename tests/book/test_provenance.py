import base64
import re
import subprocess

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from xtcq_book import plots, provenance, scores
from xtcq_book.frame import to_frame

from xtcq.study import load_profile
from xtcq.study.records import records_folder, save_record

MINI = load_profile("mini")


@pytest.fixture
def runs(folders, make_record):
    """Two students of one seed and of another, stored, beside their teacher."""
    records = [make_record(80.0, **vars(MINI.student("mrpc", precision="1-1-8", seed=seed))) for seed in (42, 7)]
    teacher = make_record(85.0, **vars(MINI.teacher("mrpc")))
    for record in (*records, teacher):
        save_record(record)
    return to_frame(records, [teacher])


def linked(shown):
    return re.findall(r'href="\.\./records/([^"]+)"', shown)


def test_every_record_is_one_click_away(runs):
    line = provenance.line(runs)
    assert [(records_folder() / name).exists() for name in linked(line)] == [True] * 3
    # Three runs of five seconds.
    assert "3 Records, 0 minutes of training" in line and "CPU, fp32: 3" in line and 'class="provenance"' in line
    assert f"python -m xtcq run book/records/{linked(line)[0]}" in line


def test_a_teacher_counts_once(runs):
    assert len(provenance.records_of(runs)) == 3 == len(provenance.records_of([*runs["record"], *runs["reference"]]))


def test_a_sentence_is_a_source_and_markup_in_it_is_none():
    assert "Table &lt;1&gt;" in provenance.line("Table <1>") and "Records" not in provenance.line("Table <1>")
    assert "None of these runs has a Record" in provenance.line([])


def test_a_row_leads_to_its_records(runs):
    html = scores.show(scores.table(runs, ["W-E-A"]), "Ours.").data
    names = [record.digest for record in runs["record"]]
    cells = re.findall(r"<td[^>]*>(<a .*?)</td>", html)
    assert cells == [" ".join(f'<a href="../records/{name}.json">{seed}</a>' for name, seed in zip(names, (42, 7)))]


def test_many_records_of_a_row_are_counted(runs, make_record):
    many = [make_record(seed=seed) for seed in range(4)]
    assert provenance.links(many) == "4 runs"


def test_a_table_or_figure_that_does_not_say_where_it_comes_from_is_refused():
    plt.switch_backend("agg")
    with pytest.raises(ValueError, match="«Ours.» does not say where its numbers come from: give source="):
        scores.show(pd.DataFrame({"a": [1]}), "Ours.")
    with pytest.raises(ValueError, match="«a line» does not say where its numbers come from: give source="):
        plots.show(plt.figure(), "a line")
    plt.close("all")


def test_a_figure_hands_over_its_data_and_says_where_they_come_from(runs):
    plt.switch_backend("agg")
    shown = plots.show(plots.score_over_rates(runs), 'Scores "over" rates').data
    assert 'aria-label="Scores &quot;over&quot; rates"' in shown and not plt.get_fignums()
    name, data = re.search(r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"', shown).groups()
    assert name == "scores-over-rates.csv"
    assert base64.b64decode(data).decode().splitlines() == [
        "task,W-E-A,plan,learning rate,best,low,high,seeds",
        "MRPC,1-1-8,finetune,0.0001,80,80,80,2",
    ]
    assert len(linked(shown)) == 3


@pytest.fixture
def clone(tmp_path, monkeypatch, make_record):
    """A clone with one published Record; the reader works in it."""
    monkeypatch.delenv("XTCQ_RECORDS", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("published", "records"):
        (tmp_path / "book" / name).mkdir(parents=True)
    published = make_record(80.0)
    path = save_record(published)
    assert path.parent == tmp_path / "book" / "records"
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", path], check=True)
    return published


def test_rows_of_the_reader_are_marked(clone, make_record):
    own = make_record(81.0, precision="1-1-8")
    save_record(own)
    table = scores.table(to_frame([clone, own]), ["W-E-A"])
    assert table["yours"].tolist() == ["", "yes"]
    # Where all rows are of one kind there is nothing to tell apart.
    assert all("yours" not in scores.table(to_frame([one]), ["W-E-A"]) for one in (clone, own))


def test_an_edition_that_is_being_made_marks_nothing(clone, make_record, monkeypatch):
    own = make_record(81.0, precision="1-1-8")
    assert provenance.is_yours(own) and not provenance.is_yours(clone)
    monkeypatch.setenv("XTCQ_RECORDS", "book/records")
    assert not provenance.is_yours(own)


def test_what_the_project_generates_is_not_published(clone, make_record):
    path = save_record(make_record(task="demo-pairs"))
    assert path.parent.parts[-2:] == ("runs", "records")
