import dataclasses
import math

import pytest
from xtcq_book.frame import evaluations, to_frame

from xtcq.quantization import bitops, quantize, set_widths
from xtcq.quantization.cost import architecture
from xtcq.study import load_profile

MINI = load_profile("mini")


@pytest.fixture
def student(make_record):
    experiment = MINI.student("mrpc", stages="one-stage", precision="2-2-8", layers=(1, 3, 5), lora_rank=8)
    record = make_record(70.0, **vars(experiment))
    return dataclasses.replace(record, train_seconds=36.0, wall_seconds=72.0)


def test_a_run_as_a_row(student, make_record):
    teachers = [make_record(84.0, **vars(MINI.teacher(task))) for task in ("cola", "mrpc")]
    (row,) = to_frame([student], teachers, MINI).to_dict("records")
    assert (row["task"], row["layers"], row["LoRA rank"], row["budget"]) == ("MRPC", "skip 3", 8, "short (paper: A)")
    assert (row["metric"], row["best"], row["minus teacher"]) == ("accuracy", 70.0, -14.0)
    assert row["standard error"] == pytest.approx(100 * math.sqrt(0.7 * 0.3 / 408))
    assert row["chance"] == pytest.approx(100 * 279 / 408)
    assert (row["steps"], row["hours"], row["wall hours"], row["ms per step"]) == (10, 0.01, 0.02, 3600.0)
    assert (row["device"], row["side by side"], row["bits²"]) == ("CPU, fp32", 1, 16)
    assert row["reference"] is teachers[1] and row["experiment"] is student.experiment


def test_a_student_is_measured_against_the_teacher_that_it_had(student, make_record):
    teacher = make_record(84.0, **vars(student.experiment.teacher))
    scores = dict.fromkeys(("best", "last"), {"accuracy": 81.5, "f1": 80.0})
    told = dataclasses.replace(student, teacher_scores=scores)
    frame = to_frame([student, told], [teacher], MINI)
    assert frame["minus teacher"].to_list() == [-14.0, -11.5]
    assert [one.best["accuracy"] for one in frame["reference"]] == [84.0, 81.5]
    of_small = dataclasses.replace(told.experiment, teacher=MINI.reduced("mrpc", 3), start=None, layers=None)
    # Of the teacher's teacher its Record says nothing.
    (row,) = to_frame([dataclasses.replace(told, experiment=of_small)], [teacher], MINI).to_dict("records")
    assert row["reference"] is None and math.isnan(row["minus teacher"])


def test_a_run_without_its_teacher(student):
    (row,) = to_frame([student]).to_dict("records")
    assert math.isnan(row["minus teacher"]) and row["reference"] is None and "budget" not in row


def test_learned_widths_have_their_own_mean(make_record):
    record = make_record(70.0, **vars(MINI.learned("mrpc", granularity="network", budget="long")))
    bit_operations = round(9.5 * sum(record.experiment.matrices.values()))
    assert to_frame([dataclasses.replace(record, bitops=bit_operations)])["bits²"].to_list() == [9.5]


def test_chosen_widths_count_by_their_weights(make_record):
    chosen = MINI.student("mrpc", recipe="adaqat", precision="8-4-8")
    matrices = chosen.matrices
    widths = dict.fromkeys(matrices, (2, 4)) | {"bert.pooler.dense": (8, 8)}
    pooler = matrices["bert.pooler.dense"] / sum(matrices.values())
    for allocation, rest in (
        (widths, 8),
        ({"bert.pooler.dense": (2, 2)}, 64),
    ):  # a rest without widths has the precision's
        model = quantize(architecture(chosen.model), chosen.quantization)
        set_widths(model, {name.removeprefix("bert."): pair for name, pair in allocation.items()})
        record = make_record(70.0, **vars(dataclasses.replace(chosen, allocation=allocation)))
        own = math.prod(allocation["bert.pooler.dense"])
        found = to_frame([dataclasses.replace(record, bitops=bitops(model))])["bits²"]
        assert found.to_list() == [pytest.approx(own * pooler + rest * (1 - pooler))]


def test_every_evaluation_is_a_row(student):
    student.history.append(student.history[0] | {"step": 20, "stage": 1, "metrics": {"accuracy": 72.0, "f1": 1.0}})
    student.history.append({"step": 30, "stage": 1})
    points = evaluations(to_frame([student]))
    assert list(zip(points["step"], points["stage"], points["score"], strict=True)) == [(10, 0, 70.0), (20, 1, 72.0)]
    assert set(points["plan"]) == {"one-stage"} and evaluations(to_frame([])).empty
