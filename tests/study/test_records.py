import errno
import json
import os

import pytest

from xtcq.study import RecordError, history_frame, load_record, record_path, to_frame
from xtcq.study.records import save_record


def test_round_trip(folders, make_record):
    record = make_record(81.25)
    path = save_record(record)
    assert path == record_path(record.experiment) == folders / "records" / f"{record.experiment.digest}.json"
    assert load_record(path) == record


def test_older_schema(folders, make_record):
    path = save_record(make_record())
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 0'))
    with pytest.raises(
        RecordError, match="has schema 0, and this version reads schema 1. Delete .* run the experiment"
    ):
        load_record(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 1}', "7"])
def test_no_record_at_all(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(RecordError, match="a.json is no Record"):
        load_record(path)


def test_a_field_is_missing(folders, make_record):
    path = save_record(make_record())
    fields = json.loads(path.read_text())
    del fields["best"]
    path.write_text(json.dumps(fields))
    with pytest.raises(RecordError, match="does not hold the fields of a Record .*best"):
        load_record(path)


def test_an_experiment_changed_by_hand(folders, make_record):
    path = save_record(make_record())
    path.write_text(path.read_text().replace('"epochs": 3.0', '"epochs": 4.0'))
    with pytest.raises(RecordError, match="was changed by hand or renamed"):
        load_record(path)


def test_a_full_disk_leaves_nothing_half_written(folders, make_record, monkeypatch):
    path = save_record(make_record())
    before = path.read_text()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device; .*{path.name} was not changed. Free some space"):
        save_record(make_record())
    assert path.read_text() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_frames(make_record):
    records = [make_record(80.0), make_record(60.0, task="cola", precision="2-2-8")]
    frame = to_frame(records)
    assert frame["score"].tolist() == [80.0, 60.0]
    assert frame["metric"].tolist() == ["accuracy", "matthews"]
    assert frame["precision"].tolist() == ["32-32-32", "2-2-8"]
    points = history_frame(records)
    assert points["score"].tolist() == [80.0, 60.0] and points["train_seconds"].tolist() == [5.0, 5.0]
