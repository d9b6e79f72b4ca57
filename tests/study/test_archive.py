import json
import zipfile

import pytest

from xtcq.study import RecordError, record_path
from xtcq.study.archive import export_records, import_records
from xtcq.study.records import save_record


@pytest.fixture
def archive(folders, make_record):
    """An archive of two Records, neither of which is in the store."""
    path = folders / "out" / "records.zip"
    assert export_records([make_record(seed=1), make_record(seed=2)], path) == 2
    return path


def test_what_was_exported_is_imported_once(archive, make_record):
    new, known = import_records(archive)
    assert new == [make_record(seed=1), make_record(seed=2)] and known == []
    assert all(record_path(record.experiment).exists() for record in new)
    assert import_records(archive) == ([], new)


def test_a_record_that_is_there_stays(archive, make_record):
    ours = make_record(score=70.0, seed=1)
    save_record(ours)
    before = record_path(ours.experiment).read_bytes()
    new, known = import_records(archive)
    assert [r.experiment.seed for r in new] == [2] and known == [make_record(seed=1)]
    assert record_path(ours.experiment).read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_an_archive_that_is_cut_off_imports_nothing(archive, share, folders):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RecordError, match="records.zip is damaged or cut off .*copy or export it again"):
        import_records(archive)
    assert not (folders / "records").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields | {"schema": 3}, "records.zip/[0-9a-f]+.json has schema 3.* Export it again where"),
        (lambda fields: fields | {"bitops": 5}, "records.zip/[0-9a-f]+.json was changed after it was written"),
    ],
)
def test_one_bad_record_keeps_all_out(archive, change, message, folders, make_record):
    fields = json.loads(make_record(seed=3).to_json())
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(f"{fields['digest']}.json", json.dumps(change(fields)))
    with pytest.raises(RecordError, match=message):
        import_records(archive)
    assert not (folders / "records").exists()


@pytest.mark.parametrize("name", ["notes.txt", "../outside.json", "folder/x.json"])
def test_an_archive_of_something_else(archive, name):
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, "{}")
    with pytest.raises(RecordError, match="which is no Record"):
        import_records(archive)
