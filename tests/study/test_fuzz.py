"""Record files that were damaged, or changed by hand, with digests that fit too: refused in words, or drawn."""

import dataclasses
import json
import random
import sys

import pytest
from xtcq_book.frame import evaluations, to_frame

from tests.fuzzing import altered, bounded, damaged
from xtcq.study import RecordError, load_record
from xtcq.study.records import content_digest, save_record

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and time are those of Linux")


@pytest.fixture
def path(folders, make_run):
    teacher = make_run(90.0).experiment
    told = dict.fromkeys(("best", "last"), {"accuracy": 88.0, "f1": 80.0})
    student = make_run(80.0, 70.0, precision="1-1-8", teacher=teacher, layers=(1, 3))
    return save_record(dataclasses.replace(student, teacher_scores=told))


def test_every_damage_is_refused_or_changes_nothing(path):
    rng, whole, record = random.Random(16), path.read_bytes(), load_record(path)
    refused = 0
    for number in range(300):
        path.write_bytes(damaged(whole, rng))
        try:
            with bounded(seconds=5, mebibytes=300):
                assert load_record(path) == record, number
        except RecordError as error:
            assert str(path) in str(error), number
            refused += 1
    assert refused > 250


def test_values_that_are_signed_and_wrong(path):
    rng, whole, refused = random.Random(17), json.loads(path.read_text()), 0
    for number in range(300):
        fields = altered(whole, rng)
        try:
            fields["content"] = content_digest(fields)
        except ValueError:  # not finite, so that nobody can sign it
            continue
        path.write_text(json.dumps(fields))
        try:
            with bounded(seconds=5, mebibytes=300):
                try:
                    record = load_record(path)
                except RecordError:
                    refused += 1
                    continue
                frame = to_frame([record], [record])
                assert len(frame) == 1 and len(evaluations(frame)) == 2
        except Exception as error:
            raise AssertionError(f"number {number}") from error
    assert refused > 200
