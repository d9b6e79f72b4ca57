import errno
import json
import math
import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xtcq_book.frame import evaluations, to_frame

from tests.fuzzing import altered
from xtcq.study import RecordError, experiment, load_record, record_path
from xtcq.study.records import as_taught, content_digest, save_record
from xtcq.training.settings import METHOD


def test_round_trip(folders, make_record):
    record = make_record(81.25)
    path = save_record(record)
    assert path == record_path(record.experiment) == folders / "records" / f"{record.experiment.digest}.json"
    assert load_record(path) == record


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": 2', '"schema": 3', "has schema 3, and this version reads schema 2. Delete .* run the experiment"),
        ("80.0", "99.0", "was changed after it was written: its content has another digest"),
    ],
)
def test_a_file_that_was_changed(folders, make_record, old, new, message):
    path = save_record(make_record())
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecordError, match=message):
        load_record(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "7", '{"schema": 2, "schema": 2}', '{"bitops": NaN}', "[" * 9999])
def test_no_record_at_all(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(RecordError, match="a.json is no Record"):
        load_record(path)


@pytest.mark.parametrize("name", ["best", "predictions", "content"])
def test_a_field_is_missing(folders, make_record, name):
    path = save_record(make_record())
    fields = json.loads(path.read_text())
    del fields[name]
    path.write_text(json.dumps(fields))
    with pytest.raises(RecordError, match=f"lacks or has beyond a Record's fields: {name}"):
        load_record(path)


def test_an_experiment_changed_by_hand(folders, make_record):
    path = save_record(make_record())
    fields = json.loads(path.read_text())
    fields["experiment"]["epochs"] = 4.0
    fields["content"] = content_digest(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(RecordError, match="was changed by hand or renamed"):
        load_record(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"best": {"accuracy": 99.0, "f1": 99.0}}, "best is .*99.0.*, and the best evaluation .* scores 80.0"),
        ({"last": {"accuracy": 79.0, "f1": 79.0}}, "last is .*79.0.*, and the history ends with"),
        ({"best": {}}, "best is {}, expected accuracy, f1 in per cent"),
        ({"best": {"accuracy": "80", "f1": 80.0}}, "best is .*'80'.*, expected accuracy, f1 in per cent"),
        ({"best": {"accuracy": 1234.0, "f1": 80.0}}, "best is .*1234"),
        ({"bitops": -5}, "bitops is -5, expected int of at least 0"),
        ({"compute": "int4"}, "compute is 'int4', expected one of fp32, tf32, bf16"),
        ({"predictions": dict.fromkeys(("best", "last"), {"validation": "01"})}, "of {'validation': 2} examples"),
        ({"teacher_scores": {"best": {"accuracy": 80.0, "f1": 80.0}}}, "does not hold the values"),
        ({"teacher_scores": dict.fromkeys(("best", "last"), {"accuracy": 80.0})}, "the teacher's best is .*expected"),
        ({"teacher_scores": [1]}, "does not hold the values"),
        ({"history": "x"}, "does not hold the values"),
        (
            lambda fields: {"history": [fields["history"][0] | {"step": 0}]},
            "entry 0 of the history: step is 0, expected int",
        ),
        ({"exploration": "x"}, "exploration is 'x', expected dict or NoneType"),
        ({"size": "x"}, "size is 'x', expected dict"),
        (lambda fields: {"size": fields["size"] | {"parameters": "10"}}, "size: parameters"),
        ({"data": 7}, "data is 7, expected str"),
        ({"commit": 3}, "commit is 3, expected str or NoneType"),
        ({"side_by_side": 1.5}, "side_by_side is 1.5, expected int of at least 1"),
        ({"train_seconds": True}, "train_seconds is True"),
        ({"predictions": None}, "predictions are null, expected those at best and last"),
        ({"predictions": dict.fromkeys(("best", "last"), {"validation": "z" * 408})}, "are no answers to MRPC"),
        ({"predictions": dict.fromkeys(("best", "last"), {"validation": [0.0] * 408})}, "are no answers to MRPC"),
    ],
)
def test_a_record_at_odds_with_itself(folders, make_record, change, message):
    path = save_record(make_record())
    fields = json.loads(path.read_text())
    fields |= change(fields) if callable(change) else change
    fields["content"] = content_digest(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(RecordError, match=message):
        load_record(path)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_signed_value_that_nobody_wrote_is_refused_or_drawn(folders, make_run, data):
    student = make_run(80.0, 70.0, precision="1-1-8", teacher=make_run(90.0).experiment, layers=(1, 3))
    path = save_record(replace(student, teacher_scores={"best": student.best, "last": student.last}))
    fields = data.draw(altered(json.loads(path.read_text())))
    try:
        fields["content"] = content_digest(fields)
    except ValueError:  # not finite, so that nobody can sign it
        return
    path.write_text(json.dumps(fields))
    try:
        record = load_record(path)
    except RecordError as error:
        assert str(path) in str(error)
        return
    frame = to_frame([record], [record])
    assert len(frame) == 1 and len(evaluations(frame)) == 2


def test_what_is_only_said_where_there_is_something_to_say(folders, make_record):
    record = make_record()
    plain = save_record(record).read_text()
    assert "micro_batch" not in plain and "teacher_scores" not in plain
    scores = dict.fromkeys(("best", "last"), {"accuracy": 80.0, "f1": 80.0})
    full = replace(record, micro_batch=4, teacher_scores=scores)
    assert load_record(save_record(full)) == full


def test_a_teacher_as_its_student_had_it(make_record):
    teacher = make_record(90.0)
    scores = {"best": {"accuracy": 88.0, "f1": 87.0}, "last": {"accuracy": 86.0, "f1": 85.0}}
    student = make_record(70.0, precision="1-1-8", teacher=teacher.experiment)
    told = replace(student, teacher_scores=scores)
    assert as_taught(teacher, student) is teacher
    found = as_taught(teacher, told)
    assert (found.best, found.last, found.digest) == (scores["best"], scores["last"], teacher.digest)
    assert [entry["metrics"] for entry in found.evaluations] == [scores["best"], scores["last"]]
    assert found.predictions is None
    assert as_taught(other := make_record(90.0, seed=7), told) is other


def test_a_measurement_that_is_not_finite_is_not_saved(folders, make_record):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_record(replace(make_record(), train_seconds=math.nan))


def test_a_record_of_another_method_keeps_its_name(folders, make_record, monkeypatch):
    path = save_record(make_record())
    monkeypatch.setattr(experiment, "METHOD", 99)
    record = load_record(path)
    assert record.method == METHOD and record_path(record.experiment) != path


def test_best_of_learned_widths_is_one_of_the_refinement(folders, make_record):
    record = make_record(60.0, recipe="adaqat", precision="4-4-4", adaqat={"granularity": "network"})
    explored = {**record.history[0], "stage": 0, "metrics": {"accuracy": 90.0, "f1": 90.0}}
    path = save_record(replace(record, history=[explored, *record.history]))
    assert load_record(path).best["accuracy"] == 60.0


def test_a_full_disk_leaves_nothing_half_written(folders, make_record, monkeypatch):
    path = save_record(make_record())
    before = path.read_text()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device; .*{path.name} was not changed. Free some space"):
        save_record(make_record())
    assert path.read_text() == before and [p.name for p in path.parent.iterdir()] == [path.name]
