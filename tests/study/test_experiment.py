import json
import math

import pytest

from xtcq.study import Experiment

TEACHER = Experiment(task="mrpc", epochs=3, learning_rate=5e-5)


def test_round_trip_through_json():
    student = Experiment(
        task="mrpc", epochs=3, learning_rate=1e-4, precision="1-1-8", stages="one-stage", teacher=TEACHER, layers=(1, 3)
    )
    again = Experiment.from_dict(json.loads(json.dumps(student.to_dict())))
    assert again == student and again.digest == student.digest


def test_digest_names_the_value():
    assert TEACHER.digest == Experiment(task="mrpc", epochs=3.0, learning_rate=0.00005).digest
    others = [
        Experiment(task="rte", epochs=3, learning_rate=5e-5),
        Experiment(task="mrpc", epochs=4, learning_rate=5e-5),
        Experiment(task="mrpc", epochs=3, learning_rate=5e-5, seed=111),
        Experiment(task="mrpc", epochs=3, learning_rate=5e-5, precision="2-2-8"),
    ]
    assert len({TEACHER.digest, *(e.digest for e in others)}) == 5


def test_digest_does_not_depend_on_defaults_that_are_spelled_out():
    assert Experiment(task="mrpc", epochs=3, learning_rate=5e-5, seed=42, recipe="xtc").digest == TEACHER.digest
    assert set(TEACHER.to_dict()) == {"task", "epochs", "learning_rate"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "mrcp"}, "mrcp"),
        ({"model": "bert-huge"}, "'bert-huge' is unknown: use one of minilm-l6"),
        ({"stages": "four-stage"}, "'four-stage' is unknown: use one of finetune, one-stage"),
        ({"recipe": "gptq"}, "gptq"),
        ({"precision": "9-2-8"}, "9"),
        ({"precision": "two"}, "two"),
        ({"epochs": 0}, "epochs=0 must be a positive number"),
        ({"learning_rate": math.inf}, "learning_rate=inf must be a positive number"),
        ({"learning_rate": "5e-5"}, "learning_rate='5e-5' must be a positive number"),
        ({"seed": 1.5}, "seed=1.5 must be an integer"),
        ({"evaluations": 0}, "evaluations=0 must be an integer of at least 1"),
        ({"stages": "one-stage"}, "'one-stage' distils: give the experiment that trains its teacher"),
        (
            {"stages": "one-stage", "teacher": Experiment(task="rte", epochs=3, learning_rate=5e-5)},
            "the teacher's task is 'rte' and the student's 'mrpc'",
        ),
    ],
)
def test_impossible_values(fields, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**{"task": "mrpc", "epochs": 3, "learning_rate": 5e-5} | fields)


@pytest.mark.parametrize(
    "fields", [{"task": "mrpc"}, {"task": "mrpc", "epochs": 3, "learning_rate": 1e-4, "bits": 2}, 7]
)
def test_unknown_and_missing_fields(fields):
    with pytest.raises(ValueError, match="has the fields .*'epochs', 'learning_rate', 'task'.* are needed"):
        Experiment.from_dict(fields)
