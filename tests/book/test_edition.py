import subprocess

import pytest
from xtcq_book import edition, scores
from xtcq_book.frame import to_frame

from xtcq.study import save_record


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
    assert edition.is_yours(own) and not edition.is_yours(clone)
    monkeypatch.setenv("XTCQ_RECORDS", "book/records")
    assert not edition.is_yours(own)


def test_what_the_project_generates_is_not_published(clone, make_record):
    path = save_record(make_record(task="demo-pairs"))
    assert path.parent.parts[-2:] == ("runs", "records")
